//! The Cholesky factor of a positive definite matrix. It solves for the probe's preconditioner, which
//! is what makes L-BFGS arrive in tens of steps and not in hundreds: the columns of an embedding are
//! strongly correlated.

use ndarray::{Array2, ArrayViewMut2, Axis, s};

/// The lower triangle `L` of `A = L L^T`.
pub(super) struct Cholesky {
    lower: Array2<f64>,
}

impl Cholesky {
    /// Factors a square matrix, whose upper triangle is not read; `None` where it is not positive
    /// definite as far as f64 can tell.
    pub(super) fn of(mut a: Array2<f64>) -> Option<Self> {
        for row in 0..a.nrows() {
            let (above, mut rest) = a.view_mut().split_at(Axis(0), row);
            let mut this = rest.row_mut(0);
            for column in 0..row {
                let known = this.slice(s![..column]).dot(&above.slice(s![column, ..column]));
                this[column] = (this[column] - known) / above[(column, column)];
            }
            let known = this.slice(s![..row]);
            let pivot = this[row] - known.dot(&known);
            if pivot.is_nan() || pivot <= this[row].abs() * f64::EPSILON * 16.0 {
                return None;
            }
            this[row] = pivot.sqrt();
        }
        Some(Self { lower: a })
    }

    /// Replaces each column `b` of `right` by the solution of `A x = b`.
    pub(super) fn solve(&self, mut right: ArrayViewMut2<'_, f64>) {
        let n = self.lower.nrows();
        for row in 0..n {
            let (above, mut rest) = right.view_mut().split_at(Axis(0), row);
            let mut this = rest.row_mut(0);
            for (column, known) in above.rows().into_iter().enumerate() {
                this.scaled_add(-self.lower[(row, column)], &known);
            }
            this /= self.lower[(row, row)];
        }
        for row in (0..n).rev() {
            let (mut rest, below) = right.view_mut().split_at(Axis(0), row + 1);
            let mut this = rest.row_mut(row);
            for (offset, known) in below.rows().into_iter().enumerate() {
                this.scaled_add(-self.lower[(row + 1 + offset, row)], &known);
            }
            this /= self.lower[(row, row)];
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::array;

    #[test]
    fn what_is_solved_multiplies_back() {
        let n = 17;
        let root = Array2::from_shape_fn((n, n), |(i, j)| ((i * 31 + j * 17) % 13) as f64 - 6.0);
        let a = root.dot(&root.t()) + Array2::<f64>::eye(n);
        let b = Array2::from_shape_fn((n, 3), |(i, j)| (i as f64 - 4.0) * (j as f64 + 1.0));
        let mut x = b.clone();
        Cholesky::of(a.clone()).unwrap().solve(x.view_mut());
        for (found, wanted) in a.dot(&x).iter().zip(&b) {
            assert!((found - wanted).abs() < 1e-8, "{found}, not {wanted}");
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_none() {
        assert!(Cholesky::of(array![[1.0, 0.0], [2.0, 1.0]]).is_none());
        assert!(Cholesky::of(array![[1.0, 1.0], [1.0, 1.0]]).is_none());
        assert!(Cholesky::of(array![[f64::NAN]]).is_none());
        assert!(Cholesky::of(array![[4.0]]).is_some());
    }
}
