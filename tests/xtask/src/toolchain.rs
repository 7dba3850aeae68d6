//! Toolchains for other machines: rustup's where it has the target, else Debian's own, which a machine
//! without a way to rustup's servers can still install.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::TaskError;

/// 64-bit ARM Linux.
pub(crate) const ARM64: &str = "aarch64-unknown-linux-gnu";
/// The linker and C compiler for it.
const ARM64_GCC: &str = "aarch64-linux-gnu-gcc";
/// Where Debian puts its compiler, its build tool, and the libraries for other machines.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// How to have what is missing.
pub(crate) const INSTALL: &str = "as root on Debian, `tests/tools` installs it";

/// Programs that the tasks call, with what each is for.
const TOOLS: [(&str, &str); 8] = [
    ("qemu-system-aarch64", "emulates a Raspberry Pi (10.0 or later, for its I2C bus)"),
    ("qemu-system-arm", "emulates a microcontroller"),
    (ARM64_GCC, "compiles and links C for 64-bit ARM"),
    ("mkfs.ext4", "makes the emulated Pi's disk"),
    ("debugfs", "reads and writes it"),
    ("depmod", "orders the kernel's modules"),
    ("cpio", "packs its first file system"),
    ("apt-get", "fetches Debian's kernel"),
];

/// A program's place in the search path, and where superusers have theirs.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A program's place, or that it is missing.
pub(crate) fn need(program: &str) -> Result<PathBuf, TaskError> {
    which(program).ok_or_else(|| TaskError::Missing { what: format!("`{program}`"), mend: INSTALL })
}

/// A cargo that builds for a target.
#[derive(Debug)]
pub(crate) struct Toolchain {
    cargo: PathBuf,
    rustc: Option<&'static str>,
}

impl Toolchain {
    /// Finds one that has the target's standard library.
    pub(crate) fn find(target: &str) -> Result<Self, TaskError> {
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        if has_library("rustc", target) {
            return Ok(Self { cargo, rustc: None });
        }
        if Path::new(DEBIAN_CARGO).is_file() && has_library(DEBIAN_RUSTC, target) {
            return Ok(Self { cargo: DEBIAN_CARGO.into(), rustc: Some(DEBIAN_RUSTC) });
        }
        let what = format!("a Rust toolchain for {target} (`rustup target add {target}`, or Debian's)");
        Err(TaskError::Missing { what, mend: INSTALL })
    }

    /// A cargo command for 64-bit ARM with its linker and C compiler, building into `target_dir`.
    pub(crate) fn cargo_arm64(&self, target_dir: &Path) -> Result<Command, TaskError> {
        let gcc = need(ARM64_GCC)?;
        let mut command = Command::new(&self.cargo);
        // What the calling cargo set is about another toolchain and another machine.
        for name in ["RUSTC", "RUSTDOC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
        if let Some(rustc) = self.rustc {
            command.env("RUSTC", rustc);
        }
        command
            .env("CARGO_TARGET_DIR", target_dir)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &gcc)
            .env("CC_aarch64_unknown_linux_gnu", &gcc);
        Ok(command)
    }
}

/// Whether a compiler has a target's standard library.
fn has_library(rustc: &str, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let folder = output.ok().filter(|output| output.status.success());
    let folder = folder.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let has_core = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    };
    folder.is_some_and(has_core)
}

/// Runs a command to its end; its last words are in the error.
pub(crate) fn finish(command: &mut Command) -> Result<Vec<u8>, TaskError> {
    let program = format!("{command:?}");
    let output = command.output().map_err(|source| TaskError::Start { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = tail(&said, 20);
    Err(TaskError::Program { program, status: output.status.to_string(), said })
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Prints which tools are here.
#[expect(clippy::print_stdout, reason = "this is what the task answers")]
pub(crate) fn tell() -> Result<(), TaskError> {
    for (tool, purpose) in TOOLS {
        let place = which(tool).map_or_else(|| "missing".to_owned(), |place| place.display().to_string());
        println!("{tool:<22} {place:<34} {purpose}");
    }
    for target in [ARM64, "thumbv6m-none-eabi", "thumbv7m-none-eabi", "thumbv8m.main-none-eabihf"] {
        let found = match (has_library("rustc", target), has_library(DEBIAN_RUSTC, target)) {
            (true, _) => "rustup",
            (false, true) => "Debian",
            (false, false) => "missing",
        };
        println!("{target:<32} {found}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let error = need("no-such-program-here").unwrap_err().to_string();
        assert!(error.contains("no-such-program-here") && error.contains("tests/tools"), "{error}");
        assert!(!has_library("rustc", "no-such-target"));
    }

    #[test]
    fn a_program_that_fails_says_its_last_words() {
        let error = finish(Command::new("sh").args(["-c", "echo lost >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("lost") && error.contains('3'), "{error}");
    }
}
