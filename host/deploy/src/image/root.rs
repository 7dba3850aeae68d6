//! The root of a system that does not run: what lies in it, and what is put there.

use std::path::{Path, PathBuf};

use super::ImageError;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Folder,
    File,
    Link(String),
    Other,
}

impl Found {
    /// In words.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "not there",
            Self::Folder => "a folder",
            Self::File => "a file",
            Self::Link(_) => "a link",
            Self::Other => "neither file nor folder",
        }
    }
}

/// Something to be put into the system, at an absolute path whose characters were checked: letters, digits and `/._-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) what: What,
}

/// What is put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A folder, unless there is one.
    Folder,
    /// A file in the place of whatever file is there.
    File {
        /// The file to copy.
        source: PathBuf,
        /// Its permissions.
        mode: u32,
        /// SHA-256 in hexadecimal.
        sha256: String,
    },
    /// A link in the place of whatever link or file is there.
    Link(String),
}

impl Entry {
    /// Folder and name.
    pub(super) fn parts(&self) -> (&str, &str) {
        self.path.rsplit_once('/').map_or(("/", self.path.as_str()), |(folder, name)| {
            (if folder.is_empty() { "/" } else { folder }, name)
        })
    }

    /// That what is there may be replaced by this.
    pub(super) fn can_replace(&self, found: &Found) -> Result<(), ImageError> {
        let (fits, wanted) = match self.what {
            What::Folder => (matches!(found, Found::Nothing | Found::Folder), "a folder"),
            What::File { .. } | What::Link(_) => {
                (matches!(found, Found::Nothing | Found::File | Found::Link(_)), "a file or a link")
            }
        };
        if fits {
            return Ok(());
        }
        Err(ImageError::InTheWay { path: self.path.clone(), found: found.name(), wanted })
    }
}

/// A system's root, in an image or in a folder.
pub(super) trait Root {
    /// What is at a path.
    fn look(&self, path: &str) -> Result<Found, ImageError>;
    /// Copies a file of the system to `to`; false where there is none.
    fn fetch(&self, path: &str, to: &Path) -> Result<bool, ImageError>;
    /// Puts entries there in their order, and makes sure that they are.
    fn put(&self, entries: &[Entry]) -> Result<(), ImageError>;
}
