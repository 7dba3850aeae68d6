//! The subsets tried: blocks from the end, each depth by kind. Which blocks, and which kinds, is what
//! memory and time depend on most; single weights are added to the best of these afterwards.

use std::collections::BTreeSet;

use sedge_models::selection::{Kind, Selection, Weight};

/// Most depths tried; of more blocks, evenly many are.
const MAX_DEPTHS: usize = 8;

/// A subset to be measured.
pub(super) struct Subset {
    pub(super) words: String,
    pub(super) weights: BTreeSet<String>,
    /// The selection that picks it, where the words are one.
    pub(super) selection: Option<Selection>,
}

impl Subset {
    /// `base` and one weight more.
    pub(super) fn adding(name: &str, base: &[String]) -> Self {
        let words = match base.len() {
            0 => name.to_owned(),
            1 => format!("1 weight + {name}"),
            count => format!("{count} weights + {name}"),
        };
        Self { words, weights: base.iter().cloned().chain([name.to_owned()]).collect(), selection: None }
    }
}

/// Weights that may be trained.
pub(super) fn trainable(weights: &[Weight]) -> Vec<&Weight> {
    weights.iter().filter(|weight| weight.kind != Kind::Other).collect()
}

/// The head alone, then for each depth the biases, the norms, the kernels, and everything.
pub(super) fn structured(weights: &[&Weight], blocks: &[String]) -> Vec<Subset> {
    let mut subsets = vec![Subset {
        words: Selection::Head.to_string(),
        weights: BTreeSet::new(),
        selection: Some(Selection::Head),
    }];
    type IsKind = fn(Kind) -> bool;
    let kinds: [(&str, IsKind); 4] = [
        ("biases", |kind| matches!(kind, Kind::Bias | Kind::NormShift)),
        ("norms", |kind| matches!(kind, Kind::NormScale | Kind::NormShift)),
        ("kernels", |kind| matches!(kind, Kind::Kernel | Kind::Matrix | Kind::Embedding)),
        ("", |_| true),
    ];
    for depth in depths(blocks.len()) {
        let place = if depth == blocks.len() { "all".to_owned() } else { format!("last:{depth}") };
        let inside = |w: &&&Weight| w.block + depth >= blocks.len();
        for (kind, is) in kinds {
            let weights: BTreeSet<String> =
                weights.iter().filter(inside).filter(|w| is(w.kind)).map(|w| w.name.clone()).collect();
            let whole = kind.is_empty();
            let words = if whole { place.clone() } else { format!("{kind} of {place}") };
            let selection = if whole { place.parse().ok() } else { None };
            if !weights.is_empty() {
                subsets.push(Subset { words, weights, selection });
            }
        }
    }
    subsets
}

/// Depths from one to all blocks, at most [`MAX_DEPTHS`].
fn depths(blocks: usize) -> BTreeSet<usize> {
    let steps = blocks.min(MAX_DEPTHS);
    (1..=steps).map(|i| (i * blocks).div_ceil(steps)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_reach_from_the_last_block_to_all() {
        assert!(depths(0).is_empty());
        assert_eq!(depths(3), BTreeSet::from([1, 2, 3]));
        let many = depths(100);
        assert_eq!((many.len(), many.last()), (MAX_DEPTHS, Some(&100)));
    }
}
