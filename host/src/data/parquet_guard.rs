//! What a Parquet file claims of itself, checked before the `parquet` crate believes it.
//!
//! That crate reserves what a page header or a schema asks for, so one flipped bit may ask for
//! gigabytes, and an allocation that fails ends the process where no error can be caught. This
//! module reads just enough of the two Thrift structures to hold every such number against a limit:
//! children of a schema element, row groups, and the size and value count of each page.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::DataError;

/// Largest footer: the metadata of about a hundred thousand row groups.
const MAX_FOOTER: u64 = 16 << 20;
/// Most elements of a schema: robot data sets keep statistics of every feature in columns of their own.
const MAX_SCHEMA: u64 = 1 << 14;
/// Deepest nesting of a schema; the crate recurses once a level.
const MAX_SCHEMA_DEPTH: usize = 64;
/// Most row groups in one file.
const MAX_ROW_GROUPS: u64 = 100_000;
/// Largest page, compressed or not.
const MAX_PAGE: i64 = 256 << 20;
/// Most values in one page; a dictionary reserves about 32 bytes for each.
const MAX_PAGE_VALUES: i64 = 4 << 20;
/// Deepest nesting of a Thrift structure that is skipped.
const MAX_DEPTH: usize = 16;

/// Refuses a file whose footer asks for more than the limits.
pub(super) fn check_footer(path: &Path) -> Result<(), DataError> {
    let refused = |why: String| malformed(path, "the footer".to_owned(), why);
    let mut file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let (start, length) = find_footer(&mut file).map_err(refused)?;
    file.seek(SeekFrom::Start(start)).map_err(|e| refused(e.to_string()))?;
    let mut footer = Compact::new(BufReader::new(file.take(length)));
    check_file_metadata(&mut footer).map_err(|e| refused(e.to_string()))
}

/// Refuses a column chunk, `length` bytes from `start`, that holds a page over the limits.
pub(super) fn check_pages(path: &Path, start: u64, length: u64) -> Result<(), DataError> {
    let failed = |at: u64, why: String| malformed(path, format!("the page at byte {at}"), why);
    let mut file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    file.seek(SeekFrom::Start(start)).map_err(|e| failed(start, e.to_string()))?;
    let mut pages = Compact::new(BufReader::new(file));
    while pages.used < length {
        let at = start + pages.used;
        let body = check_page_header(&mut pages).map_err(|e| failed(at, e.to_string()))?;
        pages.input.seek_relative(body).map_err(|e| failed(at, e.to_string()))?;
        pages.used += body.unsigned_abs();
    }
    Ok(())
}

fn malformed(path: &Path, place: String, why: String) -> DataError {
    DataError::Parquet { path: path.to_owned(), place, why }
}

/// Offset and length of the footer's Thrift bytes.
fn find_footer(file: &mut File) -> Result<(u64, u64), String> {
    let end = file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
    let mut tail = [0; 8];
    let Some(tail_at) = end.checked_sub(8) else { return Err(format!("only {end} bytes; no Parquet file")) };
    file.seek(SeekFrom::Start(tail_at))
        .and_then(|_| file.read_exact(&mut tail))
        .map_err(|e| e.to_string())?;
    let [a, b, c, d, magic @ ..] = tail;
    if magic != *b"PAR1" {
        return Err("no `PAR1` at its end: truncated, encrypted, or no Parquet file".to_owned());
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if length > MAX_FOOTER || length > tail_at {
        return Err(format!("states {length} bytes; there are {tail_at} and {MAX_FOOTER} are allowed"));
    }
    Ok((tail_at - length, length))
}

fn check_file_metadata<R: Read>(thrift: &mut Compact<R>) -> io::Result<()> {
    let mut last = 0;
    while let Some((id, kind)) = thrift.field(&mut last)? {
        match (id, kind) {
            (2, LIST) => check_schema(thrift)?,
            (4, LIST) => {
                let (size, element) = thrift.list()?;
                within("row groups", size as i64, MAX_ROW_GROUPS as i64)?;
                (0..size).try_for_each(|_| thrift.skip_element(element, 1))?;
            }
            _ => thrift.skip(kind, 0)?,
        }
    }
    Ok(())
}

fn check_schema<R: Read>(thrift: &mut Compact<R>) -> io::Result<()> {
    let (size, element) = thrift.list()?;
    within("schema elements", size as i64, MAX_SCHEMA as i64)?;
    // Children still to come of each element that is open.
    let mut open: Vec<i64> = Vec::new();
    for _ in 0..size {
        while open.last().is_some_and(|left| *left <= 0) {
            open.pop();
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if element != STRUCT {
            thrift.skip_element(element, 1)?;
            continue;
        }
        let mut last = 0;
        while let Some((id, kind)) = thrift.field(&mut last)? {
            match (id, kind) {
                (5, I32) => {
                    let children = thrift.integer()?;
                    within("children of a schema element", children, size as i64)?;
                    open.push(children);
                    within("levels of its schema", open.len() as i64, MAX_SCHEMA_DEPTH as i64)?;
                }
                _ => thrift.skip(kind, 1)?,
            }
        }
    }
    Ok(())
}

/// Reads one page header and gives the length of the page's body.
fn check_page_header<R: Read>(thrift: &mut Compact<R>) -> io::Result<i64> {
    let (mut last, mut body) = (0, None);
    while let Some((id, kind)) = thrift.field(&mut last)? {
        match (id, kind) {
            (2, I32) => within("bytes uncompressed", thrift.integer()?, MAX_PAGE)?,
            (3, I32) => {
                let compressed = thrift.integer()?;
                within("bytes", compressed, MAX_PAGE)?;
                body = Some(compressed);
            }
            // Data page, dictionary page, data page of version 2: each begins with its values.
            (5 | 7 | 8, STRUCT) => {
                let mut last = 0;
                while let Some((id, kind)) = thrift.field(&mut last)? {
                    match (id, kind) {
                        (1, I32) => within("values", thrift.integer()?, MAX_PAGE_VALUES)?,
                        _ => thrift.skip(kind, 1)?,
                    }
                }
            }
            _ => thrift.skip(kind, 0)?,
        }
    }
    body.ok_or_else(|| bad("its header states no length".to_owned()))
}

fn within(what: &str, found: i64, limit: i64) -> io::Result<()> {
    if (0..=limit).contains(&found) {
        return Ok(());
    }
    Err(bad(format!("states {found} {what}; 0 to {limit} are allowed")))
}

fn bad(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

const I32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Thrift's compact protocol, as far as skipping and small integers go.
struct Compact<R> {
    input: R,
    used: u64,
}

impl<R: Read> Compact<R> {
    fn new(input: R) -> Self {
        Self { input, used: 0 }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        self.used += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(bad("an integer of more than ten bytes".to_owned()))
    }

    /// A zigzag integer.
    fn integer(&mut self) -> io::Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The next field's number and type, `None` at the end of the structure.
    fn field(&mut self, last: &mut i64) -> io::Result<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *last = match head >> 4 {
            0 => self.integer()?,
            step => last.saturating_add(i64::from(step)),
        };
        Ok(Some((*last, head & 0x0f)))
    }

    /// Length and element type of a list or set.
    fn list(&mut self) -> io::Result<(u64, u8)> {
        let head = self.byte()?;
        let size = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Ok((size, head & 0x0f))
    }

    /// Skips a value within a list, where even a truth value takes a byte.
    fn skip_element(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if kind == 1 || kind == 2 { self.skip_bytes(1) } else { self.skip(kind, depth) }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(bad(format!("structures nested deeper than {MAX_DEPTH}")));
        }
        match kind {
            1 | 2 => Ok(()),
            3 => self.skip_bytes(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip_bytes(8),
            8 => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            9 | 10 => {
                let (size, element) = self.list()?;
                (0..size).try_for_each(|_| self.skip_element(element, depth + 1))
            }
            11 => {
                let size = self.varint()?;
                let kinds = if size > 0 { self.byte()? } else { 0 };
                (0..size).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth + 1)?;
                    self.skip_element(kinds & 0x0f, depth + 1)
                })
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(bad(format!("a value of unknown type {kind}"))),
        }
    }

    fn skip_bytes(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.input.by_ref().take(count), &mut io::sink())?;
        self.used += skipped;
        if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_over_the_limits_is_refused_by_what_is_too_large() {
        // Field 1: data page; 2: bytes uncompressed; 3: bytes; 5: a structure with field 1 values.
        let header = |uncompressed: u64, values: u64| {
            let mut bytes = vec![0x15, 0x00, 0x15];
            varint(&mut bytes, uncompressed << 1);
            bytes.extend([0x15, 0x06, 0x2c, 0x15]);
            varint(&mut bytes, values << 1);
            bytes.extend([0, 0]);
            check_page_header(&mut Compact::new(&bytes[..])).map_err(|e| e.to_string())
        };
        assert_eq!(header(1000, 50), Ok(3));
        assert!(header(1 << 30, 50).unwrap_err().contains("1073741824 bytes uncompressed"));
        assert!(header(1000, 1 << 30).unwrap_err().contains("1073741824 values"));
    }

    fn varint(to: &mut Vec<u8>, mut value: u64) {
        while value > 0x7f {
            to.push(value as u8 | 0x80);
            value >>= 7;
        }
        to.push(value as u8);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check_file_metadata(&mut Compact::new(&bytes[..]));
            let _ = check_page_header(&mut Compact::new(&bytes[..]));
        }
    }
}
