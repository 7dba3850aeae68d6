//! Batches of small products whose operands lie inside larger tensors, as the heads of attention do
//! (`[samples, tokens, heads, width]`): read and written where they lie, nothing is transposed first.

use super::left::{Columns, Rows, in_place};
use super::multiply::{Lines, multiply};
use super::right::{Layout, Packed};
use super::tile::{Finish, padded};
use crate::error::{MAX_FLOATS, limit};
use crate::threads::run_length;
use crate::{KernelError, Threads};

const NAME: &str = "strided product";

/// Floats from one element of a matrix to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    /// From one matrix to the next, along the outer and the inner axis of the batch.
    pub batch: [usize; 2],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

/// The shapes and places of a batch of products `out = scale * a * b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StridedProduct {
    /// Outer and inner extent of the batch.
    pub batch: [usize; 2],
    /// Rows of `a` and `out`.
    pub rows: usize,
    /// Columns of `a`, rows of `b`.
    pub depth: usize,
    /// Columns of `b` and `out`.
    pub columns: usize,
    /// Factor of every result.
    pub scale: f32,
    /// Where `a` lies: rows or columns without gaps.
    pub a: Strides,
    /// Where `b` lies: rows or columns without gaps.
    pub b: Strides,
    /// Where `out` lies: rows without gaps, every float in one place, the outer axis of the batch
    /// outermost.
    pub out: Strides,
}

impl StridedProduct {
    /// Multiplies. Works in a copy of one matrix of `b` for each thread.
    ///
    /// # Errors
    /// When a slice is shorter than its strides ask for, strides have gaps where none may be, or `out`
    /// is not filled exactly.
    pub fn run(&self, a: &[f32], b: &[f32], out: &mut [f32], threads: &Threads) -> Result<(), KernelError> {
        self.check(threads, a.len(), b.len(), out.len())?;
        let Self { batch, rows, depth, columns, .. } = *self;
        if out.is_empty() {
            return Ok(());
        }
        let layout = if self.a.column == 1 {
            Layout::new(threads.level(), depth, columns)
        } else {
            Layout::for_columns(threads.level(), depth, columns)
        };
        let outer = batch[1] * rows * columns;
        let run = run_length(batch[0], threads.count(), 1);
        let parts = out.chunks_mut(run * outer).enumerate().collect();
        threads.for_each(parts, |(index, out): (usize, &mut [f32])| {
            let mut lines = Lines::new(threads);
            let mut panels = threads.scratch(layout.length());
            for (offset, out) in out.chunks_mut(outer).enumerate() {
                for inner in 0..batch[1] {
                    let item = [index * run + offset, inner];
                    self.pack(&layout, from(b, &self.b, item), &mut panels);
                    self.part(
                        Packed { layout, panels: &panels },
                        from(a, &self.a, item),
                        inner,
                        out,
                        &mut lines,
                    );
                }
            }
        });
        Ok(())
    }

    fn pack(&self, layout: &Layout, b: &[f32], panels: &mut [f32]) {
        if self.b.column == 1 {
            layout.pack_rows(panels, b, self.b.row);
        } else {
            layout.pack_columns(panels, b, self.b.column);
        }
        if self.scale != 1.0 {
            panels.iter_mut().for_each(|value| *value *= self.scale);
        }
    }

    fn part(&self, right: Packed<'_>, a: &[f32], inner: usize, out: &mut [f32], lines: &mut Lines<'_>) {
        let place = |row| inner * self.out.batch[1] + row * self.out.row;
        let finish = Finish { accumulate: false, bias: None, clip: None };
        if self.a.column == 1 {
            let left = Rows { values: a, stride: self.a.row, in_place: in_place(self.columns) };
            multiply(&left, 0..self.rows, right, out, place, finish, lines);
        } else {
            let left = Columns { values: a, stride: self.a.column };
            multiply(&left, 0..self.rows, right, out, place, finish, lines);
        }
    }

    fn check(&self, threads: &Threads, a: usize, b: usize, out: usize) -> Result<(), KernelError> {
        let Self { batch: [outer, inner], rows, depth, columns, .. } = *self;
        let refuse = |argument, strides: &Strides, reason| {
            let value = vec![strides.batch[0], strides.batch[1], strides.row, strides.column];
            Err(KernelError::Geometry { kernel: NAME, argument, value, reason })
        };
        for (argument, strides, rows, columns, length) in
            [("a", &self.a, rows, depth, a), ("b", &self.b, depth, columns, b)]
        {
            if strides.row != 1 && strides.column != 1 {
                return refuse(argument, strides, "leaves gaps: a row or a column must lie together");
            }
            let axes = [(outer, strides.batch[0]), (inner, strides.batch[1])];
            if reach(&axes, &[(rows, strides.row), (columns, strides.column)]) > length {
                return refuse(argument, strides, "reaches beyond the slice");
            }
        }
        limit(NAME, "out", &[outer, inner, rows, columns])?;
        limit(NAME, "b", &[depth, padded(threads.level(), columns)])?;
        let place = &self.out;
        let mut axes = [(place.batch[1], inner), (place.row, rows), (place.column, columns)];
        axes.sort_unstable();
        let mut filled = 1;
        for (stride, extent) in axes.into_iter().chain([(place.batch[0], outer)]) {
            if extent != 1 && stride != filled {
                return refuse("out", place, "leaves gaps or overlaps");
            }
            filled *= extent;
        }
        if place.column != 1 || filled != out {
            return refuse("out", place, "does not fill the slice row by row");
        }
        Ok(())
    }
}

/// The matrix `item` of a batch, and what lies behind it.
fn from<'a>(values: &'a [f32], strides: &Strides, item: [usize; 2]) -> &'a [f32] {
    values.get(item[0] * strides.batch[0] + item[1] * strides.batch[1]..).unwrap_or_default()
}

/// Floats up to the last that axes of these extents and strides reach; above all limits where it overflows.
fn reach(batch: &[(usize, usize)], matrix: &[(usize, usize)]) -> usize {
    let axes = || batch.iter().chain(matrix);
    if axes().any(|(extent, _)| *extent == 0) {
        return 0;
    }
    axes()
        .try_fold(1_usize, |reach, (extent, stride)| reach.checked_add((extent - 1).checked_mul(*stride)?))
        .filter(|reach| *reach <= MAX_FLOATS)
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::test_support::{assert_close, levels, random};

    /// `[outer, rows, inner, columns]` when `split`, else `[outer, inner, rows, columns]`; the last two of
    /// the matrix exchanged when `transposed` (then never split).
    fn strides(inner: usize, rows: usize, columns: usize, split: bool, transposed: bool) -> Strides {
        let outer = inner * rows * columns;
        match (split, transposed) {
            (true, false) => Strides { batch: [outer, columns], row: inner * columns, column: 1 },
            (true, true) => Strides { batch: [outer, rows], row: 1, column: inner * rows },
            (false, false) => Strides { batch: [outer, rows * columns], row: columns, column: 1 },
            (false, true) => Strides { batch: [outer, rows * columns], row: 1, column: rows },
        }
    }

    fn reference(product: &StridedProduct, a: &[f32], b: &[f32], length: usize) -> Vec<f64> {
        let mut result = vec![f64::NAN; length];
        let at = |s: &Strides, o: usize, i: usize, r: usize, c: usize| {
            o * s.batch[0] + i * s.batch[1] + r * s.row + c * s.column
        };
        for (o, i) in (0..product.batch[0]).flat_map(|o| (0..product.batch[1]).map(move |i| (o, i))) {
            for (r, c) in (0..product.rows).flat_map(|r| (0..product.columns).map(move |c| (r, c))) {
                let terms = (0..product.depth).map(|k| {
                    f64::from(a[at(&product.a, o, i, r, k)]) * f64::from(b[at(&product.b, o, i, k, c)])
                });
                result[at(&product.out, o, i, r, c)] = f64::from(product.scale) * terms.sum::<f64>();
            }
        }
        result
    }

    fn drawn(rng: &mut ChaCha8Rng) -> StridedProduct {
        let (outer, inner) = (rng.random_range(1..=4), rng.random_range(1..=4));
        let (rows, depth, columns) =
            (rng.random_range(1..=70), rng.random_range(1..=70), rng.random_range(1..=70));
        let mut flip = || rng.random_bool(0.5);
        let a = strides(inner, rows, depth, flip(), flip());
        let b = strides(inner, depth, columns, flip(), flip());
        let out = strides(inner, rows, columns, flip(), false);
        let scale = if flip() { 1.0 } else { 0.3 };
        StridedProduct { batch: [outer, inner], rows, depth, columns, scale, a, b, out }
    }

    #[test]
    fn any_places_match_the_definition_at_every_level_and_on_any_threads() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..60 {
            let product = drawn(&mut rng);
            let items = product.batch[0] * product.batch[1];
            let a = random(&mut rng, items * product.rows * product.depth);
            let b = random(&mut rng, items * product.depth * product.columns);
            let length = items * product.rows * product.columns;
            let expected = reference(&product, &a, &b, length);
            for level in levels() {
                let run = |count| {
                    let mut out = vec![f32::NAN; length];
                    product.run(&a, &b, &mut out, &Threads::with_level(count, level).unwrap()).unwrap();
                    out
                };
                let one = run(1);
                assert_close(&one, &expected, &format!("{level:?} {product:?}"));
                assert!(one == run(2) && one == run(3), "threads differ: {level:?} {product:?}");
            }
        }
    }

    #[test]
    fn refuses_what_reaches_too_far_or_leaves_gaps() {
        let threads = Threads::new(1).unwrap();
        let plain = |rows, columns| strides(2, rows, columns, true, false);
        let good = StridedProduct {
            batch: [3, 2],
            rows: 4,
            depth: 5,
            columns: 6,
            scale: 1.0,
            a: plain(4, 5),
            b: plain(5, 6),
            out: plain(4, 6),
        };
        let run = |product: &StridedProduct, a: usize, b: usize, out: usize| {
            product.run(&vec![0.0; a], &vec![0.0; b], &mut vec![0.0; out], &threads)
        };
        let (a, b, out) = (3 * 2 * 20, 3 * 2 * 30, 3 * 2 * 24);
        run(&good, a, b, out).unwrap();
        assert!(run(&good, a - 1, b, out).is_err());
        assert!(run(&good, a, b - 1, out).is_err());
        assert!(run(&good, a, b, out + 1).is_err());
        let row = usize::MAX;
        assert!(run(&StridedProduct { a: Strides { row, ..good.a }, ..good }, a, b, out).is_err());
        assert!(run(&StridedProduct { out: Strides { row: 6, ..good.out }, ..good }, a, b, out).is_err());
        assert!(run(&StridedProduct { b: Strides { column: 2, ..good.b }, ..good }, a, b, out).is_err());
    }
}
