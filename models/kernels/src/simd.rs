//! Instruction sets, chosen once at run time.
//!
//! A kernel is written once, as a [`Task`] in plain Rust over fixed-size arrays, and compiled once
//! for each instruction set by [`Level::run`]; the compiler turns the arrays into vectors. The only
//! unsafe code of this crate is the call of a function compiled for instructions that the caller's
//! own code may not use, and it is here, behind the check that the machine has them.
//!
//! Levels with a fused multiply-add round alike, so they give equal bits; the portable level rounds
//! twice where it has none.

use std::sync::OnceLock;

/// Names the instruction set instead of the best one: `portable`, `avx2`, `avx512` or `neon`.
pub const LEVEL_VARIABLE: &str = "SEDGE_SIMD";

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// What every machine of this architecture has.
    Portable,
    /// x86-64 with AVX2 and fused multiply-add: 16 registers of 8 floats.
    Avx2Fma,
    /// x86-64 with AVX-512 F, VL, DQ and BW: 32 registers of 16 floats.
    Avx512,
    /// AArch64, all of which has NEON and fused multiply-add: 32 registers of 4 floats.
    Neon,
}

impl Level {
    /// All levels, slowest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Neon, Self::Avx2Fma, Self::Avx512];

    /// The fastest level of this machine, found once; or the one that [`LEVEL_VARIABLE`] names, if
    /// this machine has it.
    pub fn detect() -> Self {
        static FOUND: OnceLock<Level> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let named = std::env::var(LEVEL_VARIABLE).ok().and_then(|name| Self::named(&name));
            named.filter(|level| level.is_available()).unwrap_or_else(Self::fastest)
        })
    }

    /// The level of a name as [`LEVEL_VARIABLE`] takes it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "portable" => Some(Self::Portable),
            "avx2" => Some(Self::Avx2Fma),
            "avx512" => Some(Self::Avx512),
            "neon" => Some(Self::Neon),
            _ => None,
        }
    }

    /// Whether this machine has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Fma => {
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2Fma.is_available()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512bw")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2Fma | Self::Avx512 => false,
        }
    }

    fn fastest() -> Self {
        if Self::Avx512.is_available() && !halves_wide_vectors() {
            Self::Avx512
        } else if Self::Avx2Fma.is_available() {
            Self::Avx2Fma
        } else if Self::Neon.is_available() {
            Self::Neon
        } else {
            Self::Portable
        }
    }

    /// Runs a task compiled for this level; for the portable one where the machine lacks it.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Fma if self.is_available() => wide::avx2(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if self.is_available() => wide::avx512(task),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => task.run::<Neon>(),
            _ => task.run::<Portable>(),
        }
    }
}

/// Whether this is a Zen 4, which runs a 512-bit instruction as two halves.
///
/// Its multiply-adds then gain nothing from the width and the product's tile loses a quarter of its
/// speed (measured: 90 against 118 GFLOP/s on one core), so AVX2 is its fastest level.
#[cfg(target_arch = "x86_64")]
fn halves_wide_vectors() -> bool {
    use std::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    let amd = [vendor.ebx, vendor.edx, vendor.ecx] == [*b"Auth", *b"enti", *b"cAMD"].map(u32::from_le_bytes);
    let signature = __cpuid(1).eax;
    let family = ((signature >> 8) & 0xf) + ((signature >> 20) & 0xff);
    amd && family == 0x19
}

#[cfg(not(target_arch = "x86_64"))]
fn halves_wide_vectors() -> bool {
    false
}

/// A kernel with its arguments, compiled once for each instruction set.
///
/// `run` must be marked `#[inline(always)]`, and so must what it calls in its inner loops: only
/// code inlined into the level's own function is compiled for its instructions.
pub trait Task {
    /// What the kernel returns.
    type Output;

    /// The kernel's body, for one instruction set.
    fn run<I: Instructions>(self) -> Self::Output;
}

/// What a body may know of the instruction set it is compiled for.
pub trait Instructions {
    /// The level.
    const LEVEL: Level;

    /// Whether a fused multiply-add is one instruction.
    const FUSED: bool;

    /// `a * b + c`, rounded once where the instruction set has it, else twice.
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        if Self::FUSED { a.mul_add(b, c) } else { a * b + c }
    }
}

/// [`Level::Portable`].
#[derive(Debug, Clone, Copy)]
pub struct Portable;

impl Instructions for Portable {
    const LEVEL: Level = Level::Portable;
    const FUSED: bool = false;
}

/// [`Level::Neon`]. Needs no switch: every AArch64 has it, so plain code is compiled to it.
#[derive(Debug, Clone, Copy)]
pub struct Neon;

impl Instructions for Neon {
    const LEVEL: Level = Level::Neon;
    const FUSED: bool = true;
}

/// [`Level::Avx2Fma`].
#[derive(Debug, Clone, Copy)]
pub struct Avx2Fma;

impl Instructions for Avx2Fma {
    const LEVEL: Level = Level::Avx2Fma;
    const FUSED: bool = true;
}

/// [`Level::Avx512`].
#[derive(Debug, Clone, Copy)]
pub struct Avx512;

impl Instructions for Avx512 {
    const LEVEL: Level = Level::Avx512;
    const FUSED: bool = true;
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calls functions compiled for instructions found at run time")]
mod wide {
    use super::{Avx2Fma, Avx512, Level, Task};

    pub(super) fn avx2<T: Task>(task: T) -> T::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<T: Task>(task: T) -> T::Output {
            task.run::<Avx2Fma>()
        }
        assert!(Level::Avx2Fma.is_available(), "a level is run only where it is available");
        // SAFETY: the machine has AVX2 and FMA, by the assertion above.
        unsafe { compiled(task) }
    }

    pub(super) fn avx512<T: Task>(task: T) -> T::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
        fn compiled<T: Task>(task: T) -> T::Output {
            task.run::<Avx512>()
        }
        assert!(Level::Avx512.is_available(), "a level is run only where it is available");
        // SAFETY: the machine has AVX-512 F, VL, DQ and BW, AVX2 and FMA, by the assertion above.
        unsafe { compiled(task) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dot<'a>(&'a [f32], &'a [f32]);

    impl Task for Dot<'_> {
        type Output = (Level, f32);

        #[inline(always)]
        fn run<I: Instructions>(self) -> Self::Output {
            let sum = self.0.iter().zip(self.1).fold(0.0, |sum, (a, b)| I::mul_add(*a, *b, sum));
            (I::LEVEL, sum)
        }
    }

    #[test]
    fn every_level_computes_the_same_and_runs_as_itself_where_it_can() {
        let values: Vec<f32> = (0..37).map(|i| i as f32).collect();
        for level in Level::ALL {
            let (ran, sum) = level.run(Dot(&values, &values));
            assert_eq!(ran, if level.is_available() { level } else { Level::Portable });
            assert_eq!(sum, 16_206.0);
        }
    }

    #[test]
    fn the_detected_level_is_available() {
        assert!(Level::detect().is_available());
    }
}
