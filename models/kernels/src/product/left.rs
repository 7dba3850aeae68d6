//! Left operands: where the rows of a block come from.

use std::ops::Range;

use super::tile::{Block, Line, MAX_BLOCK_ROWS, ZEROS};

/// A left operand, read a block at a time.
pub(crate) trait Left: Sync {
    /// Columns `first..first + depth` of `rows`, at most as many as there are lines, where they lie,
    /// or gathered into the lines.
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        first: usize,
        depth: usize,
        lines: &'a mut [Line],
    ) -> Block<'a>;
}

/// A block of rows, from what `each` makes of a row and its line.
#[inline(always)]
pub(crate) fn block_of<'a>(
    rows: Range<usize>,
    lines: &'a mut [Line],
    mut each: impl FnMut(usize, &'a mut Line) -> &'a [f32],
) -> Block<'a> {
    let mut block: [&[f32]; MAX_BLOCK_ROWS] = [&ZEROS; MAX_BLOCK_ROWS];
    for ((row, line), place) in rows.zip(lines).zip(&mut block) {
        *place = each(row, line);
    }
    Block::Rows(block)
}

/// Whether rows that are multiplied by a matrix of `columns` columns are better read where they lie.
///
/// Each is read once for every panel. A copy reads memory in order, which hides its latency, and
/// costs about as much as two panels.
pub(crate) fn in_place(columns: usize) -> bool {
    columns >= 64
}

/// A matrix stored row by row.
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    /// Floats from one row to the next.
    pub(crate) stride: usize,
    /// Read them where they lie.
    pub(crate) in_place: bool,
}

impl Left for Rows<'_> {
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        first: usize,
        depth: usize,
        lines: &'a mut [Line],
    ) -> Block<'a> {
        block_of(rows, lines, |row, line| {
            let start = row * self.stride + first;
            if !self.in_place {
                copy_run(self.values, start, depth, line, 0);
                return line;
            }
            self.values.get(start..start + depth).unwrap_or_default()
        })
    }
}

/// A matrix stored column by column.
pub(crate) struct Columns<'a> {
    pub(crate) values: &'a [f32],
    /// Floats from one column to the next.
    pub(crate) stride: usize,
}

impl Left for Columns<'_> {
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        first: usize,
        depth: usize,
        lines: &'a mut [Line],
    ) -> Block<'a> {
        // Copied together even where they could be read in place: apart they would throw each other
        // out of the few cache sets that they share.
        let (columns, _) = lines.as_flattened_mut().as_chunks_mut::<MAX_BLOCK_ROWS>();
        for (column, into) in columns.iter_mut().take(depth).enumerate() {
            let start = (first + column) * self.stride + rows.start;
            copy_run(self.values, start, rows.len(), into, 0);
        }
        Block::Columns(columns)
    }
}

/// Copies `length` floats of `from` at `start` to `line` at `at`; in whole eights, so up to 7 more,
/// where both have room and the run is short: its end would cost more than its middle.
#[inline(always)]
pub(crate) fn copy_run(from: &[f32], start: usize, length: usize, line: &mut [f32], at: usize) {
    let eights = length.div_ceil(8);
    if let (Some(from), Some(into)) = (from.get(start..start + 8 * eights), line.get_mut(at..at + 8 * eights))
    {
        match eights {
            1 => return copy::<8>(from, into),
            2 => return copy::<16>(from, into),
            3 => return copy::<24>(from, into),
            4 => return copy::<32>(from, into),
            5 => return copy::<40>(from, into),
            6 => return copy::<48>(from, into),
            _ => {}
        }
    }
    if let (Some(from), Some(into)) = (from.get(start..start + length), line.get_mut(at..at + length)) {
        into.copy_from_slice(from);
    }
}

/// Copies a run whose length the compiler knows, so that it is a few moves and no call.
#[inline(always)]
pub(crate) fn copy<const LENGTH: usize>(from: &[f32], into: &mut [f32]) {
    if let (Some(from), Some(into)) = (from.first_chunk::<LENGTH>(), into.first_chunk_mut::<LENGTH>()) {
        *into = *from;
    }
}
