//! A run as its directory tells it: configuration, log, and summary where it is over. Read while the
//! run goes on as well, so the last line may be cut and is then left for the next time.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::capture::{Moment, read};
use super::line::Line;
use super::standing::{About, State, Warning};
use super::{Measures, WatchError};
use sedge_engine::Metrics;

use crate::cost::{Cost, Energy};
use crate::pretrain::{PretrainConfig, RunDirectory, Summary};

/// Largest log read.
pub const MAX_LOG_BYTES: u64 = 128 << 20;
/// Largest summary read.
const MAX_SUMMARY_BYTES: u64 = 1 << 20;
const JOULES_PER_WATT_HOUR: f64 = 3600.0;

/// How a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All epochs are done.
    Finished,
    /// It stopped at a step that was not finite, which is kept.
    NotFinite,
    /// It goes on, or was stopped; the log was last written this long ago.
    Going(Duration),
}

/// An epoch of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    /// From one.
    pub epoch: u32,
    /// Steps taken by its end.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// What was measured after it.
    pub measures: Measures,
    /// Samples a second.
    pub samples_per_second: f64,
    /// Wall time of its steps.
    pub seconds: f64,
    /// Energy of the run by its end.
    pub energy: Energy,
}

/// A step of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// From one.
    pub step: u64,
    /// Epoch, from one.
    pub epoch: u32,
    /// Learning rate.
    pub lr: f32,
    /// Loss.
    pub loss: f32,
    /// All that the objective told.
    pub metrics: Metrics,
}

/// All that is known of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The name of its directory.
    pub name: String,
    /// The configuration.
    pub config: PretrainConfig,
    /// Steps that were logged.
    pub steps: Vec<Step>,
    /// Epochs.
    pub epochs: Vec<Epoch>,
    /// Warnings, with epoch and step.
    pub warnings: Vec<(u32, u64, Warning)>,
    /// What was summed up at the end.
    pub summary: Option<Summary>,
    /// How it goes.
    pub status: Status,
}

impl Record {
    /// Reads the run in the directory `path`.
    ///
    /// # Errors
    /// [`WatchError`] when there is none, or a file cannot be read.
    pub fn read(path: &Path) -> Result<Self, WatchError> {
        let run = RunDirectory::open(path)?;
        let config = run.config()?;
        let mut record = Self {
            name: name(path),
            config,
            steps: vec![],
            epochs: vec![],
            warnings: vec![],
            summary: None,
            status: Status::Going(Duration::ZERO),
        };
        let log = run.log_path();
        if log.is_file() {
            let bytes = read(&log, MAX_LOG_BYTES)?;
            // A line without its end is being written.
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
            lines.filter_map(|line| serde_json::from_slice(line).ok()).for_each(|line| record.take(line));
        }
        if run.summary_path().is_file() {
            let text = read(&run.summary_path(), MAX_SUMMARY_BYTES)?;
            let damaged = |e: serde_json::Error| WatchError::Damaged {
                path: run.summary_path(),
                reason: e.to_string(),
            };
            record.summary = Some(serde_json::from_slice(&text).map_err(damaged)?);
        }
        record.status = record.status(&run);
        Ok(record)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Step { epoch, step, lr, metrics, .. } => {
                let loss = metrics.get("loss").copied().unwrap_or(f32::NAN);
                self.steps.push(Step { step, epoch, lr, loss, metrics });
            }
            Line::Epoch {
                epoch,
                step,
                loss,
                measures,
                seconds,
                samples_per_second,
                watt_hours,
                watt_hours_estimated,
            } => {
                let estimated_joules = JOULES_PER_WATT_HOUR * watt_hours_estimated;
                let measured_joules = JOULES_PER_WATT_HOUR * (watt_hours - watt_hours_estimated).max(0.0);
                let energy = Energy { measured_joules, estimated_joules };
                self.epochs.push(Epoch { epoch, step, loss, measures, samples_per_second, seconds, energy });
            }
            Line::Warning { epoch, step, warning } => self.warnings.push((epoch, step, warning)),
        }
    }

    fn status(&self, run: &RunDirectory) -> Status {
        if self.summary.is_some() {
            return Status::Finished;
        }
        // A run that was started again after it diverged has gone past that step, or is on its way.
        let kept = Moment::read(&run.capture_path()).ok();
        if kept.is_some_and(|moment| self.last_step().is_none_or(|last| last <= moment.position.step)) {
            return Status::NotFinite;
        }
        let written = std::fs::metadata(run.log_path()).and_then(|log| log.modified());
        let ago = written.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        Status::Going(ago.unwrap_or_default())
    }

    /// The last step that was logged.
    pub fn last_step(&self) -> Option<u64> {
        let steps = self.steps.last().map(|step| step.step);
        steps.max(self.epochs.last().map(|epoch| epoch.step))
    }

    /// What was measured last, each by itself.
    pub fn measures(&self) -> Measures {
        let last = |of: fn(&Measures) -> Option<f64>| self.epochs.iter().rev().find_map(|e| of(&e.measures));
        Measures {
            knn: last(|measures| measures.knn),
            linear: last(|measures| measures.linear),
            gauges: self.epochs.iter().rev().find_map(|epoch| epoch.measures.gauges),
        }
    }

    /// What is wrong as things stand: warnings that are not over.
    pub fn standing_warnings(&self) -> Vec<&Warning> {
        let last = |about| self.warnings.iter().rev().map(|(_, _, w)| w).find(|w| w.about == about);
        let standing = [About::Features, About::Loss].into_iter().filter_map(last);
        standing.filter(|warning| warning.state == State::Bad).collect()
    }

    /// What the run has cost so far. What the energy was read from is known at its end.
    pub fn cost(&self) -> Option<Cost> {
        if let Some(summary) = &self.summary {
            return summary.cost.clone();
        }
        let energy = self.epochs.last().map(|epoch| epoch.energy).filter(|energy| energy.joules() > 0.0)?;
        Some(Cost::of(energy, vec![], self.config.grid_g_per_kwh))
    }
}

/// The last part of a path as a person would name it.
fn name(path: &Path) -> String {
    // A path such as `.` has a name only when it is resolved.
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    whole.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
}
