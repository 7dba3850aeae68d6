//! defmt's encoding, read on the host: a message is the number of a format string and its arguments' bytes; the strings
//! are in the program that runs. Written here because the crate that does it changes how `serde_json` holds numbers in
//! whatever it is linked into.
//!
//! Source: the defmt book, "Implementation notes", and wire formats 3 and 4 of defmt 0.3 and 1.

mod arguments;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub(super) use table::Table;

/// Deepest nesting of formats within formats.
const MAX_DEPTH: usize = 16;
/// Most values of one message.
const MAX_VALUES: usize = 4096;
/// Longest format string, in bytes.
const MAX_FORMAT: usize = 8192;
/// Longest message in words, in bytes.
const MAX_WORDS: usize = 4096;

/// A message that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MessageError {
    /// Its bytes are not as the encoding makes them.
    #[error("its bytes are not as defmt's encoding makes them")]
    Encoding,
    /// It ends before its last argument.
    #[error("it ends within the arguments of `{format}`")]
    Short {
        /// The format string under way.
        format: String,
    },
    /// It names a format string that the program does not have.
    #[error(
        "it names the string {index}, which the program does not have there; is another program running?"
    )]
    Unknown {
        /// The string's number.
        index: u16,
    },
    /// A format string or a value that cannot be read.
    #[error("`{format}` cannot be read: {what}")]
    Format {
        /// The format string.
        format: String,
        /// What is wrong.
        what: &'static str,
    },
    /// It is larger than any message should be.
    #[error(
        "it is longer or deeper than {MAX_VALUES} values, {MAX_WORDS} bytes, {MAX_DEPTH} formats within formats, or a \
         format string of {MAX_FORMAT} bytes"
    )]
    Large,
}
