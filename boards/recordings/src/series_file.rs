//! A file of series that need not fit into memory: what is in it is found in one pass that holds no values,
//! and rows are then read from any place on, one at a time.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use csv::StringRecord;

use crate::csv_columns::Columns;
use crate::csv_series::{Key, Steps, Table, has_cells, numbered, reader_of};
use crate::file::{io_error, open_limited};
use crate::npz::{Place, outline_npz, within_x, wrong_x};
use crate::series::checked_rate;
use crate::{Limits, RecordingError, STANDARD_GRAVITY, SeriesOptions};

/// Rows of a CSV file from one place that can be gone to directly to the next.
const ROWS_BETWEEN_MARKS: u64 = 4096;
/// Accelerometer channels, which come first.
const ACCEL_CHANNELS: usize = 3;

/// One series of a file, without its values.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesOutline {
    /// What it is called: a name from the file, or its number there.
    pub name: String,
    /// Rows per second, when known.
    pub rate_hz: Option<f32>,
    /// Class of the whole series, when labelled.
    pub label: Option<u32>,
    /// Subject or recording session it came from, when known.
    pub group: Option<u32>,
    /// Number of rows.
    pub rows: u64,
}

/// Told series, row and values; answers whether more are wanted.
pub type TakeRow<'a> = &'a mut dyn FnMut(usize, u64, &[f32]) -> bool;

/// A `.npz` or `.csv` file whose rows are read as they are needed.
///
/// Forms, units and names are those of [`read_npz`](crate::read_npz) and [`read_csv`](crate::read_csv), but
/// for two things: an array of three sides must lie row by row, and a cell that is no number is NaN.
pub struct SeriesFile {
    path: PathBuf,
    options: SeriesOptions,
    limits: Limits,
    channels: usize,
    outlines: Vec<SeriesOutline>,
    class_names: Vec<String>,
    group_names: Vec<String>,
    form: Form,
}

/// Told readers that stand at the row that is to come, one a column or one of all.
type GiveRows<'a> = &'a mut dyn FnMut(&mut [Box<dyn Read + '_>]) -> Result<(), RecordingError>;

enum Form {
    Csv { columns: Columns, marks: Vec<Mark> },
    Npz(Place),
}

/// Where a row of a table begins.
#[derive(Clone, Copy)]
struct Mark {
    series: usize,
    row: u64,
    byte: u64,
}

impl SeriesFile {
    /// Looks through a file, holding none of its values. `limits.values` is not asked.
    ///
    /// # Errors
    /// [`RecordingError`] when the file is of no known kind, breaks the rules of its format, or asks for more
    /// than the other limits.
    pub fn open(
        path: impl AsRef<Path>,
        options: &SeriesOptions,
        limits: &Limits,
    ) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let limits = Limits { values: u64::MAX, ..*limits };
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let file = match extension.to_str() {
            Some("npz") => {
                let (channels, outlines, place) = outline_npz(path, options, &limits)?;
                let (class_names, group_names) = (Vec::new(), Vec::new());
                let (path, options, form) = (path.to_owned(), *options, Form::Npz(place));
                Self { path, options, limits, channels, outlines, class_names, group_names, form }
            }
            Some("csv") => Self::open_csv(path, options, limits)?,
            _ => return Err(RecordingError::UnknownKind { path: path.to_owned(), wanted: ".npz, .csv" }),
        };
        if options.accel_in_g && file.channels < ACCEL_CHANNELS {
            let wanted = "3 or more, acceleration first, with `accel_in_g`";
            let name = path.display().to_string();
            return Err(RecordingError::Channels { name, found: file.channels, wanted });
        }
        Ok(file)
    }

    fn open_csv(path: &Path, options: &SeriesOptions, limits: Limits) -> Result<Self, RecordingError> {
        if let Some(rate) = options.rate_hz {
            checked_rate(rate)?;
        }
        let table = Table::new(path, &limits);
        let mut reader = reader_of(open_limited(path, limits.file_bytes)?, true);
        let header = reader.headers().cloned().map_err(|error| table.table_error(error))?;
        let columns = Columns::new(header.iter()).map_err(|why| table.malformed("line 1".to_owned(), why))?;
        table.check("channels", columns.channels.len() as u64, limits.channels, "channels")?;
        let (mut runs, mut marks, mut all) = (Vec::<(Key, u64, Steps)>::new(), Vec::new(), 0u64);
        let mut rates: Vec<Option<f32>> = Vec::new();
        let mut row = StringRecord::new();
        while reader.read_record(&mut row).map_err(|error| table.table_error(error))? {
            if !has_cells(&row) {
                continue;
            }
            if row.len() != columns.names.len() {
                let line = reader.position().line().saturating_sub(1);
                let why = format!("has {} cells and the header {}", row.len(), columns.names.len());
                return Err(table.malformed(format!("line {line}"), why));
            }
            all += 1;
            table.check("rows", all, limits.rows, "rows")?;
            let key = Key::of(&columns, &row);
            if runs.last().is_none_or(|(last, ..)| *last != key) {
                table.check("series", runs.len() as u64 + 1, limits.entries, "entries")?;
                // The steps of a series that has ended are not held any longer.
                rates.extend(runs.last_mut().map(|(.., steps)| std::mem::take(steps).rate_hz()));
                runs.push((key, 0, Steps::default()));
            }
            let series = runs.len().saturating_sub(1);
            if let Some((_, rows, steps)) = runs.last_mut() {
                if rows.is_multiple_of(ROWS_BETWEEN_MARKS) {
                    let byte = row.position().map_or(0, csv::Position::byte);
                    marks.push(Mark { series, row: *rows, byte });
                }
                *rows += 1;
                steps.see(columns.time.map(|(column, seconds)| number(&row, column) * seconds));
            }
        }
        rates.extend(runs.last_mut().map(|(.., steps)| std::mem::take(steps).rate_hz()));
        if runs.is_empty() {
            return Err(RecordingError::Empty { path: path.to_owned(), what: "rows below its header" });
        }
        let (labels, class_names) = numbered(runs.iter().map(|(key, ..)| key.label.clone()));
        let (groups, group_names) = numbered(runs.iter().map(|(key, ..)| key.split_by(&columns)));
        let tags = labels.into_iter().zip(groups).zip(rates).enumerate();
        let outlines = runs.into_iter().zip(tags).map(|((key, rows, _), (place, ((label, group), rate)))| {
            let name = key.recording.unwrap_or_else(|| place.to_string());
            SeriesOutline { name, rate_hz: options.rate_hz.or(rate), label, group, rows }
        });
        let (outlines, channels) = (outlines.collect(), columns.channels.len());
        let (path, options, form) = (path.to_owned(), *options, Form::Csv { columns, marks });
        Ok(Self { path, options, limits, channels, outlines, class_names, group_names, form })
    }

    /// Values in a row.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The series, in the order of the file.
    pub fn outlines(&self) -> &[SeriesOutline] {
        &self.outlines
    }

    /// Names of the labels, where the file gives names instead of numbers.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Names of the groups, where the file gives names instead of numbers.
    pub fn group_names(&self) -> &[String] {
        &self.group_names
    }

    /// Whether a row in the middle can be gone to without reading all before it.
    pub fn is_seekable(&self) -> bool {
        !matches!(self.form, Form::Npz(Place { byte: None, .. }))
    }

    /// Gives the rows from one of a series on, and those of the series behind it, until the file ends or no
    /// more are wanted.
    ///
    /// # Errors
    /// [`RecordingError`] when the file cannot be read, or has changed since it was opened.
    pub fn read(&self, series: usize, row: u64, take: TakeRow<'_>) -> Result<(), RecordingError> {
        match &self.form {
            Form::Csv { columns, marks } => self.read_csv(columns, marks, (series, row), take),
            Form::Npz(place) => self.read_npz(place, (series, row), take),
        }
    }

    fn read_csv(
        &self,
        columns: &Columns,
        marks: &[Mark],
        from: (usize, u64),
        take: TakeRow<'_>,
    ) -> Result<(), RecordingError> {
        let behind = marks.partition_point(|mark| (mark.series, mark.row) <= from);
        let Some(mark) = behind.checked_sub(1).and_then(|place| marks.get(place)) else { return Ok(()) };
        let table = Table::new(&self.path, &self.limits);
        let mut file = open_limited(&self.path, self.limits.file_bytes)?.into_inner();
        file.seek(SeekFrom::Start(mark.byte)).map_err(io_error(&self.path))?;
        // Behind the header no line is one, but before the first row there it is.
        let mut reader = reader_of(BufReader::new(file), false);
        let (mut at, mut cells) = ((mark.series, mark.row), StringRecord::new());
        let mut values = vec![0.0; self.channels];
        while reader.read_record(&mut cells).map_err(|error| table.table_error(error))? {
            if !has_cells(&cells) {
                continue;
            }
            let Some(outline) = self.outlines.get(at.0) else { break };
            if at >= from {
                for (value, &column) in values.iter_mut().zip(&columns.channels) {
                    *value = number(&cells, column) as f32;
                }
                if !self.give(at, &mut values, take) {
                    break;
                }
            }
            at = if at.1 + 1 < outline.rows { (at.0, at.1 + 1) } else { (at.0 + 1, 0) };
        }
        Ok(())
    }

    fn read_npz(
        &self,
        place: &Place,
        (series, row): (usize, u64),
        take: TakeRow<'_>,
    ) -> Result<(), RecordingError> {
        let before: u64 = self.outlines.iter().take(series).map(|outline| outline.rows).sum();
        let columns = place.header.columns_apart().unwrap_or(1);
        let item = place.header.item_bytes() as u64;
        let all: u64 = self.outlines.iter().map(|outline| outline.rows).sum();
        // Where the values of the row begin: of all columns, or of each.
        let width = (self.channels / columns.max(1)) as u64;
        let skip = move |column: usize| {
            let passed = (column as u64).saturating_mul(all).saturating_add(before).saturating_add(row);
            passed.saturating_mul(width).saturating_mul(item)
        };
        let mut give =
            |readers: &mut [Box<dyn Read + '_>]| self.give_rows(place, readers, (series, row), take);
        let Some(byte) = place.byte else {
            return self.within_columns(columns, &skip, Vec::new(), &mut give);
        };
        let mut readers: Vec<Box<dyn Read>> = Vec::with_capacity(columns);
        for column in 0..columns {
            let mut file = open_limited(&self.path, self.limits.file_bytes)?.into_inner();
            file.seek(SeekFrom::Start(byte.saturating_add(skip(column)))).map_err(io_error(&self.path))?;
            readers.push(Box::new(BufReader::new(file)));
        }
        give(&mut readers)
    }

    /// Readers of a compressed array, one a column, each behind what it skips. A compressed array can only be
    /// read from its beginning, so each is a reading of the whole file.
    fn within_columns(
        &self,
        columns: usize,
        skip: &dyn Fn(usize) -> u64,
        mut readers: Vec<Box<dyn Read + '_>>,
        give: GiveRows<'_>,
    ) -> Result<(), RecordingError> {
        if readers.len() == columns {
            return give(&mut readers);
        }
        within_x(&self.path, &self.limits, |source| {
            let mut source = BufReader::new(source);
            let passed = skip(readers.len());
            std::io::copy(&mut source.by_ref().take(passed), &mut std::io::sink())
                .map_err(io_error(&self.path))?;
            let mut readers: Vec<Box<dyn Read + '_>> = readers;
            readers.push(Box::new(source));
            self.within_columns(columns, skip, readers, give)
        })
    }

    fn give_rows(
        &self,
        place: &Place,
        readers: &mut [Box<dyn Read + '_>],
        (series, first): (usize, u64),
        take: TakeRow<'_>,
    ) -> Result<(), RecordingError> {
        let mut values = vec![0.0; self.channels];
        let width = self.channels / readers.len().max(1);
        let mut from = first;
        for (series, outline) in self.outlines.iter().enumerate().skip(series) {
            for row in from..outline.rows {
                for (reader, part) in readers.iter_mut().zip(values.chunks_exact_mut(width.max(1))) {
                    let read = place.header.read_row(reader, part);
                    read.map_err(|error| wrong_x(&self.path, &self.limits, error))?;
                }
                if !self.give((series, row), &mut values, take) {
                    return Ok(());
                }
            }
            from = 0;
        }
        Ok(())
    }

    fn give(&self, (series, row): (usize, u64), values: &mut [f32], take: TakeRow<'_>) -> bool {
        if self.options.accel_in_g {
            values.iter_mut().take(ACCEL_CHANNELS).for_each(|value| *value *= STANDARD_GRAVITY);
        }
        take(series, row, values)
    }
}

/// The number in a cell; NaN where there is none.
fn number(row: &StringRecord, column: usize) -> f64 {
    row.get(column).and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use zip::CompressionMethod;

    use super::*;
    use crate::{SeriesSet, read_series};

    /// All rows from a place on, as bits.
    fn rows_from(file: &SeriesFile, series: usize, row: u64) -> Vec<(usize, u64, Vec<u32>)> {
        let mut rows = Vec::new();
        file.read(series, row, &mut |series, row, values| {
            rows.push((series, row, values.iter().map(|value| value.to_bits()).collect()));
            true
        })
        .unwrap();
        rows
    }

    fn rows_of(set: &SeriesSet) -> Vec<(usize, u64, Vec<u32>)> {
        let of = |(number, series): (usize, &crate::Series)| {
            let rows = (0..series.rows()).map(|row| {
                let values = series.row(row).unwrap().iter().map(|value| value.to_bits()).collect();
                (number, row as u64, values)
            });
            rows.collect::<Vec<_>>()
        };
        set.series.iter().enumerate().flat_map(of).collect()
    }

    fn compare(path: &Path, options: &SeriesOptions) {
        let whole = read_series(path, options, &Limits::default()).unwrap();
        let file = SeriesFile::open(path, options, &Limits::default()).unwrap();
        assert_eq!(file.class_names(), whole.class_names);
        assert_eq!(file.group_names(), whole.group_names);
        for (outline, series) in file.outlines().iter().zip(&whole.series) {
            let SeriesOutline { name, rate_hz, label, group, rows } = outline;
            assert_eq!((name, *rate_hz), (&series.name, series.rate_hz));
            assert_eq!((*label, *group, *rows), (series.label, series.group, series.rows() as u64));
        }
        let all = rows_of(&whole);
        for at in [0, 1, all.len() / 2, all.len() - 1] {
            assert_eq!(rows_from(&file, all[at].0, all[at].1), all[at..], "{} from {at}", path.display());
        }
    }

    #[test]
    fn rows_are_those_of_the_whole_file_from_any_place_on() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
        let in_g = SeriesOptions { accel_in_g: true, rate_hz: Some(40.0) };
        for name in ["offsets.npz", "cube.npz", "big_endian.npz"] {
            match SeriesFile::open(golden.join(name), &SeriesOptions::default(), &Limits::default()) {
                Ok(_) => compare(&golden.join(name), &SeriesOptions::default()),
                Err(error) => assert!(error.to_string().contains("ascontiguousarray"), "{error}"),
            }
        }
        let folder = tempfile::TempDir::new().unwrap();
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            for order in ["True", "False"] {
                let path = folder.path().join(format!("{method:?}{order}.npz"));
                let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
                let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': (200, 3), }}\n");
                let mut body = b"\x93NUMPY\x01\x00".to_vec();
                body.extend((header.len() as u16).to_le_bytes());
                body.extend(header.as_bytes());
                (0..600u16).for_each(|value| body.extend(f32::from(value).to_le_bytes()));
                let options = zip::write::SimpleFileOptions::default().compression_method(method);
                archive.start_file("x.npy", options).unwrap();
                archive.write_all(&body).unwrap();
                archive.finish().unwrap();
                compare(&path, &SeriesOptions::default());
                let file = SeriesFile::open(&path, &SeriesOptions::default(), &Limits::default()).unwrap();
                assert_eq!(file.is_seekable(), method == CompressionMethod::Stored);
            }
        }
        let path = folder.path().join("a.csv");
        let mut text = "# kept\nt,recording,label,ay,ax,az,note\n".to_owned();
        for row in 0..9000 {
            let (recording, label) = (row / 5000, if row % 7000 < 3500 { "walk" } else { "sit" });
            text.push_str(&format!("{}.5,r{recording},{label},{row},{},,{}\r\n", row / 3, row * 2, row % 7));
            if row % 1000 == 0 {
                text.push_str("\n# between\n");
            }
        }
        std::fs::write(&path, text).unwrap();
        compare(&path, &SeriesOptions::default());
        compare(&path, &in_g);
        std::fs::write(&path, "ax,ay\n1,two\n3,4\n").unwrap();
        let file = SeriesFile::open(&path, &SeriesOptions::default(), &Limits::default()).unwrap();
        assert!(f32::from_bits(rows_from(&file, 0, 0)[0].2[1]).is_nan());
        std::fs::write(&path, "ax,ay\n1\n").unwrap();
        let ragged = SeriesFile::open(&path, &SeriesOptions::default(), &Limits::default()).err().unwrap();
        assert!(ragged.to_string().contains("line 2"), "{ragged}");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_tables_never_panic(head in "(t|ax|label|group|,|\n){0,8}", body in "[-0-9.,ne\"#\n]{0,80}") {
            let folder = tempfile::TempDir::new().unwrap();
            let path = folder.path().join("a.csv");
            std::fs::write(&path, format!("{head}\n{body}")).unwrap();
            if let Ok(file) = SeriesFile::open(&path, &SeriesOptions::default(), &Limits::default()) {
                let _ = rows_from(&file, 0, 0);
            }
        }
    }
}
