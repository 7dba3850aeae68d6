//! How a run stands, and what to say when that changes: once when it goes wrong, once when it is over,
//! nothing in between. A function of what was measured, so that a run that was cut says the same.

use serde::{Deserialize, Serialize};

use crate::evaluate::{Gauges, Health};

/// How far the loss may rise above where the run began before it is said to diverge, as a share of the
/// loss it began with. A loss that never fell has no other measure.
const RISE: f64 = 0.1;

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// What the encoder makes of samples.
    Features,
    /// What the encoder is trained for.
    Loss,
}

/// Whether it begins or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Something is wrong.
    Bad,
    /// It no longer is.
    Good,
}

/// A change for the worse, or back, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is about.
    pub about: About,
    /// Whether it begins or is over.
    pub state: State,
    /// What it is, and what to try.
    pub words: String,
}

/// What has to be remembered of a run to know when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Standing {
    /// Mean loss of the first epoch.
    pub first_loss: Option<f64>,
    /// Lowest mean loss of an epoch.
    pub best_loss: Option<f64>,
    /// The loss has risen above where it began.
    pub diverging: bool,
    /// Features were collapsed when they were last gauged.
    pub collapsed: bool,
}

impl Standing {
    /// An epoch ended with this mean loss. It diverges when it rises above the first epoch's by more than
    /// it ever fell below it, or by a tenth where it fell by less.
    pub fn epoch(&mut self, loss: f64) -> Option<Warning> {
        let first = *self.first_loss.get_or_insert(loss);
        let best = self.best_loss.map_or(loss, |best| best.min(loss));
        self.best_loss = Some(best);
        let diverging = loss > first + (first - best).max(RISE * first.abs());
        let changed = diverging != std::mem::replace(&mut self.diverging, diverging);
        let words = if diverging {
            format!(
                "training diverges: the mean loss is {loss:.4}, and it began at {first:.4}; try a lower `--lr` \
                 or a longer `--warmup-epochs`"
            )
        } else {
            format!("the loss is back: {loss:.4}, and it began at {first:.4}")
        };
        changed.then(|| Warning { about: About::Loss, state: State::of(diverging), words })
    }

    /// Features were gauged.
    pub fn gauged(&mut self, gauges: &Gauges) -> Option<Warning> {
        let collapsed = gauges.health() == Health::Collapsed;
        let changed = collapsed != std::mem::replace(&mut self.collapsed, collapsed);
        let words = if collapsed {
            let all = gauges.verdicts();
            let bad = all.iter().filter(|verdict| verdict.health == Health::Collapsed);
            let said: Vec<String> = bad
                .map(|verdict| format!("{} ({} {})", verdict.words, verdict.gauge, verdict.value))
                .collect();
            format!(
                "features have collapsed: {}; the loss alone would not show it. Try a lower `--lr`, a longer \
                 `--warmup-epochs`, a larger `--batch`, or a method that holds features apart (`--method vicreg`)",
                said.join("; ")
            )
        } else {
            "features have spread out again".into()
        };
        changed.then(|| Warning { about: About::Features, state: State::of(collapsed), words })
    }
}

impl State {
    fn of(bad: bool) -> Self {
        if bad { Self::Bad } else { Self::Good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(losses: &[f64]) -> Vec<Option<State>> {
        let mut standing = Standing::default();
        losses.iter().map(|loss| standing.epoch(*loss).map(|warning| warning.state)).collect()
    }

    #[test]
    fn a_loss_is_warned_of_once_and_when_it_is_back() {
        use State::{Bad, Good};
        assert_eq!(
            said(&[5.0, 4.0, 5.9, 6.1, 9.0, 5.0, 7.0]),
            [None, None, None, Some(Bad), None, Some(Good), Some(Bad)]
        );
        // Losses below zero, and one that never falls.
        assert_eq!(said(&[-0.2, -0.9, -0.3, 0.6]), [None, None, None, Some(Bad)]);
        assert_eq!(said(&[1.0, 1.05, 1.2]), [None, None, Some(Bad)]);
        assert_eq!(said(&[0.3, 0.05, 0.3, 0.5]), [None; 4], "a loss that rises as it should");
    }

    #[test]
    fn a_collapse_is_told_in_words_once() {
        let spread = Gauges {
            rows: 100,
            columns: 64,
            relative_std: 0.9,
            effective_rank: 40.0,
            uniformity: -3.0,
            alignment: Some(0.2),
        };
        let point = Gauges { relative_std: 0.01, effective_rank: 1.1, uniformity: -0.001, ..spread };
        let mut standing = Standing::default();
        assert_eq!(standing.gauged(&spread), None);
        let warning = standing.gauged(&point).map(|warning| warning.words).unwrap_or_default();
        for part in
            ["features have collapsed: all embeddings point the same way", "0.01", "the loss alone", "--lr"]
        {
            assert!(warning.contains(part), "{warning}");
        }
        assert_eq!(standing.gauged(&point), None);
        assert_eq!(standing.gauged(&spread).map(|warning| warning.state), Some(State::Good));
    }
}
