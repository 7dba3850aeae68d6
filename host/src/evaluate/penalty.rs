//! Which penalty a probe gets. A fixed one favours whichever representation it happens to suit, so it
//! is chosen for each on labels held out by group: windows of one recording are near-copies, and
//! held out one by one they would reward overfitting.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::probe::{Probe, Problem};

/// The penalties tried, strongest first, each fit starting from the one before.
pub const GRID: [f64; 6] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5];
/// The share of the labels that is held out to choose by.
const HELD_OUT: f64 = 0.25;
/// Labels for each class that are needed to hold any out.
const ENOUGH_PER_CLASS: usize = 10;
/// Weaker penalties in a row that do worse before the rest is not tried.
const PATIENCE: usize = 2;
/// Sets the stream of this choice apart from other uses of the same seed.
const STREAM: u64 = 0x70656e616c7479;

/// Where a penalty came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LambdaFrom {
    /// It was given.
    Fixed,
    /// It did best on held-out groups.
    HeldOut,
    /// There were too few labels or groups to hold any out: `1 / n`.
    TooFewLabels,
}

/// The penalty for `problem`, and where it comes from.
pub(super) fn choose(probe: &Probe, problem: &Problem<'_, '_>, seed: u64) -> (f64, LambdaFrom) {
    let rows = problem.labelled.rows;
    let Some((fitted, held_out)) = hold_out(problem, seed) else {
        return (1.0 / rows.len() as f64, LambdaFrom::TooFewLabels);
    };
    let mut at = vec![0.0; (problem.standardiser.columns() + 1) * problem.seen.len()];
    let gram = problem.gram(&fitted);
    let mut best: Option<(usize, f64, f64)> = None;
    let mut worse = 0;
    for lambda in GRID {
        probe.descend(problem, &fitted, gram.as_ref(), lambda, &mut at);
        let (right, loss) = problem.score(&held_out, &at);
        // By accuracy, which is what is reported; among equals by cross-entropy.
        let better = best.is_none_or(|(r, l, _)| right > r || (right == r && loss < l));
        if better {
            best = Some((right, loss, lambda));
            worse = 0;
        } else {
            worse += 1;
            if worse == PATIENCE {
                break;
            }
        }
    }
    // The grid is not empty, so there is a best; the fallback is only for the type.
    best.map_or((1.0 / rows.len() as f64, LambdaFrom::TooFewLabels), |(_, _, lambda)| {
        (lambda, LambdaFrom::HeldOut)
    })
}

/// Splits the labelled rows into those to fit and those to choose by, whole groups on either side.
/// `None` where labels or groups are too few, or where the part to fit would miss a class.
fn hold_out(problem: &Problem<'_, '_>, seed: u64) -> Option<(Vec<usize>, Vec<usize>)> {
    let labelled = problem.labelled;
    if labelled.rows.len() < ENOUGH_PER_CLASS * problem.seen.len() {
        return None;
    }
    let mut groups: Vec<u32> = labelled.rows.iter().map(|&row| labelled.groups[row]).collect();
    groups.sort_unstable();
    // How many labelled rows each group has, groups ascending.
    let mut sizes: Vec<(u32, usize)> =
        groups.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect();
    if sizes.len() < 2 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    sizes.shuffle(&mut rng);
    let wanted = (HELD_OUT * labelled.rows.len() as f64).ceil() as usize;
    let mut held = Vec::new();
    let mut count = 0;
    // Always leaves a group to fit.
    for &(group, size) in sizes.iter().take(sizes.len() - 1) {
        held.push(group);
        count += size;
        if count >= wanted {
            break;
        }
    }
    held.sort_unstable();
    let (held_out, fitted): (Vec<usize>, Vec<usize>) =
        labelled.rows.iter().partition(|row| held.binary_search(&labelled.groups[**row]).is_ok());
    let mut classes: Vec<u32> = fitted.iter().map(|&row| labelled.labels[row]).collect();
    classes.sort_unstable();
    classes.dedup();
    // A class that could not be learned would only blur the choice.
    (classes == problem.seen).then_some((fitted, held_out))
}
