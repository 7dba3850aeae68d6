//! What a program needs of the machine that is to run it, read from its ELF headers: the processor and the
//! newest symbols of the GNU C library. A program that needs a newer library than the board has does not
//! start there, and says so only when it is too late.

use std::fmt;
use std::io::Read;
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use serde::{Deserialize, Serialize};

use crate::DeployError;

/// Largest program that is read, in bytes.
pub const MAX_PROGRAM_BYTES: u64 = 256 << 20;
/// Most version entries looked at; a C library of today defines about fifty.
const MAX_VERSIONS: usize = 4096;

/// A processor and the width of its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Architecture {
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, version 7 with hardware floats.
    Armv7,
    /// 64-bit x86.
    X86_64,
}

impl Architecture {
    /// From `uname -m` and the width of the user's programs: a 64-bit kernel may carry a 32-bit system, as
    /// Raspberry Pi OS does.
    pub fn from_uname(machine: &str, bits: Option<u32>) -> Option<Self> {
        match (machine, bits) {
            ("aarch64" | "arm64" | "armv7l" | "armv8l", Some(32)) | ("armv7l" | "armv8l", None) => {
                Some(Self::Armv7)
            }
            ("aarch64" | "arm64", _) => Some(Self::Aarch64),
            ("x86_64", Some(64) | None) => Some(Self::X86_64),
            _ => None,
        }
    }

    /// The compiler's name for Linux with the GNU C library on it.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
            Self::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aarch64 => "64-bit ARM",
            Self::Armv7 => "32-bit ARM",
            Self::X86_64 => "64-bit x86",
        })
    }
}

/// A version of the GNU C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Glibc {
    /// From the last word of a line as `getconf GNU_LIBC_VERSION` and `ldd --version` write it.
    pub fn from_line(line: &str) -> Option<Self> {
        Self::from_number(line.split_whitespace().next_back()?)
    }

    fn from_number(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Self { major, minor })
    }

    fn from_symbol_version(name: &[u8]) -> Option<Self> {
        Self::from_number(std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?)
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a program says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The processor it is for.
    pub architecture: Architecture,
    /// The newest version of the C library that it needs; none where it is linked statically.
    pub needs_glibc: Option<Glibc>,
    /// The newest version that it defines, where it is the C library itself.
    pub defines_glibc: Option<Glibc>,
}

impl Program {
    /// Reads a program's headers.
    ///
    /// # Errors
    /// [`DeployError::Program`] where it is no ELF program for a processor that Sedge runs on,
    /// [`DeployError::Io`], [`DeployError::TooLarge`].
    pub fn read(path: &Path) -> Result<Self, DeployError> {
        let io = |source| DeployError::Io { path: path.to_owned(), source };
        let mut bytes = vec![];
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(MAX_PROGRAM_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_PROGRAM_BYTES {
            return Err(DeployError::TooLarge { path: path.to_owned(), limit: MAX_PROGRAM_BYTES });
        }
        Self::from_bytes(&bytes)
            .map_err(|reason| DeployError::Program { path: path.to_owned(), reason: reason.to_string() })
    }

    /// The same from a program's bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotRunnable> {
        match FileKind::parse(bytes) {
            Ok(FileKind::Elf32) => headers::<FileHeader32<Endianness>>(bytes),
            Ok(FileKind::Elf64) => headers::<FileHeader64<Endianness>>(bytes),
            _ => Err(NotRunnable::NotElf),
        }
    }
}

/// Why a file is no program for any board.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotRunnable {
    /// Not an ELF file.
    #[error("it is no ELF program")]
    NotElf,
    /// For another processor.
    #[error("it is for another processor (ELF machine {0}); build for aarch64, armv7 or x86-64")]
    Machine(u16),
    /// Headers that contradict each other.
    #[error("its headers are damaged: {0}")]
    Damaged(String),
}

fn headers<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Program, NotRunnable> {
    let damaged = |error: object::Error| NotRunnable::Damaged(error.to_string());
    let header = Elf::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let machine = header.e_machine(endian);
    let architecture = match (machine, header.is_class_64(), endian) {
        (elf::EM_AARCH64, true, Endianness::Little) => Architecture::Aarch64,
        (elf::EM_ARM, false, Endianness::Little) => Architecture::Armv7,
        (elf::EM_X86_64, true, Endianness::Little) => Architecture::X86_64,
        _ => return Err(NotRunnable::Machine(machine)),
    };
    let segments = header.program_headers(endian, bytes).map_err(damaged)?;
    if !segments.iter().any(|segment| segment.p_type(endian) == elf::PT_LOAD) {
        return Err(NotRunnable::Damaged("no segment of it is loaded".into()));
    }
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let mut needs = vec![];
    if let Some((mut files, strings)) = sections.gnu_verneed(endian, bytes).map_err(damaged)? {
        let strings = sections.strings(endian, bytes, strings).map_err(damaged)?;
        while let Some((_, mut versions)) = files.next().map_err(damaged)? {
            while let Some(version) = versions.next().map_err(damaged)? {
                needs.push(version.name(endian, strings).map_err(damaged)?);
                if needs.len() > MAX_VERSIONS {
                    return Err(NotRunnable::Damaged("it needs too many versions of symbols".into()));
                }
            }
        }
    }
    let mut defines = vec![];
    if let Some((mut versions, strings)) = sections.gnu_verdef(endian, bytes).map_err(damaged)? {
        let strings = sections.strings(endian, bytes, strings).map_err(damaged)?;
        while let Some((_, mut names)) = versions.next().map_err(damaged)? {
            // The first name is the version; those after it are its parents.
            if let Some(name) = names.next().map_err(damaged)? {
                defines.push(name.name(endian, strings).map_err(damaged)?);
            }
            if defines.len() > MAX_VERSIONS {
                return Err(NotRunnable::Damaged("it defines too many versions of symbols".into()));
            }
        }
    }
    let newest = |names: Vec<&[u8]>| names.into_iter().filter_map(Glibc::from_symbol_version).max();
    Ok(Program { architecture, needs_glibc: newest(needs), defines_glibc: newest(defines) })
}
