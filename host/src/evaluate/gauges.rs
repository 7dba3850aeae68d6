//! Gauges of collapse, which need no labels: a representation can have a falling loss and yet map
//! everything to one point, or to a line. Each gauge is a published number, and each has a verdict in
//! plain words, because nobody remembers which way uniformity points.

use ndarray::{Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

use super::knn::unit_rows;
use super::spectrum::eigenvalues;
use super::{EvaluateError, check};

/// Rows at most that pairwise distances are taken of.
pub const MAX_PAIRED_ROWS: usize = 2048;
/// The widest features whose rank is taken over all rows; of wider ones over as many spread rows.
pub const MAX_SPECTRUM: usize = 512;
/// Keeps the logarithm of an empty direction finite, as published.
const RANK_EPSILON: f64 = 1e-7;
/// The published temperature of uniformity.
const UNIFORMITY_TEMPERATURE: f64 = 2.0;
/// Rows whose distances are held at once.
const BLOCK: usize = 256;

/// How spread out a set of features is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gauges {
    /// Rows measured.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The mean over columns of the standard deviation of length-normalised features, times the root
    /// of the number of columns: 1 when spread in all directions, 0 when collapsed to a point (Chen &
    /// He, 2021).
    pub relative_std: f64,
    /// RankMe: the exponential of the entropy of the singular values, from 1 to the number of
    /// columns (Garrido, Balestriero, Najman & LeCun, 2023).
    pub effective_rank: f64,
    /// The logarithm of the mean of `exp(-2 |x - y|^2)` over pairs of length-normalised features: 0
    /// when all coincide, about -4 when spread over a sphere of many dimensions (Wang & Isola, 2020).
    pub uniformity: f64,
    /// The mean squared distance of the two length-normalised views of a thing: 0 when they coincide,
    /// about 2 when they are strangers (Wang & Isola, 2020). Absent without pairs.
    pub alignment: Option<f64>,
}

/// How a gauge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// As it should be.
    Good,
    /// Worth watching.
    Watch,
    /// Collapsed, or as good as.
    Collapsed,
}

impl Health {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Watch => "watch",
            Self::Collapsed => "collapsed",
        }
    }
}

/// What a gauge says, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The gauge's name.
    pub gauge: String,
    /// Its value, formatted.
    pub value: String,
    /// How it stands.
    pub health: Health,
    /// What that means.
    pub words: String,
}

impl Gauges {
    /// Measures `features` (`[n, d]`); `views`, where given, holds in each row another view of the
    /// thing in the same row of `features`.
    ///
    /// # Errors
    /// Empty or not finite features, fewer than two rows, views of another shape.
    pub fn of(
        features: ArrayView2<'_, f32>,
        views: Option<ArrayView2<'_, f32>>,
    ) -> Result<Self, EvaluateError> {
        check::features("features to gauge", features)?;
        let (rows, columns) = features.dim();
        if rows < 2 {
            let wanted = "at least 2 to see any spread";
            return Err(EvaluateError::Setting { name: "rows to gauge", value: rows as f64, wanted });
        }
        let alignment = match views {
            Some(views) => {
                check::features("views to gauge", views)?;
                check::length("views to gauge", views.nrows(), rows, "row")?;
                check::length("views to gauge", views.ncols(), columns, "column of the features")?;
                Some(alignment(features, views))
            }
            None => None,
        };
        Ok(Self {
            rows,
            columns,
            relative_std: relative_std(features),
            effective_rank: effective_rank(features),
            uniformity: uniformity(features),
            alignment,
        })
    }

    /// With the alignment of `views` and `others`, two views in each row of the thing in the same row.
    ///
    /// # Errors
    /// Empty or not finite views, or two of different shapes.
    pub fn aligned(
        self,
        views: ArrayView2<'_, f32>,
        others: ArrayView2<'_, f32>,
    ) -> Result<Self, EvaluateError> {
        check::features("views to gauge", views)?;
        check::features("views to gauge", others)?;
        check::length("views to gauge", others.nrows(), views.nrows(), "row")?;
        check::length("views to gauge", others.ncols(), views.ncols(), "column of the other views")?;
        Ok(Self { alignment: Some(alignment(views, others)), ..self })
    }

    /// What each gauge says, in plain words.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = vec![self.spread_verdict(), self.rank_verdict(), self.uniformity_verdict()];
        verdicts.extend(self.alignment.map(alignment_verdict));
        verdicts
    }

    /// The worst of the verdicts.
    pub fn health(&self) -> Health {
        let all = self.verdicts();
        let any = |health| all.iter().any(|verdict| verdict.health == health);
        if any(Health::Collapsed) {
            Health::Collapsed
        } else if any(Health::Watch) {
            Health::Watch
        } else {
            Health::Good
        }
    }

    fn spread_verdict(&self) -> Verdict {
        let (health, words) = match self.relative_std {
            x if x < 0.05 => (Health::Collapsed, "all embeddings point the same way"),
            x if x < 0.3 => {
                (Health::Watch, "embeddings share most of their direction and differ a little around it")
            }
            _ => (Health::Good, "embeddings point in many directions"),
        };
        verdict("spread (1 is full)", format!("{:.2}", self.relative_std), health, words.to_owned())
    }

    fn rank_verdict(&self) -> Verdict {
        let possible = self.columns.min(self.rows);
        let share = self.effective_rank / possible as f64;
        let health = if self.effective_rank < 1.5 && possible > 2 {
            Health::Collapsed
        } else if share < 0.1 {
            Health::Watch
        } else {
            Health::Good
        };
        let words = format!(
            "embeddings use about {:.0} of {possible} directions ({:.0} %)",
            self.effective_rank,
            100.0 * share
        );
        verdict("effective rank", format!("{:.1}", self.effective_rank), health, words)
    }

    fn uniformity_verdict(&self) -> Verdict {
        let (health, words) = match self.uniformity {
            x if x > -0.05 => (Health::Collapsed, "any two embeddings are all but equal"),
            x if x > -1.0 => (Health::Watch, "embeddings crowd into a small part of the sphere"),
            _ => (Health::Good, "embeddings keep apart from one another"),
        };
        verdict("uniformity (lower is better)", format!("{:.2}", self.uniformity), health, words.to_owned())
    }
}

fn alignment_verdict(alignment: f64) -> Verdict {
    let (health, words) = match alignment {
        x if x > 1.5 => (Health::Watch, "two views of a thing are as far apart as strangers"),
        x if x > 0.7 => (Health::Watch, "two views of a thing agree only loosely"),
        _ => (Health::Good, "two views of a thing land close together"),
    };
    verdict("alignment (lower is better)", format!("{alignment:.2}"), health, words.to_owned())
}

fn verdict(gauge: &str, value: String, health: Health, words: String) -> Verdict {
    Verdict { gauge: gauge.to_owned(), value, health, words }
}

fn relative_std(features: ArrayView2<'_, f32>) -> f64 {
    let columns = features.ncols();
    // About the first row, so that features that all but coincide lose no digits.
    let about = unit_rows(features.slice(s![..1, ..]));
    let mut sum = vec![0.0; columns];
    let mut square = vec![0.0; columns];
    for block in features.axis_chunks_iter(Axis(0), BLOCK) {
        for row in unit_rows(block).rows() {
            for (((x, about), sum), square) in row.iter().zip(&about).zip(&mut sum).zip(&mut square) {
                let x = f64::from(*x) - f64::from(*about);
                *sum += x;
                *square += x * x;
            }
        }
    }
    let n = features.nrows() as f64;
    let deviations =
        sum.iter().zip(&square).map(|(sum, square)| (square / n - (sum / n).powi(2)).max(0.0).sqrt());
    deviations.sum::<f64>() / (columns as f64).sqrt()
}

fn effective_rank(features: ArrayView2<'_, f32>) -> f64 {
    // Singular values are the roots of the eigenvalues of either product with the transpose.
    let gram = if features.ncols() <= MAX_SPECTRUM {
        let mut gram = Array2::<f64>::zeros((features.ncols(), features.ncols()));
        for block in features.axis_chunks_iter(Axis(0), BLOCK) {
            let block = block.mapv(f64::from);
            ndarray::linalg::general_mat_mul(1.0, &block.t(), &block, 1.0, &mut gram);
        }
        gram
    } else {
        let sample = spread(features, MAX_SPECTRUM).mapv(f64::from);
        sample.dot(&sample.t())
    };
    let singular: Vec<f64> = eigenvalues(gram).into_iter().map(|value| value.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    if sum == 0.0 {
        return 1.0;
    }
    let entropy: f64 = singular
        .iter()
        .map(|value| {
            let share = value / sum + RANK_EPSILON;
            -share * share.ln()
        })
        .sum();
    entropy.exp()
}

fn uniformity(features: ArrayView2<'_, f32>) -> f64 {
    let unit = unit_rows(spread(features, MAX_PAIRED_ROWS).view());
    let n = unit.nrows();
    let mut sum = 0.0;
    for first in (0..n).step_by(BLOCK) {
        let block = unit.slice(s![first..n.min(first + BLOCK), ..]);
        let similarities = block.dot(&unit.t());
        for (offset, row) in similarities.rows().into_iter().enumerate() {
            for similarity in row.iter().skip(first + offset + 1) {
                // For unit rows |x - y|^2 = 2 - 2 x.y.
                let square = (2.0 - 2.0 * f64::from(*similarity)).max(0.0);
                sum += (-UNIFORMITY_TEMPERATURE * square).exp();
            }
        }
    }
    let pairs = n as f64 * (n as f64 - 1.0) / 2.0;
    (sum / pairs).ln()
}

fn alignment(features: ArrayView2<'_, f32>, views: ArrayView2<'_, f32>) -> f64 {
    let mut sum = 0.0;
    let blocks = features.axis_chunks_iter(Axis(0), BLOCK).zip(views.axis_chunks_iter(Axis(0), BLOCK));
    for (a, b) in blocks {
        let (a, b) = (unit_rows(a), unit_rows(b));
        sum += a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    sum / features.nrows() as f64
}

/// At most `limit` rows, evenly spread over all of them.
fn spread(features: ArrayView2<'_, f32>, limit: usize) -> Array2<f32> {
    let n = features.nrows();
    let count = n.min(limit);
    let rows: Vec<usize> = (0..count).map(|i| i * n / count).collect();
    features.select(Axis(0), &rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::evaluate::testing::blobs;

    /// From NumPy; see `goldens/evaluate.py`.
    #[derive(Deserialize)]
    struct Golden {
        features: Vec<Vec<f32>>,
        others: Vec<Vec<f32>>,
        relative_std: f64,
        effective_rank: f64,
        alignment: f64,
        uniformity: f64,
    }

    #[test]
    fn they_are_numpys() {
        let golden: Golden = serde_json::from_str(include_str!("../../goldens/gauges.json")).unwrap();
        let matrix = |rows: &[Vec<f32>]| {
            Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column])
        };
        let (features, others) = (matrix(&golden.features), matrix(&golden.others));
        let found = Gauges::of(features.view(), Some(others.view())).unwrap();
        for (found, wanted) in [
            (found.relative_std, golden.relative_std),
            (found.effective_rank, golden.effective_rank),
            (found.alignment.unwrap(), golden.alignment),
            (found.uniformity, golden.uniformity),
        ] {
            assert!((found / wanted - 1.0).abs() < 1e-5, "{found}, not {wanted}");
        }
    }

    #[test]
    fn a_point_is_collapsed_and_a_ball_is_not() {
        let point = Array2::from_shape_fn((100, 16), |(row, column)| {
            1.0 + column as f32 + 1e-4 * ((row * 7 + column * 3) % 11) as f32
        });
        let found = Gauges::of(point.view(), Some(point.view())).unwrap();
        assert_eq!(found.health(), Health::Collapsed);
        assert!(found.relative_std < 1e-3 && found.effective_rank < 1.1 && found.uniformity > -1e-3);

        let (ball, _) = blobs(3000, 16, 1, 1.0, 4);
        let ball = &ball - &ball.mean_axis(Axis(0)).unwrap();
        let found = Gauges::of(ball.view(), None).unwrap();
        assert_eq!(found.health(), Health::Good, "{:?}", found.verdicts());
        assert!((found.relative_std - 1.0).abs() < 0.02);
        assert!(found.effective_rank > 15.5 && found.effective_rank < 16.001);
        assert_eq!(found.verdicts().len(), 3);
    }

    #[test]
    fn wide_features_are_sampled_and_still_ranked() {
        // A line in a wide space has rank one however it is sampled.
        let line = Array2::from_shape_fn((700, MAX_SPECTRUM + 8), |(row, column)| {
            (row as f32 - 350.5) * (1.0 + column as f32 / 100.0)
        });
        let found = Gauges::of(line.view(), None).unwrap();
        assert!((found.effective_rank - 1.0).abs() < 0.01, "{}", found.effective_rank);
    }

    #[test]
    fn zeros_are_a_collapse_and_not_a_nan() {
        let found = Gauges::of(Array2::zeros((5, 4)).view(), None).unwrap();
        assert_eq!((found.relative_std, found.effective_rank), (0.0, 1.0));
        assert_eq!(found.health(), Health::Collapsed);
        assert!(Gauges::of(Array2::zeros((1, 4)).view(), None).is_err());
        let views = Array2::zeros((5, 3));
        assert!(Gauges::of(Array2::zeros((5, 4)).view(), Some(views.view())).is_err());
    }
}
