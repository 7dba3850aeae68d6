//! What can keep a report from being made.

use crate::files::FileError;

/// A report or a part of one that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// There is nothing to draw.
    #[error("figure `{figure}` has no finite value to draw")]
    Empty {
        /// The figure's title.
        figure: String,
    },
    /// Two lists that go together have different lengths.
    #[error("figure `{figure}`: `{what}` has {found} values where {wanted} are needed")]
    Length {
        /// The figure's title.
        figure: String,
        /// Which list.
        what: String,
        /// Its length.
        found: usize,
        /// The length it should have.
        wanted: usize,
    },
    /// Something is over a limit that keeps pages readable.
    #[error("`{what}` is {found}, over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A value that must be finite is not.
    #[error("`{what}` is not finite at row {row}, column {column}")]
    NotFinite {
        /// Which values.
        what: &'static str,
        /// The row.
        row: usize,
        /// The column.
        column: usize,
    },
    /// A picture is not what it is said to be.
    #[error("picture `{caption}` {problem}")]
    Picture {
        /// The picture's caption.
        caption: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The drawing library failed.
    #[error("figure `{figure}` cannot be drawn: {reason}")]
    Draw {
        /// The figure's title.
        figure: String,
        /// What it said.
        reason: String,
    },
    /// The page cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}
