//! Image data sets as the Hugging Face hub lays them out: Parquet files with a column `img` or
//! `image` (a structure of `bytes` and `path`, or bare bytes), a column `label`, and the names of
//! the classes in the metadata key `huggingface`.
//!
//! The `parquet` crate is held at arm's length: what a file claims is checked first
//! ([`parquet_guard`](super::parquet_guard)), and a panic within it becomes an error.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use sedge_recordings::{Limits, decode_image};
use serde_json::Value;

use super::images::{APART, ImageSink, MAX_CLASSES, Picture, Tag, in_parallel};
use super::parquet_guard::{check_footer, check_pages};
use super::{DataError, Dataset, LoadOptions};

/// Column paths that hold encoded images, in order of preference.
const IMAGE_COLUMNS: [&str; 4] = ["img.bytes", "image.bytes", "img", "image"];
/// Columns that hold the class.
const LABEL_COLUMNS: [&str; 3] = ["label", "labels", "fine_label"];
/// Rows that are read, decoded and stored at a time.
const ROWS_AT_ONCE: usize = 256;

/// Reads all images of `files`, in order. Each image is its own group.
pub(super) fn load(
    source_name: &str,
    files: &[PathBuf],
    options: &LoadOptions,
) -> Result<Dataset, DataError> {
    let mut sink = ImageSink::new(source_name, options);
    let mut names = Vec::new();
    let opened = files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>, _>>()?;
    let rows = opened.iter().fold(0u64, |sum, source| sum.saturating_add(source.rows()));
    for source in &opened {
        if names.is_empty() {
            names = source.class_names();
        }
        source.read(&mut sink, options, rows)?;
        if sink.is_full() {
            break;
        }
    }
    sink.finish(names)
}

/// The Parquet files directly in a folder, by name.
pub(super) fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Told the number of a row in its group, its image and its class; answers whether more are wanted.
type Give<'a> =
    &'a mut dyn FnMut(u64, Result<Vec<u8>, String>, Result<Option<u32>, String>) -> Result<bool, DataError>;

/// One file, read a row group at a time.
pub(super) struct RowGroups<'a>(Source<'a>);

impl<'a> RowGroups<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, DataError> {
        Source::open(path).map(Self)
    }

    pub(super) fn class_names(&self) -> Vec<String> {
        self.0.class_names()
    }

    /// Rows that each group claims.
    pub(super) fn rows(&self) -> Vec<u64> {
        self.0.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as u64).collect()
    }

    /// Gives the rows of one group, undecoded. `classes` is the number of classes, zero if unknown.
    pub(super) fn read(&self, group: usize, classes: usize, give: Give<'_>) -> Result<(), DataError> {
        let source = &self.0;
        source.check_group(group)?;
        let place = format!("row group {group}");
        let reader = contained(source.path, &place, || source.reader.get_row_group(group))?;
        let mut columns = Columns::open(source, &*reader, &place)?;
        let mut first = 0;
        loop {
            let rows = columns.next(source.path, &place, first)?;
            if rows.is_empty() {
                return Ok(());
            }
            first += rows.len() as u64;
            for row in rows {
                let label = source.label_of(&row, classes);
                let bytes = row.image.map(|image| image.data().to_vec());
                if !give(row.number, bytes.ok_or_else(|| "it holds no image".to_owned()), label)? {
                    return Ok(());
                }
            }
        }
    }
}

/// An opened file and where its columns are.
struct Source<'a> {
    path: &'a Path,
    reader: SerializedFileReader<File>,
    image: usize,
    label: Option<usize>,
}

/// One row as read.
struct Row {
    number: u64,
    image: Option<ByteArray>,
    label: Option<i64>,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        check_footer(path)?;
        let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        let reader = contained(path, "the footer", || SerializedFileReader::new(file))?;
        let find = |wanted: &[&str]| {
            let columns = reader.metadata().file_metadata().schema_descr().columns();
            wanted.iter().find_map(|name| columns.iter().position(|c| c.path().string() == *name))
        };
        let Some(image) = find(&IMAGE_COLUMNS) else {
            let columns = reader.metadata().file_metadata().schema_descr().columns();
            let found = columns.iter().take(50).map(|c| c.path().string()).collect();
            let wanted = "`img` or `image` with `bytes`";
            return Err(DataError::Columns { path: path.to_owned(), wanted, found });
        };
        let label = find(&LABEL_COLUMNS);
        Ok(Self { path, image, label, reader })
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }

    /// Rows that the file claims.
    fn rows(&self) -> u64 {
        self.metadata().row_groups().iter().fold(0, |sum, group| sum + group.num_rows().max(0) as u64)
    }

    /// Names of the classes, from `info.features.<label column>.names` of the metadata.
    fn class_names(&self) -> Vec<String> {
        let file = self.metadata().file_metadata();
        let Some(label) = self.label.map(|i| file.schema_descr().column(i).name().to_owned()) else {
            return Vec::new();
        };
        let pairs = file.key_value_metadata().map(Vec::as_slice).unwrap_or_default();
        let text = pairs.iter().find(|pair| pair.key == "huggingface").and_then(|pair| pair.value.as_deref());
        let parsed = text.and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default();
        let names = parsed["info"]["features"][&label]["names"].as_array().cloned().unwrap_or_default();
        names.iter().take(MAX_CLASSES as usize).map(|n| n.as_str().unwrap_or_default().to_owned()).collect()
    }

    fn read(&self, sink: &mut ImageSink<'_>, options: &LoadOptions, expected: u64) -> Result<(), DataError> {
        let mut first_row = 0;
        let names = self.class_names();
        for number in 0..self.metadata().num_row_groups() {
            self.check_group(number)?;
            let place = format!("row group {number}");
            let group = contained(self.path, &place, || self.reader.get_row_group(number))?;
            let mut columns = Columns::open(self, &*group, &place)?;
            loop {
                let rows = columns.next(self.path, &place, first_row)?;
                if rows.is_empty() {
                    break;
                }
                first_row += rows.len() as u64;
                self.keep(sink, options, &rows, names.len())?;
                sink.expect(expected)?;
                if sink.is_full() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Holds the pages of both columns against the limits before any is read.
    fn check_group(&self, number: usize) -> Result<(), DataError> {
        let group = self.metadata().row_group(number);
        for column in std::iter::once(self.image).chain(self.label) {
            let place = format!("row group {number}, column {column}");
            let (start, length) = contained(self.path, &place, || Ok(group.column(column).byte_range()))?;
            check_pages(self.path, start, length)?;
        }
        Ok(())
    }

    /// Decodes rows and gives the good ones to the sink, in order.
    fn keep(
        &self,
        sink: &mut ImageSink<'_>,
        options: &LoadOptions,
        rows: &[Row],
        classes: usize,
    ) -> Result<(), DataError> {
        let limits = Limits::default();
        let pictures = in_parallel(rows, options.workers, |row| {
            let bytes = row.image.as_ref().ok_or_else(|| "it holds no image".to_owned())?;
            let frame = decode_image(bytes.data(), &limits).map_err(|e| e.to_string())?;
            Picture::fit(&frame, options.image_size).map_err(|e| e.to_string())
        })?;
        for (row, picture) in rows.iter().zip(pictures) {
            if sink.is_full() {
                break;
            }
            let label = self.label_of(row, classes);
            match picture.and_then(|picture| Ok((picture, label?))) {
                Ok((picture, label)) => {
                    let order = sink.len() as u64;
                    // Rows are pictures and not frames, of which one would follow the other.
                    sink.push(picture, Tag { label, group: order as u32, order: order << APART })?;
                }
                Err(why) => sink.skip(format!("{}, row {}", self.path.display(), row.number), why)?,
            }
        }
        Ok(())
    }

    /// The row's class: `None` when the file has no labels, an error when this row's is unusable.
    fn label_of(&self, row: &Row, classes: usize) -> Result<Option<u32>, String> {
        if self.label.is_none() {
            return Ok(None);
        }
        let limit = if classes > 0 { classes as u32 } else { MAX_CLASSES };
        let label = row.label.ok_or_else(|| "it has no label".to_owned())?;
        let known = u32::try_from(label).ok().filter(|label| *label < limit);
        known.map(Some).ok_or_else(|| format!("its label {label} is not one of the {limit} classes"))
    }
}

/// The two columns of one row group, read in step.
struct Columns {
    image: ColumnReaderImpl<ByteArrayType>,
    image_level: i16,
    label: Option<(ColumnReader, i16)>,
}

impl Columns {
    fn open(source: &Source<'_>, group: &dyn RowGroupReader, place: &str) -> Result<Self, DataError> {
        let path = source.path;
        let column = |index| contained(path, place, || group.get_column_reader(index));
        let describe = |index: usize| group.metadata().column(index).column_descr_ptr();
        let wrong = |index: usize, wanted: &str| {
            let why = format!("column `{}` is not {wanted}", describe(index).path());
            DataError::Parquet { path: path.to_owned(), place: place.to_owned(), why }
        };
        let flat = |index: usize| describe(index).max_rep_level() == 0;
        let ColumnReader::ByteArrayColumnReader(image) = column(source.image)? else {
            return Err(wrong(source.image, "of bytes"));
        };
        if !flat(source.image) {
            return Err(wrong(source.image, "one image a row"));
        }
        let label = match source.label {
            None => None,
            Some(index) => match column(index)? {
                reader @ (ColumnReader::Int32ColumnReader(_) | ColumnReader::Int64ColumnReader(_))
                    if flat(index) =>
                {
                    Some((reader, describe(index).max_def_level()))
                }
                _ => return Err(wrong(index, "one integer a row")),
            },
        };
        Ok(Self { image, image_level: describe(source.image).max_def_level(), label })
    }

    /// The next rows; none at the end of the group.
    fn next(&mut self, path: &Path, place: &str, first: u64) -> Result<Vec<Row>, DataError> {
        let level = self.image_level;
        let images = contained(path, place, || column_values(&mut self.image, level))?;
        let labels: Vec<Option<i64>> = contained(path, place, || match &mut self.label {
            Some((ColumnReader::Int64ColumnReader(reader), level)) => column_values(reader, *level),
            Some((ColumnReader::Int32ColumnReader(reader), level)) => {
                let values = column_values(reader, *level)?;
                Ok(values.into_iter().map(|value| value.map(i64::from)).collect())
            }
            _ => Ok(vec![None; images.len()]),
        })?;
        if labels.len() != images.len() {
            let why = format!("{} images beside {} labels", images.len(), labels.len());
            return Err(DataError::Parquet { path: path.to_owned(), place: place.to_owned(), why });
        }
        let rows = images.into_iter().zip(labels).enumerate();
        Ok(rows.map(|(i, (image, label))| Row { number: first + i as u64, image, label }).collect())
    }
}

/// Up to [`ROWS_AT_ONCE`] values of a flat column, `None` for each null. `deepest` is the column's
/// definition level of a value; the levels above it are nulls of the column or of a parent.
fn column_values<D: DataType>(
    reader: &mut ColumnReaderImpl<D>,
    deepest: i16,
) -> Result<Vec<Option<D::T>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let levels_wanted = (deepest > 0).then_some(&mut levels);
    reader.read_records(ROWS_AT_ONCE, levels_wanted, None, &mut values)?;
    if deepest == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let present = levels.iter().filter(|level| **level == deepest).count();
    if present != values.len() {
        return Err(ParquetError::General(format!("{present} values announced, {} found", values.len())));
    }
    let mut values = values.into_iter();
    Ok(levels.iter().map(|level| if *level == deepest { values.next() } else { None }).collect())
}

/// Runs a piece of the `parquet` crate. It is written for honest files and indexes and asserts
/// freely; a panic there means a broken file. Nothing of it is used after one.
pub(super) fn contained<T>(
    path: &Path,
    place: &str,
    work: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, DataError> {
    let broken = |why: String| DataError::Parquet { path: path.to_owned(), place: place.to_owned(), why };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| broken(error.to_string())),
        Err(_) => Err(broken("broken in a way that the Parquet reader did not expect".to_owned())),
    }
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
