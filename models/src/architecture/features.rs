//! What an encoder gives: one vector a sample, and in training form what it was made from, so that
//! objectives may look at single places of a sample.

use super::Form;
use crate::onnx::build::{GraphBuilder, Value};

/// The values that leave an encoder.
pub(crate) struct Features {
    /// One vector a sample, `[c]`.
    pub(crate) embedding: Value,
    /// Local features before pooling, `[n, c]`, in training form.
    pub(crate) tokens: Option<Value>,
    /// What each block of a transformer gives, `[n, c]`, in training form.
    pub(crate) layers: Vec<Value>,
}

impl Features {
    /// The features of a convolutional encoder from its last `map` `[c, ...]`: the embedding is the mean over
    /// all positions, the tokens are the positions in raster order.
    pub(crate) fn of_map(form: Form, builder: &mut GraphBuilder, map: &Value) -> Self {
        let tokens = (form == Form::Training).then(|| builder.positions("tokens", map));
        Self { embedding: builder.global_average("pool", map), tokens, layers: vec![] }
    }
}

/// `extent` after convolutions that keep it at stride one, of `strides` one after the other.
pub(crate) fn strided(extent: usize, strides: impl IntoIterator<Item = usize>) -> usize {
    strides.into_iter().fold(extent, |extent, stride| extent.div_ceil(stride.max(1)))
}
