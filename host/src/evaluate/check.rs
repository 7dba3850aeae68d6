//! The checks that stand at every door of the measuring code: a NaN or a label out of range would
//! otherwise come out as a plausible number.

use ndarray::ArrayView2;

use super::EvaluateError;

/// The most classes that a measurement takes; confusion matrices are square in it.
pub const MAX_CLASSES: usize = 4096;

/// Features must have rows and columns and be finite.
pub(super) fn features(what: &str, features: ArrayView2<'_, f32>) -> Result<(), EvaluateError> {
    if features.is_empty() {
        return Err(EvaluateError::Empty { what: what.to_owned() });
    }
    match features.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), &value)) => {
            Err(EvaluateError::NotFinite { what: what.to_owned(), row, column, value })
        }
        None => Ok(()),
    }
}

/// Labels must be as many as there are rows, and below `classes`.
pub(super) fn labels(what: &str, labels: &[u32], rows: usize, classes: usize) -> Result<(), EvaluateError> {
    length(what, labels.len(), rows, "item")?;
    if classes > MAX_CLASSES {
        return Err(EvaluateError::TooLarge {
            what: "number of classes".to_owned(),
            found: classes,
            limit: MAX_CLASSES,
        });
    }
    match labels.iter().enumerate().find(|(_, label)| **label as usize >= classes) {
        Some((item, &label)) => Err(EvaluateError::Label { what: what.to_owned(), item, label, classes }),
        None => Ok(()),
    }
}

/// Two counts must agree.
pub(super) fn length(
    what: &str,
    found: usize,
    wanted: usize,
    per: &'static str,
) -> Result<(), EvaluateError> {
    if found == wanted {
        Ok(())
    } else {
        Err(EvaluateError::Length { what: what.to_owned(), found, wanted, per })
    }
}
