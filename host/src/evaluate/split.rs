//! The two sides of a measurement. Windows of one recording are near-copies of each other, so a split
//! by window measures memory; here no subject or recording may be on both sides, and a split that
//! has one there cannot be made.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array2;

use super::{EvaluateError, check};

/// One side: the class and the group (subject or recording) of each item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The class of each item, an index into the class names.
    pub labels: Vec<u32>,
    /// The subject or recording of each item.
    pub groups: Vec<u32>,
}

/// Labels and groups of a training and a test part with no group in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    classes: Vec<String>,
    train: Part,
    test: Part,
}

impl Split {
    /// Checks and keeps the two parts.
    ///
    /// # Errors
    /// [`EvaluateError::GroupLeak`] where a group is in both parts; empty parts, labels that are not
    /// below the number of classes, another number of groups than of labels.
    pub fn new(classes: Vec<String>, train: Part, test: Part) -> Result<Self, EvaluateError> {
        for (what, part) in [("train", &train), ("test", &test)] {
            if part.labels.is_empty() {
                return Err(EvaluateError::Empty { what: format!("{what} part") });
            }
            check::labels(&format!("{what} labels"), &part.labels, part.labels.len(), classes.len())?;
            check::length(&format!("{what} groups"), part.groups.len(), part.labels.len(), "label")?;
        }
        let mut first = BTreeMap::new();
        for (item, group) in train.groups.iter().enumerate() {
            first.entry(*group).or_insert(item);
        }
        for (test_item, &group) in test.groups.iter().enumerate() {
            if let Some(&train_item) = first.get(&group) {
                return Err(EvaluateError::GroupLeak { group, train_item, test_item });
            }
        }
        Ok(Self { classes, train, test })
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The part to learn from.
    pub fn train(&self) -> &Part {
        &self.train
    }

    /// The part to measure on.
    pub fn test(&self) -> &Part {
        &self.test
    }
}

impl Part {
    /// How many different subjects or recordings there are.
    pub fn group_count(&self) -> usize {
        self.groups.iter().collect::<BTreeSet<_>>().len()
    }
}

/// What one representation makes of both parts.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSet {
    /// Its name, such as `encoder` or `raw input`.
    pub name: String,
    /// Features of the training items, `[n, d]`.
    pub train: Array2<f32>,
    /// Features of the test items, `[m, d]`.
    pub test: Array2<f32>,
}

impl FeatureSet {
    /// Checks that the features are those of `split`.
    pub(super) fn check(&self, split: &Split) -> Result<(), EvaluateError> {
        let name = &self.name;
        for (what, features, part) in
            [("train", &self.train, &split.train), ("test", &self.test, &split.test)]
        {
            let what = format!("{name}, {what} features");
            check::features(&what, features.view())?;
            check::length(&what, features.nrows(), part.labels.len(), "label")?;
        }
        let what = format!("{name}, test features");
        check::length(&what, self.test.ncols(), self.train.ncols(), "column of the train features")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_on_both_sides_is_refused_by_name_and_place() {
        let part = |groups: &[u32]| Part { labels: vec![0; groups.len()], groups: groups.to_vec() };
        let split =
            |train: &[u32], test: &[u32]| Split::new(vec!["walking".to_owned()], part(train), part(test));
        assert!(split(&[1, 1, 2], &[3, 4]).is_ok());
        let error = split(&[1, 2, 2], &[3, 4, 2]);
        assert!(
            matches!(error, Err(EvaluateError::GroupLeak { group: 2, train_item: 1, test_item: 2 })),
            "{error:?}"
        );
        assert!(matches!(split(&[], &[1]), Err(EvaluateError::Empty { .. })));
    }

    #[test]
    fn labels_and_groups_must_fit() {
        let part = |labels: &[u32], groups: &[u32]| Part { labels: labels.to_vec(), groups: groups.to_vec() };
        let classes = || vec!["a".to_owned(), "b".to_owned()];
        let error = Split::new(classes(), part(&[0, 2], &[0, 0]), part(&[0], &[1]));
        assert!(matches!(error, Err(EvaluateError::Label { item: 1, label: 2, .. })));
        let error = Split::new(classes(), part(&[0, 1], &[0]), part(&[0], &[1]));
        assert!(matches!(error, Err(EvaluateError::Length { .. })));
    }
}
