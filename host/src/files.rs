//! Files replaced whole. A report or a checkpoint that is half written is worse than none, because
//! the next reader believes it. So the bytes go to a file beside the target, reach the disk, and
//! only then take the target's name: a reader sees the old file or the new one, never a mixture.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What temporary files end in, so that the leftovers of a power cut can be recognised.
const TEMPORARY_SUFFIX: &str = ".sedge.tmp";

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path does not name a file.
    #[error("`{}` does not name a file; give a path that ends in a file name", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
    },
    /// A step of the writing failed; what was there before is untouched.
    #[error("`{}` cannot be written ({step}): {source}; {}", path.display(), advice(source.kind()))]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// Which step failed.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "make the folder first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder that you may write to"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        _ => "nothing was replaced",
    }
}

/// Writes `bytes` to `path`, replacing what is there in one step. The folder must exist.
///
/// # Errors
/// [`FileError`] names the path and the step; the old file, if any, is then still whole, and the
/// temporary file is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let not_a_file = || FileError::NotAFile { path: path.to_owned() };
    let name = path.file_name().ok_or_else(not_a_file)?;
    if path.is_dir() {
        return Err(not_a_file());
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |step| move |source| FileError::Write { path: path.to_owned(), step, source };

    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(TEMPORARY_SUFFIX);
    // Temporary files are private by default, but this one becomes the result: let the umask decide.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut beside = builder.tempfile_in(folder).map_err(failed("making a temporary file beside it"))?;
    beside.write_all(bytes).map_err(failed("writing"))?;
    beside.as_file().sync_all().map_err(failed("syncing"))?;
    beside.persist(path).map_err(|e| failed("taking its name")(e.error))?;
    sync_folder(folder).map_err(failed("syncing its folder"))
}

/// A rename is only durable once the folder that holds the name is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        write_atomic(&path, b"a longer first text").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent").join("report.html");
        let said = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(said.contains("absent") && said.contains("make the folder first"), "{said}");
        assert!(!folder.path().join("absent").exists());
    }

    #[test]
    fn a_folder_in_the_way_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(write_atomic(folder.path(), b"x"), Err(FileError::NotAFile { .. })));
        assert!(matches!(write_atomic(Path::new("/"), b"x"), Err(FileError::NotAFile { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_takes_no_files_is_reported() {
        // No file can be made in /proc, by anyone.
        let error = write_atomic(Path::new("/proc/sedge-report.html"), b"x").unwrap_err();
        assert!(matches!(error, FileError::Write { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn the_result_is_as_readable_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomic(&ours, b"x").unwrap();
        std::fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
