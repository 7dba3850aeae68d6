//! The innermost product: a few rows of the left operand times one panel of the right.
//!
//! The left operand lies in [`Line`]s, rows at a constant distance, so that every load of the inner
//! loop is one register and a constant; the right operand lies in panels of a width that fills the
//! registers, in the order in which they are read (K. Goto and R. van de Geijn, "Anatomy of
//! high-performance matrix multiplication", 2008, with the packed operand on the right). Sums stay
//! in registers over the whole depth of a block.

use crate::simd::{Instructions, Level, Task};

/// Repeats the body for `row` from 0 to a constant, at most 28, as straight code: the optimiser keeps
/// an array in registers only where every index is a constant, and gives up on a loop of this size.
macro_rules! each_row {
    ($rows:ident, |$row:ident| $body:block) => {
        each_row!(@ $rows $row $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27)
    };
    (@ $rows:ident $row:ident $body:block $($index:literal)*) => {
        $(if $index < $rows {
            let $row: usize = $index;
            $body
        })*
    };
}

/// Deepest block: a panel of it stays in the first-level cache.
pub(crate) const DEPTH: usize = 256;

/// Floats from one line to the next. A copy may run over the end of its depth by less than the
/// difference, and 17 cache lines between rows keep them out of each other's cache sets.
pub(crate) const STRIDE: usize = DEPTH + 16;

/// One row of a block of the left operand; what lies beyond the block's depth is not read.
pub(crate) type Line = [f32; STRIDE];

/// Rows of a block: a multiple of the rows of every tile, about 100 KiB of the second-level cache.
pub(crate) const fn block_rows(level: Level) -> usize {
    match level {
        Level::Avx512 => 112,
        Level::Portable | Level::Avx2Fma | Level::Neon => 96,
    }
}

/// The width of the panel that begins where `left` columns are left; a multiple of 8 that may be
/// above `left` by less than 8.
pub(crate) const fn panel_width(level: Level, left: usize) -> usize {
    match level {
        Level::Avx512 if left > 24 => 32,
        Level::Avx512 | Level::Avx2Fma | Level::Neon if left > 8 => 16,
        _ => 8,
    }
}

/// Columns that the panels of `columns` columns take up.
pub(crate) const fn padded(columns: usize) -> usize {
    columns.next_multiple_of(8)
}

/// What becomes of a finished sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Add to what the output holds.
    pub(crate) accumulate: bool,
    /// Then add the column's bias.
    pub(crate) bias: Option<&'a [f32]>,
    /// Then keep within these two; a NaN stays one.
    pub(crate) clip: Option<(f32, f32)>,
}

/// A block of rows times all panels of one depth block.
pub(crate) struct BlockProduct<'a> {
    pub(crate) level: Level,
    /// Rows of the left operand, [`block_rows`] of them.
    pub(crate) lines: &'a [Line],
    pub(crate) depth: usize,
    /// Panels of `depth` rows, side by side.
    pub(crate) panels: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) out: &'a mut [f32],
    /// Where in `out` each row begins; as many as rows of the block are in use.
    pub(crate) places: &'a [usize],
    pub(crate) finish: Finish<'a>,
}

impl Task for BlockProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(mut self) {
        let mut column = 0;
        while column < self.columns {
            let width = panel_width(self.level, self.columns - column);
            // Rows times vectors of a tile fill the registers and leave room for the operands. The
            // conditions are constants, so a level is compiled for its own tiles alone.
            if matches!(I::LEVEL, Level::Avx512) {
                match width {
                    32 => self.panel::<I, 14, 32>(column),
                    16 => self.panel::<I, 28, 16>(column),
                    _ => self.panel::<I, 28, 8>(column),
                }
            } else if I::FUSED {
                match width {
                    16 => self.panel::<I, 6, 16>(column),
                    _ => self.panel::<I, 12, 8>(column),
                }
            } else {
                self.panel::<I, 4, 8>(column);
            }
            column += width;
        }
    }
}

impl BlockProduct<'_> {
    /// All rows times the panel that begins at `column`.
    #[inline(always)]
    fn panel<I: Instructions, const ROWS: usize, const WIDTH: usize>(&mut self, column: usize) {
        let panel = self.panels.get(self.depth * column..).unwrap_or_default();
        let (panel, _) = panel.as_chunks::<WIDTH>();
        let panel = panel.get(..self.depth).unwrap_or_default();
        let width = WIDTH.min(self.columns - column);
        let bias = self.finish.bias.and_then(|bias| bias.get(column..column + width));
        let finish = Finish { bias, ..self.finish };
        let (tiles, _) = self.lines.as_chunks::<ROWS>();
        for (lines, places) in tiles.iter().zip(self.places.chunks(ROWS)) {
            let sums = sum::<I, ROWS, WIDTH>(lines, panel);
            let out = &mut *self.out;
            each_row!(ROWS, |row| {
                if let Some(place) = places.get(row)
                    && let Some(out) = out.get_mut(place + column..place + column + width)
                {
                    finish.write(&sums[row], out);
                }
            });
        }
    }
}

/// `lines[row][k] * panel[k][column]`, summed over `k`.
#[inline(always)]
fn sum<I: Instructions, const ROWS: usize, const WIDTH: usize>(
    lines: &[Line; ROWS],
    panel: &[[f32; WIDTH]],
) -> [[f32; WIDTH]; ROWS] {
    let mut sums = [[0.0; WIDTH]; ROWS];
    for (k, right) in panel.iter().enumerate().take(STRIDE) {
        each_row!(ROWS, |row| {
            let left = lines[row][k];
            for column in 0..WIDTH {
                sums[row][column] = I::mul_add(left, right[column], sums[row][column]);
            }
        });
    }
    sums
}

impl Finish<'_> {
    /// Writes the sums of one row; `out` and `bias` are shorter than the panel at the last column.
    #[inline(always)]
    fn write<const WIDTH: usize>(&self, sums: &[f32; WIDTH], out: &mut [f32]) {
        let mut values = *sums;
        if let Ok(out) = <&mut [f32; WIDTH]>::try_from(&mut *out) {
            if self.accumulate {
                add(&mut values, out);
            }
            if let Some(bias) = self.bias.and_then(|bias| <&[f32; WIDTH]>::try_from(bias).ok()) {
                add(&mut values, bias);
            }
            if let Some((low, high)) = self.clip {
                clip(&mut values, low, high);
            }
            *out = values;
        } else {
            if self.accumulate {
                add(&mut values, out);
            }
            if let Some(bias) = self.bias {
                add(&mut values, bias);
            }
            if let Some((low, high)) = self.clip {
                clip(&mut values, low, high);
            }
            for (out, value) in out.iter_mut().zip(values) {
                *out = value;
            }
        }
    }
}

#[inline(always)]
fn add(values: &mut [f32], more: &[f32]) {
    for (value, more) in values.iter_mut().zip(more) {
        *value += more;
    }
}

/// As PyTorch's clamp: unlike `f32::clamp` it takes any bounds, unlike `f32::max` it keeps NaN.
#[inline(always)]
fn clip(values: &mut [f32], low: f32, high: f32) {
    for value in values {
        let raised = if *value < low { low } else { *value };
        *value = if raised > high { high } else { raised };
    }
}
