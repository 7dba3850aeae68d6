//! What follows a convolution or product and can be done as its values are written: a bias, then a clip.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;

/// The operators after a value that a kernel takes over.
pub(super) struct Tail {
    /// One value a channel.
    pub(super) bias: Option<OutletId>,
    /// Lower and upper bound.
    pub(super) clip: Option<(f32, f32)>,
    /// The value after them.
    pub(super) end: OutletId,
}

impl Tail {
    /// Follows `value` as long as it has one reader. Biases are looked for where its last axis holds so
    /// many `channels`.
    pub(super) fn of(
        model: &TypedModel,
        value: OutletId,
        channels: Option<usize>,
        bias: Option<OutletId>,
    ) -> TractResult<Self> {
        let mut tail = Self { bias, clip: None, end: value };
        while let Some((op, other)) = tail.next(model)? {
            let (low, high) = tail.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let bound = scalar(model, other)?;
            match (op.as_str(), bound) {
                ("Add", _)
                    if tail.bias.is_none() && tail.clip.is_none() && is_row(model, other, channels)? =>
                {
                    tail.bias = Some(other);
                }
                // A maximum after a minimum would be another function.
                ("Max", Some(bound)) if high == f32::INFINITY => tail.clip = Some((low.max(bound), high)),
                ("Min", Some(bound)) if bound > low => tail.clip = Some((low, high.min(bound))),
                _ => break,
            }
            tail.end = OutletId::new(model.outlet_successors(tail.end)[0].node, 0);
        }
        Ok(tail)
    }

    /// The operator of two values that alone reads the end, and its other operand, when it keeps the shape.
    fn next(&self, model: &TypedModel) -> TractResult<Option<(String, OutletId)>> {
        let [reader] = model.outlet_successors(self.end) else { return Ok(None) };
        if model.output_outlets()?.contains(&self.end) {
            return Ok(None);
        }
        let node = model.node(reader.node);
        let (Some(op), [a, b]) = (node.op_as::<TypedBinOp>(), node.inputs.as_slice()) else {
            return Ok(None);
        };
        let other = if *a == self.end { *b } else { *a };
        let same = model.outlet_fact(OutletId::new(node.id, 0))?.shape == model.outlet_fact(self.end)?.shape;
        Ok((same && a != b).then(|| (op.0.name().to_string(), other)))
    }
}

/// The number that a constant holds in every place.
fn scalar(model: &TypedModel, o: OutletId) -> TractResult<Option<f32>> {
    let fact = model.outlet_fact(o)?;
    let Some(value) = fact.konst.as_ref().filter(|k| k.len() == 1 && k.datum_type() == f32::datum_type())
    else {
        return Ok(None);
    };
    Ok(Some(value.cast_to_scalar::<f32>()?))
}

/// Whether a value holds one number a channel, on its last axis.
fn is_row(model: &TypedModel, o: OutletId, channels: Option<usize>) -> TractResult<bool> {
    let fact = model.outlet_fact(o)?;
    let (Some(channels), Some(shape)) = (channels, fact.shape.as_concrete()) else { return Ok(false) };
    let is_float = fact.datum_type == f32::datum_type();
    Ok(is_float && shape.last() == Some(&channels) && shape.iter().product::<usize>() == channels)
}
