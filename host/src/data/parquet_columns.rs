//! Columns of numbers, texts and bytes of a Parquet file, read by rows: what robot data sets keep beside
//! their pictures. The file is held at arm's length as in [`parquet_images`](super::parquet_images).

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::DataError;
use super::parquet_guard::{check_footer, check_pages};
use super::parquet_images::contained;

/// Rows read at a time.
pub(super) const BLOCK_ROWS: usize = 256;

/// Told the bytes of a row, `None` for a null; answers whether more are wanted.
type GiveBytes<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> Result<bool, DataError>;

/// An opened file.
pub(super) struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// Rows before each row group, and of all.
    starts: Vec<u64>,
}

/// A column, by its place among the leaves, and how many values of it make a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    leaf: usize,
    width: usize,
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Io { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            let why = "no regular file".to_owned();
            return Err(DataError::Parquet { path: path.to_owned(), place: "the whole".to_owned(), why });
        }
        check_footer(path)?;
        let file = File::open(path).map_err(failed)?;
        let reader = contained(path, "the footer", || SerializedFileReader::new(file))?;
        let mut starts = vec![0];
        for group in reader.metadata().row_groups() {
            let before = starts.last().copied().unwrap_or(0);
            starts.push(before + group.num_rows().max(0) as u64);
        }
        Ok(Self { path: path.to_owned(), reader, starts })
    }

    pub(super) fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    fn leaf(&self, accepts: impl Fn(&str) -> bool) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.columns().iter().position(|column| accepts(&column.path().string()))
    }

    /// The column of this name, or the values of a list of this name, of `width` values a row.
    pub(super) fn column(&self, name: &str, width: usize) -> Result<Column, DataError> {
        let values = [".list.element", ".list.item", ".list.array", ".element", ".item"];
        let found = self.leaf(|path| {
            path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || values.contains(&rest))
        });
        self.found(found, name, width)
    }

    /// The column of encoded images of this name: bare bytes, or `bytes` of a structure.
    pub(super) fn images(&self, name: &str) -> Result<Column, DataError> {
        let inner = format!("{name}.bytes");
        let found = self.leaf(|path| path == inner).or_else(|| self.leaf(|path| path == name));
        self.found(found, name, 1)
    }

    fn found(&self, found: Option<usize>, name: &str, width: usize) -> Result<Column, DataError> {
        let Some(leaf) = found else {
            let schema = self.reader.metadata().file_metadata().schema_descr();
            let found = schema.columns().iter().take(50).map(|column| column.path().string()).collect();
            return Err(DataError::Feature { path: self.path.clone(), wanted: name.to_owned(), found });
        };
        Ok(Column { leaf, width: width.max(1) })
    }

    fn broken(&self, place: &str, why: String) -> DataError {
        DataError::Parquet { path: self.path.clone(), place: place.to_owned(), why }
    }

    /// Gives `rows` of several columns as rows of numbers, each with the columns' values one after the
    /// other, in blocks; a missing value is NaN. `give` answers whether more are wanted.
    pub(super) fn numbers(
        &self,
        columns: &[Column],
        rows: Range<u64>,
        give: &mut dyn FnMut(&[f64]) -> Result<bool, DataError>,
    ) -> Result<(), DataError> {
        let width: usize = columns.iter().map(|column| column.width).sum();
        self.groups(columns, rows, |place, readers, count| {
            let mut block = vec![f64::NAN; count * width];
            let mut first = 0;
            for (reader, column) in readers.iter_mut().zip(columns) {
                let values = contained(&self.path, place, || reader.numbers(count, column.width))?;
                // As many as were asked for: `numbers` has checked.
                for (row, own) in block.chunks_exact_mut(width).zip(values.chunks_exact(column.width)) {
                    if let Some(part) = row.get_mut(first..first + column.width) {
                        part.copy_from_slice(own);
                    }
                }
                first += column.width;
            }
            give(&block)
        })
    }

    /// Gives `rows` of a column of bytes, one after the other, `None` for a null.
    pub(super) fn bytes(
        &self,
        column: Column,
        rows: Range<u64>,
        give: GiveBytes<'_>,
    ) -> Result<(), DataError> {
        self.groups(&[column], rows, |place, readers, count| {
            for reader in readers {
                for value in contained(&self.path, place, || reader.bytes(count))? {
                    if !give(value.as_ref().map(|value| value.data()))? {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })
    }

    /// Goes through the blocks of `rows`, each within one row group, with readers that stand at its start.
    fn groups(
        &self,
        columns: &[Column],
        rows: Range<u64>,
        mut block: impl FnMut(&str, &mut [Leaf], usize) -> Result<bool, DataError>,
    ) -> Result<(), DataError> {
        if rows.end > self.rows() {
            let why = format!("rows {} to {} are wanted and it has {}", rows.start, rows.end, self.rows());
            return Err(self.broken("the whole", why));
        }
        for (number, bounds) in self.starts.array_windows().enumerate() {
            let [start, end] = *bounds;
            let own = rows.start.max(start)..rows.end.min(end);
            if own.is_empty() {
                continue;
            }
            let place = format!("row group {number}");
            let mut readers = Vec::with_capacity(columns.len());
            for column in columns {
                readers.push(self.reader_at(number, column.leaf, own.start - start, &place)?);
            }
            let mut left = own.end - own.start;
            while left > 0 {
                let count = left.min(BLOCK_ROWS as u64);
                if !block(&place, &mut readers, count as usize)? {
                    return Ok(());
                }
                left -= count;
            }
        }
        Ok(())
    }

    fn reader_at(&self, group: usize, leaf: usize, skip: u64, place: &str) -> Result<Leaf, DataError> {
        let column = self.reader.metadata().row_group(group).column(leaf);
        let (start, length) = contained(&self.path, place, || Ok(column.byte_range()))?;
        check_pages(&self.path, start, length)?;
        let description = column.column_descr_ptr();
        contained(&self.path, place, || {
            let reader = self.reader.get_row_group(group)?.get_column_reader(leaf)?;
            let mut leaf = Leaf {
                reader,
                deepest: description.max_def_level(),
                repeated: description.max_rep_level() > 0,
            };
            let skip = usize::try_from(skip).map_err(|_| general("more rows than memory can count"))?;
            leaf.skip(skip)?;
            Ok(leaf)
        })
    }
}

/// One column of one row group, being read.
struct Leaf {
    reader: ColumnReader,
    deepest: i16,
    repeated: bool,
}

macro_rules! of_any_number {
    ($reader:expr, $typed:ident => $body:expr, $otherwise:expr) => {
        match $reader {
            ColumnReader::BoolColumnReader($typed) => $body,
            ColumnReader::Int32ColumnReader($typed) => $body,
            ColumnReader::Int64ColumnReader($typed) => $body,
            ColumnReader::FloatColumnReader($typed) => $body,
            ColumnReader::DoubleColumnReader($typed) => $body,
            _ => $otherwise,
        }
    };
}

impl Leaf {
    fn skip(&mut self, rows: usize) -> Result<(), ParquetError> {
        let skipped = match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(typed) => typed.skip_records(rows)?,
            other => of_any_number!(other, typed => typed.skip_records(rows)?, rows),
        };
        if skipped == rows { Ok(()) } else { Err(general("it has fewer rows than its metadata says")) }
    }

    /// `rows` rows of `width` numbers.
    fn numbers(&mut self, rows: usize, width: usize) -> Result<Vec<f64>, ParquetError> {
        let (deepest, repeated) = (self.deepest, self.repeated);
        of_any_number!(
            &mut self.reader,
            typed => fixed_lists(typed, rows, width, deepest, repeated),
            Err(general("no column of numbers"))
        )
    }

    fn bytes(&mut self, rows: usize) -> Result<Vec<Option<parquet::data_type::ByteArray>>, ParquetError> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else {
            return Err(general("no column of bytes"));
        };
        if self.repeated {
            return Err(general("a column of lists where one value a row is wanted"));
        }
        let (values, levels, _) = records::<ByteArrayType>(reader, rows, self.deepest, false)?;
        let mut values = values.into_iter();
        let whole = levels.iter().map(|level| if *level == self.deepest { values.next() } else { None });
        Ok(whole.collect())
    }
}

/// A number of any type.
trait Number {
    fn number(&self) -> f64;
}

macro_rules! numbers {
    ($($kind:ty),*) => { $(impl Number for $kind { fn number(&self) -> f64 { *self as f64 } })* };
}
numbers!(i32, i64, f32, f64);

impl Number for bool {
    fn number(&self) -> f64 {
        f64::from(u8::from(*self))
    }
}

/// Values, definition levels and, of lists, repetition levels.
type Records<D> = (Vec<<D as DataType>::T>, Vec<i16>, Vec<i16>);

/// Exactly `rows` rows.
fn records<D: DataType>(
    reader: &mut ColumnReaderImpl<D>,
    rows: usize,
    deepest: i16,
    repeated: bool,
) -> Result<Records<D>, ParquetError> {
    let (mut values, mut levels, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = rows;
    while left > 0 {
        let wanted = ((deepest > 0).then_some(&mut levels), repeated.then_some(&mut repetitions));
        let (read, ..) = reader.read_records(left, wanted.0, wanted.1, &mut values)?;
        if read == 0 {
            return Err(general("it has fewer rows than its metadata says"));
        }
        left = left.saturating_sub(read);
    }
    if deepest == 0 {
        levels = vec![0; values.len()];
    }
    let present = levels.iter().filter(|level| **level == deepest).count();
    if present != values.len() {
        return Err(general("it announces other values than it holds"));
    }
    Ok((values, levels, repetitions))
}

/// `rows` lists of `width` numbers each, one after the other.
fn fixed_lists<D: DataType>(
    reader: &mut ColumnReaderImpl<D>,
    rows: usize,
    width: usize,
    deepest: i16,
    repeated: bool,
) -> Result<Vec<f64>, ParquetError>
where
    D::T: Number,
{
    let (values, levels, repetitions) = records(reader, rows, deepest, repeated)?;
    let mut values = values.iter().map(Number::number);
    let mut numbers = Vec::with_capacity(rows * width);
    let mut lists = 0;
    for (place, level) in levels.iter().enumerate() {
        // A repetition level of zero begins a row.
        if repetitions.get(place).is_none_or(|repetition| *repetition == 0) {
            if numbers.len() != lists * width {
                return Err(lengths(width));
            }
            lists += 1;
        }
        let empty = repeated && *level + 1 < deepest;
        let value = if *level == deepest { values.next().unwrap_or(f64::NAN) } else { f64::NAN };
        // A list that is missing has one level and no values.
        numbers.extend(std::iter::repeat_n(value, if empty { width } else { 1 }));
    }
    if numbers.len() != rows * width { Err(lengths(width)) } else { Ok(numbers) }
}

fn lengths(width: usize) -> ParquetError {
    general(&format!("a row has another number of values than the {width} that are stated"))
}

fn general(why: &str) -> ParquetError {
    ParquetError::General(why.to_owned())
}

#[cfg(test)]
#[path = "parquet_columns_tests.rs"]
mod tests;
