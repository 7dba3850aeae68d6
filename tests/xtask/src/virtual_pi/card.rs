//! The card of the emulated machine: an ext4 file system in a file, made and read without being mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::TaskError;
use crate::toolchain::{finish, need};

/// Size of the card; the emulated slot wants a power of two.
const MEGABYTES: u64 = 128;

/// A card in a file.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) image: PathBuf,
}

impl Card {
    /// Makes one with a system on it, into which `sedge flash` puts the daemon, the board and the shipped bundle as into
    /// any card.
    pub(super) fn make(work: &Path, daemon: &Path, sedge: &Path) -> Result<Self, TaskError> {
        let tree = work.join("card");
        if tree.exists() {
            fs::remove_dir_all(&tree).map_err(TaskError::io("cannot empty", &tree))?;
        }
        // What tells a system's processor and C library: its first program, here the kernel's companion, and libc.
        let busybox = work.join("debian/bin/busybox");
        let libc = PathBuf::from(super::kernel::LIBRARY_FOLDER).join("libc.so.6");
        for (from, to) in
            [(busybox, "usr/lib/systemd/systemd"), (libc, "usr/lib/aarch64-linux-gnu/libc.so.6")]
        {
            let to = tree.join(to);
            let folder = to.parent().unwrap_or(&tree);
            fs::create_dir_all(folder).map_err(TaskError::io("cannot make", folder))?;
            fs::copy(&from, &to).map_err(TaskError::io("cannot copy", &from))?;
        }
        for folder in ["etc/systemd/system", "opt", "var/lib"] {
            let folder = tree.join(folder);
            fs::create_dir_all(&folder).map_err(TaskError::io("cannot make", &folder))?;
        }
        let boot = tree.join("boot/firmware");
        fs::create_dir_all(&boot).map_err(TaskError::io("cannot make", &boot))?;
        let settings = boot.join("config.txt");
        fs::write(&settings, "# Read by the firmware of a real Pi.\n")
            .map_err(TaskError::io("cannot write", &settings))?;
        let mut flash = Command::new(sedge);
        flash.args(["flash", "--board", "virtual-pi", "--image"]).arg(&tree).arg("--boot").arg(&boot);
        flash.arg("--binary").arg(daemon);
        finish(flash.arg("--bundle").arg(repository().join("models/bundles/image-sim.sedge")))?;

        let image = work.join("card.img");
        let file = fs::File::create(&image).map_err(TaskError::io("cannot write", &image))?;
        file.set_len(MEGABYTES << 20).map_err(TaskError::io("cannot size", &image))?;
        let mut make = Command::new(need("mkfs.ext4")?);
        finish(make.args(["-q", "-F", "-d"]).arg(&tree).arg(&image))?;
        Ok(Self { image })
    }
}

/// The root of the repository that this program was built from.
pub(super) fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
