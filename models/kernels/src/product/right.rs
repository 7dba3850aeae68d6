//! Right operands: panels, packed in the order in which the tile reads them.

use super::tile::{DEPTH, padded, panel_width};
use crate::simd::Level;

/// How a right operand of `depth` rows and `columns` columns is cut into blocks and panels.
///
/// The depth is cut into the fewest near-equal blocks that fit a line. A block's panels lie side by
/// side, each of them row by row, so that the panel at column `c` begins `c` times the block's depth
/// after the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) level: Level,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
}

impl Layout {
    /// Floats of the packed operand.
    pub(crate) fn length(&self) -> usize {
        self.depth * padded(self.columns)
    }

    /// First row and depth of each block; one empty block where the depth is none.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let depth = self.depth;
        let count = depth.div_ceil(DEPTH).max(1);
        let block = depth.div_ceil(count);
        (0..count).map(move |index| (index * block, block.min(depth - (index * block).min(depth))))
    }

    /// First column and width of each panel.
    pub(crate) fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { level, columns, .. } = *self;
        let mut column = 0;
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
                let start = begin * padded(self.columns) + column * depth;
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
                let start = first * padded(self.columns) + column * depth;
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
                let start = first * padded(self.columns) + column * depth;
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

    /// Packs row `k` of a block of `depth` rows, the only block.
    pub(crate) fn pack_row(&self, panels: &mut [f32], k: usize, row: &[f32]) {
        for (column, width) in self.panels() {
            let start = column * self.depth + k * width;
            let used = width.min(self.columns - column);
            let into = panels.get_mut(start..start + width).unwrap_or_default();
            put(into, row.get(column..column + used).unwrap_or_default());
        }
    }
}

/// Copies a row of a panel, with zeros where the columns have ended.
#[inline(always)]
fn put(into: &mut [f32], from: &[f32]) {
    match (into.len(), from.len()) {
        (32, 32) => copy::<32>(into, from),
        (16, 16) => copy::<16>(into, from),
        (8, 8) => copy::<8>(into, from),
        _ => {
            for (index, place) in into.iter_mut().enumerate() {
                *place = from.get(index).copied().unwrap_or(0.0);
            }
        }
    }
}

#[inline(always)]
fn copy<const WIDTH: usize>(into: &mut [f32], from: &[f32]) {
    if let (Ok(into), Ok(from)) = (<&mut [f32; WIDTH]>::try_from(into), <&[f32; WIDTH]>::try_from(from)) {
        *into = *from;
    }
}
