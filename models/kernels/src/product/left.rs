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

/// A matrix stored row by row.
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    /// Floats from one row to the next.
    pub(crate) stride: usize,
}

impl Left for Rows<'_> {
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        first: usize,
        depth: usize,
        lines: &'a mut [Line],
    ) -> Block<'a> {
        block_of(rows, lines, |row, _| {
            let start = row * self.stride + first;
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

/// Columns farther apart than this many floats are copied together: read where they lie they would
/// throw each other out of the few cache sets that they share.
const MAX_COLUMN_STRIDE: usize = 160;

impl Left for Columns<'_> {
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        first: usize,
        depth: usize,
        lines: &'a mut [Line],
    ) -> Block<'a> {
        if self.stride <= MAX_COLUMN_STRIDE {
            let values = self.values.get(first * self.stride + rows.start..).unwrap_or_default();
            return Block::Columns { values, stride: self.stride };
        }
        let lines = lines.as_flattened_mut();
        // A block of lines has room: its depth and its rows are below a line's length and the lines.
        let stride = rows.len().next_multiple_of(8);
        for column in 0..depth {
            let start = (first + column) * self.stride + rows.start;
            copy_run(self.values, start, rows.len(), lines, column * stride);
        }
        Block::Columns { values: lines, stride }
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
