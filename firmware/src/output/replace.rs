//! Files replaced whole: written beside, synced, renamed, and the folder synced. A reader sees the old
//! file or the new one, and so does a device that lost power.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::OutputError;

/// Replaces `path` by what `write` writes. When anything fails, what was there stays.
pub fn replace_file<E: From<OutputError>>(
    path: &Path,
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
    let mut beside = tempfile::NamedTempFile::new_in(folder).map_err(failed("making a file beside"))?;
    write(beside.as_file_mut())?;
    beside.as_file_mut().flush().and_then(|()| beside.as_file().sync_all()).map_err(failed("syncing"))?;
    beside.persist(path).map_err(|error| failed("replacing")(error.error))?;
    // Without this the name may still lead to the old file after a loss of power.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("syncing the folder of"))?;
    Ok(())
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
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
