//! What commands have in common in showing and storing: sizes, notes of passed-over records, JSON.

use std::path::Path;

use serde::Serialize;

use super::CliError;
use crate::data::SkipList;
use crate::files::write_atomic;

/// A size as a person reads it.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Warns of records that were passed over, where there are any.
pub(super) fn warn_of(skipped: &SkipList) {
    if let (count @ 1.., Some(first)) = (skipped.count(), skipped.named().first()) {
        tracing::warn!(
            "{count} records of the data were passed over; the first is {}: {}",
            first.what,
            first.why
        );
    }
}

/// Writes `value` as JSON, where a file is asked for.
pub(super) fn write_json(path: Option<&Path>, value: &impl Serialize) -> Result<(), CliError> {
    let Some(path) = path else { return Ok(()) };
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(write_atomic(path, &text)?)
}
