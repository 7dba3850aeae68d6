//! Image encoder of residual blocks (He et al. 2016, section 3.3: two 3x3 convolutions and an addition), with
//! the stem that small images want: one 3x3 convolution and no pooling (Chen et al. 2020, appendix B.9).

use serde::{Deserialize, Serialize};

use super::features::{Features, strided};
use super::unit::{Activation, Wiring};
use super::{ArchitectureError, in_range};
use crate::onnx::build::{ConvGeometry, GraphBuilder, Value};

const MAX_STAGES: usize = 6;
const MAX_BLOCKS: usize = 16;
const MAX_CHANNELS: usize = 2048;

/// Stem, stages of blocks, global average. Each stage but the first halves the map and doubles the channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualNet {
    /// Channels of the stem and of the first stage.
    pub width: usize,
    /// Blocks of each stage; `[2, 2, 2, 2]` is ResNet-18.
    #[serde(default = "resnet18")]
    pub blocks: Vec<usize>,
    /// Stride of the stem.
    #[serde(default = "one")]
    pub stem_stride: usize,
}

fn resnet18() -> Vec<usize> {
    vec![2; 4]
}

fn one() -> usize {
    1
}

impl ResidualNet {
    /// ResNet-18 with `width` channels in its first stage, 64 in the paper: 11.2 million parameters
    /// there, 0.7 million at 16.
    pub fn resnet18(width: usize) -> Self {
        Self { width, blocks: resnet18(), stem_stride: one() }
    }

    pub(super) fn embedding_dim(&self) -> usize {
        // Out of range for no net that passed its check.
        self.channels(self.blocks.len().saturating_sub(1))
    }

    /// Channels of a stage; so many that no check passes where the number would overflow.
    fn channels(&self, stage: usize) -> usize {
        let factor = u32::try_from(stage).ok().and_then(|stage| 1usize.checked_shl(stage));
        factor.and_then(|factor| self.width.checked_mul(factor)).unwrap_or(usize::MAX)
    }

    /// Channels and stride of every block in order.
    fn layout(&self) -> Vec<(usize, usize)> {
        let stages = self.blocks.iter().enumerate();
        let stage = |(stage, &count): (usize, &usize)| {
            let stride = |block: usize| if stage > 0 && block == 0 { 2 } else { 1 };
            (0..count).map(move |block| (stage, stride(block))).collect::<Vec<_>>()
        };
        stages.flat_map(stage).map(|(stage, stride)| (self.channels(stage), stride)).collect()
    }

    pub(super) fn check(&self, sample: &[usize]) -> Result<(), ArchitectureError> {
        in_range("width", self.width, 1, MAX_CHANNELS)?;
        in_range("stem_stride", self.stem_stride, 1, 4)?;
        in_range("blocks", self.blocks.len(), 1, MAX_STAGES)?;
        for (i, &blocks) in self.blocks.iter().enumerate() {
            in_range(&format!("blocks[{i}]"), blocks, 1, MAX_BLOCKS)?;
        }
        in_range("channels of the last stage", self.embedding_dim(), 1, MAX_CHANNELS)?;
        match sample {
            [3, h, w] if (8..=1024).contains(h) && (8..=1024).contains(w) => Ok(()),
            _ => Err(ArchitectureError::Input {
                found: sample.into(),
                wanted: "[3, height, width] with sides of 8 to 1024",
            }),
        }
    }

    pub(super) fn stages(&self) -> Vec<String> {
        let blocks = (0..self.layout().len()).map(|i| format!("blocks.{i}."));
        std::iter::once("stem.".into()).chain(blocks).collect()
    }

    pub(super) fn token_grid(&self, sample: &[usize]) -> Vec<usize> {
        let layout = self.layout();
        let strides = || std::iter::once(self.stem_stride).chain(layout.iter().map(|(_, stride)| *stride));
        sample.iter().skip(1).map(|&extent| strided(extent, strides())).collect()
    }

    pub(super) fn wire(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        x: &Value,
    ) -> Result<Features, ArchitectureError> {
        let stem = ConvGeometry::same(3, self.stem_stride, 1);
        let mut x = wiring.unit(b, "stem", x, self.width, stem, Activation::Relu)?;
        for (i, (channels, stride)) in self.layout().into_iter().enumerate() {
            x = wire_block(wiring, b, &format!("blocks.{i}"), &x, channels, stride)?;
        }
        Ok(Features::of_map(wiring.form, b, &x))
    }
}

fn wire_block(
    wiring: &mut Wiring<'_>,
    b: &mut GraphBuilder,
    name: &str,
    x: &Value,
    channels: usize,
    stride: usize,
) -> Result<Value, ArchitectureError> {
    let (first, second) = (ConvGeometry::same(3, stride, 1), ConvGeometry::same(3, 1, 1));
    let y = wiring.unit(b, &format!("{name}.first"), x, channels, first, Activation::Relu)?;
    let y = wiring.unit(b, &format!("{name}.second"), &y, channels, second, Activation::None)?;
    let keeps_shape = stride == 1 && x.sample().first() == Some(&channels);
    let short = if keeps_shape {
        x.clone()
    } else {
        let point = ConvGeometry::same(1, stride, 1);
        wiring.unit(b, &format!("{name}.skip"), x, channels, point, Activation::None)?
    };
    let sum = b.add(&format!("{name}.sum"), &short, &y);
    Ok(b.clip(&format!("{name}.relu"), &sum, 0.0, None))
}
