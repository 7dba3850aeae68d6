//! Files of lines, and folders of such files: all in one folder, or one sub-folder a class, as of images.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use sedge_recordings::{ImageFolder, Limits, RecordingError};

use super::MAX_LINE;
use super::sink::{About, TextSink};
use crate::data::{DataError, Dataset, LoadOptions};

/// One line of a file.
pub(super) enum Line<'a> {
    /// Its bytes, without its end.
    Whole(&'a [u8]),
    /// It is longer than [`MAX_LINE`].
    TooLong,
}

/// Gives every line of the file `path` to `take`, with its number from one.
pub(super) fn for_lines(
    path: &Path,
    mut take: impl FnMut(u64, Line<'_>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut reader = BufReader::new(open(path)?);
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = MAX_LINE as u64 + 1;
        if reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
            reader.skip_until(b'\n').map_err(failed)?;
            take(number, Line::TooLong)?;
            continue;
        }
        take(number, Line::Whole(line.trim_ascii_end()))?;
    }
    Ok(())
}

/// Opens a regular file of a size that is read.
pub(super) fn open(path: &Path) -> Result<impl Read + use<>, DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(RecordingError::NotAFile { path: path.to_owned() }.into());
    }
    let limit = Limits::default().file_bytes;
    if about.len() > limit {
        let (place, path) = ("the whole".to_owned(), path.to_owned());
        let why = format!("{} bytes are more than the {limit} that are read; split the file", about.len());
        return Err(DataError::Text { path, place, why });
    }
    Ok(File::open(path).map_err(failed)?.take(limit))
}

/// The lines of a file.
pub(in crate::data) fn load_document(
    name: &str,
    path: &Path,
    options: &LoadOptions,
) -> Result<Dataset, DataError> {
    let mut sink = TextSink::new(name, options);
    add(&mut sink, path, options.length, About { label: None, group: Some("0") })?;
    sink.finish()
}

/// The lines of one file, those longer than a sample in parts that follow each other.
fn add(sink: &mut TextSink<'_>, path: &Path, length: usize, about: About<'_>) -> Result<(), DataError> {
    for_lines(path, |number, line| match line {
        Line::TooLong => {
            let what = format!("{}, line {number}", path.display());
            sink.skip_in(about.group.unwrap_or_default(), what, format!("it is longer than {MAX_LINE} bytes"))
        }
        Line::Whole(line) => line.chunks(length).try_for_each(|part| sink.push(part, about)),
    })
}

/// Files of lines in a folder, listed but not read.
pub(in crate::data) struct Folder {
    /// Each with the name of its class, where sub-folders are classes.
    files: Vec<(PathBuf, Option<String>)>,
}

impl Folder {
    /// Lists `path`; `None` when it holds no file of lines, or images, beside which such files are but notes.
    pub(in crate::data) fn open(path: &Path) -> Result<Option<Self>, DataError> {
        let (top, folders) = list(path)?;
        let mut files: Vec<_> = top.into_iter().map(|file| (file, None)).collect();
        let is_flat = !files.is_empty();
        for folder in folders.iter().filter(|_| !is_flat) {
            let class = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.extend(list(folder)?.0.into_iter().map(|file| (file, Some(class.clone()))));
        }
        let images =
            || !matches!(ImageFolder::open(path, &Limits::default()), Err(RecordingError::Empty { .. }));
        Ok((!files.is_empty() && !images()).then_some(Self { files }))
    }

    pub(in crate::data) fn load(&self, name: &str, options: &LoadOptions) -> Result<Dataset, DataError> {
        let mut sink = TextSink::new(name, options);
        for (number, (path, class)) in self.files.iter().enumerate() {
            let group = number.to_string();
            let about = About { label: class.as_deref(), group: Some(&group) };
            add(&mut sink, path, options.length, about)?;
        }
        sink.finish()
    }
}

/// The files of lines in a folder and its sub-folders, by name. Hidden ones and links to folders are passed over.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let failed = |source| DataError::Io { path: folder.to_owned(), source };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    let limit = Limits::default().entries;
    for (seen, entry) in fs::read_dir(folder).map_err(failed)?.enumerate() {
        let entry = entry.map_err(failed)?;
        if seen as u64 >= limit {
            let (path, place) = (folder.to_owned(), "the folder".to_owned());
            let why = format!("more than {limit} entries; put the texts into fewer files");
            return Err(DataError::Text { path, place, why });
        }
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        if kind.is_dir() {
            folders.push(path);
        } else if matches!(extension.to_str(), Some("txt" | "log")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}
