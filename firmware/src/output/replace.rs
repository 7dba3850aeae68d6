//! Files replaced whole: written beside, synced, renamed, and the folder synced. A reader sees the old
//! file or the new one, and so does a device that lost power.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::OutputError;

/// How the name of a file begins while it is written.
const BESIDE: &str = ".sedged-";

/// Replaces `path` by what `write` writes, and has it on disk. When anything fails, what was there stays.
pub fn replace_file<E: From<OutputError>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    replace(path, true, write)
}

/// The same for what only concerns the living: nothing waits for the disk, and after a loss of power the file
/// may be empty.
pub(crate) fn show_file<E: From<OutputError>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    replace(path, false, write)
}

fn replace<E: From<OutputError>>(
    path: &Path,
    lasting: bool,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |step| {
        let path = path.to_owned();
        move |source| OutputError::Io { step, path, source }
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut beside = beside(folder).map_err(failed("making a file beside"))?;
    write(beside.as_file_mut())?;
    beside.as_file_mut().flush().map_err(failed("writing"))?;
    if lasting {
        beside.as_file().sync_all().map_err(failed("syncing"))?;
    }
    beside.persist(path).map_err(|error| failed("replacing")(error.error))?;
    if lasting {
        // Without this the name may still lead to the old file after a loss of power.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("syncing the folder of"))?;
    }
    Ok(())
}

/// A file for whoever may read the results, not for this user alone.
fn beside(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(BESIDE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(folder)
}

/// Removes what a process that was killed while it wrote has left in a folder, which must be this process's
/// alone. A loss of power in every hour would fill a disk with it.
pub(crate) fn remove_leftovers(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(BESIDE)) {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a half-written file stays");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let put = |text: &'static [u8]| {
            replace_file::<OutputError>(&path, |file| {
                file.write_all(text).unwrap();
                Ok(())
            })
        };
        put(b"old").unwrap();
        let full = replace_file(&path, |file| {
            file.write_all(b"ne").unwrap();
            Err(OutputError::Full { path: path.clone(), limit: 2 })
        });
        assert!(full.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        put(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        // What a kill leaves.
        std::fs::write(folder.path().join(".sedged-Ab3"), b"ne").unwrap();
        remove_leftovers(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
