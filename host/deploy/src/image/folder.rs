//! The root of a card that is mounted.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::ImageError;
use super::root::{Entry, Found, Root, What};

/// A folder that is a system's root.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let io = |source| ImageError::Io { path: path.to_owned(), source };
        Ok(Self { root: fs::canonicalize(path).map_err(io)? })
    }

    /// Where a path of the card is on this machine. Links on the way that lead out of the card are refused: on the board
    /// they lead somewhere else.
    fn place(&self, path: &str) -> Result<PathBuf, ImageError> {
        let place = self.root.join(path.trim_start_matches('/'));
        let ancestor = place.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(&self.root);
        let real = fs::canonicalize(ancestor).map_err(|source| io_error(ancestor, source))?;
        if real.starts_with(&self.root) {
            return Ok(place);
        }
        Err(ImageError::LeadsOut { path: path.to_owned(), to: real })
    }

    fn put_one(&self, entry: &Entry) -> Result<(), ImageError> {
        let place = self.place(&entry.path)?;
        let io = |source| io_error(&place, source);
        entry.can_replace(&self.look(&entry.path)?)?;
        let (_, name) = entry.parts();
        let beside = place.with_file_name(format!(".{name}.new"));
        match &entry.what {
            What::Folder => {
                if !place.is_dir() {
                    fs::create_dir(&place).map_err(io)?;
                }
                return Ok(());
            }
            What::File { source, mode, .. } => {
                fs::copy(source, &beside).map_err(io)?;
                fs::set_permissions(&beside, PermissionsExt::from_mode(*mode)).map_err(io)?;
                fs::File::open(&beside).and_then(|file| file.sync_all()).map_err(io)?;
            }
            What::Link(target) => {
                match fs::remove_file(&beside) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                    _ => {}
                }
                symlink(target, &beside).map_err(io)?;
            }
        }
        fs::rename(&beside, &place).map_err(io)?;
        let folder = place.parent().unwrap_or(&self.root);
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }
}

impl Root for Folder {
    fn look(&self, path: &str) -> Result<Found, ImageError> {
        let place = self.place(path)?;
        let data = match fs::symlink_metadata(&place) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(io_error(&place, error)),
        };
        Ok(match data.file_type() {
            kind if kind.is_dir() => Found::Folder,
            kind if kind.is_file() => Found::File,
            kind if kind.is_symlink() => {
                let target = fs::read_link(&place).map_err(|source| io_error(&place, source))?;
                Found::Link(target.display().to_string())
            }
            _ => Found::Other,
        })
    }

    fn fetch(&self, path: &str, to: &Path) -> Result<bool, ImageError> {
        let place = self.place(path)?;
        // A link as the last part may lead out of the card too.
        if self.look(path)? != Found::File {
            return Ok(false);
        }
        fs::copy(&place, to).map_err(|source| io_error(&place, source)).map(|_| true)
    }

    fn put(&self, entries: &[Entry]) -> Result<(), ImageError> {
        entries.iter().try_for_each(|entry| self.put_one(entry))
    }
}

fn io_error(path: &Path, source: io::Error) -> ImageError {
    ImageError::Io { path: path.to_owned(), source }
}
