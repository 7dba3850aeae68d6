//! From a configuration and data to the loop: the encoder's training step, the engine that runs it,
//! the loader that feeds it, and samples to measure it on.

use std::error::Error;
use std::sync::Arc;

use sedge_engine::{Options, TractStep};
use sedge_models::architecture::Form;
use sedge_models::{InputSpec, Tensors};

use super::checkpoint::sha256;
use super::config::PretrainConfig;
use super::directory::RunDirectory;
use super::error::PretrainError;
use super::method::{Pretext, Setup};
use super::progress::Progress;
use super::run::{Job, Outcome, pretrain};
use super::stop::Stop;
use crate::cost::Meter;
use crate::data::{Augment, Loader, Origin, Sampler};
use crate::encoder::{Trained, onnx, pretraining_step};
use crate::watch::{Measures, Shown, Yardstick, report};

/// A run on the CPU with everything ready, before any file is made.
pub struct Pretraining {
    config: PretrainConfig,
    input: InputSpec,
    pretext: Arc<dyn Pretext>,
    data: Origin,
    loader: Loader,
    engine: TractStep,
    graph: Vec<u8>,
    yardstick: Yardstick,
    data_digest: String,
    step_digest: String,
}

impl Pretraining {
    /// Gets ready what `config` describes, on `data`.
    ///
    /// # Errors
    ///
    /// [`PretrainError`] when data, encoder and settings do not fit each other.
    pub fn prepare(data: impl Into<Origin>, config: &PretrainConfig) -> Result<Self, PretrainError> {
        let data = data.into();
        let input = data.input_spec(config.data.image_size);
        let augment: Augment = config.augment.clone().into();
        let yardstick = Yardstick::of(data.known(), &input, &augment, config.seed)?;
        let data_digest = data.digest();
        let setup = Setup { architecture: &config.architecture, input: &input, config };
        let pretext: Arc<dyn Pretext> = Arc::from(config.method.pretext(setup)?);
        let step = pretraining_step(config, &input, &*pretext)?;
        let loader =
            Loader::new(data.clone(), input.clone(), augment, config.batch, config.seed, config.workers)?
                .with_neighbours(config.neighbour_ms.saturating_mul(1_000_000))
                .with_sampler(Arc::clone(&pretext) as Arc<dyn Sampler>)?;
        let engine = TractStep::with_options(&step, Options::parallel()).map_err(PretrainError::State)?;
        let (config, step_digest, graph) = (config.clone(), sha256(&step.onnx), step.onnx);
        Ok(Self { config, input, pretext, data, loader, engine, graph, yardstick, data_digest, step_digest })
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
            scalars: &|progress| self.pretext.scalars(progress),
            loader: &self.loader,
            engine: &mut self.engine,
            graph: &self.graph,
            data_digest: self.data_digest.clone(),
            step_digest: self.step_digest.clone(),
            measure: Some(&mut measure),
            meter: Meter::system(),
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
