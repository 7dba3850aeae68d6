//! Left operands: where the rows of a block come from.

use super::tile::Line;

/// A left operand, read a block at a time.
pub(crate) trait Left: Sync {
    /// Writes columns `first..first + depth` of rows `row..row + lines.len()` to the fronts of the
    /// lines. May write up to 15 floats more to each.
    fn fill(&self, row: usize, first: usize, depth: usize, lines: &mut [Line]);
}

/// A matrix stored row by row.
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    /// Floats from one row to the next.
    pub(crate) stride: usize,
}

impl Left for Rows<'_> {
    fn fill(&self, row: usize, first: usize, depth: usize, lines: &mut [Line]) {
        for (index, line) in lines.iter_mut().enumerate() {
            copy_run(self.values, (row + index) * self.stride + first, depth, line, 0);
        }
    }
}

/// A matrix stored column by column.
pub(crate) struct Columns<'a> {
    pub(crate) values: &'a [f32],
    /// Floats from one column to the next.
    pub(crate) stride: usize,
}

impl Left for Columns<'_> {
    fn fill(&self, row: usize, first: usize, depth: usize, lines: &mut [Line]) {
        transpose(self.values, first * self.stride + row, self.stride, depth, lines);
    }
}

/// Copies `length` floats of `from` at `start` to `line` at `at`; in whole eights, so up to 7 more,
/// where both have room: the copies are short, and their ends would cost more than their middles.
#[inline(always)]
pub(crate) fn copy_run(from: &[f32], start: usize, length: usize, line: &mut [f32], at: usize) {
    let whole = length.next_multiple_of(8);
    if let (Some(from), Some(into)) = (from.get(start..start + whole), line.get_mut(at..at + whole)) {
        let (into, _) = into.as_chunks_mut::<8>();
        let (from, _) = from.as_chunks::<8>();
        for (into, from) in into.iter_mut().zip(from) {
            *into = *from;
        }
    } else if let (Some(from), Some(into)) = (from.get(start..start + length), line.get_mut(at..at + length))
    {
        into.copy_from_slice(from);
    }
}

/// Writes column `index` of a matrix, `depth` rows of it `stride` floats apart from `start` on, to
/// the front of line `index`, for every line.
fn transpose(from: &[f32], start: usize, stride: usize, depth: usize, lines: &mut [Line]) {
    let mut index = 0;
    while index < lines.len() {
        let count = (lines.len() - index).min(8);
        let group = &mut lines[index..index + count];
        let mut row = 0;
        while row < depth {
            let rows = (depth - row).min(8);
            let mut square = [[0.0; 8]; 8];
            for (offset, square) in square.iter_mut().take(rows).enumerate() {
                copy_run(from, start + (row + offset) * stride + index, count, square, 0);
            }
            for (column, line) in group.iter_mut().enumerate() {
                for (into, square) in line[row..row + 8].iter_mut().zip(&square) {
                    *into = square[column];
                }
            }
            row += 8;
        }
        index += 8;
    }
}
