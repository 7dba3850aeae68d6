//! Folders of images: all in one folder, or one sub-folder a class. Only names are read at first;
//! a picture is decoded when it is asked for. Names are put in natural order (`2.jpg` before
//! `10.jpg`), because the frames of a clip are numbered and the order is their time.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use sedge_readings::{Event, Frame, NoData, Reading, Timestamp};

use crate::file::io_error;
use crate::image::read_image;
use crate::series::{checked_rate, time_of_row};
use crate::{Limits, RecordingError};

const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// One image of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Where it lies.
    pub path: PathBuf,
    /// Index into [`ImageFolder::classes`]; `None` when the folder has no classes.
    pub label: Option<u32>,
}

/// A folder of JPEG and PNG files, listed but not decoded.
///
/// Links to files are read; links to folders are not followed, so that no loop can be entered.
/// Hidden files, other extensions and folders deeper than one level are passed over and counted.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    entries: Vec<ImageEntry>,
    classes: Vec<String>,
    skipped: u64,
    limits: Limits,
}

impl ImageFolder {
    /// Lists `path`: the images in it, or, when it has none, those of its sub-folders, whose names
    /// are the classes. Classes and files are in natural order. A folder that holds both images
    /// and sub-folders with images is refused, since either reading would lose some.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        if !fs::metadata(path).map_err(io_error(path))?.is_dir() {
            return Err(RecordingError::NotAFolder { path: path.to_owned() });
        }
        let mut lister = Lister { root: path, limits: *limits, seen: 0, skipped: 0 };
        let top = lister.list(path)?;
        let mut entries: Vec<_> =
            top.images.into_iter().map(|path| ImageEntry { path, label: None }).collect();
        let mut classes = Vec::new();
        for folder in top.folders {
            let inner = lister.list(&folder)?;
            lister.skipped += inner.folders.len() as u64;
            if inner.images.is_empty() {
                continue;
            }
            if entries.iter().any(|entry| entry.label.is_none()) {
                return Err(mixed(path, &folder));
            }
            let label = u32::try_from(classes.len()).ok();
            entries.extend(inner.images.into_iter().map(|path| ImageEntry { path, label }));
            classes.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        if entries.is_empty() {
            return Err(RecordingError::Empty { path: path.to_owned(), what: "JPEG or PNG images" });
        }
        Ok(Self { entries, classes, skipped: lister.skipped, limits: *limits })
    }

    /// The images, class by class, each class in natural order.
    pub fn entries(&self) -> &[ImageEntry] {
        &self.entries
    }

    /// Names of the classes in the order of their labels; empty when there are none.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Files and folders that were passed over.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Reads and decodes one of [`ImageFolder::entries`].
    pub fn decode(&self, entry: &ImageEntry) -> Result<Frame, RecordingError> {
        read_image(&entry.path, &self.limits)
    }

    /// The images as a camera at `rate_hz` would have given them, from time zero. One that does
    /// not decode becomes a corrupt reading.
    pub fn frames_at(&self, rate_hz: f32) -> Result<FolderEvents<'_>, RecordingError> {
        Ok(FolderEvents { folder: self, rate_hz: checked_rate(rate_hz)?, next: 0, failures: 0 })
    }
}

/// Events of [`ImageFolder::frames_at`].
#[derive(Clone, Debug)]
pub struct FolderEvents<'a> {
    folder: &'a ImageFolder,
    rate_hz: f64,
    next: usize,
    failures: u64,
}

impl FolderEvents<'_> {
    /// Images so far that did not decode.
    pub fn failures(&self) -> u64 {
        self.failures
    }
}

impl Iterator for FolderEvents<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let entry = self.folder.entries.get(self.next)?;
        let at = time_of_row(Timestamp::default(), self.next, self.rate_hz);
        self.next += 1;
        let value = self.folder.decode(entry).map_err(|_| {
            self.failures += 1;
            NoData::Corrupt
        });
        Some(Event::Frame(Reading { at, value }))
    }
}

fn mixed(path: &Path, folder: &Path) -> RecordingError {
    RecordingError::Malformed {
        path: path.to_owned(),
        place: format!("sub-folder {}", folder.display()),
        why: "images lie both beside and inside sub-folders; move them all into sub-folders (one a \
              class), or none"
            .to_owned(),
    }
}

struct Listing {
    images: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

struct Lister<'a> {
    root: &'a Path,
    limits: Limits,
    seen: u64,
    skipped: u64,
}

impl Lister<'_> {
    fn list(&mut self, folder: &Path) -> Result<Listing, RecordingError> {
        let mut listing = Listing { images: Vec::new(), folders: Vec::new() };
        for item in fs::read_dir(folder).map_err(io_error(folder))? {
            let item = item.map_err(io_error(folder))?;
            self.seen += 1;
            if self.seen > self.limits.entries {
                return Err(RecordingError::TooLarge {
                    path: self.root.to_owned(),
                    what: "the number of files in it".to_owned(),
                    found: self.seen,
                    limit: self.limits.entries,
                    field: "entries",
                });
            }
            // The entry's own type: a link is not followed here.
            let kind = item.file_type().map_err(io_error(folder))?;
            let hidden = item.file_name().as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && !hidden {
                listing.folders.push(item.path());
            } else if !hidden && is_image_name(&item.path()) && item.path().is_file() {
                listing.images.push(item.path());
            } else {
                self.skipped += 1;
            }
        }
        listing.images.sort_by(|a, b| natural_order(a, b));
        listing.folders.sort_by(|a, b| natural_order(a, b));
        Ok(listing)
    }
}

fn is_image_name(path: &Path) -> bool {
    path.extension().is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// Orders names so that runs of digits compare as numbers; ties (`01`, `1`) by their bytes.
fn natural_order(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.as_os_str().as_encoded_bytes(), b.as_os_str().as_encoded_bytes());
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(&x), Some(&y)) = (left.first(), right.first()) else {
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (take_number(&mut left), take_number(&mut right));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Splits the leading digits off `text` and gives them without leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_compare_as_numbers() {
        let mut names = ["b10", "b9", "b009", "a2x1", "a10", "a", "a2x", "7", "0007a"].map(PathBuf::from);
        names.sort_by(|a, b| natural_order(a, b));
        let wanted = ["7", "0007a", "a", "a2x", "a2x1", "a10", "b009", "b9", "b10"].map(PathBuf::from);
        assert_eq!(names, wanted);
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_total(a in "[a0-2]{0,5}", b in "[a0-2]{0,5}", c in "[a0-2]{0,5}") {
            let order = |x: &str, y: &str| natural_order(Path::new(x), Path::new(y));
            proptest::prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
            proptest::prop_assert_eq!(order(&a, &b).is_eq(), a == b);
            if order(&a, &b).is_le() && order(&b, &c).is_le() {
                proptest::prop_assert!(order(&a, &c).is_le());
            }
        }
    }
}
