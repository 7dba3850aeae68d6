//! The format strings of a program, from the symbols of its section `.defmt`: each symbol's name is JSON that holds a
//! string, and its address is the string's number.

use std::collections::HashMap;

use object::{Object, ObjectSection, ObjectSymbol};
use serde::Deserialize;

use super::arguments::Arguments;
use super::{MessageError, words};
use crate::serial::log::{Level, Line};

/// Wire formats that are read.
const VERSIONS: [&str; 2] = ["3", "4"];
/// The encoding that messages are cut by zeros in.
const ENCODING: &str = "rzcobs";

/// Why a program has no strings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TableError {
    /// It is no ELF file.
    #[error("it is no ELF file that can be read ({0})")]
    Elf(#[from] object::read::Error),
    /// It has no such section.
    #[error("it has no section .defmt")]
    NoSection,
    /// Another wire format.
    #[error("its log is of defmt's wire format {found}, and 3 and 4 are read")]
    Version {
        /// What it says.
        found: String,
    },
    /// Another encoding.
    #[error(
        "its log is encoded as {found}, and {ENCODING} is read; build it without defmt's feature encoding-raw"
    )]
    Encoding {
        /// What it says.
        found: String,
    },
    /// A symbol that is not as defmt writes it.
    #[error("its symbol `{name}` is none of defmt's")]
    Symbol {
        /// The symbol.
        name: String,
    },
}

/// A format string.
struct Entry {
    /// What kind of message it is of; none for parts of messages.
    level: Option<Level>,
    text: String,
}

/// The strings of a program.
pub(crate) struct Table {
    entries: HashMap<u16, Entry>,
    timestamp: Option<String>,
}

/// What a symbol's name says.
#[derive(Deserialize)]
struct Symbol {
    tag: String,
    data: String,
}

impl Table {
    /// Reads the strings of an ELF file.
    pub(crate) fn of_elf(bytes: &[u8]) -> Result<Self, TableError> {
        let elf = object::File::parse(bytes)?;
        let is_ours = |name: &str| name == ".defmt" || name.starts_with(".defmt.");
        let sections = elf.sections().filter(|section| section.name().is_ok_and(is_ours));
        let sections: Vec<_> = sections.map(|section| section.index()).collect();
        if sections.is_empty() {
            return Err(TableError::NoSection);
        }
        let symbols = elf.symbols().filter_map(|symbol| {
            let is_string = symbol.section_index().is_some_and(|index| sections.contains(&index));
            Some((symbol.name().ok()?, symbol.address(), is_string))
        });
        Self::of_symbols(symbols)
    }

    /// Reads the strings of symbols: each with its name, its address, and whether it is in the section.
    pub(super) fn of_symbols<'a>(
        symbols: impl Iterator<Item = (&'a str, u64, bool)>,
    ) -> Result<Self, TableError> {
        let (mut version, mut encoding) = ("none", "none");
        let mut table = Self { entries: HashMap::new(), timestamp: None };
        for (name, address, is_string) in symbols {
            // Some linkers keep the quotes of their script.
            let bare = name.trim_matches('"');
            if let Some(found) = bare.strip_prefix("_defmt_version_ = ") {
                version = found;
            } else if let Some(found) = bare.strip_prefix("_defmt_encoding_ = ") {
                encoding = found;
            } else if is_string && !is_marker(name) {
                table.take(name, address)?;
            }
        }
        if !VERSIONS.contains(&version) {
            return Err(TableError::Version { found: version.to_owned() });
        }
        if encoding != ENCODING {
            return Err(TableError::Encoding { found: encoding.to_owned() });
        }
        Ok(table)
    }

    fn take(&mut self, name: &str, address: u64) -> Result<(), TableError> {
        let symbol: Symbol =
            serde_json::from_str(name).map_err(|_| TableError::Symbol { name: name.to_owned() })?;
        if symbol.tag == "defmt_timestamp" {
            self.timestamp = Some(symbol.data);
            return Ok(());
        }
        let level = match symbol.tag.as_str() {
            "defmt_trace" => Some(Level::Trace),
            "defmt_debug" => Some(Level::Debug),
            "defmt_info" | "defmt_println" => Some(Level::Info),
            "defmt_warn" => Some(Level::Warn),
            "defmt_error" => Some(Level::Error),
            _ => None,
        };
        // Values of bit flags lie beyond the numbers that messages can name.
        if let Ok(index) = u16::try_from(address) {
            self.entries.insert(index, Entry { level, text: symbol.data });
        }
        Ok(())
    }

    /// The string of a part of a message. One of a whole message is never within another, but in broken bytes.
    pub(super) fn text(&self, index: u16) -> Result<&str, MessageError> {
        let entry = self.entries.get(&index).filter(|entry| entry.level.is_none());
        entry.map(|entry| entry.text.as_str()).ok_or(MessageError::Unknown { index })
    }

    /// A message in words, from its bytes without the zero at the end.
    pub(crate) fn line(&self, message: &[u8]) -> Result<Line, MessageError> {
        self.line_of(&decoded(message)?)
    }

    /// A message in words, from its bytes as they were before they were encoded.
    pub(super) fn line_of(&self, message: &[u8]) -> Result<Line, MessageError> {
        let mut arguments = Arguments::new(self, message);
        let index = arguments.number()?;
        let entry = self.entries.get(&index).ok_or(MessageError::Unknown { index })?;
        let level = entry.level.ok_or(MessageError::Unknown { index })?;
        let at = match &self.timestamp {
            Some(format) => words::of(format, &arguments.of(format)?)?,
            None => String::new(),
        };
        let text = words::of(&entry.text, &arguments.of(&entry.text)?)?;
        Ok(Line { level, at, text })
    }
}

/// Symbols of the linker's and the assembler's own.
fn is_marker(name: &str) -> bool {
    let mapping = name == "$d" || name.starts_with("$d.");
    name.is_empty() || mapping || name.starts_with("_defmt") || name.starts_with("__DEFMT_MARKER")
}

/// Undoes reverse-zero-compressing COBS (rzCOBS), whose bytes are read from the end: a byte tells which of the seven
/// before it are zeros, or how many that are none follow a zero.
fn decoded(message: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut bytes = message.iter().rev().copied();
    let mut backwards = vec![];
    while let Some(code) = bytes.next() {
        let mut plain = |count: u8, backwards: &mut Vec<u8>| -> Result<(), MessageError> {
            for _ in 0..count {
                backwards.push(bytes.next().ok_or(MessageError::Encoding)?);
            }
            Ok(())
        };
        match code {
            0 => return Err(MessageError::Encoding),
            0xff => plain(134, &mut backwards)?,
            0x80..=0xfe => {
                backwards.push(0);
                plain((code & 0x7f) + 7, &mut backwards)?;
            }
            _ => {
                for bit in (0..7).rev() {
                    if code & (1 << bit) == 0 { plain(1, &mut backwards)? } else { backwards.push(0) }
                }
            }
        }
    }
    backwards.reverse();
    Ok(backwards)
}
