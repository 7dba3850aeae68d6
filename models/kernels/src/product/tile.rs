//! The innermost product: a few rows of the left operand times one panel of the right.
//!
//! The left operand is read where it lies, one float at a time; the right operand lies in panels of a
//! width that fills the registers, in the order in which they are read (K. Goto and R. van de Geijn,
//! "Anatomy of high-performance matrix multiplication", 2008, with the packed operand on the right).
//! Sums stay in registers over the whole depth of a block.

use crate::simd::{Instructions, Level, Task};

/// Repeats the body for `row` from 0 to a constant, at most 14, as straight code: the optimiser keeps
/// an array in registers only where every index is a constant, and gives up on a loop of this size.
macro_rules! each_row {
    ($rows:ident, |$row:ident| $body:block) => {
        each_row!(@ $rows $row $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
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

/// Deepest block of a left operand that lies column by column: every column of a tile takes a cache
/// line of its own. No power of two, or equal rows of all panels would share one cache set.
pub(crate) const COLUMN_DEPTH: usize = 124;

/// Floats from one line to the next. A copy may run over the end of its depth by less than the
/// difference, and 17 cache lines between rows keep them out of each other's cache sets.
pub(crate) const STRIDE: usize = DEPTH + 16;

/// One row of a block that had to be gathered; what lies beyond the block's depth is not read.
pub(crate) type Line = [f32; STRIDE];

/// What rows beyond the last read, and patches beyond the image.
pub(crate) static ZEROS: Line = [0.0; STRIDE];

/// Most rows of a block, at any level.
pub(crate) const MAX_BLOCK_ROWS: usize = 56;

/// Rows of a block: a multiple of the rows of every tile.
pub(crate) const fn block_rows(level: Level) -> usize {
    match level {
        Level::Avx512 => 56,
        Level::Portable | Level::Avx2Fma | Level::Neon => 48,
    }
}

/// The left operand of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Block<'a> {
    /// Each row where it lies, at least as long as the block is deep; [`block_rows`] of them are read.
    Rows([&'a [f32]; MAX_BLOCK_ROWS]),
    /// Each column, copied to where the columns are close together.
    Columns(&'a [[f32; MAX_BLOCK_ROWS]]),
}

/// The width of the panel that begins where `left` columns are left; may be more than these.
///
/// Never one vector of 8 alone: with so few sums the registers are not busy, and the optimiser takes
/// the short loop apart and puts it together wrongly. Three vectors end what two would not.
pub(crate) const fn panel_width(level: Level, left: usize) -> usize {
    match level {
        Level::Avx512 => match left {
            0..=16 => 16,
            33..=48 => 48,
            _ => 32,
        },
        Level::Avx2Fma | Level::Neon => match left {
            17..=24 => 24,
            _ => 16,
        },
        Level::Portable => 8,
    }
}

/// Columns that the panels of `columns` columns take up.
pub(crate) fn padded(level: Level, columns: usize) -> usize {
    match level {
        Level::Avx512 => columns.next_multiple_of(16),
        Level::Avx2Fma | Level::Neon => columns.next_multiple_of(8).max(16),
        Level::Portable => columns.next_multiple_of(8),
    }
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
    pub(crate) left: &'a Block<'a>,
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
                    48 => self.panel::<I, 8, 48>(column),
                    32 => self.panel::<I, 14, 32>(column),
                    _ => self.panel::<I, 14, 16>(column),
                }
            } else if I::FUSED {
                match width {
                    24 => self.panel::<I, 3, 24>(column),
                    _ => self.panel::<I, 6, 16>(column),
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
        for (tile, places) in self.places.chunks(ROWS).enumerate() {
            let sums = match self.left {
                Block::Rows(rows) => {
                    let (tiles, _) = rows.as_chunks::<ROWS>();
                    let Some(rows) = tiles.get(tile) else { return };
                    sum_rows::<I, ROWS, WIDTH>(rows, panel)
                }
                Block::Columns(columns) => sum_columns::<I, ROWS, WIDTH>(columns, tile * ROWS, panel),
            };
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

/// `rows[row][k] * panel[k][column]`, summed over `k`.
#[inline(always)]
fn sum_rows<I: Instructions, const ROWS: usize, const WIDTH: usize>(
    rows: &[&[f32]; ROWS],
    panel: &[[f32; WIDTH]],
) -> [[f32; WIDTH]; ROWS] {
    let depth = panel.len().min(DEPTH);
    // One by one: the rows were just written, and a wider read than the writes would wait for them.
    let mut whole = [&ZEROS[..depth]; ROWS];
    each_row!(ROWS, |row| {
        if let Some(found) = rows[row].get(..depth) {
            whole[row] = found;
        }
    });
    let mut sums = [[0.0; WIDTH]; ROWS];
    for (k, right) in panel[..depth].iter().enumerate() {
        each_row!(ROWS, |row| {
            let left = whole[row][k];
            for column in 0..WIDTH {
                sums[row][column] = I::mul_add(left, right[column], sums[row][column]);
            }
        });
    }
    sums
}

/// `columns[k][first + row] * panel[k][column]`, summed over `k`.
#[inline(always)]
fn sum_columns<I: Instructions, const ROWS: usize, const WIDTH: usize>(
    columns: &[[f32; MAX_BLOCK_ROWS]],
    first: usize,
    panel: &[[f32; WIDTH]],
) -> [[f32; WIDTH]; ROWS] {
    // Tells the optimiser what the blocks' sizes say: that a tile is within its column.
    let first = first.min(MAX_BLOCK_ROWS - ROWS);
    let mut sums = [[0.0; WIDTH]; ROWS];
    for (left, right) in columns.iter().zip(panel) {
        each_row!(ROWS, |row| {
            let left = left[first + row];
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
        if let Ok(out) = <&mut [f32; WIDTH]>::try_from(&mut *out) {
            let mut values = *sums;
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
            for (column, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
                let mut value = if self.accumulate { *sum + *out } else { *sum };
                if let Some(bias) = self.bias.and_then(|bias| bias.get(column)) {
                    value += bias;
                }
                if let Some((low, high)) = self.clip {
                    clip(std::slice::from_mut(&mut value), low, high);
                }
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
