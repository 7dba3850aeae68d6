//! The eigenvalues of a symmetric matrix: Householder reflections to a tridiagonal one, then the QL
//! iteration with implicit shifts (Martin, Reinsch & Wilkinson, 1968; Dubrulle, Martin & Wilkinson,
//! 1968). Only the gauges need them, and they need no eigenvectors.

use ndarray::{Array2, s};

/// QL steps for one eigenvalue; a handful is usual.
const MAX_STEPS: usize = 60;

/// The eigenvalues of `matrix`, greatest first. It must be square; its upper triangle is not read.
pub(super) fn eigenvalues(matrix: Array2<f64>) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(matrix);
    diagonalise(&mut diagonal, &mut beside);
    diagonal.sort_by(|a, b| b.total_cmp(a));
    diagonal
}

/// The diagonal, and the `n - 1` entries beside it, of a similar tridiagonal matrix.
fn tridiagonal(mut a: Array2<f64>) -> (Vec<f64>, Vec<f64>) {
    let n = a.nrows();
    let mut beside = vec![0.0; n.saturating_sub(1)];
    for (k, beside) in beside.iter_mut().enumerate() {
        let column = a.slice(s![k + 1.., k]).to_owned();
        let norm = column.dot(&column).sqrt();
        // Away from the first entry's sign, so that nothing cancels.
        let alpha = if column[0] > 0.0 { -norm } else { norm };
        *beside = alpha;
        let mut v = column;
        v[0] -= alpha;
        let square = v.dot(&v);
        if square == 0.0 {
            continue;
        }
        let beta = 2.0 / square;
        let mut rest = a.slice_mut(s![k + 1.., k + 1..]);
        let p = rest.dot(&v) * beta;
        let w = &p - &(&v * (0.5 * beta * v.dot(&p)));
        for (mut row, (vi, wi)) in rest.rows_mut().into_iter().zip(v.iter().zip(&w)) {
            row.scaled_add(-vi, &w);
            row.scaled_add(-wi, &v);
        }
    }
    (a.diag().to_vec(), beside)
}

/// Turns the diagonal of a tridiagonal matrix into its eigenvalues.
fn diagonalise(d: &mut [f64], e: &mut Vec<f64>) {
    let n = d.len();
    e.push(0.0);
    let size = d.iter().chain(e.iter()).fold(0.0_f64, |a, b| a.max(b.abs()));
    // Smaller entries are the rounding of what was put in.
    let nothing = f64::EPSILON * size;
    for l in 0..n {
        for _ in 0..MAX_STEPS {
            // Where the block that holds `l` ends; the last entry of `e` is zero.
            let m = (l..n).find(|&m| e[m].abs() <= nothing).unwrap_or(n - 1);
            if m == l {
                break;
            }
            ql_step(d, e, l, m);
        }
    }
}

/// One implicit QL step on rows `l` to `m`, all of whose entries in `e` are clearly not zero.
fn ql_step(d: &mut [f64], e: &mut [f64], l: usize, m: usize) {
    let shift = (d[l + 1] - d[l]) / (2.0 * e[l]);
    let mut g = d[m] - d[l] + e[l] / (shift + shift.hypot(1.0).copysign(shift));
    let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
    for i in (l..m).rev() {
        let f = sine * e[i];
        let b = cosine * e[i];
        let r = f.hypot(g);
        e[i + 1] = r;
        if r == 0.0 {
            // The block falls apart here; the next step takes up the part with `l`.
            d[i + 1] -= p;
            e[m] = 0.0;
            return;
        }
        sine = f / r;
        cosine = g / r;
        g = d[i + 1] - p;
        let t = (d[i] - g) * sine + 2.0 * cosine * b;
        p = sine * t;
        d[i + 1] = g + p;
        g = cosine * t - b;
    }
    d[l] -= p;
    e[l] = g;
    e[m] = 0.0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_second_difference_has_its_known_spectrum() {
        // Eigenvalues 2 - 2 cos(pi k / (n + 1)), in closed form.
        let n = 40;
        let matrix = Array2::from_shape_fn((n, n), |(i, j)| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        });
        for (k, found) in eigenvalues(matrix).into_iter().rev().enumerate() {
            let angle = std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64;
            assert!((found - (2.0 - 2.0 * angle.cos())).abs() < 1e-12, "{k}: {found}");
        }
    }

    #[test]
    fn rotating_a_diagonal_keeps_its_entries() {
        let n = 12;
        // A product of plane rotations is orthogonal whatever the angles.
        let mut q = Array2::<f64>::eye(n);
        for (step, (i, j)) in (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).enumerate() {
            let (sine, cosine) = (0.7 * step as f64).sin_cos();
            for column in 0..n {
                let (a, b) = (q[(i, column)], q[(j, column)]);
                q[(i, column)] = cosine * a - sine * b;
                q[(j, column)] = sine * a + cosine * b;
            }
        }
        // Repeated, negative and zero eigenvalues among them.
        let wanted = [1e6, 50.0, 7.0, 7.0, 7.0, 1.0, 0.5, 0.0, 0.0, 0.0, -3.0, -40.0];
        let diagonal = Array2::from_diag(&ndarray::aview1(&wanted));
        let found = eigenvalues(q.dot(&diagonal).dot(&q.t()));
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-8, "{found}, not {wanted}");
        }
    }

    #[test]
    fn small_ones_are_right_too() {
        assert!(eigenvalues(Array2::zeros((0, 0))).is_empty());
        assert_eq!(eigenvalues(array![[3.0]]), [3.0]);
        assert_eq!(eigenvalues(Array2::zeros((3, 3))), [0.0; 3]);
        let found = eigenvalues(array![[2.0, 1.0], [1.0, 2.0]]);
        assert!((found[0] - 3.0).abs() < 1e-14 && (found[1] - 1.0).abs() < 1e-14);
    }
}
