//! What an encoder is tested on: labelled data in two parts that share no subject and no recording,
//! cut from one source or read from two.

use std::collections::BTreeSet;

use super::MeasureError;
use crate::data::{Dataset, Labels, split};
use crate::evaluate::{Part, Split};

/// Share of the samples that is held out for testing where nothing else is said.
pub const HELD_OUT: f64 = 0.3;

/// Which groups of one data set are for testing.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// Groups drawn by this seed until they hold [`HELD_OUT`] of the samples.
    Drawn(u64),
    /// These groups.
    Groups(Vec<u32>),
}

/// The two parts.
#[derive(Clone, Debug)]
pub struct Sides {
    /// To learn from.
    pub train: Dataset,
    /// To measure on.
    pub test: Dataset,
    /// Their labels and groups, in the classes of the training part.
    pub split: Split,
}

impl Sides {
    /// Cuts one data set by group. `name` is what errors call it.
    ///
    /// # Errors
    /// [`MeasureError::Unlabelled`], [`MeasureError::OneClass`], and when the data has fewer than two
    /// groups or not those asked for.
    pub fn cut(data: &Dataset, held: &Held, name: &str) -> Result<Self, MeasureError> {
        labels(data, name)?;
        let parts = match held {
            Held::Drawn(seed) => split::by_group(data.groups(), HELD_OUT, *seed)?,
            Held::Groups(groups) => split::hold_out(data.groups(), &data.check_groups(groups)?),
        };
        Self::of(data.subset(&parts.train)?, data.subset(&parts.held)?, (name, name), None)
    }

    /// Puts two data sets side by side. Groups are compared where both come of one source, and told
    /// apart where they do not: recording 1 of one file is not recording 1 of another.
    ///
    /// # Errors
    /// [`MeasureError::Unlabelled`], [`MeasureError::OneClass`], [`MeasureError::Class`] for a class
    /// that only the test data has, and a group that is on both sides.
    pub fn of_two(
        train: Dataset,
        test: Dataset,
        names: (&str, &str),
        one_source: bool,
    ) -> Result<Self, MeasureError> {
        let after = train.groups().iter().max().copied().unwrap_or(0).saturating_add(1);
        Self::of(train, test, names, (!one_source).then_some(after))
    }

    fn of(
        train: Dataset,
        test: Dataset,
        (train_name, test_name): (&str, &str),
        renumber_from: Option<u32>,
    ) -> Result<Self, MeasureError> {
        let ours = labels(&train, train_name)?.clone();
        let seen: BTreeSet<u32> = ours.ids.iter().copied().collect();
        if let (1, Some(name)) = (seen.len(), seen.first().and_then(|id| ours.names.get(*id as usize))) {
            return Err(MeasureError::OneClass { what: train_name.into(), class: name.clone() });
        }
        let theirs = in_classes_of(&ours, labels(&test, test_name)?)?;
        let groups = match renumber_from {
            Some(first) => renumbered(test.groups(), first),
            None => test.groups().to_vec(),
        };
        let split = Split::new(
            ours.names,
            Part { labels: ours.ids, groups: train.groups().to_vec() },
            Part { labels: theirs, groups },
        )?;
        Ok(Self { train, test, split })
    }
}

fn labels<'a>(data: &'a Dataset, name: &str) -> Result<&'a Labels, MeasureError> {
    data.labels().ok_or_else(|| MeasureError::Unlabelled { what: name.into() })
}

/// Labels by the numbers that `ours` gives to their names.
fn in_classes_of(ours: &Labels, theirs: &Labels) -> Result<Vec<u32>, MeasureError> {
    let number = |id: &u32| {
        // A data set has a name for every label.
        let name = &theirs.names[*id as usize];
        let found = ours.names.iter().position(|known| known == name);
        found
            .map(|number| number as u32)
            .ok_or_else(|| MeasureError::Class { class: name.clone(), known: ours.names.join(", ") })
    };
    theirs.ids.iter().map(number).collect()
}

/// The groups numbered anew from `first` on, each by its place among them.
fn renumbered(groups: &[u32], first: u32) -> Vec<u32> {
    let distinct: Vec<u32> = groups.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let place = |group: &u32| distinct.binary_search(group).unwrap_or(0) as u32;
    groups.iter().map(|group| first.saturating_add(place(group))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Samples;
    use crate::evaluate::EvaluateError;

    fn data(names: &[&str], ids: &[u32], groups: &[u32]) -> Dataset {
        let samples = Samples::Windows { channels: 1, length: 1, rate_hz: 0.0, values: vec![0.0; ids.len()] };
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let labels = (!names.is_empty()).then(|| Labels { ids: ids.to_vec(), names });
        Dataset::new(samples, labels, groups.to_vec(), vec![0; ids.len()]).unwrap()
    }

    #[test]
    fn one_set_is_cut_between_its_groups() {
        let all = data(&["a", "b"], &[0, 1, 0, 1, 0, 1], &[1, 1, 2, 2, 3, 3]);
        let sides = Sides::cut(&all, &Held::Groups(vec![2]), "data").unwrap();
        assert_eq!(sides.split.train().groups, [1, 1, 3, 3]);
        assert_eq!((sides.split.test().groups.as_slice(), sides.test.len()), (&[2, 2][..], 2));
        let drawn = |seed| Sides::cut(&all, &Held::Drawn(seed), "data").unwrap().split;
        assert_eq!(drawn(4), drawn(4));
        assert_eq!(drawn(4).test().groups.len(), 2);
        assert!(Sides::cut(&all, &Held::Groups(vec![9]), "data").is_err());
        assert!(Sides::cut(&all, &Held::Groups(vec![1, 2, 3]), "data").is_err());
    }

    #[test]
    fn classes_are_told_by_name_and_groups_by_source() {
        let train = data(&["cat", "dog"], &[0, 1], &[0, 1]);
        let test = data(&["dog", "cat"], &[0, 0, 1], &[0, 1, 0]);
        let names = ("train", "test");
        let sides = Sides::of_two(train.clone(), test.clone(), names, false).unwrap();
        assert_eq!(sides.split.test().labels, [1, 1, 0]);
        assert_eq!(sides.split.test().groups, [2, 3, 2]);
        let leak = Sides::of_two(train.clone(), test, names, true).unwrap_err();
        assert!(matches!(leak, MeasureError::Evaluate(EvaluateError::GroupLeak { .. })));
        let other = data(&["cow"], &[0], &[0]);
        let said = Sides::of_two(train, other, names, false).unwrap_err().to_string();
        assert!(said.contains("cow") && said.contains("cat, dog"), "{said}");
    }

    #[test]
    fn data_without_classes_to_tell_apart_is_refused_by_name() {
        let unlabelled = data(&[], &[0, 0], &[0, 1]);
        let said = Sides::cut(&unlabelled, &Held::Drawn(0), "walk.csv").unwrap_err().to_string();
        assert!(said.contains("walk.csv has no labels"), "{said}");
        let one = data(&["a", "b"], &[1, 1, 1], &[0, 1, 2]);
        let said = Sides::cut(&one, &Held::Drawn(0), "x").unwrap_err().to_string();
        assert!(said.contains("one class only, `b`"), "{said}");
    }
}
