//! From a configuration and data to the loop: the encoder's training step, the engine that runs it,
//! the loader that feeds it, and neighbours to measure it by.

use std::error::Error;
use std::sync::Arc;

use sedge_engine::Engine;
use sedge_models::architecture::Form;
use sedge_models::{InputSpec, Tensors};

use super::checkpoint::sha256;
use super::config::PretrainConfig;
use super::directory::RunDirectory;
use super::error::PretrainError;
use super::method::{Pretext, Setup};
use super::progress::Progress;
use super::run::{Job, Measure, Outcome, pretrain};
use super::stop::Stop;
use crate::data::{Dataset, Loader, Origin, Sampler, split};
use crate::encoder::{EncoderError, Trained, embed, onnx, pretraining_step};
use crate::evaluate::Knn;
use crate::gpu;

/// Share of the groups whose samples are asked about, the rest being their neighbours.
const ASKED: f64 = 0.2;
/// Most samples asked about, and most neighbours: enough to see the trend and quick beside an epoch.
const MOST_ASKED: usize = 500;
const MOST_NEIGHBOURS: usize = 2000;

/// A run with everything ready, before any file is made.
pub struct Pretraining {
    config: PretrainConfig,
    input: InputSpec,
    pretext: Arc<dyn Pretext>,
    loader: Loader,
    engine: Box<dyn Engine>,
    neighbours: Option<Neighbours>,
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
        let (data_digest, neighbours) = (data.digest(), Neighbours::of(data.known(), config.seed)?);
        let augment = config.augment.clone().into();
        let setup = Setup { architecture: &config.architecture, input: &input, config };
        let pretext: Arc<dyn Pretext> = Arc::from(config.method.pretext(setup)?);
        let step = pretraining_step(config, &input, &*pretext)?;
        let loader = Loader::new(data, input.clone(), augment, config.batch, config.seed, config.workers)?
            .with_neighbours(config.neighbour_ms.saturating_mul(1_000_000))
            .with_sampler(Arc::clone(&pretext) as Arc<dyn Sampler>)?;
        let engine = gpu::engine(&step, config.device, config.precision)?;
        let (config, step_digest) = (config.clone(), sha256(&step.onnx));
        Ok(Self { config, input, pretext, loader, engine, neighbours, data_digest, step_digest })
    }

    /// Runs in `run`, going on from its checkpoint where there is one.
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
        let mut accuracy =
            self.neighbours.as_ref().map(|n| |state: &Tensors| n.accuracy(config, input, state));
        let measure: Option<Measure<'_>> = accuracy.as_mut().map(|accuracy| accuracy as Measure<'_>);
        let job = Job {
            config,
            input,
            scalars: &|progress| self.pretext.scalars(progress),
            loader: &self.loader,
            engine: self.engine.as_mut(),
            data_digest: self.data_digest.clone(),
            step_digest: self.step_digest.clone(),
            measure,
        };
        pretrain(job, run, progress, stop)
    }
}

/// Labelled samples of the training data in two parts that share no group.
struct Neighbours {
    known: Dataset,
    asked: Dataset,
    classes: usize,
}

impl Neighbours {
    /// `None` when there are no labels, one class only, or no two groups to keep apart.
    fn of(data: &Dataset, seed: u64) -> Result<Option<Self>, PretrainError> {
        let classes = data.labels().map_or(0, |labels| labels.names.len());
        let groups = data.groups();
        if classes < 2 || groups.iter().min() == groups.iter().max() {
            return Ok(None);
        }
        let parts = split::by_group(groups, ASKED, seed)?;
        let known = data.subset(&spread(&parts.train, MOST_NEIGHBOURS))?;
        let asked = data.subset(&spread(&parts.held, MOST_ASKED))?;
        Ok(Some(Self { known, asked, classes }))
    }

    fn accuracy(
        &self,
        config: &PretrainConfig,
        input: &InputSpec,
        state: &Tensors,
    ) -> Result<f64, Box<dyn Error + Send + Sync>> {
        let trained = Trained {
            architecture: config.architecture.clone(),
            input: input.clone(),
            weights: state.clone(),
        };
        let encoder = onnx(&trained, Form::Folded)?;
        let features = |data: &Dataset| -> Result<_, EncoderError> { embed(&encoder, data, input) };
        let (known, asked) = (features(&self.known)?, features(&self.asked)?);
        let labels = |data: &Dataset| data.labels().map(|labels| labels.ids.clone()).unwrap_or_default();
        let (known_labels, asked_labels) = (labels(&self.known), labels(&self.asked));
        let knn = Knn::default();
        Ok(knn.accuracy(known.view(), &known_labels, asked.view(), &asked_labels, self.classes)?)
    }
}

/// At most `most` of `indices`, evenly spread.
fn spread(indices: &[usize], most: usize) -> Vec<usize> {
    let n = indices.len().min(most);
    (0..n).filter_map(|i| indices.get(i * indices.len() / n)).copied().collect()
}
