//! From a configuration and data to the loop: the encoder's training step, the engine that runs it,
//! the loader that feeds it, and samples to measure it on.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use sedge_engine::Engine;
use sedge_models::architecture::Form;
use sedge_models::{InputSpec, Tensors, TrainingStep};

use super::checkpoint::sha256;
use super::config::{ConfigError, PretrainConfig};
use super::directory::RunDirectory;
use super::error::PretrainError;
use super::method::{Pretext, Setup};
use super::progress::Progress;
use super::run::{FROM, Job, Outcome, TEACHER, pretrain};
use super::start::Start;
use super::stop::Stop;
use crate::cost::Meter;
use crate::data::{Augment, Loader, Origin, Sampler};
use crate::encoder::{Trained, onnx, pair_step, pretraining_step};
use crate::gpu::Device;
use crate::watch::{Measures, Shown, Yardstick, report};

/// The driver's program that tells the power of NVIDIA cards.
const CARDS: &str = "nvidia-smi";

/// A run with everything ready, before any file is made.
pub struct Pretraining {
    config: PretrainConfig,
    input: InputSpec,
    second: Option<InputSpec>,
    pretext: Arc<dyn Pretext>,
    data: Origin,
    loader: Loader,
    engine: Box<dyn Engine>,
    graph: Vec<u8>,
    yardstick: Yardstick,
    data_digest: String,
    step_digest: String,
    files: BTreeMap<String, String>,
}

impl Pretraining {
    /// Gets ready what `config` describes, on `data`.
    ///
    /// # Errors
    ///
    /// [`PretrainError`] when data, encoder and settings do not fit each other, or the weights to begin with
    /// are not the encoder's.
    pub fn prepare(data: impl Into<Origin>, config: &PretrainConfig) -> Result<Self, PretrainError> {
        let data = data.into();
        let start = config.from.as_deref().map(Start::read).transpose()?;
        let mut input = data.input_spec(config.data.image_size);
        if let Some(start) = &start {
            start.normalise_like(&mut input);
        }
        let setup = Setup { architecture: &config.architecture, input: &input, config };
        let pretext: Arc<dyn Pretext> = Arc::from(config.method.pretext(setup)?);
        let second = second_input(&data, config, &*pretext)?;
        let mut step = step(config, &input, second.as_ref(), &*pretext)?;
        let loader = loader(&data, config, &input, second.as_ref(), &pretext)?;
        let files = files(start.as_ref(), &*pretext);
        let engine = engine(&mut step, start, config, &input, &loader, &*pretext)?;
        let augment: Augment = config.augment.clone().into();
        let yardstick = Yardstick::of(data.known(), &input, &augment, config.seed)?;
        let (data_digest, step_digest) = (data.digest(), sha256(&step.onnx));
        let (config, graph) = (config.clone(), step.onnx);
        Ok(Self {
            config,
            input,
            second,
            pretext,
            data,
            loader,
            engine,
            graph,
            yardstick,
            data_digest,
            step_digest,
            files,
        })
    }

    /// Runs in `run`, going on from its checkpoint where there is one, and writes its report at the end. A
    /// report that cannot be written is told and changes nothing of the run.
    ///
    /// # Errors
    ///
    /// As [`pretrain`].
    pub fn run(
        mut self,
        run: &RunDirectory,
        progress: &mut Progress,
        stop: &Stop,
    ) -> Result<Outcome, PretrainError> {
        let (config, input) = (&self.config, &self.input);
        let yardstick = &self.yardstick;
        let mut measure = |state: &Tensors| measure(yardstick, config, input, state);
        let job = Job {
            config,
            input,
            second: self.second.as_ref(),
            scalars: &|progress| self.pretext.scalars(progress),
            loader: &self.loader,
            engine: self.engine.as_mut(),
            graph: &self.graph,
            data_digest: self.data_digest.clone(),
            step_digest: self.step_digest.clone(),
            files: self.files.clone(),
            measure: Some(&mut measure),
            meter: meter(config.device, Path::new(CARDS)),
        };
        let outcome = pretrain(job, run, progress, stop)?;
        let shown = Shown { data: self.data.known(), of: "the data trained on" };
        if matches!(outcome, Outcome::Finished(_))
            && let Err(why) = report(run.path(), Some(shown), None)
        {
            let again = format!("`sedge report {}` tries again", run.path().display());
            tracing::warn!("the report was not written: {why}; {again}");
        }
        Ok(outcome)
    }
}

/// Counts the energy of this machine, with its NVIDIA cards, which `program` tells, where the run is on a GPU.
fn meter(device: Device, program: &Path) -> Meter {
    match device {
        Device::Cpu | Device::BurnCpu => Meter::system(),
        Device::Cuda(_) | Device::Wgpu => Meter::system().with_cards(program),
    }
}

/// Digests of the files that the run depends on beside its data, by the settings that name them.
fn files(start: Option<&Start>, pretext: &dyn Pretext) -> BTreeMap<String, String> {
    let from = start.map(|start| (FROM, start.digest.as_str()));
    let teacher = pretext.teacher().map(|digest| (TEACHER, digest));
    let named = |(setting, digest): (&str, &str)| (setting.to_owned(), digest.to_owned());
    [from, teacher].into_iter().flatten().map(named).collect()
}

/// The training step of the configuration's encoder, and of the one that reads `second` where there is one.
fn step(
    config: &PretrainConfig,
    input: &InputSpec,
    second: Option<&InputSpec>,
    pretext: &dyn Pretext,
) -> Result<TrainingStep, PretrainError> {
    accumulates(config, pretext)?;
    Ok(match pretext.second().zip(second) {
        Some(second) => pair_step(config, input, second, pretext)?,
        None => pretraining_step(config, input, pretext)?,
    })
}

/// What gives the step its batches.
fn loader(
    data: &Origin,
    config: &PretrainConfig,
    input: &InputSpec,
    second: Option<&InputSpec>,
    pretext: &Arc<dyn Pretext>,
) -> Result<Loader, PretrainError> {
    let augment = config.augment.clone().into();
    let mut loader =
        Loader::new(data.clone(), input.clone(), augment, config.batch, config.seed, config.workers)?
            .with_neighbours(config.neighbour_ms.saturating_mul(1_000_000));
    if let Some((second, augment)) = second.zip(config.second_augment.clone()) {
        loader = loader.with_second(second.clone(), augment)?;
    }
    let loader = loader.with_sampler(Arc::clone(pretext) as Arc<dyn Sampler>)?;
    if config.accumulate > loader.batches_per_epoch() {
        let wanted = format!("at most the {} batches of an epoch", loader.batches_per_epoch());
        return Err(refused(config, wanted).into());
    }
    Ok(loader)
}

/// The engine that runs `step`, which begins from the weights of `start` where they are given.
fn engine(
    step: &mut TrainingStep,
    start: Option<Start>,
    config: &PretrainConfig,
    input: &InputSpec,
    loader: &Loader,
    pretext: &dyn Pretext,
) -> Result<Box<dyn Engine>, PretrainError> {
    let fitted = start.map(|start| start.weights_of(&config.architecture, &input.shape)).transpose()?;
    if let Some(fitted) = &fitted {
        fitted.put_into(&mut step.initial);
    }
    let mut engine = crate::gpu::engine(step, config.device, config.precision)?;
    if let (Some(fitted), Some(batch)) = (&fitted, loader.epoch(0, 0)?.next()) {
        fitted.unfold(engine.as_mut(), &mut step.initial, &batch?, &pretext.scalars(0.0))?;
    }
    Ok(engine)
}

/// Whether the method's batches can be cut into smaller ones, where the run asks for that.
fn accumulates(config: &PretrainConfig, pretext: &dyn Pretext) -> Result<(), ConfigError> {
    let reason = pretext.objective().couples_samples().filter(|_| config.accumulate > 1);
    reason.map_or(Ok(()), |reason| {
        let wanted =
            format!("1 with {}, since {reason}; a larger `batch` is what it needs", config.method.name());
        Err(refused(config, wanted))
    })
}

fn refused(config: &PretrainConfig, wanted: String) -> ConfigError {
    ConfigError::Value { field: "accumulate", found: config.accumulate.to_string(), wanted }
}

/// What the second encoder reads, where `pretext` trains one.
fn second_input(
    data: &Origin,
    config: &PretrainConfig,
    pretext: &dyn Pretext,
) -> Result<Option<InputSpec>, ConfigError> {
    if pretext.second().is_none() {
        return Ok(None);
    }
    let refused = || ConfigError::Value {
        field: "method",
        found: config.method.name(),
        wanted:
            "one for data of one part; this one reads recordings of a camera and an IMU: an .mcap file with \
                 both, or `sim`"
                .into(),
    };
    data.known().second_spec().map(Some).ok_or_else(refused)
}

/// Measures the encoder that a training state holds.
fn measure(
    yardstick: &Yardstick,
    config: &PretrainConfig,
    input: &InputSpec,
    state: &Tensors,
) -> Result<Measures, Box<dyn Error + Send + Sync>> {
    let trained =
        Trained { architecture: config.architecture.clone(), input: input.clone(), weights: state.clone() };
    yardstick.measure(&onnx(&trained, Form::Folded)?)
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
