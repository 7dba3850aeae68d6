//! The loop: batches in, steps taken, metrics logged, checkpoints written. It knows the engine only
//! by its trait and the encoder not at all, so that another engine, another architecture or another
//! measurement changes nothing here.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use sedge_engine::{Engine, EngineError};
use sedge_models::{InputSpec, Modality, StateRole, Tensors};
use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, Digests, FORMAT, Header, Position, Running};
use super::config::PretrainConfig;
use super::directory::{MetricsLog, RunDirectory};
use super::error::PretrainError;
use super::progress::{Progress, Size};
use super::schedule::LearningRate;
use super::stop::Stop;
use crate::cost::{Cost, Energy, Meter};
use crate::data::{Batch, DataError, Loader};
use crate::evaluate::Gauges;
use crate::files::write_atomic;
use crate::watch::{Capture, Given, Line, Measures, Warning};

/// Step lines in the log of one run, about.
const STEP_LINES: u64 = 2000;

/// What [`Digests::files`] calls the weights that a run began from, and the file that it learns from.
pub(super) const FROM: &str = "from";
pub(super) const TEACHER: &str = "pretext.teacher";

/// Measures an encoder by its training state.
pub type Measure<'a> = &'a mut dyn FnMut(&Tensors) -> Result<Measures, Box<dyn Error + Send + Sync>>;

/// What is to be trained, on what.
pub struct Job<'a> {
    /// The resolved configuration.
    pub config: &'a PretrainConfig,
    /// What the encoder reads.
    pub input: &'a InputSpec,
    /// What the second encoder reads, where two are trained.
    pub second: Option<&'a InputSpec>,
    /// Scalar inputs of a step beside the learning rate, by how much of the run is done, 0 to 1.
    pub scalars: &'a dyn Fn(f64) -> Vec<(&'static str, f32)>,
    /// What steps are given.
    pub loader: &'a Loader,
    /// Runs the training step; its state is the initial one.
    pub engine: &'a mut dyn Engine,
    /// The training step as ONNX, to be kept with a step that is not finite.
    pub graph: &'a [u8],
    /// SHA-256 of the data in hexadecimal ([`crate::data::Dataset::digest`]).
    pub data_digest: String,
    /// SHA-256 of the training-step graph in hexadecimal.
    pub step_digest: String,
    /// SHA-256 of files beside the data ([`Digests::files`]).
    pub files: BTreeMap<String, String>,
    /// Measured every `eval_every` epochs and after the last one.
    pub measure: Option<Measure<'a>>,
    /// Counts the energy of this sitting.
    pub meter: Meter,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of Sedge that ended the run.
    #[serde(default)]
    pub version: String,
    /// What it ran on, such as `linux x86_64`.
    #[serde(default)]
    pub machine: String,
    /// Seed of the run.
    #[serde(default)]
    pub seed: u64,
    /// Epochs trained.
    pub epochs: u32,
    /// Steps taken.
    pub steps: u64,
    /// Mean loss of the last epoch.
    pub loss: Option<f64>,
    /// kNN accuracy after the last epoch, 0 to 1, where there are labels.
    pub knn: Option<f64>,
    /// Linear probe accuracy after the last epoch, 0 to 1, where there are labels.
    #[serde(default)]
    pub linear: Option<f64>,
    /// Gauges of features after the last epoch.
    #[serde(default)]
    pub gauges: Option<Gauges>,
    /// Energy and carbon dioxide, over all sittings.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
    /// Samples a second.
    pub samples_per_second: f64,
    /// Trained values.
    pub parameters: usize,
    /// Digests of configuration, data and training step.
    pub digests: Digests,
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
        unit: match job.input.modality {
            Modality::Image => "images",
            Modality::Imu => "windows",
            Modality::Text => "texts",
        },
    };
    let mut training = Training::start(job, run, size)?;
    progress.begin(size, training.position.step, training.measured());
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
    energy_before: Energy,
    saved: bool,
}

impl<'job, 'run> Training<'job, 'run> {
    fn start(job: Job<'job>, run: &'run RunDirectory, size: Size) -> Result<Self, PretrainError> {
        let digests = Digests {
            config: job.config.digest()?,
            data: job.data_digest.clone(),
            step: job.step_digest.clone(),
            files: job.files.clone(),
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
        let (sitting, seconds_before, energy_before) = (Instant::now(), running.seconds, running.energy);
        Ok(Self {
            job,
            run,
            size,
            digests,
            rate,
            log,
            position,
            running,
            sitting,
            seconds_before,
            energy_before,
            saved,
        })
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
        let stepped = self.job.engine.step(&batch.given(), &scalars);
        let metrics = stepped.map_err(|source| self.failure(source, &batch, &scalars))?;
        let loss = metrics.get("loss").copied().unwrap_or(f32::NAN);
        if !loss.is_finite() {
            let source = EngineError::NotFinite { name: "loss".into() };
            return Err(self.failure(source, &batch, &scalars));
        }
        self.job.meter.poll();
        let Position { epoch, batch, step } = self.position;
        if step.is_multiple_of((self.total() / STEP_LINES).max(1)) {
            let (epoch, batch, step) = (epoch + 1, batch + 1, step + 1);
            self.log.append(&Line::Step { epoch, batch, step, lr, metrics })?;
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
    fn failure(&self, source: EngineError, given: &Batch, scalars: &[(&str, f32)]) -> PretrainError {
        let (epoch, batch) = (self.position.epoch + 1, self.position.batch + 1);
        if matches!(source, EngineError::NotFinite { .. }) {
            let checkpoint = Some(self.run.checkpoint_path()).filter(|path| path.exists());
            let capture = self.capture(&source, given, scalars);
            PretrainError::Diverged { epoch, batch, checkpoint, capture, source: Box::new(source) }
        } else {
            PretrainError::Engine { epoch, batch, source }
        }
    }

    /// Keeps the step that failed. That it cannot be kept is no reason to hide why the run stopped.
    fn capture(&self, source: &EngineError, given: &Batch, scalars: &[(&str, f32)]) -> Option<PathBuf> {
        let path = self.run.capture_path();
        let about = (self.position, self.job.config.seed, source.to_string());
        let kept =
            Capture::of(self.job.engine, self.job.graph, Given { inputs: &given.given(), scalars }, about)
                .and_then(|capture| capture.write(&path, self.job.config));
        match kept {
            Ok(()) => Some(path),
            Err(error) => {
                tracing::warn!("the step that was not finite is not kept: {error}");
                None
            }
        }
    }

    fn finish_epoch(&mut self, begun: (Instant, u64), progress: &mut Progress) -> Result<(), PretrainError> {
        let epoch = self.position.epoch + 1;
        let loss = self.running.loss_sum / self.size.batches as f64;
        let seconds = begun.0.elapsed().as_secs_f64();
        let samples = (self.position.step - begun.1) as f64 * self.size.samples as f64;
        let measures = self.measure(epoch)?;
        self.running.knn = measures.knn.or(self.running.knn);
        self.running.linear = measures.linear.or(self.running.linear);
        self.running.gauges = measures.gauges.or(self.running.gauges);
        progress.measured(self.measured());
        let gauged = measures.gauges.and_then(|gauges| self.running.standing.gauged(&gauges));
        let rising = if self.aims_at_a_moving_target() { None } else { self.running.standing.epoch(loss) };
        let warnings = [rising, gauged];
        self.running.loss = Some(loss);
        self.running.loss_sum = 0.0;
        self.position = Position { epoch, batch: 0, step: self.position.step };
        let samples_per_second = samples / seconds.max(1e-9);
        let step = self.position.step;
        let energy = self.energy();
        self.log.append(&Line::Epoch {
            epoch,
            step,
            loss,
            measures,
            seconds,
            samples_per_second,
            watt_hours: energy.watt_hours(),
            watt_hours_estimated: energy.estimated_joules / 3600.0,
        })?;
        for warning in warnings.into_iter().flatten() {
            self.warn(warning, progress)?;
        }
        if epoch.is_multiple_of(self.job.config.checkpoint_every.max(1)) {
            self.save()?;
        }
        Ok(())
    }

    /// Where a teacher follows, a queue fills or chains run, the loss may rise while all is well.
    fn aims_at_a_moving_target(&self) -> bool {
        let moving = [StateRole::Teacher, StateRole::Queue, StateRole::Chain];
        self.job.engine.spec().state.iter().any(|state| moving.contains(&state.role))
    }

    fn warn(&mut self, warning: Warning, progress: &mut Progress) -> Result<(), PretrainError> {
        let (epoch, step) = (self.position.epoch, self.position.step);
        progress.warn(&format!("epoch {epoch}: {}", warning.words));
        self.log.append(&Line::Warning { epoch, step, warning })
    }

    /// What was measured last.
    fn measured(&self) -> Measures {
        let Running { knn, linear, gauges, .. } = self.running;
        Measures { knn, linear, gauges }
    }

    fn measure(&mut self, epoch: u32) -> Result<Measures, PretrainError> {
        let every = self.job.config.eval_every;
        let due = every > 0 && (epoch.is_multiple_of(every) || epoch == self.size.epochs);
        let Some(measure) = self.job.measure.as_mut().filter(|_| due) else {
            return Ok(Measures::default());
        };
        let state = self.job.engine.state().map_err(PretrainError::State)?;
        measure(&state).map_err(|source| PretrainError::Evaluate { epoch, source })
    }

    /// The log reaches the disk before the checkpoint that names its length.
    fn save(&mut self) -> Result<(), PretrainError> {
        self.running.seconds = self.seconds();
        self.running.energy = self.energy();
        let header = Header {
            format: FORMAT,
            position: self.position,
            digests: self.digests.clone(),
            input: self.job.input.clone(),
            second: self.job.second.cloned(),
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

    fn energy(&mut self) -> Energy {
        self.energy_before + self.job.meter.energy()
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.sitting.elapsed().as_secs_f64()
    }

    fn summarise(&self) -> Result<Summary, PretrainError> {
        let seconds = self.running.seconds;
        let samples = self.position.step as f64 * self.size.samples as f64;
        let summary = Summary {
            version: env!("CARGO_PKG_VERSION").into(),
            machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            seed: self.job.config.seed,
            epochs: self.size.epochs,
            steps: self.position.step,
            loss: self.running.loss,
            knn: self.running.knn,
            linear: self.running.linear,
            gauges: self.running.gauges,
            cost: Some(Cost::of(
                self.running.energy,
                self.job.meter.sources(),
                self.job.config.grid_g_per_kwh,
            )),
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
    for (setting, what) in [(FROM, "what `from` names"), (TEACHER, "the teacher")] {
        // A run of an older version does not say.
        let then = then.files.get(setting);
        if then.is_some() && then != now.files.get(setting) {
            return Err(PretrainError::Changed { what, path: run.checkpoint_path() });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
