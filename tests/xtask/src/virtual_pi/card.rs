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
    /// Makes one that holds the daemon and the shipped bundle.
    pub(super) fn make(work: &Path, daemon: &Path) -> Result<Self, TaskError> {
        let tree = work.join("card");
        if tree.exists() {
            fs::remove_dir_all(&tree).map_err(TaskError::io("cannot empty", &tree))?;
        }
        fs::create_dir_all(&tree).map_err(TaskError::io("cannot make", &tree))?;
        let bundle = repository().join("models/bundles/image-sim.sedge");
        for (from, name) in [(daemon, "sedged"), (bundle.as_path(), "image.sedge")] {
            fs::copy(from, tree.join(name)).map_err(TaskError::io("cannot copy", from))?;
        }
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
