//! Where a token lies, told by fixed sines and cosines (Vaswani et al. 2017, section 3.5), in two dimensions
//! half the features for each axis (He et al. 2022, appendix A; Chen et al. 2021, section 5). Fixed rather than
//! learned: both papers found no difference, there is no weight to keep or decay, and a masked
//! autoencoder cannot take the easy way of learning positions instead of content.

use ndarray::{Array2, ArrayD};

/// Longest wavelength over 2 pi, of the paper.
const LONGEST: f64 = 10_000.0;

/// A row of `dim` features for each place of `grid`, in row-major order: `[places, dim]`. For every axis
/// `dim / axes` features, first sines then cosines.
pub(super) fn table(grid: &[usize], dim: usize) -> ArrayD<f32> {
    let places: usize = grid.iter().product();
    let share = dim / grid.len().max(1);
    let half = share / 2;
    let value = |(place, feature): (usize, usize)| {
        let axis = (feature / share.max(1)).min(grid.len().saturating_sub(1));
        let below: usize = grid.iter().skip(axis + 1).product();
        let along = place / below.max(1) % grid.get(axis).copied().unwrap_or(1).max(1);
        let at = feature - axis * share;
        let turn = (at % half.max(1)) as f64 / half.max(1) as f64;
        let angle = along as f64 / LONGEST.powf(turn);
        (if at < half { angle.sin() } else { angle.cos() }) as f32
    };
    Array2::from_shape_fn((places, dim), value).into_dyn()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The features that only see one axis are the same along the other, and those of the other axis
    /// repeat them turned.
    #[test]
    fn each_axis_has_its_own_features() {
        let table = table(&[3, 5], 8);
        assert_eq!(table.shape(), [15, 8]);
        let at = |row: usize, column: usize, feature: usize| table[[row * 5 + column, feature]];
        for row in 0..3 {
            for column in 0..5 {
                for feature in 0..4 {
                    assert_eq!(at(row, column, feature), at(row, 0, feature));
                    assert_eq!(at(row, column, 4 + feature), at(0, column, 4 + feature));
                }
            }
            assert_eq!(
                (0..4).map(|f| at(row, 0, f)).collect::<Vec<_>>(),
                [4, 5, 6, 7].map(|f| at(0, row, f))
            );
            let angles = [row as f64, row as f64 / 100.0];
            let wanted = [angles[0].sin(), angles[1].sin(), angles[0].cos(), angles[1].cos()];
            assert!(wanted.iter().enumerate().all(|(f, w)| (f64::from(at(row, 0, f)) - w).abs() < 1e-7));
        }
    }
}
