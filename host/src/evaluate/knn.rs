//! Weighted nearest neighbours on cosine similarity: the quickest honest look at a representation,
//! as nothing is trained. Each of the `k` nearest training items votes for its class with weight
//! `exp(similarity / temperature)` (Wu, Xiong, Yu & Lin, 2018). Similarities are made block by block,
//! so memory does not grow with the product of the two set sizes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use ndarray::{Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

use super::{EvaluateError, check, metrics};

/// Test rows whose similarities are held at once.
const TEST_BLOCK: usize = 256;
/// Training rows whose similarities are held at once; a block of products is then 4 MiB.
const TRAIN_BLOCK: usize = 4096;
/// The most neighbours that may be asked for; bounds the candidate lists of a block.
pub const MAX_NEIGHBOURS: usize = 10_000;

/// How neighbours vote.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knn {
    /// Neighbours that vote; at most as many as there are training items.
    pub k: usize,
    /// Softness of the vote: the smaller, the more the nearest decide.
    pub temperature: f64,
}

impl Default for Knn {
    /// `k` = 200 and temperature 0.1, the usual choice in work on self-supervised learning.
    fn default() -> Self {
        Self { k: 200, temperature: 0.1 }
    }
}

/// A training item as a neighbour: more similar is greater, and of equals the earlier item is.
struct Neighbour {
    similarity: f32,
    item: usize,
}

impl PartialEq for Neighbour {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Neighbour {}

impl Ord for Neighbour {
    fn cmp(&self, other: &Self) -> Ordering {
        self.similarity.total_cmp(&other.similarity).then(other.item.cmp(&self.item))
    }
}

impl PartialOrd for Neighbour {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Knn {
    /// Predicts a class for each row of `test` (`[m, d]`) from `train` (`[n, d]`) and its labels.
    /// Ties between classes go to the lower class, ties between neighbours to the earlier item. A row
    /// of zeros has similarity 0 to everything.
    ///
    /// # Errors
    /// Empty or not finite features, widths or lengths that disagree, labels that are not below
    /// `classes`, `k` outside 1 to [`MAX_NEIGHBOURS`], a temperature that is not positive.
    pub fn predict(
        &self,
        train: ArrayView2<'_, f32>,
        labels: &[u32],
        test: ArrayView2<'_, f32>,
        classes: usize,
    ) -> Result<Vec<u32>, EvaluateError> {
        check::features("train features", train)?;
        check::features("test features", test)?;
        check::length("test features", test.ncols(), train.ncols(), "column of the train features")?;
        check::labels("train labels", labels, train.nrows(), classes)?;
        self.check()?;

        let k = self.k.min(train.nrows());
        let mut predictions = Vec::with_capacity(test.nrows());
        for block in test.axis_chunks_iter(Axis(0), TEST_BLOCK) {
            for neighbours in nearest(train, block, k) {
                predictions.push(self.vote(&neighbours, labels, classes));
            }
        }
        Ok(predictions)
    }

    /// The share of `test` rows whose prediction is their label.
    ///
    /// # Errors
    /// As [`Knn::predict`], and test labels that do not fit.
    pub fn accuracy(
        &self,
        train: ArrayView2<'_, f32>,
        labels: &[u32],
        test: ArrayView2<'_, f32>,
        test_labels: &[u32],
        classes: usize,
    ) -> Result<f64, EvaluateError> {
        check::labels("test labels", test_labels, test.nrows(), classes)?;
        metrics::accuracy(&self.predict(train, labels, test, classes)?, test_labels)
    }

    fn check(&self) -> Result<(), EvaluateError> {
        if self.k == 0 {
            return Err(EvaluateError::Setting { name: "knn.k", value: 0.0, wanted: "at least 1" });
        }
        if self.k > MAX_NEIGHBOURS {
            return Err(EvaluateError::TooLarge {
                what: "knn.k".to_owned(),
                found: self.k,
                limit: MAX_NEIGHBOURS,
            });
        }
        // Written so that NaN is refused too.
        if self.temperature.is_finite() && self.temperature > 0.0 {
            Ok(())
        } else {
            let value = self.temperature;
            Err(EvaluateError::Setting { name: "knn.temperature", value, wanted: "above 0" })
        }
    }

    fn vote(&self, neighbours: &[Neighbour], labels: &[u32], classes: usize) -> u32 {
        // Weights relative to the nearest are the same vote and cannot overflow.
        let nearest = neighbours.first().map_or(0.0, |n| f64::from(n.similarity));
        let mut votes = vec![0.0_f64; classes];
        for neighbour in neighbours {
            // Items index `labels`, and labels were checked against `classes`.
            let class = labels[neighbour.item] as usize;
            votes[class] += ((f64::from(neighbour.similarity) - nearest) / self.temperature).exp();
        }
        let mut best = 0;
        for (class, vote) in votes.iter().enumerate() {
            if *vote > votes[best] {
                best = class;
            }
        }
        best as u32
    }
}

/// The `k` nearest training items of each row of `block`, nearest first.
fn nearest(train: ArrayView2<'_, f32>, block: ArrayView2<'_, f32>, k: usize) -> Vec<Vec<Neighbour>> {
    let queries = unit_rows(block);
    // A heap of reversed neighbours has the weakest candidate on top, ready to be displaced.
    let mut heaps: Vec<BinaryHeap<std::cmp::Reverse<Neighbour>>> =
        (0..block.nrows()).map(|_| BinaryHeap::with_capacity(k + 1)).collect();
    let mut similarities = Array2::<f32>::zeros((queries.nrows(), TRAIN_BLOCK.min(train.nrows())));
    let mut first = 0;
    for part in train.axis_chunks_iter(Axis(0), TRAIN_BLOCK) {
        let keys = unit_rows(part);
        let mut out = similarities.slice_mut(s![.., ..keys.nrows()]);
        ndarray::linalg::general_mat_mul(1.0, &queries, &keys.t(), 0.0, &mut out);
        for (row, heap) in out.rows().into_iter().zip(&mut heaps) {
            for (offset, &similarity) in row.iter().enumerate() {
                let candidate = Neighbour { similarity, item: first + offset };
                if heap.len() < k {
                    heap.push(std::cmp::Reverse(candidate));
                } else if heap.peek().is_some_and(|weakest| candidate > weakest.0) {
                    heap.pop();
                    heap.push(std::cmp::Reverse(candidate));
                }
            }
        }
        first += part.nrows();
    }
    let sorted = |heap: BinaryHeap<_>| {
        heap.into_sorted_vec().into_iter().map(|std::cmp::Reverse(n)| n).collect::<Vec<Neighbour>>()
    };
    heaps.into_iter().map(sorted).collect()
}

/// The rows scaled to length 1 (a row of zeros stays as it is).
pub(super) fn unit_rows(rows: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut unit = rows.to_owned();
    for mut row in unit.rows_mut() {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.mapv_inplace(|x| (f64::from(x) / norm) as f32);
        }
    }
    unit
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::evaluate::testing::blobs;
    use ndarray::array;

    /// Every pair, one at a time, all of them sorted.
    fn naive(knn: Knn, train: &Array2<f32>, labels: &[u32], test: &Array2<f32>, classes: usize) -> Vec<u32> {
        let cosine = |a: ndarray::ArrayView1<f32>, b: ndarray::ArrayView1<f32>| {
            let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let norm =
                |v: ndarray::ArrayView1<f32>| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            dot / (norm(a) * norm(b))
        };
        test.rows()
            .into_iter()
            .map(|query| {
                let mut all: Vec<(f64, u32)> =
                    train.rows().into_iter().zip(labels).map(|(t, l)| (cosine(query, t), *l)).collect();
                all.sort_by(|a, b| b.0.total_cmp(&a.0));
                let mut votes = vec![0.0; classes];
                for (similarity, label) in all.iter().take(knn.k) {
                    votes[*label as usize] += (similarity / knn.temperature).exp();
                }
                (0..classes).max_by(|a, b| votes[*a].total_cmp(&votes[*b])).unwrap() as u32
            })
            .collect()
    }

    #[test]
    fn blocks_give_what_all_pairs_give() {
        // More rows than one block on both sides, and a last block that is not full.
        let (train, labels) = blobs(TRAIN_BLOCK + 37, 6, 4, 1.5, 1);
        let (test, _) = blobs(TEST_BLOCK + 11, 6, 4, 1.5, 2);
        for k in [1, 7, 200] {
            let knn = Knn { k, temperature: 0.1 };
            let found = knn.predict(train.view(), &labels, test.view(), 4).unwrap();
            let wanted = naive(knn, &train, &labels, &test, 4);
            let unlike = found.iter().zip(&wanted).filter(|(a, b)| a != b).count();
            // Two rows at most may differ by rounding where votes or similarities all but tie.
            assert!(unlike <= 2, "k = {k}: {unlike} of {} differ", found.len());
        }
    }

    #[test]
    fn ties_go_to_the_earlier_item_and_the_lower_class() {
        let train = array![[1.0_f32, 0.0], [1.0, 0.0], [1.0, 0.0]];
        let test = array![[2.0_f32, 0.0]];
        let at = |k, labels: &[u32]| {
            Knn { k, temperature: 0.1 }.predict(train.view(), labels, test.view(), 3).unwrap()
        };
        assert_eq!(at(1, &[2, 1, 0]), [2]);
        assert_eq!(at(2, &[2, 1, 0]), [1]);
        assert_eq!(at(50, &[2, 1, 0]), [0]);
    }

    #[test]
    fn nearness_weighs_more_than_number() {
        // One neighbour at similarity 1 against two at 0.6: e^10 against 2 e^6.
        let train = array![[1.0_f32, 0.0], [0.6, 0.8], [0.6, -0.8]];
        let test = array![[1.0_f32, 0.0]];
        let predict = |temperature| {
            Knn { k: 3, temperature }.predict(train.view(), &[1, 0, 0], test.view(), 2).unwrap()
        };
        assert_eq!(predict(0.1), [1]);
        assert_eq!(predict(10.0), [0], "a soft vote counts heads");
        assert_eq!(predict(1e-6), [1], "a hard vote does not overflow");
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let train = array![[1.0_f32, f32::NAN]];
        let fine = array![[1.0_f32, 0.0]];
        let knn = Knn::default();
        let predict = |a: &Array2<f32>, labels: &[u32], b: &Array2<f32>| {
            knn.predict(a.view(), labels, b.view(), 1).unwrap_err()
        };
        assert!(matches!(predict(&train, &[0], &fine), EvaluateError::NotFinite { row: 0, column: 1, .. }));
        assert!(matches!(predict(&fine, &[1], &fine), EvaluateError::Label { label: 1, .. }));
        assert!(matches!(predict(&fine, &[0, 0], &fine), EvaluateError::Length { .. }));
        assert!(matches!(predict(&fine, &[0], &Array2::zeros((0, 2))), EvaluateError::Empty { .. }));
        assert!(matches!(predict(&fine, &[0], &Array2::zeros((1, 3))), EvaluateError::Length { .. }));
        for bad in [Knn { k: 0, temperature: 0.1 }, Knn { k: 1, temperature: f64::NAN }] {
            let error = bad.predict(fine.view(), &[0], fine.view(), 1).unwrap_err();
            assert!(matches!(error, EvaluateError::Setting { .. }));
        }
    }
}
