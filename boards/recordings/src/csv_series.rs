//! Series in tables: one row a sample, columns named in the first line.

use std::io::{Chain, Read};
use std::path::Path;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Terminator, Trim};

use crate::csv_columns::Columns;
use crate::file::open_limited;
use crate::{Limits, RecordingError, Series, SeriesOptions, SeriesSet};

/// Steps between rows whose median is taken for the usual one.
const MOST_STEPS: usize = 1 << 16;

/// Reads the series of a CSV file whose first line names the columns. Names are matched without
/// case:
///
/// - `t`, `time` or `timestamp`: seconds, or as an ending `_ms`, `_us`, `_ns` says. The rate is one
///   over the median of a series' first 65536 steps;
/// - `label`: numbers, or names, which are then numbered in alphabetical order;
/// - `group` or `subject`: the same; without one, `recording` serves as the group;
/// - `recording`: any text;
/// - every other column is a channel. `ax, ay, az, gx, gy, gz` (or `wx` ..) come first in that
///   order, wherever they stand.
///
/// A new series begins where recording, group or label changes. An empty cell is NaN. Lines that
/// begin with `#` are passed over.
pub fn read_csv(
    path: impl AsRef<Path>,
    options: &SeriesOptions,
    limits: &Limits,
) -> Result<SeriesSet, RecordingError> {
    let path = path.as_ref();
    let source = open_limited(path, limits.file_bytes)?;
    Table::new(path, limits).read(source, options)
}

/// A reader of rows, each of which is one line whose end is `\n`: only then does the reader count lines so
/// that errors can name them (after a row, it stands on the line that follows). A `\r` before it is trimmed
/// as white space, and the last line is given the end it may lack.
pub(crate) fn reader_of<R: Read>(source: R, with_header: bool) -> Reader<Chain<R, &'static [u8]>> {
    ReaderBuilder::new()
        .has_headers(with_header)
        .comment(Some(b'#'))
        .terminator(Terminator::Any(b'\n'))
        .trim(Trim::All)
        .flexible(true)
        .from_reader(source.chain(b"\n".as_slice()))
}

/// Whether a row is more than an empty line.
pub(crate) fn has_cells(row: &StringRecord) -> bool {
    row.len() > 1 || row.get(0).is_some_and(|text| !text.is_empty())
}

/// Rows of one series, with the text that tells it from the next.
struct Run {
    key: Key,
    values: Vec<f32>,
    steps: Steps,
}

/// Texts that tell one series from the next.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Key {
    pub(crate) recording: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) group: Option<String>,
}

impl Key {
    pub(crate) fn of(columns: &Columns, row: &StringRecord) -> Self {
        let text =
            |column: Option<usize>| row.get(column?).filter(|text| !text.is_empty()).map(str::to_owned);
        Self { recording: text(columns.recording), label: text(columns.label), group: text(columns.group) }
    }

    /// Recordings keep their rows on one side of a split when nothing better is known.
    pub(crate) fn split_by(&self, columns: &Columns) -> Option<String> {
        if columns.group.is_some() { self.group.clone() } else { self.recording.clone() }
    }
}

/// Time between rows.
#[derive(Default)]
pub(crate) struct Steps {
    last_time: Option<f64>,
    /// The first positive steps, in seconds.
    steps: Vec<f64>,
    pub(crate) unordered: u64,
}

pub(crate) struct Table<'a> {
    pub(crate) path: &'a Path,
    pub(crate) limits: &'a Limits,
    rows: u64,
    runs: Vec<Run>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(path: &'a Path, limits: &'a Limits) -> Self {
        Self { path, limits, rows: 0, runs: Vec::new() }
    }
}

impl Table<'_> {
    fn read(mut self, source: impl Read, options: &SeriesOptions) -> Result<SeriesSet, RecordingError> {
        let mut reader = reader_of(source, true);
        let header = reader.headers().cloned().map_err(|error| self.table_error(error))?;
        let place = || format!("line {}", reader.position().line().saturating_sub(1));
        let columns = Columns::new(header.iter()).map_err(|why| self.malformed(place(), why))?;
        self.check("channels", columns.channels.len() as u64, self.limits.channels, "channels")?;
        let mut row = StringRecord::new();
        while reader.read_record(&mut row).map_err(|error| self.table_error(error))? {
            if has_cells(&row) {
                self.add_row(&columns, &row, reader.position().line().saturating_sub(1))?;
            }
        }
        if self.runs.is_empty() {
            return Err(RecordingError::Empty { path: self.path.to_owned(), what: "rows below its header" });
        }
        self.into_series(&columns, options)
    }

    fn add_row(&mut self, columns: &Columns, row: &StringRecord, line: u64) -> Result<(), RecordingError> {
        if row.len() != columns.names.len() {
            let why = format!("has {} cells and the header {}", row.len(), columns.names.len());
            return Err(self.malformed(format!("line {line}"), why));
        }
        self.rows += 1;
        self.check("rows", self.rows, self.limits.rows, "rows")?;
        let width = columns.channels.len() as u64;
        self.check("values", self.rows.saturating_mul(width), self.limits.values, "values")?;
        let key = Key::of(columns, row);
        if self.runs.last().is_none_or(|run| run.key != key) {
            self.check("series", self.runs.len() as u64 + 1, self.limits.entries, "entries")?;
            self.runs.push(Run { key, values: Vec::new(), steps: Steps::default() });
        }
        let time = match columns.time {
            Some((column, seconds)) => Some(self.number(columns, row, column, line)? * seconds),
            None => None,
        };
        let mut values = Vec::with_capacity(columns.channels.len());
        for &column in &columns.channels {
            values.push(self.number(columns, row, column, line)? as f32);
        }
        if let Some(run) = self.runs.last_mut() {
            run.values.extend(values);
            run.steps.see(time);
        }
        Ok(())
    }

    fn number(
        &self,
        columns: &Columns,
        row: &StringRecord,
        column: usize,
        line: u64,
    ) -> Result<f64, RecordingError> {
        let text = row.get(column).unwrap_or_default();
        if text.is_empty() {
            return Ok(f64::NAN);
        }
        text.parse().map_err(|_| RecordingError::Cell {
            path: self.path.to_owned(),
            line,
            column: columns.names.get(column).cloned().unwrap_or_default(),
            why: format!("`{}` is not a number; mend the cell or take the column out", shortened(text)),
        })
    }

    fn into_series(self, columns: &Columns, options: &SeriesOptions) -> Result<SeriesSet, RecordingError> {
        let (labels, class_names) = numbered(self.runs.iter().map(|run| run.key.label.clone()));
        let (groups, group_names) = numbered(self.runs.iter().map(|run| run.key.split_by(columns)));
        let names = columns.channels.iter().filter_map(|&column| columns.names.get(column).cloned());
        let mut set =
            SeriesSet { class_names, group_names, channel_names: names.collect(), ..SeriesSet::default() };
        let places: Vec<String> = (0..self.runs.len()).map(|index| index.to_string()).collect();
        for (((run, label), group), place) in self.runs.into_iter().zip(labels).zip(groups).zip(places) {
            set.unordered_rows += run.steps.unordered;
            let rate_hz = run.steps.rate_hz();
            let name = run.key.recording.unwrap_or(place);
            // Every row pushed exactly one value a channel, so the values are whole rows.
            let Some(mut series) = Series::new(name, columns.channels.len(), run.values) else { continue };
            (series.rate_hz, series.label, series.group) = (rate_hz, label, group);
            set.series.push(series.with_options(options)?);
        }
        Ok(set)
    }

    pub(crate) fn check(
        &self,
        what: &str,
        found: u64,
        limit: u64,
        field: &'static str,
    ) -> Result<(), RecordingError> {
        if found <= limit {
            return Ok(());
        }
        let what = format!("the number of {what}");
        Err(RecordingError::TooLarge { path: self.path.to_owned(), what, found, limit, field })
    }

    pub(crate) fn malformed(&self, place: String, why: String) -> RecordingError {
        RecordingError::Malformed { path: self.path.to_owned(), place, why }
    }

    pub(crate) fn table_error(&self, error: csv::Error) -> RecordingError {
        let after = error
            .position()
            .map_or_else(|| "the table".to_owned(), |at| format!("line {} or after", at.line()));
        match error.into_kind() {
            ErrorKind::Io(source) => RecordingError::Io { path: self.path.to_owned(), source },
            ErrorKind::Utf8 { err, .. } => self.malformed(after, format!("is not UTF-8 text: {err}")),
            other => self.malformed(after, format!("is not a table row: {other:?}")),
        }
    }
}

impl Steps {
    pub(crate) fn see(&mut self, time: Option<f64>) {
        let Some(time) = time.filter(|time| time.is_finite()) else { return };
        match self.last_time.replace(time) {
            Some(last) if time > last && self.steps.len() < MOST_STEPS => self.steps.push(time - last),
            Some(last) if time > last => {}
            Some(_) => self.unordered += 1,
            None => {}
        }
    }

    /// One over the median step: a few gaps or repeats leave it alone.
    pub(crate) fn rate_hz(&self) -> Option<f32> {
        let mut steps = self.steps.clone();
        let middle = steps.len() / 2;
        let (_, &mut median, _) =
            steps.get_mut(..).filter(|s| !s.is_empty())?.select_nth_unstable_by(middle, f64::total_cmp);
        let rate = (1.0 / median) as f32;
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

/// Texts as numbers: as written when all of them are small whole numbers, otherwise their place
/// among all distinct texts in alphabetical order, which are given too.
pub(crate) fn numbered(texts: impl Iterator<Item = Option<String>>) -> (Vec<Option<u32>>, Vec<String>) {
    let texts: Vec<Option<String>> = texts.collect();
    if let Ok(numbers) = texts.iter().map(|text| text.as_deref().map(str::parse).transpose()).collect() {
        return (numbers, Vec::new());
    }
    let mut names: Vec<String> = texts.iter().flatten().cloned().collect();
    names.sort_unstable();
    names.dedup();
    let place = |text: &String| names.binary_search(text).ok().and_then(|place| u32::try_from(place).ok());
    (texts.iter().map(|text| text.as_ref().and_then(place)).collect(), names)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &[u8], options: &SeriesOptions, limits: &Limits) -> Result<SeriesSet, RecordingError> {
        Table { path: Path::new("table.csv"), limits, rows: 0, runs: Vec::new() }.read(text, options)
    }

    fn plain(text: &str) -> Result<SeriesSet, RecordingError> {
        read(text.as_bytes(), &SeriesOptions::default(), &Limits::default())
    }

    #[test]
    fn rows_become_series_by_recording_and_label() {
        let text = "# a comment\nt_ms,recording,label,ay,ax,note\n\
            0,a,walk,1,2,9\n20,a,walk,3,4,9\n40,a,walk,,nan,9\n60,a,sit,5,6,9\n0,b,walk,7,8,9\n";
        let set = plain(text).unwrap();
        let summary: Vec<_> = set
            .series
            .iter()
            .map(|s| (s.name.as_str(), s.rows(), s.label, s.group, s.rate_hz.map(|rate| rate.round())))
            .collect();
        assert_eq!(
            summary,
            [
                ("a", 3, Some(1), Some(0), Some(50.0)),
                ("a", 1, Some(0), Some(0), None),
                ("b", 1, Some(1), Some(1), None)
            ]
        );
        assert_eq!(set.class_names, ["sit", "walk"]);
        assert_eq!(set.group_names, ["a", "b"]);
        assert_eq!(set.channel_names, ["ax", "ay", "note"]);
        assert_eq!(set.series[0].row(0), Some([2.0, 1.0, 9.0].as_slice()));
        assert_eq!(set.non_finite_rows(), 1);
    }

    #[test]
    fn units_and_rates_by_option() {
        let options = SeriesOptions { accel_in_g: true, rate_hz: Some(25.0) };
        let set = read(b"ax,ay,az,gx\n1,0,-1,1\n", &options, &Limits::default()).unwrap();
        assert_eq!(set.series[0].values(), [9.806_65, 0.0, -9.806_65, 1.0]);
        assert_eq!(set.series[0].rate_hz, Some(25.0));
        let few = read(b"ax,ay\n1,0\n", &options, &Limits::default());
        assert!(matches!(few, Err(RecordingError::Channels { found: 2, .. })));
    }

    #[test]
    fn time_that_runs_backwards_is_counted() {
        let set = plain("t,x\n0,1\n1,1\n0.5,1\n1.5,1\n2.5,1\n2.5,1\n").unwrap();
        assert_eq!(set.unordered_rows, 2);
        assert_eq!(set.series[0].rows(), 6);
        assert_eq!(set.series[0].rate_hz, Some(1.0));
    }

    #[test]
    fn errors_name_line_and_column() {
        match plain("# first\nax,ay\r\n1,2\r\n\r\n\n3,two") {
            Err(RecordingError::Cell { line: 6, column, why, .. }) => {
                assert_eq!(column, "ay");
                assert!(why.contains("`two`"), "{why}");
            }
            other => unreachable!("{other:?}"),
        }
        let ragged = plain("ax,ay\n1,2\n3\n").unwrap_err().to_string();
        assert!(ragged.contains("line 3") && ragged.contains("has 1 cells"), "{ragged}");
        let latin =
            read(b"ax\n\xe9\n", &SeriesOptions::default(), &Limits::default()).unwrap_err().to_string();
        assert!(latin.contains("line 2") && latin.contains("UTF-8"), "{latin}");
        for empty in ["", "ax\n"] {
            assert!(plain(empty).is_err());
        }
    }

    #[test]
    fn limits_hold() {
        let text = "recording,x,y\n1,1,1\n2,2,2\n3,3,3\n";
        for (limits, wanted) in [
            (Limits { rows: 2, ..Limits::default() }, "rows"),
            (Limits { values: 5, ..Limits::default() }, "values"),
            (Limits { channels: 1, ..Limits::default() }, "channels"),
            (Limits { entries: 2, ..Limits::default() }, "entries"),
        ] {
            match read(text.as_bytes(), &SeriesOptions::default(), &limits) {
                Err(RecordingError::TooLarge { field, .. }) => assert_eq!(field, wanted),
                other => unreachable!("{other:?}"),
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_tables_never_panic(head in "(t|ax|label|group|,|\n){0,8}", body in "[-0-9.,ne\"#\n]{0,80}") {
            let _ = plain(&format!("{head}\n{body}"));
        }

        #[test]
        fn written_rows_come_back(rows in proptest::collection::vec(proptest::array::uniform2(-1e6_f32..1e6), 1..20)) {
            let text: String = rows.iter().map(|[x, y]| format!("{x},{y}\n")).collect();
            let set = plain(&format!("x,y\n{text}")).unwrap();
            proptest::prop_assert_eq!(set.series[0].values(), rows.concat());
        }
    }
}
