//! Transformer over patches of an image (Dosovitskiy et al. 2021, ViT), spans of a sensor window, or the
//! bytes of a text (Vaswani et al. 2017): tokens with a position, blocks of attention and perceptron that
//! normalise what they read (pre-norm), a last norm.
//!
//! The embedding is the mean over the tokens, not a class token: a masked autoencoder trains no class token,
//! and He et al. (2022, appendix A) found the mean no worse; it reads every place, as the pool of the
//! convolutional encoders does. The kind of input follows from the shape of a sample.
//!
//! Weights are called as timm and the reference code of He et al. call them, so that theirs fit.

use ndarray::{Array3, ArrayD};
use serde::{Deserialize, Serialize};

use super::features::Features;
use super::unit::{Initial, Wiring};
use super::{ArchitectureError, Form, KEEP, in_range, multiple_of, position};
use crate::onnx::build::{ConvGeometry, GraphBuilder, Value};
use crate::text;

/// Added to a variance before its root, as vision transformers have it.
const LAYER_NORM_EPSILON: f32 = 1e-6;
/// What a score of a token that must not be seen is lowered by: its share of attention is then zero.
const UNSEEN: f32 = -1e9;
const MAX_DIM: usize = 2048;
const MAX_DEPTH: usize = 48;
const MAX_HEADS: usize = 64;
const MAX_PATCH: usize = 64;
/// Most tokens of a sample: attention compares each with each.
const MAX_TOKENS: usize = 4096;

/// Tokens, blocks of attention and perceptron, a last norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transformer {
    /// Extent of a patch along every spatial axis, which it must divide; one for text.
    pub patch: usize,
    /// Features of a token, and so of the embedding; a multiple of four and of `heads`.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Hidden features of a block's perceptron are `mlp_ratio` times `dim`.
    pub mlp_ratio: usize,
    /// Whether a token sees only itself and those before it, for predicting the next (Radford et al. 2018).
    #[serde(default)]
    pub causal: bool,
}

impl Transformer {
    /// About 0.8 million parameters: for 32x32 images, 64 tokens of 4x4 pixels.
    pub fn vit_tiny() -> Self {
        Self { patch: 4, dim: 128, depth: 4, heads: 4, mlp_ratio: 4, causal: false }
    }

    /// About 0.5 million parameters: for windows of a second or two, tokens of eight samples.
    pub fn imu() -> Self {
        Self { patch: 8, dim: 96, depth: 4, heads: 4, mlp_ratio: 4, causal: false }
    }

    /// About 0.8 million parameters: for texts of 64 to 128 bytes.
    pub fn text_small() -> Self {
        Self { patch: 1, dim: 128, depth: 4, heads: 4, mlp_ratio: 4, causal: false }
    }

    /// [`Self::text_small`] in which a byte sees only itself and those before it.
    pub fn text_small_causal() -> Self {
        Self { causal: true, ..Self::text_small() }
    }

    pub(super) fn check(&self, sample: &[usize]) -> Result<(), ArchitectureError> {
        in_range("patch", self.patch, 1, MAX_PATCH)?;
        in_range("dim", self.dim, 4, MAX_DIM)?;
        in_range("depth", self.depth, 1, MAX_DEPTH)?;
        in_range("heads", self.heads, 1, MAX_HEADS)?;
        in_range("mlp_ratio", self.mlp_ratio, 1, 8)?;
        multiple_of("dim", self.dim, 4)?;
        multiple_of("dim", self.dim, self.heads)?;
        let wanted = "[3, height, width], [channels, samples] or [length of a text], sides of at most 1024, \
                      1 to 64 channels, 8 to 65536 samples, 2 to 4096 bytes";
        match sample {
            [3, h, w] if [h, w].iter().all(|side| (1..=1024).contains(*side)) => {}
            [c, t] if (1..=64).contains(c) && (8..=65536).contains(t) => {}
            [length] if (2..=MAX_TOKENS).contains(length) => in_range("patch", self.patch, 1, 1)?,
            _ => return Err(ArchitectureError::Input { found: sample.into(), wanted }),
        }
        for &extent in spatial(sample) {
            multiple_of("extent of the input", extent, self.patch)?;
        }
        in_range("tokens", self.token_grid(sample).iter().product(), 1, MAX_TOKENS)
    }

    pub(super) fn stages(&self) -> Vec<String> {
        let blocks = (0..self.depth).map(|i| format!("blocks.{i}."));
        std::iter::once("patch_embed.".into()).chain(blocks).chain(["norm.".into()]).collect()
    }

    pub(super) fn token_grid(&self, sample: &[usize]) -> Vec<usize> {
        spatial(sample).iter().map(|extent| extent / self.patch.max(1)).collect()
    }

    /// Wires all of it; with `keep` only that many tokens of a sample, those that the input [`KEEP`] says.
    pub(super) fn wire(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        x: &Value,
        keep: Option<usize>,
    ) -> Result<Features, ArchitectureError> {
        let grid = self.token_grid(x.sample());
        let tokens: usize = grid.iter().product();
        let mut y = self.embed(wiring, b, x)?;
        y = b.add_constant("position", &y, &position::table(&grid, self.dim));
        if let Some(count) = keep {
            in_range(KEEP, count, 1, tokens)?;
            let kept = b.input(KEEP, &[count, tokens]);
            y = b.product(KEEP, &kept, &y);
        }
        let mut layers = vec![];
        for i in 0..self.depth {
            y = self.block(wiring, b, &format!("blocks.{i}"), &y)?;
            layers.push(y.clone());
        }
        let y = wiring.layer_norm(b, "norm", &y, LAYER_NORM_EPSILON)?;
        let embedding = b.mean_of_tokens("pool", &y);
        let is_training = wiring.form == Form::Training;
        let (tokens, layers) = if is_training { (Some(y), layers) } else { (None, vec![]) };
        Ok(Features { embedding, tokens, layers })
    }

    /// The tokens before they have a position: `[tokens, dim]`.
    fn embed(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        x: &Value,
    ) -> Result<Value, ArchitectureError> {
        if let [_] = x.sample() {
            let name = "patch_embed.embedding.weight";
            let table = wiring.weight(name, &[text::TOKENS, self.dim], Initial::Normal)?;
            return Ok(match wiring.form {
                Form::Training => b.look_up_by_product(x, (name, &table)),
                Form::Inference | Form::Folded => b.look_up(x, (name, &table)),
            });
        }
        let names = ["weight", "bias"].map(|part| format!("patch_embed.proj.{part}"));
        let mut kernel = vec![self.dim, x.sample().first().copied().unwrap_or(0)];
        kernel.resize(x.sample().len() + 1, self.patch);
        let weight = wiring.weight(&names[0], &kernel, Initial::Glorot)?;
        let bias = wiring.weight(&names[1], &[self.dim], Initial::Constant(0.0))?;
        let geometry = ConvGeometry::patches(self.patch);
        let map = b.conv(x, (&names[0], &weight), Some((&names[1], &bias)), geometry);
        Ok(b.positions("patch_embed", &map))
    }

    fn block(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        name: &str,
        x: &Value,
    ) -> Result<Value, ArchitectureError> {
        let y = wiring.layer_norm(b, &format!("{name}.norm1"), x, LAYER_NORM_EPSILON)?;
        let y = self.attention(wiring, b, &format!("{name}.attn"), &y)?;
        let x = b.add(&format!("{name}.attn.skip"), x, &y);
        let y = wiring.layer_norm(b, &format!("{name}.norm2"), &x, LAYER_NORM_EPSILON)?;
        let hidden = self.dim * self.mlp_ratio;
        let y = wiring.linear(b, &format!("{name}.mlp.fc1"), &y, hidden, Initial::Glorot)?;
        let y = b.gelu(&format!("{name}.mlp.gelu"), &y);
        let y = wiring.linear(b, &format!("{name}.mlp.fc2"), &y, self.dim, Initial::Glorot)?;
        Ok(b.add(&format!("{name}.mlp.skip"), &x, &y))
    }

    /// Scaled dot-product attention of several heads (Vaswani et al. 2017, equation 1 and section 3.2.2).
    fn attention(
        &self,
        wiring: &mut Wiring<'_>,
        b: &mut GraphBuilder,
        name: &str,
        x: &Value,
    ) -> Result<Value, ArchitectureError> {
        let (tokens, width) = (x.sample().first().copied().unwrap_or(0), self.dim / self.heads.max(1));
        let joint = wiring.linear(b, &format!("{name}.qkv"), x, 3 * self.dim, Initial::Glorot)?;
        let [query, key, value] = b.thirds(&format!("{name}.parts"), &joint).map(|part| {
            let heads = b.reshape(&format!("{name}.heads"), &part, &[tokens, self.heads, width]);
            b.transpose(&format!("{name}.heads"), &heads, &[1, 0, 2])
        });
        let query = b.scale(&format!("{name}.scale"), &query, (width.max(1) as f32).powf(-0.5));
        let key = b.transpose(&format!("{name}.key"), &key, &[0, 2, 1]);
        let mut scores = b.product(&format!("{name}.scores"), &query, &key);
        if self.causal {
            scores = b.add_constant(&format!("{name}.mask"), &scores, &future(tokens));
        }
        let shares = b.softmax(&format!("{name}.shares"), &scores);
        let y = b.product(&format!("{name}.mixed"), &shares, &value);
        let y = b.transpose(&format!("{name}.joined"), &y, &[1, 0, 2]);
        let y = b.reshape(&format!("{name}.joined"), &y, &[tokens, self.dim]);
        wiring.linear(b, &format!("{name}.proj"), &y, self.dim, Initial::Glorot)
    }
}

/// The axes of a sample along which its tokens lie.
fn spatial(sample: &[usize]) -> &[usize] {
    match sample {
        [_, rest @ ..] if !rest.is_empty() => rest,
        text => text,
    }
}

/// Zero where row `i` may see column `j`, which is at or before it, [`UNSEEN`] elsewhere; `[1, n, n]`.
fn future(tokens: usize) -> ArrayD<f32> {
    Array3::from_shape_fn((1, tokens, tokens), |(_, i, j)| if j > i { UNSEEN } else { 0.0 }).into_dyn()
}
