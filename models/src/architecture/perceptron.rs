//! Encoder of dense layers over the flattened sample: what stacked restricted Boltzmann machines
//! (Hinton et al. 2006) and denoising autoencoders (Vincent et al. 2008) are made of.

use serde::{Deserialize, Serialize};

use super::features::Features;
use super::unit::{Initial, Wiring};
use super::{ArchitectureError, Form, in_range};
use crate::onnx::build::{GraphBuilder, Value};

/// What follows every layer of a [`Perceptron`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nonlinearity {
    /// `1 / (1 + exp(-x))`: the probability that a hidden unit of a Boltzmann machine is on.
    Sigmoid,
    /// `max(x, 0)`.
    #[default]
    Relu,
}

/// Dense layers, each followed by the same nonlinearity; the last is the embedding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perceptron {
    /// Units of each layer; the last is the embedding.
    pub widths: Vec<usize>,
    /// What follows each layer.
    #[serde(default)]
    pub nonlinearity: Nonlinearity,
}

const MAX_LAYERS: usize = 16;
const MAX_WIDTH: usize = 8192;
/// Most values of a sample, each of which every unit of the first layer reads.
const MAX_INPUTS: usize = 1 << 16;

impl Perceptron {
    /// About 1.8 million parameters on 32x32 images.
    pub fn image() -> Self {
        Self { widths: vec![512, 256, 128], nonlinearity: Nonlinearity::Sigmoid }
    }

    /// About 0.3 million parameters on windows of 128 samples of six channels.
    pub fn imu() -> Self {
        Self { widths: vec![256, 256, 128], nonlinearity: Nonlinearity::Sigmoid }
    }

    pub(super) fn check(&self, sample: &[usize]) -> Result<(), ArchitectureError> {
        in_range("widths", self.widths.len(), 1, MAX_LAYERS)?;
        for (i, &width) in self.widths.iter().enumerate() {
            in_range(&format!("widths[{i}]"), width, 1, MAX_WIDTH)?;
        }
        let values = sample.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        match sample.len() {
            2 | 3 if (1..=MAX_INPUTS).contains(&values) => Ok(()),
            _ => Err(ArchitectureError::Input {
                found: sample.into(),
                wanted: "[3, height, width] or [channels, samples] of at most 65536 values",
            }),
        }
    }

    pub(super) fn stages(&self) -> Vec<String> {
        (0..self.widths.len()).map(|i| format!("layers.{i}.")).collect()
    }

    /// Its only token is the embedding.
    pub(super) fn wire(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        x: &Value,
    ) -> Result<Features, ArchitectureError> {
        let values = x.sample().iter().product();
        let mut y = b.reshape("flatten", x, &[values]);
        for (i, &width) in self.widths.iter().enumerate() {
            let name = format!("layers.{i}");
            y = match self.nonlinearity {
                Nonlinearity::Sigmoid => {
                    let y = wiring.linear(b, &name, &y, width, Initial::Glorot)?;
                    b.sigmoid(&format!("{name}.sigmoid"), &y)
                }
                Nonlinearity::Relu => {
                    let y = wiring.linear(b, &name, &y, width, Initial::He)?;
                    b.clip(&format!("{name}.relu"), &y, 0.0, None)
                }
            };
        }
        let width = y.sample().first().copied().unwrap_or(0);
        let tokens = (wiring.form == Form::Training).then(|| b.reshape("tokens", &y, &[1, width]));
        Ok(Features { embedding: y, tokens, layers: vec![] })
    }
}
