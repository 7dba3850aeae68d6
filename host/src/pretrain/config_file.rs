//! Reading configuration files: bounded, and with errors that name file, line and, for a key that is not
//! known, the one that was probably meant.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::config::ConfigError;

/// The text of a file of at most `limit` bytes.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Io { path: path.into(), source };
    let mut text = String::new();
    File::open(path).and_then(|f| f.take(limit + 1).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > limit {
        return Err(ConfigError::TooLarge { path: path.into(), limit });
    }
    Ok(text)
}

/// Parses TOML; `path` is for the error.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        unknown_key(path, line, error.message()).unwrap_or_else(|| {
            let reason = error.message().replace('\n', " ");
            ConfigError::Toml { path: path.into(), line, reason }
        })
    })
}

/// serde words an unknown field as "unknown field `x`, expected one of `a`, `b`" (with "`a`" alone,
/// or "`a` or `b`", for short lists): the names in backquotes are all that is needed.
fn unknown_key(path: &Path, line: usize, message: &str) -> Option<ConfigError> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let key = names.next()?.to_string();
    let known: Vec<&str> = names.collect();
    let nearest = known
        .iter()
        .map(|name| (unlikeness(&key, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .map(|(_, name)| name.to_string());
    Some(ConfigError::UnknownKey { path: path.into(), line, key, nearest, known: known.join(", ") })
}

/// One where one name begins with the other (`rate`, `rate_hz`), else the edits between them.
fn unlikeness(a: &str, b: &str) -> usize {
    if a.starts_with(b) || b.starts_with(a) { 1 } else { distance(a, b) }
}

/// Edits that turn `a` into `b` (Levenshtein 1966), one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            left = (left + 1).min(*cell + 1).min(diagonal + usize::from(from != *to));
            diagonal = std::mem::replace(cell, left);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_as_levenshtein_did() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
