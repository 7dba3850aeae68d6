//! What the quickstart found: `report.json`, and all that the page shows.

use serde::Serialize;

use super::{Camera, Motion, Plan};
use crate::evaluate::{Budget, Interval, Measure};
use crate::export::Parity;

/// `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of Sedge.
    pub version: String,
    /// Seed.
    pub seed: u64,
    /// What was done.
    pub plan: Plan,
    /// Camera: pretrained, adapted, measured.
    pub camera: Camera,
    /// IMU: pretrained, measured.
    pub motion: Motion,
    /// Wall time of everything.
    pub seconds: f64,
}

/// One pretrained and packed encoder.
#[derive(Debug, Serialize)]
pub struct Pretrained {
    /// Samples seen without labels.
    pub samples: usize,
    /// Trained values.
    pub parameters: usize,
    /// Steps taken.
    pub steps: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Loss along the way, `(step, loss)`.
    pub losses: Vec<(f64, f64)>,
    /// Agreement of the exported file with the trained encoder.
    pub parity: Parity,
    /// Size of the bundle in bytes.
    pub bundle_bytes: u64,
    /// Digest of the bundle.
    pub bundle_digest: String,
    /// What the board trains.
    pub trains: String,
}

/// What one device did on its stream.
#[derive(Debug, Serialize)]
pub struct Device {
    /// The drive as a specification of the rig.
    pub drive: String,
    /// What became of every frame and sample, what was learnt, and what it took.
    #[serde(flatten)]
    pub report: sedge_firmware::Report,
    /// Loss along the way, `(step, loss)`.
    pub losses: Vec<(f64, f64)>,
}

impl Device {
    /// What became of the stream and of the weights, in one line.
    pub fn sentence(&self) -> String {
        let sedge_firmware::Report { frames, windows, adaptation, .. } = &self.report;
        let (account, what) = if windows.offered > 0 { (windows, "windows") } else { (frames, "frames") };
        let progress = &adaptation.progress;
        let held_out = adaptation.held_out.as_ref().map_or(String::new(), |h| {
            format!(", held-out loss {:.3} -> {:.3}", h.origin.loss, h.served.loss)
        });
        format!(
            "{}: {} of {} {what} embedded, {} steps, {} candidates served, {} rejected{held_out}",
            self.drive, account.used, account.offered, progress.steps, progress.accepted, progress.rejected
        )
    }
}

/// One representation against another over robots: mean difference in accuracy with its interval.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The representation in question.
    pub better: String,
    /// The one it is held against.
    pub worse: String,
    /// Under which measure.
    pub measure: Measure,
    /// Paired difference over the robots.
    pub difference: Interval,
}

impl Comparison {
    /// In words: `adapted beats pretrained by +3.1 ± 1.2 points (10 labels per class)`.
    pub fn sentence(&self) -> String {
        let Self { better, worse, measure, difference } = self;
        let verb = match (difference.excludes_zero(), difference.mean > 0.0) {
            (true, true) => "beats",
            (true, false) => "is beaten by",
            (false, _) => "is not clearly different from",
        };
        let points = difference.signed_percent();
        format!("{better} {verb} {worse}: {points} points ({measure})")
    }
}

/// The few-label budgets measured.
pub(super) fn budgets() -> Vec<Budget> {
    vec![Budget::PerClass(1), Budget::PerClass(5), Budget::PerClass(10)]
}
