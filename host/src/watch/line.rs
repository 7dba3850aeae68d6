//! A line of the log of metrics, written and read by one definition.

use sedge_engine::Metrics;
use serde::{Deserialize, Serialize};

use super::measures::Measures;
use super::standing::Warning;

/// A line of `metrics.jsonl`; see [`watch`](super).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// A step was taken.
    Step {
        /// Epoch, from one.
        epoch: u32,
        /// Batch in the epoch, from one.
        batch: usize,
        /// Step of the run, from one.
        step: u64,
        /// Learning rate.
        lr: f32,
        /// What the step told, the loss among it.
        #[serde(flatten)]
        metrics: Metrics,
    },
    /// An epoch ended.
    Epoch {
        /// Epoch, from one.
        epoch: u32,
        /// Steps taken so far.
        step: u64,
        /// Mean loss.
        loss: f64,
        /// What was measured after it, where it was due.
        #[serde(flatten)]
        measures: Measures,
        /// Wall time of its steps in this sitting.
        seconds: f64,
        /// Samples a second.
        samples_per_second: f64,
        /// Energy of the run so far, in watt-hours.
        #[serde(default)]
        watt_hours: f64,
        /// The part of it that is an estimate.
        #[serde(default)]
        watt_hours_estimated: f64,
    },
    /// Something went wrong, or is over.
    Warning {
        /// Epoch, from one.
        epoch: u32,
        /// Steps taken so far.
        step: u64,
        /// What it is.
        #[serde(flatten)]
        warning: Warning,
    },
}
