//! Tables of texts: a line of JSON a record, or CSV and TSV whose first line names the columns. Known are `text`,
//! `label` and `group`, which may be numbers or words; the rest is passed over.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::MAX_LINE;
use super::documents::{Line, for_lines, open};
use super::sink::{About, TextSink};
use crate::data::{DataError, Dataset, LoadOptions};

/// Longest header of a table, in bytes, that is looked at to tell what the table holds.
const MAX_HEADER: usize = 1 << 16;

/// What is read of a line of JSON.
#[derive(Deserialize)]
struct Record {
    text: String,
    #[serde(default)]
    label: Option<Value>,
    #[serde(default)]
    group: Option<Value>,
}

/// A name as a word or a number gives it.
fn word(value: Option<&Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) => Ok(Some(word.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(format!("`{other}` is neither a word nor a number")),
    }
}

/// The records of a file with one JSON object a line.
pub(in crate::data) fn load_json_lines(
    name: &str,
    path: &Path,
    options: &LoadOptions,
) -> Result<Dataset, DataError> {
    let mut gathered = TextSink::new(name, options);
    let sink = &mut gathered;
    for_lines(path, |number, line| {
        let what = || format!("{}, line {number}", path.display());
        let Line::Whole(line) = line else {
            return sink.skip(what(), format!("it is longer than {MAX_LINE} bytes"));
        };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let read = serde_json::from_slice::<Record>(line).map_err(|e| e.to_string());
        let read = read.and_then(|Record { text, label, group }| {
            Ok((text, word(label.as_ref())?, word(group.as_ref())?))
        });
        match read {
            Err(why) => sink.skip(what(), why),
            Ok((text, label, group)) => add(sink, text.as_bytes(), label, group),
        }
    })?;
    gathered.finish()
}

fn add(
    sink: &mut TextSink<'_>,
    text: &[u8],
    label: Option<String>,
    group: Option<String>,
) -> Result<(), DataError> {
    let text = text.trim_ascii_end();
    if text.is_empty() {
        return Ok(());
    }
    sink.push(text, About { label: label.as_deref(), group: group.as_deref() })
}

/// Where the columns stand that are known.
struct Columns {
    count: usize,
    text: usize,
    label: Option<usize>,
    group: Option<usize>,
}

impl Columns {
    fn of(header: &ByteRecord) -> Option<Self> {
        let column = |wanted: &str| {
            header.iter().position(|name| name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
        };
        let (count, text) = (header.len(), column("text")?);
        Some(Self { count, text, label: column("label"), group: column("group") })
    }
}

/// Whether the first line of a CSV file names a column `text`.
pub(in crate::data) fn has_texts(path: &Path) -> Result<bool, DataError> {
    let head = std::io::Read::take(open(path)?, MAX_HEADER as u64);
    let mut reader = ReaderBuilder::new().comment(Some(b'#')).from_reader(head);
    // What is no table at all is for its reader to say.
    Ok(reader.byte_headers().ok().and_then(Columns::of).is_some())
}

/// The records of a table whose columns are parted by `delimiter`.
pub(in crate::data) fn load_table(
    name: &str,
    path: &Path,
    delimiter: u8,
    options: &LoadOptions,
) -> Result<Dataset, DataError> {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).flexible(true).comment((delimiter == b',').then_some(b'#'));
    let mut reader = builder.from_reader(open(path)?);
    let failed = |error: csv::Error| {
        let place = error.position().map_or_else(|| "the table".into(), |at| format!("line {}", at.line()));
        DataError::Text { path: path.to_owned(), place, why: error.to_string() }
    };
    let header = reader.byte_headers().map_err(failed)?;
    let columns = Columns::of(header).ok_or_else(|| DataError::Columns {
        path: path.to_owned(),
        wanted: "`text`",
        found: header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
    })?;
    let mut sink = TextSink::new(name, options);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(failed)? {
        let line = record.position().map_or(0, csv::Position::line);
        let what = || format!("{}, line {line}", path.display());
        if record.len() != columns.count {
            let why = format!("it has {} cells and the header {}", record.len(), columns.count);
            sink.skip(what(), why)?;
            continue;
        }
        if record.as_slice().len() > MAX_LINE {
            sink.skip(what(), format!("it is longer than {MAX_LINE} bytes"))?;
            continue;
        }
        let cell = |column: Option<usize>| {
            let cell = record.get(column?)?.trim_ascii();
            (!cell.is_empty()).then(|| String::from_utf8_lossy(cell).into_owned())
        };
        let text = record.get(columns.text).unwrap_or_default();
        add(&mut sink, text, cell(columns.label), cell(columns.group))?;
    }
    sink.finish()
}
