//! The two directions in which features vary most (Pearson, 1901), to draw embeddings in the plane.
//! Found by power iteration from a fixed start, so that the same features give the same map; the axes
//! can be kept and used for other features, as for the same things before and after adapting.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::ReportError;

/// Rows that the axes are found from; of more, evenly many are left out.
pub const MAX_ROWS: usize = 4096;
/// The widest features taken.
pub const MAX_COLUMNS: usize = 1 << 16;
const MAX_ITERATIONS: usize = 500;

/// A plane through the features.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    mean: Array1<f64>,
    axes: [Array1<f64>; 2],
    /// The share of the variance that lies along each axis.
    pub explained: [f64; 2],
}

impl Plane {
    /// Finds the plane of the two main directions of `features` (`[n, d]`). Where there is no second
    /// direction, as for one column, the second coordinate is zero.
    ///
    /// # Errors
    /// No features, features that are not finite, more than [`MAX_COLUMNS`] columns.
    pub fn of(features: ArrayView2<'_, f32>) -> Result<Self, ReportError> {
        check(features)?;
        let count = features.nrows().min(MAX_ROWS);
        let rows: Vec<usize> = (0..count).map(|i| i * features.nrows() / count).collect();
        let mut sample = features.select(Axis(0), &rows).mapv(f64::from);
        // There is at least one row.
        let mean = sample.sum_axis(Axis(0)) / count as f64;
        sample -= &mean;
        let all = sample.iter().map(|x| x * x).sum::<f64>();
        let first = main_direction(&sample, all, &[]);
        let second = main_direction(&sample, all, std::slice::from_ref(&first.0));
        let explained = [first.1, second.1].map(|part| if all > 0.0 { part / all } else { 0.0 });
        Ok(Self { mean, axes: [first.0, second.0], explained })
    }

    /// The coordinates of `features` (`[m, d]`) in the plane.
    ///
    /// # Errors
    /// Features that are empty, not finite, or of another width than the plane's.
    pub fn project(&self, features: ArrayView2<'_, f32>) -> Result<Vec<[f32; 2]>, ReportError> {
        check(features)?;
        if features.ncols() != self.mean.len() {
            return Err(ReportError::Length {
                figure: "map of embeddings".to_owned(),
                what: "columns".to_owned(),
                found: features.ncols(),
                wanted: self.mean.len(),
            });
        }
        let along = |row: ndarray::ArrayView1<'_, f32>, axis: &Array1<f64>| {
            let parts = row.iter().zip(&self.mean).zip(axis);
            parts.map(|((x, mean), axis)| (f64::from(*x) - mean) * axis).sum::<f64>() as f32
        };
        Ok(features.rows().into_iter().map(|row| [0, 1].map(|axis| along(row, &self.axes[axis]))).collect())
    }
}

fn check(features: ArrayView2<'_, f32>) -> Result<(), ReportError> {
    if features.is_empty() {
        return Err(ReportError::Empty { figure: "map of embeddings".to_owned() });
    }
    if features.ncols() > MAX_COLUMNS {
        let what = "number of columns to map".to_owned();
        return Err(ReportError::TooLarge { what, found: features.ncols(), limit: MAX_COLUMNS });
    }
    match features.indexed_iter().find(|(_, x)| !x.is_finite()) {
        Some(((row, column), _)) => Err(ReportError::NotFinite { what: "features to map", row, column }),
        None => Ok(()),
    }
}

/// The direction of most variance at right angles to `taken`, and the sum of squares along it; zeros
/// where nothing of `all`, the sum of squares of the sample, is left.
fn main_direction(sample: &Array2<f64>, all: f64, taken: &[Array1<f64>]) -> (Array1<f64>, f64) {
    let columns = sample.ncols();
    // An irregular start is at right angles to no likely direction.
    let mut axis = Array1::from_shape_fn(columns, |i| 1.0 + (i as f64 * 0.754_877_666).fract());
    let mut along = 0.0_f64;
    for _ in 0..MAX_ITERATIONS {
        let scores = if unit_beside(&mut axis, taken) { sample.dot(&axis) } else { Array1::zeros(1) };
        let now = scores.dot(&scores);
        if now <= all * 1e-14 {
            return (Array1::zeros(columns), 0.0);
        }
        let settled = (now - along).abs() <= 1e-12 * now;
        along = now;
        if settled {
            break;
        }
        axis = sample.t().dot(&scores);
    }
    unit_beside(&mut axis, taken);
    // Either sign is right; the one with the largest entry positive is always the same.
    let largest = axis.iter().fold(0.0_f64, |a, b| if b.abs() > a.abs() { *b } else { a });
    if largest < 0.0 {
        axis.mapv_inplace(|x| -x);
    }
    (axis, along)
}

/// Takes what lies along `taken` out of `axis` and gives it length 1; false where nothing is left.
fn unit_beside(axis: &mut Array1<f64>, taken: &[Array1<f64>]) -> bool {
    let before = axis.dot(axis).sqrt();
    for other in taken {
        let overlap = axis.dot(other);
        axis.scaled_add(-overlap, other);
    }
    let norm = axis.dot(axis).sqrt();
    let left = norm > 1e-9 * before;
    if left {
        *axis /= norm;
    }
    left
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::array;

    #[test]
    fn known_directions_are_found() {
        // Spread 10 along (3, 4)/5, spread 2 along (-4, 3)/5, and 0.1 along the third axis, around an
        // offset; the coefficients are orthogonal, so these are the axes exactly.
        let pattern = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)];
        let rows = pattern.iter().flat_map(|(a, b)| [1.0, -1.0].map(|c| (10.0 * a, 2.0 * b, 0.1 * c)));
        let rows: Vec<[f32; 3]> =
            rows.map(|(a, b, c)| [7.0 + 0.6 * a - 0.8 * b, 0.8 * a + 0.6 * b, c - 3.0]).collect();
        let features = Array2::from_shape_fn((8, 3), |(row, column)| rows[row][column]);
        let plane = Plane::of(features.view()).unwrap();
        for (found, wanted) in plane.axes.iter().zip([[0.6, 0.8, 0.0], [0.8, -0.6, 0.0]]) {
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-5, "{:?}", plane.axes);
            }
        }
        let all = 100.0 + 4.0 + 0.01;
        assert!((plane.explained[0] - 100.0 / all).abs() < 1e-6);
        assert!((plane.explained[1] - 4.0 / all).abs() < 1e-6);
        let at = plane.project(features.view()).unwrap();
        assert!((at[0][0] - 10.0).abs() < 1e-4 && (at[0][1] + 2.0).abs() < 1e-4, "{:?}", at[0]);
    }

    #[test]
    fn flat_features_have_no_second_direction() {
        let line = array![[1.0_f32, 2.0], [2.0, 4.0], [4.0, 8.0]];
        let plane = Plane::of(line.view()).unwrap();
        assert!((plane.explained[0] - 1.0).abs() < 1e-9 && plane.explained[1] < 1e-9);
        assert!(plane.project(line.view()).unwrap().iter().all(|p| p[1].abs() < 1e-5));
        for flat in [Array2::zeros((1, 1)), Array2::from_elem((5, 4), 3.0)] {
            let plane = Plane::of(flat.view()).unwrap();
            assert!(plane.project(flat.view()).unwrap().iter().flatten().all(|x| *x == 0.0));
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        assert!(Plane::of(Array2::zeros((0, 3)).view()).is_err());
        let error = Plane::of(array![[1.0_f32, f32::NAN]].view());
        assert!(matches!(error, Err(ReportError::NotFinite { row: 0, column: 1, .. })));
        let plane = Plane::of(array![[1.0_f32, 2.0], [2.0, 1.0]].view()).unwrap();
        assert!(matches!(plane.project(Array2::zeros((1, 3)).view()), Err(ReportError::Length { .. })));
    }
}
