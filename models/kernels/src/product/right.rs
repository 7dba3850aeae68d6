//! Right operands: panels, packed in the order in which the tile reads them.

use super::left::copy;
use super::tile::{COLUMN_DEPTH, DEPTH, padded, panel_width};
use crate::simd::Level;

/// Shortest run that is read where it lies.
const MIN_RUN: usize = 64;

/// How a right operand of `depth` rows and `columns` columns is cut into blocks and panels.
///
/// The depth is cut into blocks. A block's panels lie side by
/// side, each of them row by row, so that the panel at column `c` begins `c` times the block's depth
/// after the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) level: Level,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    /// Depth of every block but the last.
    block: usize,
}

/// A packed right operand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) layout: Layout,
    pub(crate) panels: &'a [f32],
}

impl Layout {
    /// The fewest near-equal blocks that fit a line.
    pub(crate) fn new(level: Level, depth: usize, columns: usize) -> Self {
        Self { level, depth, columns, block: near_equal(depth, DEPTH) }
    }

    /// For a left operand stored column by column.
    pub(crate) fn for_columns(level: Level, depth: usize, columns: usize) -> Self {
        Self { level, depth, columns, block: near_equal(depth, COLUMN_DEPTH) }
    }

    /// For a left operand of which `run` columns lie side by side and the next do not: blocks that
    /// end where runs do, unless runs are so short that more, shallower blocks cost more than copies.
    pub(crate) fn with_runs(level: Level, depth: usize, columns: usize, run: usize) -> Self {
        let block = if run >= MIN_RUN { near_equal(run, DEPTH) } else { near_equal(depth, DEPTH) };
        Self { level, depth, columns, block }
    }

    /// The same but for the depth, which is one block.
    pub(crate) fn one_block(self, depth: usize) -> Self {
        Self { depth, block: depth, ..self }
    }

    /// Floats of the packed operand.
    pub(crate) fn length(&self) -> usize {
        self.depth * padded(self.level, self.columns)
    }

    /// First row and depth of each block; one empty block where the depth is none.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (depth, block) = (self.depth, self.block);
        let count = depth.div_ceil(block.max(1)).max(1);
        (0..count).map(move |index| (index * block, block.min(depth - index * block)))
    }

    /// First column and width of each panel.
    pub(crate) fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        self.panels_from(0)
    }

    /// The panels from the one that begins at `column` on.
    fn panels_from(&self, column: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { level, columns, .. } = *self;
        let mut column = column;
        std::iter::from_fn(move || {
            (column < columns).then(|| {
                let width = panel_width(level, columns - column);
                column += width;
                (column - width, width)
            })
        })
    }

    /// Packs an operand whose element in row `k` and column `c` is `from[first(k) + c * stride]`.
    pub(crate) fn pack_strided(
        &self,
        panels: &mut [f32],
        from: &[f32],
        first: impl Fn(usize) -> usize,
        stride: usize,
    ) {
        for (begin, depth) in self.blocks() {
            for (column, width) in self.panels() {
                let start = begin * padded(self.level, self.columns) + column * depth;
                let panel = panels.get_mut(start..start + depth * width).unwrap_or_default();
                for (k, into) in panel.chunks_exact_mut(width).enumerate() {
                    let from = from.get(first(begin + k) + column * stride..).unwrap_or_default();
                    let used = width.min(self.columns - column);
                    for (place, value) in into.iter_mut().zip(from.iter().step_by(stride)).take(used) {
                        *place = *value;
                    }
                }
            }
        }
    }

    /// Packs a matrix stored row by row, `stride` floats apart.
    pub(crate) fn pack_rows(&self, panels: &mut [f32], from: &[f32], stride: usize) {
        for (first, depth) in self.blocks() {
            for (column, width) in self.panels() {
                let start = first * padded(self.level, self.columns) + column * depth;
                let panel = panels.get_mut(start..start + depth * width).unwrap_or_default();
                let used = width.min(self.columns - column);
                for (k, into) in panel.chunks_exact_mut(width).enumerate() {
                    let row = (first + k) * stride + column;
                    let from = from.get(row..row + used).unwrap_or_default();
                    put(into, from);
                }
            }
        }
    }

    /// Packs a matrix stored column by column, `stride` floats apart.
    pub(crate) fn pack_columns(&self, panels: &mut [f32], from: &[f32], stride: usize) {
        for (first, depth) in self.blocks() {
            for (column, width) in self.panels() {
                let start = first * padded(self.level, self.columns) + column * depth;
                let panel = panels.get_mut(start..start + depth * width).unwrap_or_default();
                for c in 0..width {
                    let row = (column + c) * stride + first;
                    let from = from.get(row..row + depth).filter(|_| column + c < self.columns);
                    let places = panel.iter_mut().skip(c).step_by(width);
                    match from {
                        Some(from) => places.zip(from).for_each(|(place, value)| *place = *value),
                        None => places.for_each(|place| *place = 0.0),
                    }
                }
            }
        }
    }

    /// Packs row `k` of the only block; the row is at least as long as the panels are wide together,
    /// and what it holds beyond its columns is multiplied but not written.
    pub(crate) fn pack_row(&self, panels: &mut [f32], k: usize, row: &[f32]) {
        let done = match panel_width(self.level, usize::MAX) {
            32 => self.pack_whole::<32>(panels, k, row),
            16 => self.pack_whole::<16>(panels, k, row),
            _ => self.pack_whole::<8>(panels, k, row),
        };
        for (column, width) in self.panels_from(done) {
            let start = column * self.depth + k * width;
            let into = panels.get_mut(start..start + width).unwrap_or_default();
            put(into, row.get(column..column + width).unwrap_or_default());
        }
    }

    /// Packs the part of a row that goes to panels of the usual width, in moves of known length;
    /// returns its columns.
    #[inline(always)]
    fn pack_whole<const WIDTH: usize>(&self, panels: &mut [f32], k: usize, row: &[f32]) -> usize {
        let (row, _) = row.as_chunks::<WIDTH>();
        let mut column = 0;
        for from in row {
            if column >= self.columns || panel_width(self.level, self.columns - column) != WIDTH {
                break;
            }
            let start = column * self.depth + k * WIDTH;
            if let Some(into) = panels.get_mut(start..).and_then(|into| into.first_chunk_mut::<WIDTH>()) {
                *into = *from;
            }
            column += WIDTH;
        }
        column
    }
}

/// Copies a row of a panel, with zeros where the columns have ended.
#[inline(always)]
fn put(into: &mut [f32], from: &[f32]) {
    match (into.len(), from.len()) {
        (48, 48) => copy::<48>(from, into),
        (32, 32) => copy::<32>(from, into),
        (24, 24) => copy::<24>(from, into),
        (16, 16) => copy::<16>(from, into),
        (8, 8) => copy::<8>(from, into),
        _ => {
            for (index, place) in into.iter_mut().enumerate() {
                *place = from.get(index).copied().unwrap_or(0.0);
            }
        }
    }
}

/// The depth of the fewest near-equal blocks of at most `most`.
fn near_equal(depth: usize, most: usize) -> usize {
    depth.div_ceil(depth.div_ceil(most).max(1))
}
