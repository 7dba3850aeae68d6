//! Helpers of the tests that cross crates: where the shared data lies.

use std::path::{Path, PathBuf};

/// A file of the shared data, `None` when it is not there: named by `SEDGE_SHARED`, or `shared` beside
/// the workspace.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("SEDGE_SHARED").map_or_else(beside, PathBuf::from);
    Some(root.join(name)).filter(|path| path.exists())
}
