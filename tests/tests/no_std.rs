//! That the learner, its readings and the sensor drivers stand without the standard library. A crate that
//! brings a panic handler of its own cannot be built beside `std`, which has one: the compiler refuses the second. So
//! if such a crate builds on top of these three, neither they nor anything they pull in needs `std`, on
//! whatever machine this runs. `.ci/run` builds them for a microcontroller too, where its target is
//! installed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ALONE: &str = "#![no_std]
extern crate sedge_boards;
extern crate sedge_core;
extern crate sedge_readings;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
";

/// A program that `std` slips into, for what the compiler then says.
const TOGETHER: &str = "#![no_std]
extern crate std;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
";

fn rustc(text: &str, folder: &Path, built: &Path) -> Output {
    let source = folder.join("alone.rs");
    std::fs::write(&source, text).unwrap();
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"]).arg(folder);
    for name in ["sedge_boards", "sedge_core", "sedge_readings"] {
        let library = built.join(format!("lib{name}.rlib"));
        command.arg("--extern").arg(format!("{name}={}", library.display()));
    }
    command.arg("-L").arg(format!("dependency={}", built.join("deps").display()));
    command.arg(source).output().unwrap()
}

/// Builds the three crates without features, whatever the rest of the workspace asks of them.
fn built() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--offline",
            "--quiet",
            "-p",
            "sedge-boards",
            "-p",
            "sedge-core",
            "-p",
            "sedge-readings",
        ])
        .args(["--no-default-features", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug")
}

#[test]
fn learner_readings_and_drivers_stand_without_std() {
    let (folder, built) = (tempfile::tempdir().unwrap(), built());
    let together = rustc(TOGETHER, folder.path(), &built);
    let said = String::from_utf8_lossy(&together.stderr);
    assert!(!together.status.success() && said.contains("panic_impl"), "this test can fail: {said}");
    let alone = rustc(ALONE, folder.path(), &built);
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
}
