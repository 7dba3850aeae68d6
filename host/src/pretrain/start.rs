//! Where a run starts when not from scratch: the encoder's weights from another run, from a bundle or from an
//! ONNX file, found by their names and shapes. All must be there and nothing else: a start from half an encoder
//! would look like one from all of it. Of a file that has none of our names, layers are matched from input to
//! output ([`stranger`]).
//!
//! Files that are shipped have their batch norms folded away. Training wants them back, so they are put back
//! such that the encoder gives, on a first batch, what the file gives: each norm's scale is the deviation of
//! what its convolution gives, and its shift the mean with the folded bias. What a convolution gives depends on
//! the norms before it, so the batch is passed through until nothing changes any more, at most once a norm.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use sedge_engine::{Engine, EngineError};
use sedge_models::architecture::{Architecture, ArchitectureError, BATCH_NORM_EPSILON, fold};
use sedge_models::bundle::{Bundle, BundleError};
use sedge_models::compile::STATISTICS_MOMENTUM;
use sedge_models::onnx::read::{MAX_MODEL_BYTES, parse};
use sedge_models::onnx::{OnnxError, initializers};
use sedge_models::{InputSpec, Tensors};

use super::checkpoint::{sha256, sha256_of_file};
use super::config::PretrainConfig;
use super::directory::RunDirectory;
use super::error::PretrainError;
use super::pretrained::Pretrained;
use super::stranger;
use crate::data::Batch;

/// Change of a norm, relative to its largest value, below which it stays.
const SETTLED: f32 = 1e-4;
/// Most names of weights that an error lists of a kind.
const MOST_NAMED: usize = 10;

/// Weights to start from, before it is known what for.
#[derive(Clone, Debug)]
pub struct Start {
    path: PathBuf,
    weights: Tensors,
    /// SHA-256 of the file, of a run that of its checkpoint, in hexadecimal.
    pub digest: String,
    /// The file itself, where it may be a stranger's.
    onnx: Option<Vec<u8>>,
    /// What the encoder read, where that is known; a bare ONNX file does not say how samples are normalised.
    pub input: Option<InputSpec>,
    /// Its architecture, where that is known.
    pub architecture: Option<Architecture>,
}

/// Why weights cannot be started from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path is neither a run, nor a bundle, nor an ONNX file.
    #[error("`from` is {}; it must be a run directory, a .sedge bundle or an .onnx encoder", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
    },
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The ONNX cannot be read.
    #[error("{} cannot be read as ONNX: {source}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: OnnxError,
    },
    /// The weights are those of another encoder.
    #[error(
        "{} does not hold the weights of this encoder: {}. Choose the architecture and the data's shape that it \
         was trained with",
        path.display(),
        differences.join("; ")
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Every difference: weights that are missing, that are more, and of other shapes.
        differences: Vec<String>,
    },
    /// The architecture cannot read the data.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// A pass through the encoder failed while its norms were put back.
    #[error("the batch norms that were folded away in {} cannot be put back: {source}", path.display())]
    Unfold {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        source: EngineError,
    },
}

impl Start {
    /// Reads a run directory, a `.sedge` bundle or an `.onnx` encoder.
    ///
    /// # Errors
    /// [`PretrainError::Start`] when it is none of these or cannot be read, and what is wrong with a run.
    pub fn read(path: &Path) -> Result<Self, PretrainError> {
        if path.is_dir() {
            let Pretrained { encoder, .. } = Pretrained::read(path)?;
            let digest = digest(&RunDirectory::open(path)?.checkpoint_path())?;
            let (input, architecture) = (Some(encoder.input), Some(encoder.architecture));
            let (path, weights) = (path.into(), encoder.weights);
            return Ok(Self { path, weights, digest, onnx: None, input, architecture });
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension {
            "sedge" => Ok(Self::of_bundle(path)?),
            "onnx" => {
                let bytes = read(path)?;
                let (weights, digest) = (of_onnx(path, &bytes)?, sha256(&bytes));
                let (path, onnx) = (path.into(), Some(bytes));
                Ok(Self { path, weights, digest, onnx, input: None, architecture: None })
            }
            _ => Err(StartError::Kind { path: path.into() }.into()),
        }
    }

    fn of_bundle(path: &Path) -> Result<Self, StartError> {
        let Bundle { manifest, encoder, .. } = Bundle::read(path)?;
        let config = PretrainConfig::from_toml(&manifest.made_by.config, path).ok();
        let weights = of_onnx(path, &encoder)?;
        let architecture = config.map(|config| config.architecture);
        let (digest, input) = (digest(path)?, Some(manifest.input));
        Ok(Self { path: path.into(), weights, digest, onnx: None, input, architecture })
    }

    /// The normalisation that the weights are used to, put into `input` where it is known.
    pub fn normalise_like(&self, input: &mut InputSpec) {
        let known = self.input.as_ref();
        if let Some(known) =
            known.filter(|k| (k.modality, k.channels()) == (input.modality, input.channels()))
        {
            (input.mean, input.std) = (known.mean.clone(), known.std.clone());
        }
    }

    /// The weights as those of `architecture` on samples of shape `sample`.
    ///
    /// # Errors
    /// [`StartError::Other`] that names every difference.
    pub fn weights_of(&self, architecture: &Architecture, sample: &[usize]) -> Result<Fitted, StartError> {
        let whole = architecture.initial_weights(sample, 0)?;
        let folded = fold(&whole)?;
        // A run's weights come with its head's, and what is folded has constants beside its weights.
        let own = |name: &String| !name.starts_with("head.") && !name.starts_with("classifier.");
        let given: Tensors =
            self.weights.iter().filter(|(name, w)| own(name) && w.ndim() > 0).map(cloned).collect();
        let strange = !given.keys().any(|name| whole.contains_key(name) || folded.contains_key(name));
        let mut differences = vec![];
        let given = match self.onnx.as_ref().filter(|_| strange) {
            Some(onnx) => stranger::matched(onnx, architecture, sample, &folded).unwrap_or_else(|why| {
                differences.push(format!("none of its weights has a name of ours, and {why}"));
                given
            }),
            None => given,
        };
        let lacks_norms = given.keys().all(|name| !name.contains(".bn."));
        if differences.is_empty() {
            differences = differing(&given, if lacks_norms { &folded } else { &whole });
        }
        if !differences.is_empty() {
            return Err(StartError::Other { path: self.path.clone(), differences });
        }
        let biases = given.iter().filter(|(name, _)| !whole.contains_key(*name)).map(cloned);
        let biases: Tensors = biases.collect();
        let weights = given.into_iter().filter(|(name, _)| whole.contains_key(name)).collect();
        Ok(Fitted { path: self.path.clone(), weights, biases })
    }
}

fn cloned<'a>((name, value): (&'a String, &'a ArrayD<f32>)) -> (String, ArrayD<f32>) {
    (name.clone(), value.clone())
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    let failed = |source| StartError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    // The parser refuses what goes past its limit.
    let limit = MAX_MODEL_BYTES as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

fn digest(path: &Path) -> Result<String, StartError> {
    sha256_of_file(path).map_err(|source| StartError::Read { path: path.into(), source })
}

fn of_onnx(path: &Path, bytes: &[u8]) -> Result<Tensors, StartError> {
    let model = parse(bytes).map_err(|source| StartError::Onnx { path: path.into(), source })?;
    Ok(initializers(&model))
}

/// In words, what is missing in `given`, what is more than `wanted`, and what has another shape.
fn differing(given: &Tensors, wanted: &Tensors) -> Vec<String> {
    let names = |of: &Tensors, but: &Tensors| -> BTreeSet<String> {
        of.keys().filter(|name| !but.contains_key(*name)).map(|name| format!("`{name}`")).collect()
    };
    let others = wanted.iter().filter_map(|(name, wanted)| {
        let found = given.get(name).filter(|found| found.shape() != wanted.shape())?;
        Some(format!("`{name}` is {:?} and not {:?}", found.shape(), wanted.shape()))
    });
    [
        ("missing", names(wanted, given)),
        ("not of it", names(given, wanted)),
        ("of another shape", others.collect()),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(kind, names)| {
        let listed: Vec<&str> = names.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more = names.len() - listed.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{kind} are {}{more}", listed.join(", "))
    })
    .collect()
}

/// Weights that fit an encoder.
#[derive(Clone, Debug)]
pub struct Fitted {
    path: PathBuf,
    /// By the names that they have in training.
    weights: Tensors,
    /// Biases `<unit>.conv.bias` of units whose norm was folded away.
    biases: Tensors,
}

impl Fitted {
    /// Puts the weights into the state that a step starts with, its teacher's copies among them.
    pub fn put_into(&self, state: &mut Tensors) {
        self.weights.iter().for_each(|(name, value)| put(state, name, value));
    }

    /// Puts folded norms back into `state`, which holds the weights already, by passes of `batch` through the step
    /// of `engine`, with these scalar inputs and a learning rate of zero. Leaves `state` in the engine.
    ///
    /// # Errors
    /// [`StartError::Unfold`] when a pass fails or what it gives is not finite.
    pub fn unfold(
        &self,
        engine: &mut dyn Engine,
        state: &mut Tensors,
        batch: &Batch,
        scalars: &[(&'static str, f32)],
    ) -> Result<(), StartError> {
        let failed = |source| StartError::Unfold { path: self.path.clone(), source };
        let scalars: Vec<_> = scalars.iter().copied().chain([("lr", 0.0)]).collect();
        // One pass more than there are norms sees that the last one stays.
        for _ in 0..=self.biases.len() {
            let mut cleared = state.clone();
            for unit in self.units() {
                for part in ["running_mean", "running_var"] {
                    cleared.entry(format!("{unit}.bn.{part}")).and_modify(|value| value.fill(0.0));
                }
            }
            engine.set_state(&cleared).map_err(failed)?;
            engine.step(&batch.given(), &scalars).map_err(failed)?;
            let moved = engine.state().map_err(failed)?;
            if self.settle(state, &moved) < SETTLED {
                break;
            }
        }
        engine.set_state(state).map_err(failed)
    }

    fn units(&self) -> impl Iterator<Item = &str> {
        self.biases.keys().filter_map(|name| name.strip_suffix(".conv.bias"))
    }

    /// Sets every norm by the statistics that a pass left in `moved`; gives the largest change.
    fn settle(&self, state: &mut Tensors, moved: &Tensors) -> f32 {
        let mut most = 0f32;
        for (unit, bias) in self.units().zip(self.biases.values()) {
            let statistic =
                |part: &str| moved.get(&format!("{unit}.bn.{part}")).map(|v| v / STATISTICS_MOMENTUM);
            let (Some(mean), Some(variance)) = (statistic("running_mean"), statistic("running_var")) else {
                continue;
            };
            let scale = variance.mapv(|v| (v + BATCH_NORM_EPSILON).sqrt());
            let shift = &mean + bias;
            for (part, value) in
                [("weight", &scale), ("bias", &shift), ("running_mean", &mean), ("running_var", &variance)]
            {
                let name = format!("{unit}.bn.{part}");
                most = most.max(state.get(&name).map_or(0.0, |before| change(before, value)));
                put(state, &name, value);
            }
        }
        most
    }
}

/// Puts `value` where `state` has that name, and where a teacher has its copy.
fn put(state: &mut Tensors, name: &str, value: &ArrayD<f32>) {
    for name in [name.to_owned(), format!("{name}/teacher")] {
        state.entry(name).and_modify(|known| known.clone_from(value));
    }
}

/// The largest difference, relative to the largest value.
fn change(before: &ArrayD<f32>, after: &ArrayD<f32>) -> f32 {
    let scale = after.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
    before.iter().zip(after).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
