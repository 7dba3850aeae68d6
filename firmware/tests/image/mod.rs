//! Builds an image of the node, by whichever toolchain there is, and runs QEMU's machine with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const TARGET: &str = "thumbv7m-none-eabi";
/// Debian's toolchain, which builds `core` itself.
const DEBIAN: [&str; 2] = ["/usr/bin/rustc", "/usr/bin/cargo"];
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src";
/// What cargo says where it cannot fetch.
const UNFETCHED: [&str; 4] =
    ["no matching package", "failed to download", "failed to query", "Could not resolve host"];

/// The program of the image for QEMU, or why there is none.
///
/// # Panics
/// When the image does not build though everything is there that it needs.
pub fn build() -> Result<PathBuf, String> {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/images/qemu");
    let is_debian = is_debian(&image)?;
    // Apart, so that neither builds anew what the other has built.
    let folder = if is_debian { "images-debian" } else { "images" };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(folder);
    let fetched = cargo(env!("CARGO"), &image, &folder).args(["fetch", "--locked"]).output();
    let fetched = fetched.map_err(|error| error.to_string())?;
    if !fetched.status.success() {
        return Err(format!("dependencies cannot be fetched: {}", String::from_utf8_lossy(&fetched.stderr)));
    }
    let mut command = if is_debian { debian(&image, &folder) } else { rustup(&image, &folder) };
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The sources of `core` have dependencies of their own, which only building them fetches.
    if is_debian && UNFETCHED.iter().any(|words| said.contains(words)) {
        return Err(format!("dependencies of core cannot be fetched: {said}"));
    }
    assert!(output.status.success(), "{said}");
    Ok(folder.join(TARGET).join("release/sedge-node-qemu"))
}

fn cargo(program: &str, image: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(image).env("CARGO_TARGET_DIR", folder);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WRAPPER"] {
        command.env_remove(variable);
    }
    command
}

/// What rustc answers, where it does.
fn asked(image: &Path, what: &[&str]) -> Option<PathBuf> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).current_dir(image).args(what).output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Whether Debian's toolchain is to build it: where rustup's lacks the target, or `SEDGE_DEBIAN_RUST` is set.
fn is_debian(image: &Path) -> Result<bool, String> {
    let library = asked(image, &["--print", "target-libdir", "--target", TARGET]);
    if std::env::var_os("SEDGE_DEBIAN_RUST").is_none() && library.is_some_and(|library| library.is_dir()) {
        return Ok(false);
    }
    let is_there = DEBIAN.iter().all(|program| Path::new(program).is_file());
    if is_there && Path::new(DEBIAN_SOURCES).is_dir() {
        return Ok(true);
    }
    Err(format!(
        "neither rustup's target {TARGET} nor Debian's toolchain (rustc-web, cargo-web, rust-web-src) is installed"
    ))
}

fn rustup(image: &Path, folder: &Path) -> Command {
    let mut command = cargo(env!("CARGO"), image, folder);
    command.args(["build", "--release", "--locked", "--offline", "--target", TARGET]);
    command
}

fn debian(image: &Path, folder: &Path) -> Command {
    let [rustc, program] = DEBIAN;
    let mut command = cargo(program, image, folder);
    command.args(["build", "--release", "--locked", "--target", TARGET]);
    command.args(["-Zbuild-std=core,alloc", "-Zbuild-std-features="]);
    command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN");
    // Debian ships no linker for it; rustup's has one.
    let linker = asked(image, &["--print", "sysroot"]).and_then(|root| {
        let hosts = std::fs::read_dir(root.join("lib/rustlib")).ok()?;
        hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|path| path.is_file())
    });
    if let Some(linker) = linker {
        command.env("CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER", linker);
    }
    command
}

/// A machine that runs until this is dropped.
pub struct Machine(Child);

impl Machine {
    /// QEMU with its first UART where `serial` says. `None` where there is no QEMU.
    pub fn boot(program: &Path, serial: &str) -> Option<Self> {
        let mut command = Command::new("qemu-system-arm");
        command.args(["-machine", "mps2-an385", "-nographic", "-monitor", "none", "-serial", serial]);
        command.arg("-kernel").arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().ok().map(Self)
    }

    /// The terminal that QEMU says it opened for the UART.
    pub fn terminal(&mut self) -> PathBuf {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let path = line.split_whitespace().find(|word| word.starts_with("/dev/"));
        PathBuf::from(path.unwrap_or_else(|| panic!("QEMU says {line:?}")))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
