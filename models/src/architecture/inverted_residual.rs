//! Image encoder of inverted residual blocks with linear bottlenecks (Sandler et al. 2018,
//! MobileNetV2, section 3): expand by a 1x1 convolution, filter depthwise by 3x3, project by 1x1,
//! and add the input where shapes allow. Depthwise filters keep it small and quick on a board.

use serde::{Deserialize, Serialize};

use super::features::{Features, strided};
use super::unit::{Activation, Wiring};
use super::{ArchitectureError, in_range};
use crate::onnx::build::{ConvGeometry, GraphBuilder, Value};

/// One inverted residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Channels out.
    pub channels: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// Hidden channels are `expand` times the channels in.
    pub expand: usize,
}

/// Stem of stride 2, blocks, one last 1x1 convolution, global average.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvertedResidual {
    /// Channels of the stem, a 3x3 convolution.
    pub stem: usize,
    /// Stride of the stem.
    pub stem_stride: usize,
    /// The blocks in order.
    pub blocks: Vec<Block>,
    /// Channels of the last layer, and so of the embedding.
    pub last: usize,
}

/// Most blocks an encoder may have.
const MAX_BLOCKS: usize = 64;
/// Most channels a layer may have.
const MAX_CHANNELS: usize = 2048;

impl InvertedResidual {
    /// About 105 thousand parameters: for 64x64 and 96x96 frames on a board.
    pub fn small() -> Self {
        let block = |channels, stride| Block { channels, stride, expand: 4 };
        let blocks = vec![block(24, 2), block(24, 1), block(40, 2), block(40, 1), block(64, 2), block(64, 1)];
        Self { stem: 16, stem_stride: 2, blocks, last: 128 }
    }

    /// About 30 thousand parameters: for demonstrations and for tests.
    pub fn tiny() -> Self {
        let block = |channels, stride| Block { channels, stride, expand: 3 };
        Self {
            stem: 8,
            stem_stride: 2,
            blocks: vec![block(16, 2), block(24, 2), block(32, 2), block(32, 1)],
            last: 64,
        }
    }

    pub(super) fn check(&self, sample: &[usize]) -> Result<(), ArchitectureError> {
        in_range("stem", self.stem, 1, MAX_CHANNELS)?;
        in_range("stem_stride", self.stem_stride, 1, 4)?;
        in_range("blocks", self.blocks.len(), 1, MAX_BLOCKS)?;
        in_range("last", self.last, 1, MAX_CHANNELS)?;
        for (i, block) in self.blocks.iter().enumerate() {
            in_range(&format!("blocks[{i}].channels"), block.channels, 1, MAX_CHANNELS)?;
            in_range(&format!("blocks[{i}].stride"), block.stride, 1, 2)?;
            in_range(&format!("blocks[{i}].expand"), block.expand, 1, 8)?;
        }
        match sample {
            [3, h, w] if (8..=1024).contains(h) && (8..=1024).contains(w) => Ok(()),
            _ => Err(ArchitectureError::Input {
                found: sample.into(),
                wanted: "[3, height, width] with sides of 8 to 1024",
            }),
        }
    }

    pub(super) fn stages(&self) -> Vec<String> {
        let blocks = (0..self.blocks.len()).map(|i| format!("blocks.{i}."));
        std::iter::once("stem.".into()).chain(blocks).chain(["last.".into()]).collect()
    }

    pub(super) fn token_grid(&self, sample: &[usize]) -> Vec<usize> {
        let strides =
            || std::iter::once(self.stem_stride).chain(self.blocks.iter().map(|block| block.stride));
        sample.iter().skip(1).map(|&extent| strided(extent, strides())).collect()
    }

    pub(super) fn wire(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        x: Value,
    ) -> Result<Features, ArchitectureError> {
        let stem = ConvGeometry::same(3, self.stem_stride, 1);
        let mut x = wiring.unit(b, "stem", &x, self.stem, stem, Activation::Relu6)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = Self::wire_block(wiring, b, &format!("blocks.{i}"), &x, *block)?;
        }
        let x = wiring.unit(b, "last", &x, self.last, ConvGeometry::same(1, 1, 1), Activation::Relu6)?;
        Ok(Features::of_map(wiring.form, b, &x))
    }

    fn wire_block(
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        name: &str,
        x: &Value,
        block: Block,
    ) -> Result<Value, ArchitectureError> {
        let channels = x.sample().first().copied().unwrap_or(0);
        let hidden = channels * block.expand;
        let point = ConvGeometry::same(1, 1, 1);
        let depthwise = ConvGeometry::same(3, block.stride, hidden);
        let y = wiring.unit(b, &format!("{name}.expand"), x, hidden, point, Activation::Relu6)?;
        let y = wiring.unit(b, &format!("{name}.filter"), &y, hidden, depthwise, Activation::Relu6)?;
        let y = wiring.unit(b, &format!("{name}.project"), &y, block.channels, point, Activation::None)?;
        let keeps_shape = block.stride == 1 && channels == block.channels;
        Ok(if keeps_shape { b.add(&format!("{name}.skip"), x, &y) } else { y })
    }
}
