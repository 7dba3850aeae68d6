//! What a run came to, as numbers: every reading accounted for, what was learnt, what it cost.

use std::collections::BTreeMap;

use sedge_core::{PairingTally, Progress, StopReason, Tally};
use serde::Serialize;

use crate::device::{Device, HeldOut, Percentiles};
use crate::{DeviceConfig, SourceAccount};

/// What became of the readings of one sensor: `offered = used + dropped + waiting`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    /// Readings that came in.
    pub offered: u64,
    /// Readings that reached an embedding.
    pub used: u64,
    /// Readings dropped, by reason; reasons that did not occur are left out.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Readings held for a later session; zero once the stream has ended.
    pub waiting: u64,
}

impl Account {
    /// The account of a tally.
    pub fn new(tally: &Tally) -> Self {
        Self {
            offered: tally.offered,
            used: tally.used,
            dropped: tally.reasons().into_iter().filter(|(_, count)| *count > 0).collect(),
            waiting: tally.waiting(),
        }
    }

    /// Adds readings that came faster than they could be taken.
    pub(crate) fn overrun(&mut self, count: u64) {
        self.offered += count;
        if count > 0 {
            *self.dropped.entry("overrun").or_default() += count;
        }
    }

    /// Whether it adds up.
    pub fn balances(&self) -> bool {
        self.offered == self.used + self.dropped.values().sum::<u64>() + self.waiting
    }
}

/// What was learnt, and what it cost of the time allowed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Adaptation {
    /// Steps and verdicts.
    pub progress: Progress,
    /// Number of the weights in service; zero as shipped.
    pub weights: u64,
    /// Factor on the learning rate after rejections and acceptances.
    pub lr_scale: f32,
    /// Why it stopped for good, if it did.
    pub stopped: Option<StopReason>,
    /// Time charged in seconds: stated at the pace `fast`, measured at the pace of a clock.
    pub spent_s: f64,
    /// Training pairs kept.
    pub training_pairs: usize,
    /// Held-out pairs kept.
    pub held_out_pairs: usize,
    /// Embedded samples as pairs.
    pub pairing: PairingTally,
    /// Shipped and served weights on the held-out pairs at the end; null without pairs.
    pub held_out: Option<HeldOut>,
}

/// Times of this session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Embedding of one frame or window.
    pub frame: Percentiles,
    /// The same while a step or an evaluation was under way beside it.
    pub frame_while_adapting: Percentiles,
    /// One training step.
    pub step: Percentiles,
}

/// What became of a device's stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Frames.
    pub frames: Account,
    /// Inertial samples.
    pub imu: Account,
    /// Windows; all zero where frames are embedded.
    pub windows: Account,
    /// What was learnt.
    pub adaptation: Adaptation,
    /// Times.
    pub timing: Timing,
}

/// A whole run. Counts are over all sessions, times over the last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Version of the daemon.
    pub version: &'static str,
    /// The bundle's name.
    pub bundle: String,
    /// Its SHA-256.
    pub bundle_digest: String,
    /// The source as given.
    pub source: String,
    /// Seed.
    pub seed: u64,
    /// The configuration.
    pub config: DeviceConfig,
    /// Sessions so far.
    pub sessions: u64,
    /// Events taken from the source.
    pub events: u64,
    /// Time of the stream from its first event to its last, in seconds.
    pub stream_s: f64,
    /// Whether the source came to its end; otherwise the next run goes on.
    pub ended: bool,
    /// Why the source failed, if it did.
    pub source_error: Option<String>,
    /// What the source says became of its content.
    pub source_account: SourceAccount,
    /// What became of the stream.
    #[serde(flatten)]
    pub report: Report,
    /// Wall time of the session in seconds.
    pub wall_s: f64,
    /// Wall time from the session's start, the bundle's reading and self-test included, to its first embedding.
    pub first_embedding_s: Option<f64>,
    /// Records dropped because the disk did not take them; only over a board.
    pub lost_records: u64,
    /// Largest resident memory of the process in bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
}

impl Report {
    /// Whether every frame, sample and window is accounted for.
    pub fn balances(&self) -> bool {
        self.frames.balances() && self.imu.balances() && self.windows.balances()
    }

    /// What became of a device's stream so far.
    pub(crate) fn of(device: &Device, held_out: Option<HeldOut>) -> Self {
        let learner = &device.learner;
        Self {
            frames: Account::new(learner.frames()),
            imu: Account::new(learner.imu()),
            windows: Account::new(&learner.windows()),
            adaptation: Adaptation {
                progress: *learner.progress(),
                weights: device.served(),
                lr_scale: learner.guard().lr_scale(),
                stopped: learner.guard().stopped(),
                spent_s: learner.spent().as_secs_f64(),
                training_pairs: learner.training().len(),
                held_out_pairs: learner.held_out().len(),
                pairing: *learner.pairs(),
                held_out,
            },
            timing: Timing {
                frame: device.frame_times.percentiles(),
                frame_while_adapting: device.busy_frame_times.percentiles(),
                step: device.step_times.percentiles(),
            },
        }
    }
}

impl Summary {
    /// Whether every event of the source is accounted for.
    pub fn balances(&self) -> bool {
        let Report { frames, imu, .. } = &self.report;
        self.report.balances() && frames.offered + imu.offered == self.events
    }
}

/// Largest resident memory of this process in bytes, where the system tells.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    memory("VmHWM:")
}

/// Resident memory of this process in bytes, where the system tells.
pub(crate) fn rss_bytes() -> Option<u64> {
    memory("VmRSS:")
}

fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_account_names_what_happened_and_adds_up() {
        let tally = Tally { offered: 10, used: 6, late: 1, not_finite: 2, ..Default::default() };
        let mut account = Account::new(&tally);
        assert!(account.balances());
        account.overrun(3);
        assert!(account.balances());
        assert_eq!((account.offered, account.waiting), (13, 1));
        assert_eq!(account.dropped, BTreeMap::from([("late", 1), ("not_finite", 2), ("overrun", 3)]));
        assert!(!Account { used: 7, ..account }.balances());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told() {
        assert!(rss_bytes().unwrap() > 100_000);
        assert!(peak_rss_bytes().unwrap() >= rss_bytes().unwrap() / 2);
    }
}
