//! Matrix products.
//!
//! One engine serves products and convolutions: a left operand gives its rows a block at a time, the
//! right operand is packed into panels, and the tile multiplies the two.

pub(crate) mod left;
pub(crate) mod multiply;
pub(crate) mod right;
mod strided;
pub(crate) mod tile;

use crate::error::{check_length, limit};
use crate::threads::run_length;
use crate::{KernelError, Threads};
use left::{Columns, Rows, in_place};
use multiply::{Lines, multiply};
use right::{Layout, Packed};
use tile::{Finish, padded};

pub use strided::{StridedProduct, Strides};

/// The shapes of a product `out = a * b`, or of a batch of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Products, one after the other in each operand.
    pub batch: usize,
    /// Rows of `a` and `out`.
    pub rows: usize,
    /// Columns of `a`, rows of `b`.
    pub depth: usize,
    /// Columns of `b` and `out`.
    pub columns: usize,
    /// `a` is stored as `[depth, rows]`.
    pub transpose_a: bool,
    /// `b` is stored as `[columns, depth]`.
    pub transpose_b: bool,
    /// Add to what `out` holds instead of replacing it.
    pub accumulate: bool,
}

impl Product {
    /// One product of plain matrices, `[rows, depth] * [depth, columns]`.
    pub fn new(rows: usize, depth: usize, columns: usize) -> Self {
        Self { batch: 1, rows, depth, columns, transpose_a: false, transpose_b: false, accumulate: false }
    }

    /// Multiplies: `a` is `[batch, rows, depth]`, `b` `[batch, depth, columns]` (each with its last
    /// two axes exchanged if transposed), `out` `[batch, rows, columns]`.
    ///
    /// Works in a copy of one `b` for each thread. A depth of zero gives zeros.
    ///
    /// # Errors
    /// When a slice does not have the length of its shape.
    pub fn run(&self, a: &[f32], b: &[f32], out: &mut [f32], threads: &Threads) -> Result<(), KernelError> {
        self.run_with(a, b, None, None, out, threads)
    }

    /// [`Product::run`], then adds `bias`, one value a column, and keeps the result within `clip`.
    ///
    /// # Errors
    /// As [`Product::run`].
    pub fn run_with(
        &self,
        a: &[f32],
        b: &[f32],
        bias: Option<&[f32]>,
        clip: Option<(f32, f32)>,
        out: &mut [f32],
        threads: &Threads,
    ) -> Result<(), KernelError> {
        let Self { batch, rows, depth, columns, .. } = *self;
        let kernel = "product";
        check_length(kernel, "a", a.len(), &[batch, rows, depth])?;
        check_length(kernel, "b", b.len(), &[batch, depth, columns])?;
        check_length(kernel, "out", out.len(), &[batch, rows, columns])?;
        if let Some(bias) = bias {
            check_length(kernel, "bias", bias.len(), &[columns])?;
        }
        let finish = Finish { accumulate: self.accumulate, bias, clip };
        limit(kernel, "b", &[depth, padded(threads.level(), columns)])?;
        if out.is_empty() {
            return Ok(());
        }
        let layout = if self.transpose_a {
            Layout::for_columns(threads.level(), depth, columns)
        } else {
            Layout::new(threads.level(), depth, columns)
        };
        if batch == 1 {
            let mut panels = threads.scratch(layout.length());
            self.pack(&layout, b, &mut panels);
            let run = run_length(rows, threads.count(), 1);
            let parts = out.chunks_mut(run * columns).enumerate().collect();
            threads.for_each(parts, |(index, out): (usize, &mut [f32])| {
                let right = Packed { layout, panels: &panels };
                self.part(right, a, index * run, out, finish, &mut Lines::new(threads));
            });
        } else {
            let run = run_length(batch, threads.count(), 1);
            let parts = out.chunks_mut(run * rows * columns).enumerate().collect();
            threads.for_each(parts, |(index, out): (usize, &mut [f32])| {
                let mut lines = Lines::new(threads);
                let mut panels = threads.scratch(layout.length());
                for (offset, out) in out.chunks_mut(rows * columns).enumerate() {
                    let item = index * run + offset;
                    let a = a.get(item * rows * depth..).unwrap_or_default();
                    let b = b.get(item * depth * columns..).unwrap_or_default();
                    self.pack(&layout, b, &mut panels);
                    self.part(Packed { layout, panels: &panels }, a, 0, out, finish, &mut lines);
                }
            });
        }
        Ok(())
    }

    fn pack(&self, layout: &Layout, b: &[f32], panels: &mut [f32]) {
        if self.transpose_b {
            layout.pack_columns(panels, b, self.depth);
        } else {
            layout.pack_rows(panels, b, self.columns);
        }
    }

    /// The rows from `first` on that fill `out`.
    fn part(
        &self,
        right: Packed<'_>,
        a: &[f32],
        first: usize,
        out: &mut [f32],
        finish: Finish<'_>,
        lines: &mut Lines<'_>,
    ) {
        let rows = first..first + out.len() / self.columns;
        let place = |row| (row - first) * self.columns;
        if self.transpose_a {
            let left = Columns { values: a, stride: self.rows };
            multiply(&left, rows, right, out, place, finish, lines);
        } else {
            let left = Rows { values: a, stride: self.depth, in_place: in_place(self.columns) };
            multiply(&left, rows, right, out, place, finish, lines);
        }
    }
}

#[cfg(test)]
mod tests;
