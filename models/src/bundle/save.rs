//! Replacing a file in one step: written beside, synced, renamed, the folder synced. A board that
//! loses power finds the old bundle or the new one.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::error::BundleError;

/// What temporary files end in, so that the leftovers of a power cut can be recognised.
const TEMPORARY_SUFFIX: &str = ".sedge.tmp";

pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let failed = |step| move |source| BundleError::Io { step, source };
    let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
        return Err(BundleError::NotAFile);
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = OsString::from(".");
    prefix.push(name);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(TEMPORARY_SUFFIX);
    // Temporary files are private by default, but this one becomes the bundle: let the umask decide.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut beside = builder.tempfile_in(folder).map_err(failed("making a temporary file beside it"))?;
    beside.write_all(bytes).map_err(failed("writing"))?;
    beside.as_file().sync_all().map_err(failed("syncing"))?;
    beside.persist(path).map_err(|e| failed("renaming")(e.error))?;
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(failed("syncing the folder"))?;
    }
    Ok(())
}
