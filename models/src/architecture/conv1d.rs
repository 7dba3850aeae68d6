//! Sensor-window encoder: a stack of strided one-dimensional convolutions and a global average, the
//! plain network that few-label activity recognition compares against (e.g. Tang et al. 2020).

use serde::{Deserialize, Serialize};

use super::features::{Features, strided};
use super::unit::{Activation, Wiring};
use super::{ArchitectureError, in_range};
use crate::onnx::build::{ConvGeometry, GraphBuilder, Value};

/// Convolutions of one kernel size, each followed by batch norm and a rectifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv1d {
    /// Channels out of each layer; the last is the embedding.
    pub channels: Vec<usize>,
    /// Stride of each layer.
    pub strides: Vec<usize>,
    /// Kernel extent, odd.
    pub kernel: usize,
}

const MAX_LAYERS: usize = 32;
const MAX_CHANNELS: usize = 2048;

impl Conv1d {
    /// About 110 thousand parameters, for windows of about a second at 50 to 100 Hz.
    pub fn small() -> Self {
        Self { channels: vec![32, 64, 96, 128], strides: vec![1, 2, 2, 2], kernel: 5 }
    }

    pub(super) fn check(&self, sample: &[usize]) -> Result<(), ArchitectureError> {
        in_range("channels", self.channels.len(), 1, MAX_LAYERS)?;
        in_range("strides", self.strides.len(), self.channels.len(), self.channels.len())?;
        in_range("kernel", self.kernel, 1, 31)?;
        if self.kernel.is_multiple_of(2) {
            return in_range("kernel", self.kernel, self.kernel + 1, self.kernel + 1);
        }
        for (i, (&channels, &stride)) in self.channels.iter().zip(&self.strides).enumerate() {
            in_range(&format!("channels[{i}]"), channels, 1, MAX_CHANNELS)?;
            in_range(&format!("strides[{i}]"), stride, 1, 8)?;
        }
        match sample {
            [c, t] if (1..=64).contains(c) && (8..=65536).contains(t) => Ok(()),
            _ => Err(ArchitectureError::Input {
                found: sample.into(),
                wanted: "[channels, samples] with 1 to 64 channels and 8 to 65536 samples",
            }),
        }
    }

    pub(super) fn stages(&self) -> Vec<String> {
        (0..self.channels.len()).map(|i| format!("layers.{i}.")).collect()
    }

    pub(super) fn token_grid(&self, sample: &[usize]) -> Vec<usize> {
        sample.iter().skip(1).map(|&extent| strided(extent, self.strides.iter().copied())).collect()
    }

    pub(super) fn wire(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        x: Value,
    ) -> Result<Features, ArchitectureError> {
        let mut x = x;
        for (i, (&channels, &stride)) in self.channels.iter().zip(&self.strides).enumerate() {
            let geometry = ConvGeometry::same(self.kernel, stride, 1);
            x = wiring.unit(b, &format!("layers.{i}"), &x, channels, geometry, Activation::Relu)?;
        }
        Ok(Features::of_map(wiring.form, b, &x))
    }
}
