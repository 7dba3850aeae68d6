//! The loop: batches in, steps taken, metrics logged, checkpoints written. It knows the engine only
//! by its trait and the encoder not at all, so that another engine, another architecture or another
//! measurement changes nothing here.

use std::error::Error;
use std::time::Instant;

use sedge_engine::{Engine, EngineError};
use sedge_models::{InputSpec, Modality, Tensors};
use serde::Serialize;

use super::checkpoint::{Checkpoint, Digests, FORMAT, Header, Position, Running};
use super::config::PretrainConfig;
use super::directory::{MetricsLog, RunDirectory};
use super::error::PretrainError;
use super::progress::{Progress, Size};
use super::schedule::LearningRate;
use super::stop::Stop;
use crate::data::{Batch, DataError, Loader};
use crate::files::write_atomic;

/// Step lines in the log of one run, about.
const STEP_LINES: u64 = 2000;

/// Measures an encoder by its training state: kNN accuracy on labelled data, 0 to 1.
pub type Measure<'a> = &'a mut dyn FnMut(&Tensors) -> Result<f64, Box<dyn Error + Send + Sync>>;

/// What is to be trained, on what.
pub struct Job<'a> {
    /// The resolved configuration.
    pub config: &'a PretrainConfig,
    /// What the encoder reads.
    pub input: &'a InputSpec,
    /// Scalar inputs of a step beside the learning rate, by how much of the run is done, 0 to 1.
    pub scalars: &'a dyn Fn(f64) -> Vec<(&'static str, f32)>,
    /// What steps are given.
    pub loader: &'a Loader,
    /// Runs the training step; its state is the initial one.
    pub engine: &'a mut dyn Engine,
    /// SHA-256 of the data in hexadecimal ([`crate::data::Dataset::digest`]).
    pub data_digest: String,
    /// SHA-256 of the training-step graph in hexadecimal.
    pub step_digest: String,
    /// Measured every `eval_every` epochs and after the last one.
    pub measure: Option<Measure<'a>>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All epochs are done.
    Finished(Summary),
    /// A stop was asked for; the checkpoint stands at this position.
    Interrupted(Position),
}

/// `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Epochs trained.
    pub epochs: u32,
    /// Steps taken.
    pub steps: u64,
    /// Mean loss of the last epoch.
    pub loss: Option<f64>,
    /// kNN accuracy after the last epoch, 0 to 1, where there are labels.
    pub knn: Option<f64>,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
    /// Samples a second.
    pub samples_per_second: f64,
    /// Trained values.
    pub parameters: usize,
    /// Digests of configuration, data and training step.
    pub digests: Digests,
}

/// A line of the log.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Step {
        epoch: u32,
        batch: usize,
        step: u64,
        lr: f32,
        #[serde(flatten)]
        metrics: &'a sedge_engine::Metrics,
    },
    Epoch {
        epoch: u32,
        step: u64,
        loss: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        knn: Option<f64>,
        seconds: f64,
        samples_per_second: f64,
    },
}

/// Trains until all epochs are done or `stop` is asked for. Goes on from the directory's checkpoint
/// where there is one, and then ends with the same state, bit for bit, as if it had never stopped.
///
/// # Errors
///
/// [`PretrainError`]. The last checkpoint is whole in every case; a loss or state that is not finite
/// never reaches one.
pub fn pretrain(
    job: Job<'_>,
    run: &RunDirectory,
    progress: &mut Progress,
    stop: &Stop,
) -> Result<Outcome, PretrainError> {
    let size = Size {
        epochs: job.config.epochs,
        batches: job.loader.batches_per_epoch(),
        samples: job.config.batch,
        unit: if job.input.modality == Modality::Image { "images" } else { "windows" },
    };
    let mut training = Training::start(job, run, size)?;
    progress.begin(size, training.position.step, training.running.knn);
    let outcome = training.go(progress, stop);
    progress.end();
    outcome
}

/// A run in progress.
struct Training<'job, 'run> {
    job: Job<'job>,
    run: &'run RunDirectory,
    size: Size,
    digests: Digests,
    rate: LearningRate,
    log: MetricsLog,
    position: Position,
    running: Running,
    /// When this sitting began, and how long those before it were.
    sitting: Instant,
    seconds_before: f64,
    saved: bool,
}

impl<'job, 'run> Training<'job, 'run> {
    fn start(job: Job<'job>, run: &'run RunDirectory, size: Size) -> Result<Self, PretrainError> {
        let digests = Digests {
            config: job.config.digest()?,
            data: job.data_digest.clone(),
            step: job.step_digest.clone(),
        };
        let checkpoint = run.checkpoint()?;
        let saved = checkpoint.is_some();
        let (mut position, mut running, mut keep) = (Position::default(), Running::default(), 0);
        if let Some(Checkpoint { header, state }) = checkpoint {
            same(&header.digests, &digests, run)?;
            job.engine.set_state(&state).map_err(PretrainError::State)?;
            (position, running, keep) = (header.position, header.running, header.log_bytes);
        }
        let rate = LearningRate::new(job.config, size.batches);
        let log = MetricsLog::open(run.log_path(), keep)?;
        let (sitting, seconds_before) = (Instant::now(), running.seconds);
        Ok(Self { job, run, size, digests, rate, log, position, running, sitting, seconds_before, saved })
    }

    fn go(&mut self, progress: &mut Progress, stop: &Stop) -> Result<Outcome, PretrainError> {
        while self.position.epoch < self.size.epochs {
            let begun = (Instant::now(), self.position.step);
            let batches = self.job.loader.epoch(u64::from(self.position.epoch), self.position.batch)?;
            for batch in batches {
                if stop.requested() {
                    self.save()?;
                    return Ok(Outcome::Interrupted(self.position));
                }
                self.step(batch, progress)?;
            }
            self.finish_epoch(begun, progress)?;
        }
        if !self.saved {
            self.save()?;
        }
        self.summarise().map(Outcome::Finished)
    }

    fn step(
        &mut self,
        batch: Result<Batch, DataError>,
        progress: &mut Progress,
    ) -> Result<(), PretrainError> {
        let batch = batch?;
        let lr = self.rate.at(self.position.step);
        let mut scalars = (self.job.scalars)(self.position.step as f64 / self.total().max(1) as f64);
        scalars.push(("lr", lr));
        let metrics =
            self.job.engine.step(&batch.given(), &scalars).map_err(|source| self.failure(source))?;
        let loss = metrics.get("loss").copied().unwrap_or(f32::NAN);
        let Position { epoch, batch, step } = self.position;
        if !loss.is_finite() {
            return Err(self.failure(EngineError::NotFinite { name: "loss".into() }));
        }
        if step.is_multiple_of((self.total() / STEP_LINES).max(1)) {
            let (epoch, batch, step) = (epoch + 1, batch + 1, step + 1);
            self.log.append(&Line::Step { epoch, batch, step, lr, metrics: &metrics })?;
        }
        self.running.loss_sum += f64::from(loss);
        self.position = Position { epoch, batch: batch + 1, step: step + 1 };
        self.saved = false;
        progress.step(epoch, self.position.step, loss);
        Ok(())
    }

    fn total(&self) -> u64 {
        u64::from(self.size.epochs) * self.size.batches as u64
    }

    /// A step that failed left the state as it was, so the last checkpoint is still good.
    fn failure(&self, source: EngineError) -> PretrainError {
        let (epoch, batch) = (self.position.epoch + 1, self.position.batch + 1);
        if matches!(source, EngineError::NotFinite { .. }) {
            let checkpoint = Some(self.run.checkpoint_path()).filter(|path| path.exists());
            PretrainError::Diverged { epoch, batch, checkpoint, source }
        } else {
            PretrainError::Engine { epoch, batch, source }
        }
    }

    fn finish_epoch(&mut self, begun: (Instant, u64), progress: &mut Progress) -> Result<(), PretrainError> {
        let epoch = self.position.epoch + 1;
        let loss = self.running.loss_sum / self.size.batches as f64;
        let seconds = begun.0.elapsed().as_secs_f64();
        let samples = (self.position.step - begun.1) as f64 * self.size.samples as f64;
        let knn = self.measure(epoch)?;
        if let Some(knn) = knn {
            progress.measured(knn);
            self.running.knn = Some(knn);
        }
        self.running.loss = Some(loss);
        self.running.loss_sum = 0.0;
        self.position = Position { epoch, batch: 0, step: self.position.step };
        let samples_per_second = samples / seconds.max(1e-9);
        let step = self.position.step;
        self.log.append(&Line::Epoch { epoch, step, loss, knn, seconds, samples_per_second })?;
        if epoch.is_multiple_of(self.job.config.checkpoint_every.max(1)) {
            self.save()?;
        }
        Ok(())
    }

    fn measure(&mut self, epoch: u32) -> Result<Option<f64>, PretrainError> {
        let every = self.job.config.eval_every;
        let due = every > 0 && (epoch.is_multiple_of(every) || epoch == self.size.epochs);
        let Some(measure) = self.job.measure.as_mut().filter(|_| due) else {
            return Ok(None);
        };
        let state = self.job.engine.state().map_err(PretrainError::State)?;
        measure(&state).map(Some).map_err(|source| PretrainError::Evaluate { epoch, source })
    }

    /// The log reaches the disk before the checkpoint that names its length.
    fn save(&mut self) -> Result<(), PretrainError> {
        self.running.seconds = self.seconds();
        let header = Header {
            format: FORMAT,
            position: self.position,
            digests: self.digests.clone(),
            input: self.job.input.clone(),
            running: self.running,
            log_bytes: self.log.sync()?,
            tensor_bytes: 0,
            tensor_sha256: String::new(),
        };
        let state = self.job.engine.state().map_err(PretrainError::State)?;
        Checkpoint { header, state }.write(&self.run.checkpoint_path())?;
        self.saved = true;
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.sitting.elapsed().as_secs_f64()
    }

    fn summarise(&self) -> Result<Summary, PretrainError> {
        let seconds = self.running.seconds;
        let samples = self.position.step as f64 * self.size.samples as f64;
        let summary = Summary {
            epochs: self.size.epochs,
            steps: self.position.step,
            loss: self.running.loss,
            knn: self.running.knn,
            seconds,
            samples_per_second: samples / seconds.max(1e-9),
            parameters: self.job.engine.spec().parameters(),
            digests: self.digests.clone(),
        };
        let path = self.run.summary_path();
        let log = |e: serde_json::Error| PretrainError::Log { path: path.clone(), source: e.into() };
        let mut text = serde_json::to_vec_pretty(&summary).map_err(log)?;
        text.push(b'\n');
        write_atomic(&path, &text)?;
        Ok(summary)
    }
}

fn same(then: &Digests, now: &Digests, run: &RunDirectory) -> Result<(), PretrainError> {
    for (what, then, now) in [
        ("the configuration", &then.config, &now.config),
        ("the data", &then.data, &now.data),
        ("the training step", &then.step, &now.step),
    ] {
        if then != now {
            return Err(PretrainError::Changed { what, path: run.checkpoint_path() });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
