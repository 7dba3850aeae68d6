//! Data sets cut by group and put together. Several drives or recordings make one set in which each
//! keeps its own groups, so that a later split still cuts through none of them.

use std::collections::BTreeSet;

use super::dataset::{Dataset, Labels};
use super::samples::Samples;
use super::windows::spread;
use super::{DataError, LoadOptions};

/// How far the rates of two sets of windows may differ, as a fraction, and still be called the same.
const RATE_TOLERANCE: f32 = 0.01;
/// Most groups that an error names.
const MOST_NAMED: usize = 20;

impl Dataset {
    /// The samples of `groups`.
    ///
    /// # Errors
    /// [`DataError::Option`] for the first group that the data does not have.
    pub fn of_groups(&self, groups: &[u32]) -> Result<Self, DataError> {
        let indices = indices_of(self, &self.check_groups(groups)?);
        let mut chosen = self.subset(&indices)?;
        chosen.skipped = self.skipped.clone();
        Ok(chosen)
    }

    /// `groups` as a set, each known to occur.
    ///
    /// # Errors
    /// [`DataError::Option`] for the first group that the data does not have, and when there is none.
    pub fn check_groups(&self, groups: &[u32]) -> Result<BTreeSet<u32>, DataError> {
        chosen_groups(&self.groups.iter().copied().collect(), groups)
    }

    /// At most `limit` samples, evenly spread.
    pub(super) fn limited(self, limit: Option<usize>) -> Result<Self, DataError> {
        let Some(limit) = limit.filter(|limit| *limit < self.len()) else { return Ok(self) };
        let mut few = self.subset(&spread(self.len(), limit))?;
        few.skipped = self.skipped;
        Ok(few)
    }

    /// This set with the samples of `other` behind its own. Groups of `other` get numbers after
    /// this set's; classes are told apart by their names. Labels are kept when both have them.
    ///
    /// # Errors
    /// [`DataError::Mixed`] when the samples have another shape, kind or rate, or the groups do not
    /// fit into 32 bits; [`DataError::TooLarge`] beyond the options' `max_bytes`. `name` is what the
    /// errors call the data.
    pub(super) fn join(mut self, other: Self, name: &str, options: &LoadOptions) -> Result<Self, DataError> {
        let bytes = (self.bytes() + other.bytes()) as u64;
        if bytes > options.max_bytes {
            let (samples, limit) = ((self.len() + other.len()) as u64, options.max_bytes);
            return Err(DataError::TooLarge { source_name: name.to_owned(), samples, bytes, limit });
        }
        let mixed = |what: &str, found: String, wanted: String| DataError::Mixed {
            source_name: name.to_owned(),
            what: what.to_owned(),
            found,
            wanted,
            mend: "load them apart",
        };
        let shapes = (shape(&self.samples), shape(&other.samples));
        if !alike(&shapes.0, &shapes.1) {
            return Err(mixed("the shape of samples", format!("{:?}", shapes.1), format!("{:?}", shapes.0)));
        }
        let first = self.groups.iter().max().map_or(0, |group| u64::from(*group) + 1);
        for group in &other.groups {
            let number = first + u64::from(*group);
            let limit = || mixed("the number of groups", number.to_string(), format!("below {}", u32::MAX));
            self.groups.push(u32::try_from(number).map_err(|_| limit())?);
        }
        self.order.extend(&other.order);
        self.labels = self.labels.zip(other.labels).map(|(ours, theirs)| join_labels(ours, theirs));
        self.samples.append(other.samples);
        self.skipped.append(other.skipped);
        Ok(self)
    }
}

/// `groups` as a set, each among those that are known.
pub(super) fn chosen_groups(known: &BTreeSet<u32>, groups: &[u32]) -> Result<BTreeSet<u32>, DataError> {
    let wanted = "one or more groups of the data: subjects, or recordings by number";
    let refused = |found| Err(DataError::Option { option: "groups", found, wanted });
    if groups.is_empty() {
        return refused("empty".to_owned());
    }
    if let Some(absent) = groups.iter().find(|group| !known.contains(group)) {
        let names: Vec<String> = known.iter().take(MOST_NAMED).map(u32::to_string).collect();
        let more = if known.len() > MOST_NAMED { ", ..." } else { "" };
        return refused(format!("{absent}, where the data has {}{more}", names.join(", ")));
    }
    Ok(groups.iter().copied().collect())
}

/// The samples whose group is one of `groups`.
fn indices_of(data: &Dataset, groups: &BTreeSet<u32>) -> Vec<usize> {
    (0..data.len()).filter(|&index| groups.contains(&data.groups[index])).collect()
}

/// Kind, extents of images, extents of windows (of texts, their length), and rate.
type Shape = (&'static str, [usize; 2], [usize; 2], f32);

fn shape(samples: &Samples) -> Shape {
    let pictures = samples.pictures().map_or([0; 2], |p| [p.height, p.width]);
    let length = samples.texts().map_or(0, |texts| texts.length);
    let windows = samples.windows().map_or(([1, length], 0.0), |w| ([w.channels, w.length], w.rate_hz));
    (samples.kind(), pictures, windows.0, windows.1)
}

fn alike(a: &Shape, b: &Shape) -> bool {
    (a.0, a.1, a.2) == (b.0, b.1, b.2) && (a.3 - b.3).abs() <= RATE_TOLERANCE * a.3
}

fn join_labels(mut ours: Labels, theirs: Labels) -> Labels {
    let renamed: Vec<u32> = theirs
        .names
        .iter()
        .map(|name| {
            let known = ours.names.iter().position(|known| known == name);
            known.unwrap_or_else(|| {
                ours.names.push(name.clone());
                ours.names.len() - 1
            }) as u32
        })
        .collect();
    // A data set has a name for every label.
    ours.ids.extend(theirs.ids.iter().map(|id| renamed[*id as usize]));
    ours
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn windows(first: f32, rate_hz: f32, names: &[&str], ids: &[u32], groups: &[u32]) -> Dataset {
        let values = (0..2 * ids.len()).map(|i| first + i as f32).collect();
        let samples = Samples::Windows { channels: 1, length: 2, rate_hz, values };
        let labels = Labels { ids: ids.to_vec(), names: names.iter().map(|n| (*n).to_owned()).collect() };
        let order = (0..ids.len() as u64).collect();
        Dataset::new(samples, Some(labels), groups.to_vec(), order).unwrap()
    }

    #[test]
    fn joined_sets_keep_groups_apart_and_classes_together() {
        let a = windows(0.0, 50.0, &["tile", "wood"], &[0, 1], &[0, 4]);
        let b = windows(10.0, 50.1, &["wood", "grass"], &[0, 1, 1], &[0, 0, 1]);
        let all = a.clone().join(b, "test", &LoadOptions::default()).unwrap();
        let labels = all.labels().unwrap();
        assert_eq!(labels.names, ["tile", "wood", "grass"]);
        assert_eq!(labels.ids, [0, 1, 1, 2, 2]);
        assert_eq!(all.groups(), [0, 4, 5, 5, 6]);
        assert_eq!(all.window(2).unwrap(), [10.0, 11.0]);
        assert_eq!(all.len(), 5);

        let slow = windows(0.0, 25.0, &["tile"], &[0], &[0]);
        let error = a.clone().join(slow, "test", &LoadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("25"), "{error}");
        let small = LoadOptions { max_bytes: 20, ..LoadOptions::default() };
        assert!(matches!(a.clone().join(a, "test", &small), Err(DataError::TooLarge { bytes: 32, .. })));
    }

    #[test]
    fn groups_are_taken_and_absent_ones_named() {
        let data = windows(0.0, 50.0, &["a", "b"], &[0, 1, 0, 1], &[7, 8, 7, 9]);
        let chosen = data.of_groups(&[9, 7]).unwrap();
        assert_eq!(chosen.groups(), [7, 7, 9]);
        assert_eq!(chosen.window(1).unwrap(), [4.0, 5.0]);
        let said = data.of_groups(&[7, 3]).unwrap_err().to_string();
        assert!(said.contains("`groups` is 3") && said.contains("7, 8, 9"), "{said}");
        assert!(data.of_groups(&[]).is_err());
        assert_eq!(data.limited(Some(2)).unwrap().groups(), [7, 7]);
    }
}
