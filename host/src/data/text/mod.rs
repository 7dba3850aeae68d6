//! Texts as bytes: files of lines, folders of them, and tables whose records are texts. What is not UTF-8 is
//! read as it is; there is no vocabulary, since every byte is a token (see [`sedge_models::text`]).
//!
//! A line or record is a sample. The lines of a file stay in their order and in one group, so that what follows
//! what is known, and a split by group cuts through no file.

mod documents;
mod robot_logs;
mod sink;
mod tables;

pub(super) use documents::{Folder, load_document};
pub(super) use robot_logs::simulated;
pub(super) use tables::{has_texts, load_json_lines, load_table};

/// Longest line or record, in bytes; a longer one is passed over and counted.
const MAX_LINE: usize = 1 << 20;

#[cfg(test)]
mod tests;
