//! The daemon for 64-bit ARM, and programs for this machine: the same daemon, whose results the other's are held
//! against, and `sedge`, which puts it on the card.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Plan;
use super::card::repository;
use crate::error::TaskError;
use crate::toolchain::{ARM64, Toolchain, finish};

/// The daemon that was given, or one that is built now.
pub(super) fn built(plan: &Plan, work: &Path) -> Result<PathBuf, TaskError> {
    if let Some(daemon) = &plan.daemon {
        return Ok(daemon.clone());
    }
    let target = work.join("target");
    let profile = if plan.shipped { "board" } else { "release" };
    let mut cargo = Toolchain::find(ARM64)?.cargo_arm64(&target)?;
    cargo.current_dir(repository()).args(["build", "--locked", "--profile", profile]);
    finish(cargo.args(["--package", "sedge-firmware", "--target", ARM64]))?;
    Ok(target.join(ARM64).join(profile).join("sedged"))
}

/// A program of the repository for this machine: `package` and its program's name.
pub(super) fn here(package: &str, program: &str) -> Result<PathBuf, TaskError> {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(cargo);
    command.current_dir(repository()).args(["build", "--locked", "--release", "--package", package]);
    let said = finish(command.args(["--bin", program, "--message-format=json-render-diagnostics"]))?;
    let text = String::from_utf8_lossy(&said);
    let artifacts = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = artifacts
        .filter(|artifact| artifact["target"]["name"] == program)
        .find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    executable.ok_or_else(|| TaskError::Claim {
        claim: "cargo says where it puts a program",
        found: format!("it did not for {program}"),
    })
}
