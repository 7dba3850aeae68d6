//! Encoders as data. An [`Architecture`] is a few numbers in TOML; from it come its initial weights,
//! its graph for training (batch norm by batch statistics), its graph with stored statistics, and
//! its graph for shipping (batch norm folded away). There is no second definition of any network.

mod conv1d;
mod dense;
mod features;
mod inverted_residual;
mod perceptron;
mod position;
mod residual;
mod transformer;
mod unit;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tract_onnx::pb;

pub use conv1d::Conv1d;
pub use inverted_residual::{Block, InvertedResidual};
pub use perceptron::{Nonlinearity, Perceptron};
pub use residual::ResidualNet;
pub use transformer::Transformer;
pub(crate) use unit::Initial;
pub use unit::{BATCH_NORM_EPSILON, fold};

use crate::onnx::build::{Batch, GraphBuilder};
use crate::tensors::Tensors;
use unit::Wiring;

/// Name of an encoder's input.
pub const INPUT: &str = "x";
/// Name of an encoder's first output, `[batch, embedding_dim]`.
pub const OUTPUT: &str = "embedding";
/// Name of the output that an encoder in [`Form::Training`] has after it: its local features before
/// pooling, `[batch, n, c]` in raster or time order (see [`Architecture::token_shape`]).
pub const TOKENS: &str = "tokens";
/// The outputs after that of a transformer in [`Form::Training`] are called `layers.<i>`: what its block `i`
/// gives, `[batch, n, c]`.
pub const LAYERS: &str = "layers.";
/// Name of the second input of a transformer that sees a part of a sample's tokens, `[batch, v, n]`: row `i`
/// is one at the token that stands at place `i`, zero elsewhere (see [`Architecture::training_graph`]).
pub const KEEP: &str = "keep";

/// The form in which an architecture's graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Batch norm by the statistics of the batch. Beside the embedding leave [`TOKENS`], of a
    /// transformer [`LAYERS`], and the statistics as `<layer>.batch_mean` and `<layer>.batch_var`.
    Training,
    /// Batch norm by stored running statistics, as an operator of its own.
    Inference,
    /// Batch norm folded into the convolutions; wants weights that went through [`fold`].
    Folded,
}

/// An encoder as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Architecture {
    /// Images: inverted residual blocks (MobileNetV2).
    InvertedResidual(InvertedResidual),
    /// Sensor windows: one-dimensional convolutions.
    Conv1d(Conv1d),
    /// Images: residual blocks (ResNet).
    #[serde(rename = "residual")]
    ResidualNet(ResidualNet),
    /// Images, sensor windows or text: attention between tokens (ViT).
    Transformer(Transformer),
    /// Images or sensor windows: dense layers.
    Perceptron(Perceptron),
}

/// What is wrong with an architecture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// A number outside its range.
    #[error("architecture field `{field}` is {found}; it must lie in {low}..={high}")]
    Range {
        /// Which field.
        field: String,
        /// Its value.
        found: usize,
        /// Smallest value allowed.
        low: usize,
        /// Largest value allowed.
        high: usize,
    },
    /// A number that must be a multiple of another.
    #[error("architecture field `{field}` is {found}; it must be a multiple of {of}")]
    Multiple {
        /// Which field.
        field: String,
        /// Its value.
        found: usize,
        /// What must divide it.
        of: usize,
    },
    /// Tokens were to be left out of an encoder that has none to leave out.
    #[error("{reason}, so no token can be left out before it; use a transformer that is not causal")]
    Keep {
        /// Why not.
        reason: &'static str,
    },
    /// The input shape does not fit.
    #[error("this architecture reads samples of shape {wanted}, not {found:?}")]
    Input {
        /// The shape given.
        found: Vec<usize>,
        /// What is wanted, in words.
        wanted: &'static str,
    },
    /// A weight is missing or has another shape.
    #[error("weight `{name}` must be there with shape {wanted:?}, found {found:?}")]
    Weight {
        /// Which weight.
        name: String,
        /// Shape found, `None` when it is missing.
        found: Option<Vec<usize>>,
        /// Shape wanted.
        wanted: Vec<usize>,
    },
    /// A unit cannot be written in training form.
    #[error("unit `{name}` cannot be written for training: {reason}")]
    Training {
        /// Which unit.
        name: String,
        /// What was said.
        reason: String,
    },
    /// No preset of that name.
    #[error("no architecture is called `{name}`; known: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// Every name there is.
        known: String,
    },
}

pub(crate) fn in_range(field: &str, found: usize, low: usize, high: usize) -> Result<(), ArchitectureError> {
    if (low..=high).contains(&found) {
        return Ok(());
    }
    Err(ArchitectureError::Range { field: field.into(), found, low, high })
}

pub(crate) fn multiple_of(field: &str, found: usize, of: usize) -> Result<(), ArchitectureError> {
    if found.is_multiple_of(of) {
        return Ok(());
    }
    Err(ArchitectureError::Multiple { field: field.into(), found, of })
}

impl Architecture {
    /// Every preset by name.
    pub fn presets() -> BTreeMap<&'static str, Self> {
        BTreeMap::from([
            ("image-mlp", Self::Perceptron(Perceptron::image())),
            ("image-resnet-slim", Self::ResidualNet(ResidualNet::resnet18(16))),
            ("image-resnet18", Self::ResidualNet(ResidualNet::resnet18(64))),
            ("image-small", Self::InvertedResidual(InvertedResidual::small())),
            ("image-tiny", Self::InvertedResidual(InvertedResidual::tiny())),
            ("imu-mlp", Self::Perceptron(Perceptron::imu())),
            ("imu-small", Self::Conv1d(Conv1d::small())),
            ("imu-transformer", Self::Transformer(Transformer::imu())),
            ("text-small", Self::Transformer(Transformer::text_small())),
            ("text-small-causal", Self::Transformer(Transformer::text_small_causal())),
            ("vit-tiny", Self::Transformer(Transformer::vit_tiny())),
        ])
    }

    /// The preset called `name`.
    pub fn preset(name: &str) -> Result<Self, ArchitectureError> {
        let mut presets = Self::presets();
        let known = presets.keys().copied().collect::<Vec<_>>().join(", ");
        presets.remove(name).ok_or(ArchitectureError::Unknown { name: name.into(), known })
    }

    /// What it is called where it is no preset: its `kind` in TOML.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvertedResidual(_) => "inverted-residual",
            Self::Conv1d(_) => "conv1d",
            Self::ResidualNet(_) => "residual",
            Self::Transformer(_) => "transformer",
            Self::Perceptron(_) => "perceptron",
        }
    }

    /// Values in one embedding.
    pub fn embedding_dim(&self) -> usize {
        match self {
            Self::InvertedResidual(net) => net.last,
            Self::Conv1d(net) => net.channels.last().copied().unwrap_or(0),
            Self::ResidualNet(net) => net.embedding_dim(),
            Self::Transformer(net) => net.dim,
            Self::Perceptron(net) => net.widths.last().copied().unwrap_or(0),
        }
    }

    /// How many tokens a sample has and how wide each is, `(n, c)`: the output [`TOKENS`] is `[batch, n, c]`.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn token_shape(&self, sample: &[usize]) -> Result<(usize, usize), ArchitectureError> {
        let count = self.token_grid(sample)?.iter().product();
        Ok((count, self.embedding_dim()))
    }

    /// How the tokens of a sample lie: their number along each spatial axis, `[rows, columns]` of an image
    /// `[steps]` of a window or a text, and `[1]` where a sample is read as a whole. Tokens are in the row-major order of this grid.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn token_grid(&self, sample: &[usize]) -> Result<Vec<usize>, ArchitectureError> {
        self.check(sample)?;
        Ok(match self {
            Self::InvertedResidual(net) => net.token_grid(sample),
            Self::Conv1d(net) => net.token_grid(sample),
            Self::ResidualNet(net) => net.token_grid(sample),
            Self::Transformer(net) => net.token_grid(sample),
            Self::Perceptron(_) => vec![1],
        })
    }

    /// Whether every number is in range and `sample` (`[channels, ...]`) is a shape it can read.
    pub fn check(&self, sample: &[usize]) -> Result<(), ArchitectureError> {
        match self {
            Self::InvertedResidual(net) => net.check(sample),
            Self::Conv1d(net) => net.check(sample),
            Self::ResidualNet(net) => net.check(sample),
            Self::Transformer(net) => net.check(sample),
            Self::Perceptron(net) => net.check(sample),
        }
    }

    /// Freshly drawn weights: before a rectifier by He et al. 2015, before other functions by Glorot & Bengio
    /// 2010; biases zero, norms at identity, running statistics at mean 0 and variance 1.
    pub fn initial_weights(&self, sample: &[usize], seed: u64) -> Result<Tensors, ArchitectureError> {
        self.check(sample)?;
        let mut wiring = Wiring::drawing(seed);
        self.wire(&mut wiring, Batch::Fixed(1), sample, Form::Inference, None)?;
        Ok(wiring.into_weights())
    }

    /// The graph in `form` over `weights`: input [`INPUT`] `[batch, ...sample]`, first output [`OUTPUT`],
    /// others as [`Form`] says.
    pub fn graph(
        &self,
        form: Form,
        batch: Batch,
        sample: &[usize],
        weights: &Tensors,
    ) -> Result<pb::ModelProto, ArchitectureError> {
        self.check(sample)?;
        self.wire(&mut Wiring::reading(weights), batch, sample, form, None)
    }

    /// [`Self::graph`] in training form for `batch` samples. With `keep` the encoder has a second input
    /// [`KEEP`] `[batch, keep, n]` and sees only the tokens, after they have their position, that its rows
    /// choose: its outputs are those of `keep` tokens, in that order (He et al. 2022, section 3).
    ///
    /// # Errors
    /// As [`Self::graph`]; with `keep` also when it is zero or above the number of tokens, or the architecture
    /// has no tokens that could be left out.
    pub fn training_graph(
        &self,
        batch: usize,
        sample: &[usize],
        weights: &Tensors,
        keep: Option<usize>,
    ) -> Result<pb::ModelProto, ArchitectureError> {
        self.check(sample)?;
        let refused = match self {
            Self::Transformer(net) if !net.causal => None,
            Self::Transformer(_) => Some("a causal encoder reads every token before another"),
            Self::InvertedResidual(_) | Self::Conv1d(_) | Self::ResidualNet(_) => {
                Some("convolutions read neighbours where they lie")
            }
            Self::Perceptron(_) => Some("dense layers read the sample as a whole"),
        };
        if let (Some(_), Some(reason)) = (keep, refused) {
            return Err(ArchitectureError::Keep { reason });
        }
        self.wire(&mut Wiring::reading(weights), Batch::Fixed(batch), sample, Form::Training, keep)
    }

    /// Layer groups from input to output, each a list of weight-name prefixes: the stem, every block,
    /// the last layer. "The last N blocks" means the last N of these.
    pub fn stages(&self) -> Vec<String> {
        match self {
            Self::InvertedResidual(net) => net.stages(),
            Self::Conv1d(net) => net.stages(),
            Self::ResidualNet(net) => net.stages(),
            Self::Transformer(net) => net.stages(),
            Self::Perceptron(net) => net.stages(),
        }
    }

    fn wire(
        &self,
        wiring: &mut Wiring<'_>,
        batch: Batch,
        sample: &[usize],
        form: Form,
        keep: Option<usize>,
    ) -> Result<pb::ModelProto, ArchitectureError> {
        let mut builder = GraphBuilder::new("encoder", batch);
        let x = builder.input(INPUT, sample);
        wiring.form = form;
        let features = match self {
            Self::InvertedResidual(net) => net.wire(wiring, &mut builder, x)?,
            Self::Conv1d(net) => net.wire(wiring, &mut builder, x)?,
            Self::ResidualNet(net) => net.wire(wiring, &mut builder, &x)?,
            Self::Transformer(net) => net.wire(wiring, &mut builder, &x, keep)?,
            Self::Perceptron(net) => net.wire(wiring, &mut builder, &x)?,
        };
        builder.output(OUTPUT, &features.embedding, true);
        if let Some(tokens) = &features.tokens {
            builder.output(TOKENS, tokens, true);
        }
        for (i, layer) in features.layers.iter().enumerate() {
            builder.output(&format!("{LAYERS}{i}"), layer, true);
        }
        wiring.emit_statistics(&mut builder);
        Ok(builder.finish())
    }
}
