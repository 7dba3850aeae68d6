//! Matrix products.
//!
//! One engine serves products and convolutions: a [`left`](left::Left) operand gives its rows a
//! block at a time, the right operand is packed into panels, and the tile multiplies the two.

pub(crate) mod left;
pub(crate) mod multiply;
pub(crate) mod right;
pub(crate) mod tile;

use crate::error::{check_length, limit};
use crate::threads::run_length;
use crate::{KernelError, Threads};
use left::{Columns, Left, Rows, in_place};
use multiply::{Lines, multiply};
use right::Layout;
use tile::Finish;

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
        let Self { batch, rows, depth, columns, .. } = *self;
        let kernel = "product";
        check_length(kernel, "a", a.len(), &[batch, rows, depth])?;
        check_length(kernel, "b", b.len(), &[batch, depth, columns])?;
        check_length(kernel, "out", out.len(), &[batch, rows, columns])?;
        limit(kernel, "b", &[depth, columns])?;
        if out.is_empty() {
            return Ok(());
        }
        let layout = if self.transpose_a {
            Layout::for_columns(threads.level(), depth, columns)
        } else {
            Layout::new(threads.level(), depth, columns)
        };
        if batch == 1 {
            let mut panels = vec![0.0; layout.length()];
            self.pack(&layout, b, &mut panels);
            let run = run_length(rows, threads.count(), 1);
            let parts = out.chunks_mut(run * columns).enumerate().collect();
            threads.for_each(parts, |(index, out): (usize, &mut [f32])| {
                self.part(&layout, a, index * run, &panels, out, &mut Lines::new(&layout));
            });
        } else {
            let run = run_length(batch, threads.count(), 1);
            let parts = out.chunks_mut(run * rows * columns).enumerate().collect();
            threads.for_each(parts, |(index, out): (usize, &mut [f32])| {
                let mut lines = Lines::new(&layout);
                let mut panels = vec![0.0; layout.length()];
                for (offset, out) in out.chunks_mut(rows * columns).enumerate() {
                    let item = index * run + offset;
                    let a = a.get(item * rows * depth..).unwrap_or_default();
                    let b = b.get(item * depth * columns..).unwrap_or_default();
                    self.pack(&layout, b, &mut panels);
                    self.part(&layout, a, 0, &panels, out, &mut lines);
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
        layout: &Layout,
        a: &[f32],
        first: usize,
        panels: &[f32],
        out: &mut [f32],
        lines: &mut Lines,
    ) {
        if self.transpose_a {
            self.rows_of(&Columns { values: a, stride: self.rows }, layout, first, panels, out, lines);
        } else {
            self.rows_of(
                &Rows { values: a, stride: self.depth, in_place: in_place(self.columns) },
                layout,
                first,
                panels,
                out,
                lines,
            );
        }
    }

    fn rows_of(
        &self,
        left: &impl Left,
        layout: &Layout,
        first: usize,
        panels: &[f32],
        out: &mut [f32],
        lines: &mut Lines,
    ) {
        let rows = first..first + out.len() / self.columns;
        let finish = Finish { accumulate: self.accumulate, bias: None, clip: None };
        multiply(left, rows, layout, panels, out, |row| (row - first) * self.columns, finish, lines);
    }
}

#[cfg(test)]
mod tests;
