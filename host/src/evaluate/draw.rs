//! Which labels may be seen. A few-label result says more about the labels drawn than about the
//! representation unless it is repeated, so every draw is made from a seed, and every representation
//! is given the same draws.

use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Sets the stream of label draws apart from other uses of the same seed.
const STREAM: u64 = 0x64726177;

/// How many of the training labels may be seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// All of them.
    All,
    /// This many of each class (fewer of a class that has fewer).
    PerClass(usize),
    /// This share of all, above 0 and at most 1, each class keeping about its own share.
    Share(f64),
}

impl Budget {
    /// What is usually reported: all labels; 1, 5 and 10 per class; 1 % and 10 %.
    pub const USUAL: [Self; 6] = [
        Self::All,
        Self::PerClass(1),
        Self::PerClass(5),
        Self::PerClass(10),
        Self::Share(0.01),
        Self::Share(0.1),
    ];
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all labels"),
            Self::PerClass(1) => f.write_str("1 label per class"),
            Self::PerClass(count) => write!(f, "{count} labels per class"),
            Self::Share(share) => {
                // Rounded so that 0.07 does not read as 7.000000000000001 %.
                write!(f, "{} % of labels", (share * 1e6).round() / 1e4)
            }
        }
    }
}

/// The training items whose labels may be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelDraw {
    /// How many were asked for.
    pub budget: Budget,
    /// What they were drawn with.
    pub seed: u64,
    /// The items, ascending.
    pub items: Vec<usize>,
    /// Classes that have fewer items than [`Budget::PerClass`] asks for.
    pub short_classes: Vec<u32>,
}

/// A budget that does not give each class even one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{labels} labels do not give each of the {classes} classes one")]
pub struct TooSmall {
    /// Labels in the budget.
    pub labels: usize,
    /// Classes that occur among the training labels.
    pub classes: usize,
}

impl LabelDraw {
    /// Draws from `labels`, the classes of the training items. The same seed draws the same items; a
    /// larger budget of the same kind holds those of a smaller one.
    ///
    /// # Errors
    /// [`TooSmall`] where the budget has fewer labels than classes occur.
    pub fn new(labels: &[u32], budget: Budget, seed: u64) -> Result<Self, TooSmall> {
        let mut classes = by_class(labels);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        // All classes are shuffled whatever the budget, so that budgets nest.
        classes.iter_mut().for_each(|(_, items)| items.shuffle(&mut rng));
        let sizes: Vec<usize> = classes.iter().map(|(_, items)| items.len()).collect();
        let mut short_classes = Vec::new();
        let counts = match budget {
            Budget::All => sizes,
            Budget::PerClass(count) => {
                if count == 0 {
                    return Err(TooSmall { labels: 0, classes: classes.len() });
                }
                short_classes
                    .extend(classes.iter().filter(|(_, items)| items.len() < count).map(|(class, _)| *class));
                sizes.iter().map(|size| count.min(*size)).collect()
            }
            Budget::Share(share) => shares(&sizes, share)?,
        };
        let mut items: Vec<usize> = classes
            .iter()
            .zip(counts)
            .flat_map(|((_, items), count)| items.iter().take(count))
            .copied()
            .collect();
        items.sort_unstable();
        if items.is_empty() {
            return Err(TooSmall { labels: 0, classes: classes.len() });
        }
        Ok(Self { budget, seed, items, short_classes })
    }
}

/// The items of each class that occurs, classes ascending.
fn by_class(labels: &[u32]) -> Vec<(u32, Vec<usize>)> {
    let mut items: Vec<usize> = (0..labels.len()).collect();
    // A stable sort keeps the items of a class ascending; the indices are those of `labels`.
    items.sort_by_key(|&item| labels[item]);
    items.chunk_by(|a, b| labels[*a] == labels[*b]).map(|same| (labels[same[0]], same.to_vec())).collect()
}

/// How many labels each class gets of `share` of all: one, and the rest by largest remainder.
fn shares(sizes: &[usize], share: f64) -> Result<Vec<usize>, TooSmall> {
    let all: usize = sizes.iter().sum();
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let labels = (all as f64 * share).round() as usize;
    if labels < sizes.len() {
        return Err(TooSmall { labels, classes: sizes.len() });
    }
    let fair = |class: usize| sizes[class] as f64 * labels as f64 / all as f64;
    let mut counts: Vec<usize> = (0..sizes.len()).map(|class| (fair(class) as usize).max(1)).collect();
    // Who is furthest below the fair count is next to gain, and furthest above next to lose.
    let owed = |counts: &[usize], class: usize| fair(class) - counts[class] as f64;
    while counts.iter().sum::<usize>() < labels {
        let open = (0..sizes.len()).filter(|&class| counts[class] < sizes[class]);
        // `max_by` keeps the last of equals; reversed, the lower class gains first.
        match open.rev().max_by(|a, b| owed(&counts, *a).total_cmp(&owed(&counts, *b))) {
            Some(class) => counts[class] += 1,
            None => break,
        }
    }
    while counts.iter().sum::<usize>() > labels {
        let open = (0..sizes.len()).filter(|&class| counts[class] > 1);
        match open.min_by(|a, b| owed(&counts, *a).total_cmp(&owed(&counts, *b))) {
            Some(class) => counts[class] -= 1,
            None => break,
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn counts(labels: &[u32], draw: &LabelDraw, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        draw.items.iter().for_each(|&item| counts[labels[item] as usize] += 1);
        counts
    }

    #[test]
    fn a_share_keeps_the_shares_of_the_classes() {
        let labels: Vec<u32> = (0..1000)
            .map(|i| {
                if i < 700 {
                    0
                } else if i < 990 {
                    1
                } else {
                    2
                }
            })
            .collect();
        let draw = LabelDraw::new(&labels, Budget::Share(0.1), 3).unwrap();
        assert_eq!(counts(&labels, &draw, 3), [70, 29, 1]);
        // Three labels, one class so rare that its fair share is far below one.
        let draw = LabelDraw::new(&labels, Budget::Share(0.003), 3).unwrap();
        assert_eq!(counts(&labels, &draw, 3), [1, 1, 1]);
    }

    #[test]
    fn too_few_for_one_per_class_is_said() {
        let labels: Vec<u32> = (0..500).map(|i| i % 10).collect();
        let error = LabelDraw::new(&labels, Budget::Share(0.01), 0).unwrap_err();
        assert_eq!(error, TooSmall { labels: 5, classes: 10 });
        assert_eq!(error.to_string(), "5 labels do not give each of the 10 classes one");
        for budget in [Budget::PerClass(0), Budget::Share(f64::NAN), Budget::Share(-1.0)] {
            assert!(LabelDraw::new(&labels, budget, 0).is_err());
        }
        assert!(LabelDraw::new(&[], Budget::All, 0).is_err());
    }

    #[test]
    fn a_class_with_fewer_gives_what_it_has_and_is_named() {
        let labels = [0, 0, 0, 0, 0, 0, 7, 7];
        let draw = LabelDraw::new(&labels, Budget::PerClass(5), 1).unwrap();
        assert_eq!(counts(&labels, &draw, 8), [5, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(draw.short_classes, [7]);
    }

    #[test]
    fn seeds_draw_differently_and_each_the_same_again() {
        let labels: Vec<u32> = (0..200).map(|i| i % 4).collect();
        let draw = |seed| LabelDraw::new(&labels, Budget::PerClass(5), seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).items, draw(2).items);
        let larger = LabelDraw::new(&labels, Budget::PerClass(10), 1).unwrap();
        assert!(draw(1).items.iter().all(|item| larger.items.contains(item)));
    }

    proptest! {
        #[test]
        fn a_share_has_its_size_and_every_class(
            labels in prop::collection::vec(0_u32..6, 1..300),
            share in 0.0_f64..=1.0,
            seed: u64,
        ) {
            let wanted = (labels.len() as f64 * share).round() as usize;
            match LabelDraw::new(&labels, Budget::Share(share), seed) {
                Ok(draw) => {
                    prop_assert_eq!(draw.items.len(), wanted);
                    prop_assert!(draw.items.windows(2).all(|w| w[0] < w[1]));
                    let drawn = counts(&labels, &draw, 6);
                    for (class, drawn) in (0..6_u32).zip(drawn) {
                        prop_assert_eq!(labels.contains(&class), drawn > 0);
                    }
                }
                Err(error) => prop_assert!(wanted < error.classes || error.classes == 0),
            }
        }
    }

    #[test]
    fn budgets_read_well() {
        let said: Vec<String> = Budget::USUAL.iter().map(Budget::to_string).collect();
        let wanted = [
            "all labels",
            "1 label per class",
            "5 labels per class",
            "10 labels per class",
            "1 % of labels",
            "10 % of labels",
        ];
        assert_eq!(said, wanted);
        assert_eq!(Budget::Share(0.07).to_string(), "7 % of labels");
    }
}
