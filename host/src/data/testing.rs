//! Where tests find data that is too large to keep with the code.
#![allow(clippy::print_stderr)]

use std::path::{Path, PathBuf};

/// A file or folder of the shared data, or `None`, after one line that says so, where there is none.
pub(super) fn shared_data(relative: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("SEDGE_SHARED").map_or_else(beside, PathBuf::from);
    let path = shared.join("data").join(relative);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}
