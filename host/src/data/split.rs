//! Splits and label draws, seeded. A split never cuts through a group; a draw of few labels takes
//! the same number, or the same share, of every class.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::DataError;

/// Indices of two parts of a data set, each rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// For training.
    pub train: Vec<usize>,
    /// Held out.
    pub held: Vec<usize>,
}

/// Holds out whole groups, drawn by `seed`, until they hold at least `fraction` of the samples;
/// always at least one group, and never all.
///
/// # Errors
/// [`DataError::Option`] when `fraction` is not above 0 and below 1, or there are fewer than two
/// groups.
pub fn by_group(groups: &[u32], fraction: f64, seed: u64) -> Result<Split, DataError> {
    if fraction.is_nan() || fraction <= 0.0 || fraction >= 1.0 {
        return Err(refused("fraction", fraction, "above 0 and below 1"));
    }
    let shuffled = shuffled_groups(groups, seed);
    if shuffled.len() < 2 {
        return Err(refused("groups", shuffled.len(), "two or more, to hold one out"));
    }
    let sizes = members(groups);
    let wanted = fraction * groups.len() as f64;
    let mut held = BTreeSet::new();
    let mut count = 0;
    for group in &shuffled[1..] {
        if !held.is_empty() && count as f64 >= wanted {
            break;
        }
        held.insert(*group);
        count += sizes.get(group).map_or(0, Vec::len);
    }
    Ok(hold_out(groups, &held))
}

/// `folds` splits, each holding out a different share of the groups, drawn by `seed`; every group
/// is held out exactly once.
///
/// # Errors
/// [`DataError::Option`] when `folds` is below two or there are fewer groups than folds.
pub fn folds(groups: &[u32], folds: usize, seed: u64) -> Result<Vec<Split>, DataError> {
    let shuffled = shuffled_groups(groups, seed);
    if folds < 2 || folds > shuffled.len() {
        return Err(refused("folds", folds, "two or more, and at most the number of groups"));
    }
    let held_in = |fold: usize| shuffled.iter().skip(fold).step_by(folds).copied().collect();
    Ok((0..folds).map(|fold| hold_out(groups, &held_in(fold))).collect())
}

/// Holds out the given groups.
pub fn hold_out(groups: &[u32], held: &BTreeSet<u32>) -> Split {
    let (held, train) = (0..groups.len()).partition(|&i| held.contains(&groups[i]));
    Split { train, held }
}

/// Draws `k` samples of every class, or all of a class that has fewer, as rising indices.
pub fn few_per_class(labels: &[u32], k: usize, seed: u64) -> Vec<usize> {
    draw(labels, seed, |members| k.min(members))
}

/// Draws the same share of every class, rounded, but at least one sample each, as rising indices.
///
/// # Errors
/// [`DataError::Option`] when `fraction` is not above 0 and at most 1.
pub fn fraction(labels: &[u32], fraction: f64, seed: u64) -> Result<Vec<usize>, DataError> {
    if fraction.is_nan() || fraction <= 0.0 || fraction > 1.0 {
        return Err(refused("fraction", fraction, "above 0 and at most 1"));
    }
    Ok(draw(labels, seed, |members| ((members as f64 * fraction).round() as usize).clamp(1, members)))
}

fn draw(labels: &[u32], seed: u64, count: impl Fn(usize) -> usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = Vec::new();
    for (_, mut members) in members(labels) {
        members.shuffle(&mut rng);
        drawn.extend_from_slice(&members[..count(members.len()).min(members.len())]);
    }
    drawn.sort_unstable();
    drawn
}

/// The indices of each class or group, in order of its number.
fn members(of: &[u32]) -> BTreeMap<u32, Vec<usize>> {
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    of.iter().enumerate().for_each(|(i, which)| members.entry(*which).or_default().push(i));
    members
}

fn shuffled_groups(groups: &[u32], seed: u64) -> Vec<u32> {
    let distinct: BTreeSet<u32> = groups.iter().copied().collect();
    let mut distinct: Vec<u32> = distinct.into_iter().collect();
    distinct.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    distinct
}

fn refused(option: &'static str, found: impl ToString, wanted: &'static str) -> DataError {
    DataError::Option { option, found: found.to_string(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_split_is_whole_and_cuts_no_group(
            groups in prop::collection::vec(0u32..6, 2..60), fraction in 0.01f64..0.99, seed: u64,
        ) {
            let distinct: BTreeSet<u32> = groups.iter().copied().collect();
            let split = by_group(&groups, fraction, seed);
            if distinct.len() < 2 {
                prop_assert!(split.is_err());
                return Ok(());
            }
            let Split { train, held } = split.unwrap();
            let mut all = [train.clone(), held.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..groups.len()).collect::<Vec<_>>());
            prop_assert!(!train.is_empty() && !held.is_empty());
            let of = |part: &[usize]| part.iter().map(|&i| groups[i]).collect::<BTreeSet<_>>();
            prop_assert!(of(&train).is_disjoint(&of(&held)));
        }

        #[test]
        fn every_group_is_held_out_in_one_fold(groups in prop::collection::vec(0u32..9, 40..80), seed: u64) {
            let distinct: BTreeSet<u32> = groups.iter().copied().collect();
            for k in 2..=distinct.len() {
                let mut held: Vec<usize> =
                    folds(&groups, k, seed).unwrap().into_iter().flat_map(|split| split.held).collect();
                held.sort_unstable();
                prop_assert_eq!(held, (0..groups.len()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn draws_take_from_every_class(labels in prop::collection::vec(0u32..5, 1..80), k in 1usize..6, seed: u64) {
            let count = |drawn: &[usize], class: u32| drawn.iter().filter(|&&i| labels[i] == class).count();
            let (few, share) = (few_per_class(&labels, k, seed), fraction(&labels, 0.3, seed).unwrap());
            for class in labels.iter().copied().collect::<BTreeSet<_>>() {
                let all = labels.iter().filter(|&&l| l == class).count();
                prop_assert_eq!(count(&few, class), k.min(all));
                let wanted = ((all as f64 * 0.3).round() as usize).max(1);
                prop_assert_eq!(count(&share, class), wanted);
            }
            prop_assert!(few.is_sorted_by(|a, b| a < b) && share.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn draws_depend_on_the_seed_alone() {
        let labels: Vec<u32> = (0..1000).map(|i| i % 10).collect();
        assert_eq!(few_per_class(&labels, 5, 1), few_per_class(&labels, 5, 1));
        assert_ne!(few_per_class(&labels, 5, 1), few_per_class(&labels, 5, 2));
        let groups: Vec<u32> = (0..1000).map(|i| i / 50).collect();
        assert_eq!(by_group(&groups, 0.2, 3).unwrap(), by_group(&groups, 0.2, 3).unwrap());
        assert_ne!(by_group(&groups, 0.2, 3).unwrap(), by_group(&groups, 0.2, 4).unwrap());
        assert_eq!(by_group(&groups, 0.2, 3).unwrap().held.len(), 200);
    }

    #[test]
    fn refuses_fractions_and_folds_out_of_range() {
        assert!(by_group(&[0, 1], 0.0, 0).is_err());
        assert!(by_group(&[0, 1], f64::NAN, 0).is_err());
        assert!(by_group(&[1, 1], 0.5, 0).is_err());
        assert!(fraction(&[0, 1], 1.1, 0).is_err());
        assert!(folds(&[0, 1, 2], 4, 0).is_err() && folds(&[0, 1, 2], 1, 0).is_err());
    }
}
