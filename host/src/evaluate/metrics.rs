//! What predictions are worth. Accuracy alone flatters whoever always says the commonest class, so
//! the macro-averaged F1 and the confusion matrix stand beside it.

use serde::{Deserialize, Serialize};

use super::{EvaluateError, check};

/// The share of predictions that are the truth.
///
/// # Errors
/// No predictions, or another number of them than of truths.
pub fn accuracy(predictions: &[u32], truth: &[u32]) -> Result<f64, EvaluateError> {
    check::length("predictions", predictions.len(), truth.len(), "item")?;
    if truth.is_empty() {
        return Err(EvaluateError::Empty { what: "predictions".to_owned() });
    }
    let right = predictions.iter().zip(truth).filter(|(a, b)| a == b).count();
    Ok(right as f64 / truth.len() as f64)
}

/// How often each true class was taken for each class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// `counts[truth][prediction]`, square in the number of classes.
    counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts predictions against the truth.
    ///
    /// # Errors
    /// Lengths that differ, nothing to count, a class that is not below `classes`.
    pub fn new(predictions: &[u32], truth: &[u32], classes: usize) -> Result<Self, EvaluateError> {
        check::labels("predictions", predictions, truth.len(), classes)?;
        check::labels("truth", truth, truth.len(), classes)?;
        if truth.is_empty() {
            return Err(EvaluateError::Empty { what: "predictions".to_owned() });
        }
        let mut counts = vec![vec![0; classes]; classes];
        for (&prediction, &truth) in predictions.iter().zip(truth) {
            // Both were checked to be below `classes`.
            counts[truth as usize][prediction as usize] += 1;
        }
        Ok(Self { counts })
    }

    /// Row `truth`, column `prediction`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// The share on the diagonal.
    pub fn accuracy(&self) -> f64 {
        let all: u64 = self.counts.iter().flatten().sum();
        let right: u64 = self.counts.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
        right as f64 / all as f64
    }

    /// The mean of the classes' F1, each class counting the same. Classes that occur neither in the
    /// truth nor in the predictions are left out.
    pub fn macro_f1(&self) -> f64 {
        let mut sum = 0.0;
        let mut seen = 0_u32;
        for (class, row) in self.counts.iter().enumerate() {
            let cell = |row: &Vec<u64>| row.get(class).copied().unwrap_or(0);
            let (right, actual) = (cell(row), row.iter().sum::<u64>());
            let predicted: u64 = self.counts.iter().map(cell).sum();
            if actual + predicted > 0 {
                sum += 2.0 * right as f64 / (actual + predicted) as f64;
                seen += 1;
            }
        }
        sum / f64::from(seen.max(1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// From scikit-learn; see `goldens/evaluate.py`.
    #[derive(Deserialize)]
    struct Golden {
        classes: usize,
        truth: Vec<u32>,
        predictions: Vec<u32>,
        accuracy: f64,
        macro_f1: f64,
        confusion: Vec<Vec<u64>>,
    }

    #[test]
    fn they_are_scikit_learns() {
        let cases: Vec<Golden> = serde_json::from_str(include_str!("../../goldens/metrics.json")).unwrap();
        assert!(cases.len() >= 3);
        for golden in cases {
            let found = Confusion::new(&golden.predictions, &golden.truth, golden.classes).unwrap();
            assert_eq!(found.counts(), golden.confusion);
            assert!((found.accuracy() - golden.accuracy).abs() < 1e-12);
            assert!((found.macro_f1() - golden.macro_f1).abs() < 1e-12);
            let alone = accuracy(&golden.predictions, &golden.truth).unwrap();
            assert!((alone - golden.accuracy).abs() < 1e-12);
        }
    }

    #[test]
    fn saying_the_commonest_class_is_found_out() {
        let truth = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let found = Confusion::new(&[0; 10], &truth, 2).unwrap();
        assert!((found.accuracy() - 0.9).abs() < 1e-12);
        assert!((found.macro_f1() - 0.5 * (18.0 / 19.0)).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert!(matches!(accuracy(&[], &[]), Err(EvaluateError::Empty { .. })));
        assert!(matches!(accuracy(&[0], &[0, 1]), Err(EvaluateError::Length { .. })));
        assert!(matches!(Confusion::new(&[2], &[0], 2), Err(EvaluateError::Label { label: 2, .. })));
        assert!(matches!(Confusion::new(&[0], &[0], 1 << 30), Err(EvaluateError::TooLarge { .. })));
    }
}
