//! What an encoder makes of held-out pairs, as numbers for the guard.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use sedge_core::{Evidence, Measure, PairedDifference};

/// One encoder on the held-out pairs.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Loss of each pair.
    losses: Vec<f32>,
    /// Reciprocal rank of each pair's neighbour.
    ranks: Vec<f32>,
    pub(crate) measure: Measure,
}

impl Look {
    /// Measures the embeddings of anchors and neighbours, row `i` of one belonging to row `i` of the
    /// other. All are first taken from their mean: what every embedding shares tells nothing apart, and
    /// an encoder that ends in a rectifier shares most of it. The loss is NT-Xent (T. Chen et al., 2020) at
    /// `temperature`, the mean of both directions; the rank is that of a pair's neighbour among all
    /// neighbours by cosine, equals counted as before it, so that a collapsed encoder ranks last. The
    /// spread is of the embeddings as they are.
    pub(crate) fn new(
        anchors: ArrayView2<'_, f32>,
        neighbours: ArrayView2<'_, f32>,
        temperature: f32,
    ) -> Self {
        let pairs = anchors.nrows().min(neighbours.nrows());
        let rows = anchors.rows().into_iter().take(pairs).chain(neighbours.rows().into_iter().take(pairs));
        let rows: Vec<Vec<f64>> = rows.map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect();
        let measured_spread = spread(&rows);
        let unit = from_their_mean(rows);
        let cosine = |i: usize, j: usize| -> f64 { unit[i].iter().zip(&unit[j]).map(|(a, b)| a * b).sum() };
        let loss = |i: usize, partner: usize| {
            let logits = (0..unit.len()).filter(|j| *j != i).map(|j| cosine(i, j) / f64::from(temperature));
            log_sum_exp(logits) - cosine(i, partner) / f64::from(temperature)
        };
        let losses: Vec<f32> =
            (0..pairs).map(|i| (0.5 * (loss(i, i + pairs) + loss(i + pairs, i))) as f32).collect();
        let rank = |i: usize| {
            let own = cosine(i, i + pairs);
            let is_behind = |j: usize| cosine(i, j + pairs) < own;
            let before = (0..pairs).filter(|j| *j != i && !is_behind(*j)).count();
            1.0 / (1 + before) as f32
        };
        let ranks: Vec<f32> = (0..pairs).map(rank).collect();
        let measure =
            Measure { loss: mean(&losses), mean_reciprocal_rank: mean(&ranks), spread: measured_spread };
        Self { losses, ranks, measure }
    }
}

/// What the guard needs of three looks at the same pairs; `None` for fewer than two pairs.
pub(crate) fn evidence(candidate: &Look, incumbent: &Look, origin: &Look, drift: f32) -> Option<Evidence> {
    Some(Evidence {
        candidate: candidate.measure,
        incumbent: incumbent.measure,
        origin: origin.measure,
        over_incumbent: PairedDifference::of(&incumbent.losses, &candidate.losses)?,
        over_origin: PairedDifference::of(&origin.losses, &candidate.losses)?,
        ranks_over_incumbent: PairedDifference::of(&candidate.ranks, &incumbent.ranks)?,
        drift,
    })
}

/// Evidence that nothing could be measured of the candidate.
pub(crate) fn no_evidence(incumbent: &Look, origin: &Look) -> Evidence {
    let nothing = Measure { loss: f32::NAN, mean_reciprocal_rank: f32::NAN, spread: f32::NAN };
    let pairs = u32::try_from(incumbent.losses.len()).unwrap_or(u32::MAX);
    let difference = PairedDifference { mean: f32::NAN, standard_error: f32::NAN, pairs };
    Evidence {
        candidate: nothing,
        incumbent: incumbent.measure,
        origin: origin.measure,
        over_incumbent: difference,
        over_origin: difference,
        ranks_over_incumbent: difference,
        drift: f32::NAN,
    }
}

/// The origin's loss less the incumbent's, pair by pair.
pub(crate) fn improvement(incumbent: &Look, origin: &Look) -> Option<PairedDifference> {
    PairedDifference::of(&origin.losses, &incumbent.losses)
}

/// Mean cosine distance between the rows of two arrays.
pub(crate) fn drift(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    let distances: Vec<f32> =
        a.axis_iter(Axis(0)).zip(b.axis_iter(Axis(0))).map(|(a, b)| 1.0 - cosine(a, b) as f32).collect();
    mean(&distances)
}

fn cosine(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let unit = |row: ArrayView1<'_, f32>| unit(row.to_vec().into_iter().map(f64::from));
    unit(a).iter().zip(unit(b)).map(|(x, y)| x * y).sum()
}

fn unit(row: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let norm = row.clone().map(|v| v * v).sum::<f64>().sqrt();
    let scale = if norm == 0.0 { 0.0 } else { 1.0 / norm };
    row.map(|v| v * scale).collect()
}

/// Rows less their mean, of length one.
fn from_their_mean(rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = rows.len().max(1) as f64;
    let dimensions = rows.first().map_or(0, Vec::len);
    let mean: Vec<f64> = (0..dimensions).map(|d| rows.iter().map(|row| row[d]).sum::<f64>() / n).collect();
    rows.iter().map(|row| unit(row.iter().zip(&mean).map(|(v, m)| v - m))).collect()
}

fn log_sum_exp(logits: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.map(|v| (v - largest).exp()).sum::<f64>().ln()
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64) as f32
}

/// Mean over the dimensions of the standard deviation over the rows, each scaled to length one.
fn spread(rows: &[Vec<f64>]) -> f32 {
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| unit(row.iter().copied())).collect();
    let dimensions = rows.first().map_or(0, Vec::len);
    let n = rows.len().max(1) as f64;
    let deviation = |d: usize| {
        let mean = rows.iter().map(|row| row[d]).sum::<f64>() / n;
        (rows.iter().map(|row| (row[d] - mean).powi(2)).sum::<f64>() / n).sqrt()
    };
    ((0..dimensions).map(deviation).sum::<f64>() / dimensions.max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::array;

    #[test]
    fn opposite_pairs_have_the_closed_form_loss() {
        // Two pairs of equal vectors, one opposite to the other about their mean (3, 1): every row sees its
        // partner at cosine 1 and two strangers at -1, so the loss is ln(e^{1/t} + 2 e^{-1/t}) - 1/t.
        let z = array![[5.0, 2.0], [1.0, 0.0]];
        let look = Look::new(z.view(), z.view(), 0.5);
        let closed = (2.0f32.exp() + 2.0 * (-2.0f32).exp()).ln() - 2.0;
        assert!((look.measure.loss - closed).abs() < 1e-6, "{:?}", look.measure);
        assert_eq!(look.measure.mean_reciprocal_rank, 1.0);
    }

    #[test]
    fn spread_is_of_the_directions_as_they_are() {
        let z = array![[2.0, 0.0], [0.0, 3.0]];
        // Each dimension holds 1, 0, 1, 0: deviation one half.
        assert!((Look::new(z.view(), z.view(), 0.5).measure.spread - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_collapsed_encoder_is_worst_in_everything() {
        let z = Array2::from_elem((4, 3), 0.75);
        let look = Look::new(z.view(), z.view(), 0.5);
        // All alike: seven candidates, each as likely.
        assert!((look.measure.loss - 7.0f32.ln()).abs() < 1e-6);
        assert_eq!(look.measure.mean_reciprocal_rank, 0.25);
        assert!(look.measure.spread < 1e-6);
    }

    #[test]
    fn ranks_count_what_lies_nearer() {
        // The mean is nought. Of anchor 0 the neighbour is the farther of two, of anchor 1 the nearer.
        let anchors = array![[1.0, 0.0], [0.0, 1.0]];
        let neighbours = array![[-1.0, -2.0], [0.0, 1.0]];
        let look = Look::new(anchors.view(), neighbours.view(), 1.0);
        assert_eq!(look.ranks, [0.5, 1.0]);
    }

    #[test]
    fn drift_is_the_mean_cosine_distance() {
        let a = array![[1.0, 0.0], [0.0, 2.0]];
        assert!(drift(&a, &a).abs() < 1e-7);
        assert!((drift(&a, &array![[0.0, 1.0], [0.0, 1.0]]) - 0.5).abs() < 1e-7);
        assert!(drift(&a, &array![[f32::NAN, 1.0], [0.0, 1.0]]).is_nan());
    }

    #[test]
    fn evidence_compares_pair_by_pair() {
        let places = array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let mistaken = array![[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]];
        let candidate = Look::new(places.view(), places.view(), 0.5);
        let incumbent = Look::new(places.view(), mistaken.view(), 0.5);
        let evidence = evidence(&candidate, &incumbent, &incumbent, 0.0).unwrap();
        assert!(evidence.over_incumbent.mean > 0.0 && evidence.over_incumbent.pairs == 3);
        assert!((evidence.over_origin.mean - (incumbent.measure.loss - candidate.measure.loss)).abs() < 1e-6);
        assert!(improvement(&candidate, &incumbent).unwrap().mean > 0.0);
    }
}
