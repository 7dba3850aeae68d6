//! Builds the daemon for a board's processor with the compiler of this machine, and says what is missing where that
//! cannot be done.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::elf::Architecture;

/// A daemon that could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No sources.
    #[error(
        "no sources of Sedge are in or above {}, so the daemon cannot be built; give a built one with --binary",
        folder.display()
    )]
    NoSources {
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// No compiler.
    #[error(
        "cannot start {program}: {source}. Install Rust from https://rustup.rs, or give a built daemon with --binary"
    )]
    NoCompiler {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The standard library for the processor is missing.
    #[error("the compiler has no library for {triple}; get it with `rustup target add {triple}`")]
    NoTarget {
        /// The target.
        triple: &'static str,
    },
    /// The linker for the processor is missing.
    #[error(
        "no linker {linker} for {triple}; get it (Debian: `apt install {package}`), or name another in {variable}"
    )]
    NoLinker {
        /// The target.
        triple: &'static str,
        /// The program looked for.
        linker: String,
        /// The package that has it.
        package: &'static str,
        /// The variable that names another.
        variable: String,
    },
    /// cargo failed, and has said why on standard error.
    #[error("`{command}` failed ({status}); its own words are above")]
    Failed {
        /// What was run.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
}

/// Builds the daemon in the sources in or above `folder`, and gives its path. Takes minutes the first time; cargo
/// writes its progress to standard error.
///
/// # Errors
/// [`BuildError`], each with what to install.
pub fn build(architecture: Architecture, folder: &Path) -> Result<PathBuf, BuildError> {
    let sources = sources(folder)?;
    let triple = architecture.triple();
    let libraries = output("rustc", &["--print", "target-libdir", "--target", triple])?;
    if !Path::new(libraries.trim()).is_dir() {
        return Err(BuildError::NoTarget { triple });
    }
    let linker = find_linker(architecture, &|name| std::env::var(name).ok(), &on_path)?;
    let target_folder = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => sources.join(folder),
        None => sources.join("target"),
    };
    let arguments = ["build", "--release", "--locked", "--package", "sedge-firmware", "--target", triple];
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).current_dir(&sources).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(linker) = linker {
        // C sources of dependencies are compiled by the same program.
        cargo.env(linker_variable(triple), &linker).env(format!("CC_{}", triple.replace('-', "_")), &linker);
    }
    let status = cargo.status().map_err(|source| BuildError::NoCompiler { program: "cargo", source })?;
    if !status.success() {
        return Err(BuildError::Failed { command: format!("cargo {}", arguments.join(" ")), status });
    }
    Ok(target_folder.join(triple).join("release").join("sedged"))
}

/// The folder of the workspace that `folder` lies in.
fn sources(folder: &Path) -> Result<PathBuf, BuildError> {
    let named = |folder: &&Path| {
        let manifest = std::fs::read_to_string(folder.join("firmware/Cargo.toml")).unwrap_or_default();
        folder.join("Cargo.toml").is_file() && manifest.contains("name = \"sedge-firmware\"")
    };
    let found = folder.ancestors().find(named).map(Path::to_owned);
    found.ok_or_else(|| BuildError::NoSources { folder: folder.to_owned() })
}

/// The linker to set, or none where cargo's own choice will do.
fn find_linker(
    architecture: Architecture,
    variable: &dyn Fn(&str) -> Option<String>,
    exists: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, BuildError> {
    let triple = architecture.triple();
    let (native, linker, package) = match architecture {
        Architecture::Aarch64 => {
            (cfg!(target_arch = "aarch64"), "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
        }
        Architecture::Armv7 => (false, "arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
        Architecture::X86_64 => {
            (cfg!(target_arch = "x86_64"), "x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu")
        }
    };
    let (linker, package) = if native { ("cc", "gcc") } else { (linker, package) };
    let name = linker_variable(triple);
    let linker = variable(&name).unwrap_or_else(|| linker.to_owned());
    if !exists(&linker) {
        return Err(BuildError::NoLinker { triple, linker, package, variable: name });
    }
    Ok(if native { None } else { Some(linker) })
}

fn linker_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", triple.replace('-', "_").to_uppercase())
}

fn on_path(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn output(program: &'static str, arguments: &[&str]) -> Result<String, BuildError> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|source| BuildError::NoCompiler { program, source })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_missing_linker_is_named_with_its_package() {
        let error = find_linker(Architecture::Armv7, &|_| None, &|_| false).unwrap_err().to_string();
        for said in [
            "arm-linux-gnueabihf-gcc",
            "gcc-arm-linux-gnueabihf",
            "CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER",
        ] {
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn a_linker_that_is_named_is_taken() {
        let named = |name: &str| {
            (name == "CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER").then(|| "mine".to_owned())
        };
        let found = find_linker(Architecture::Armv7, &named, &|name| name == "mine").unwrap();
        assert_eq!(found.as_deref(), Some("mine"));
    }

    #[test]
    fn sources_are_found_from_any_folder_inside_and_not_outside() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(sources(&here.join("src")).unwrap().join("firmware/src/main.rs").is_file());
        let outside = tempfile::tempdir().unwrap();
        assert!(sources(outside.path()).unwrap_err().to_string().contains("--binary"));
    }
}
