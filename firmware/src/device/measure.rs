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
    /// other. The loss is NT-Xent (T. Chen et al., 2020) at `temperature` on the embeddings themselves, the
    /// mean of both directions; the rank is that of a pair's neighbour among all neighbours by cosine,
    /// equals counted as before it, so that a collapsed encoder ranks last.
    pub(crate) fn new(
        anchors: ArrayView2<'_, f32>,
        neighbours: ArrayView2<'_, f32>,
        temperature: f32,
    ) -> Self {
        let pairs = anchors.nrows().min(neighbours.nrows());
        let rows = anchors.rows().into_iter().take(pairs).chain(neighbours.rows().into_iter().take(pairs));
        let unit: Vec<Vec<f64>> = rows.map(unit).collect();
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
            Measure { loss: mean(&losses), mean_reciprocal_rank: mean(&ranks), spread: spread(&unit) };
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
    let distances: Vec<f32> = a
        .axis_iter(Axis(0))
        .zip(b.axis_iter(Axis(0)))
        .map(|(a, b)| 1.0 - unit(a).iter().zip(unit(b)).map(|(x, y)| x * y).sum::<f64>() as f32)
        .collect();
    mean(&distances)
}

fn unit(row: ArrayView1<'_, f32>) -> Vec<f64> {
    let norm = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    let scale = if norm == 0.0 { 0.0 } else { 1.0 / norm };
    row.iter().map(|v| f64::from(*v) * scale).collect()
}

fn log_sum_exp(logits: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.map(|v| (v - largest).exp()).sum::<f64>().ln()
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64) as f32
}

/// Mean over the dimensions of the standard deviation over the rows.
fn spread(rows: &[Vec<f64>]) -> f32 {
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
    fn orthogonal_pairs_have_the_closed_form_loss() {
        // Two pairs, each of equal vectors, orthogonal to each other: every row sees its partner at
        // cosine 1 and two strangers at 0, so the loss is ln(e^{1/t} + 2) - 1/t.
        let z = array![[2.0, 0.0], [0.0, 3.0]];
        let look = Look::new(z.view(), z.view(), 0.5);
        let closed = ((2.0f32).exp() + 2.0).ln() - 2.0;
        assert!((look.measure.loss - closed).abs() < 1e-6, "{:?}", look.measure);
        assert_eq!(look.measure.mean_reciprocal_rank, 1.0);
        // Each dimension holds 1, 0, 1, 0: deviation one half.
        assert!((look.measure.spread - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_collapsed_encoder_is_worst_in_everything() {
        let z = Array2::from_elem((4, 3), 0.7);
        let look = Look::new(z.view(), z.view(), 0.5);
        // All alike: seven candidates, each as likely.
        assert!((look.measure.loss - 7.0f32.ln()).abs() < 1e-6);
        assert_eq!(look.measure.mean_reciprocal_rank, 0.25);
        assert!(look.measure.spread < 1e-6);
    }

    #[test]
    fn ranks_count_what_lies_nearer() {
        let anchors = array![[1.0, 0.0], [0.0, 1.0]];
        let neighbours = array![[0.0, 1.0], [0.6, 0.8]];
        let look = Look::new(anchors.view(), neighbours.view(), 1.0);
        // Of anchor 0 the neighbour is the farther of two; of anchor 1 too (0.8 against 1).
        assert_eq!(look.ranks, [0.5, 0.5]);
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
        let good = array![[1.0, 0.0], [0.0, 1.0]];
        let bad = array![[1.0, 0.0], [1.0, 0.1]];
        let (candidate, incumbent) =
            (Look::new(good.view(), good.view(), 0.5), Look::new(bad.view(), bad.view(), 0.5));
        let evidence = evidence(&candidate, &incumbent, &incumbent, 0.0).unwrap();
        assert!(evidence.over_incumbent.mean > 0.0 && evidence.over_incumbent.pairs == 2);
        assert!((evidence.over_origin.mean - (incumbent.measure.loss - candidate.measure.loss)).abs() < 1e-6);
        assert!(improvement(&candidate, &incumbent).unwrap().mean > 0.0);
    }
}
