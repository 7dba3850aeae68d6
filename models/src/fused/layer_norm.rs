//! Layer normalisation over the last axis, and its gradient. tract declutters LayerNorm to a root mean
//! square behind a subtraction of the mean, which is found here and made one call again.

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

use super::Call;
use super::attributes::Attributes;
use crate::graph::Graph;
use crate::onnx::proto;

/// A layer norm over the last axis of some shape.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Shape of what is normalised.
    pub shape: Vec<usize>,
    /// Added to a variance before its root.
    pub epsilon: f32,
    /// Whether it is scaled and shifted after.
    pub affine: bool,
}

impl LayerNorm {
    /// Values that are normalised together.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The shapes of scale and shift, where there are any.
    pub(super) fn rows(&self) -> Vec<Vec<usize>> {
        if self.affine { vec![vec![self.columns()]; 2] } else { vec![] }
    }

    pub(super) fn attributes(&self) -> Vec<pb::AttributeProto> {
        vec![
            proto::ints("shape", self.shape.iter().map(|&d| d as i64).collect()),
            proto::float("epsilon", self.epsilon),
            proto::int("affine", i64::from(self.affine)),
        ]
    }

    pub(super) fn read(attributes: &Attributes<'_>) -> TractResult<Self> {
        let affine = attributes.size("affine")?;
        ensure!(affine <= 1, "the attribute `affine` is {affine}, not zero or one");
        let epsilon = attributes.number("epsilon")?.context("a layer norm without epsilon")?;
        ensure!(epsilon >= 0.0, "a layer norm with epsilon {epsilon}");
        Ok(Self { shape: attributes.shape("shape")?, epsilon, affine: affine == 1 })
    }

    fn axis(&self) -> usize {
        self.shape.len().saturating_sub(1)
    }

    /// One value a column as an operand of the map's rank.
    fn lifted(&self, graph: &mut Graph, row: OutletId) -> TractResult<OutletId> {
        let mut shape = vec![1; self.axis()];
        shape.push(self.columns());
        graph.reshape(row, &shape)
    }

    fn mean(&self, graph: &mut Graph, x: OutletId) -> TractResult<OutletId> {
        let total = graph.sum(x, &[self.axis()])?;
        graph.scale(total, 1.0 / self.columns() as f32)
    }

    pub(super) fn forward(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let x = *inputs.first().context("a layer norm of nothing")?;
        let mean = self.mean(graph, x)?;
        let centred = graph.sub(x, mean)?;
        let norm = RmsNorm { axis: self.axis(), eps: rctensor0(self.epsilon) };
        let mut y = graph.node(norm, &[centred])?;
        if let [_, scale, shift] = *inputs {
            let scale = self.lifted(graph, scale)?;
            let scaled = graph.mul(y, scale)?;
            let shift = self.lifted(graph, shift)?;
            y = graph.add(scaled, shift)?;
        }
        Ok(vec![y])
    }

    /// With `h` the normalised `x`, `g = dy scale` and `r` the inverse deviation:
    /// `dx = r (g - mean(g) - h mean(g h))`, `dscale = sum dy h`, `dshift = sum dy`.
    pub(super) fn backward(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let (x, scale, dy) = match *inputs {
            [x, dy] => (x, None, dy),
            [x, scale, dy] => (x, Some(scale), dy),
            _ => bail!("a layer norm's gradient of {} inputs", inputs.len()),
        };
        let mean = self.mean(graph, x)?;
        let centred = graph.sub(x, mean)?;
        let square = graph.node(Reduce::new(tvec!(self.axis()), Reducer::MeanOfSquares), &[centred])?;
        let steadied = graph.offset(square, self.epsilon)?;
        let inverse = graph.element(math::rsqrt(), steadied)?;
        let normal = graph.mul(centred, inverse)?;
        let gradient = match scale {
            Some(scale) => {
                let scale = self.lifted(graph, scale)?;
                graph.mul(dy, scale)?
            }
            None => dy,
        };
        let base = self.mean(graph, gradient)?;
        let product = graph.mul(gradient, normal)?;
        let tilt = self.mean(graph, product)?;
        let along = graph.mul(normal, tilt)?;
        let rest = graph.sub(gradient, base)?;
        let rest = graph.sub(rest, along)?;
        let mut outputs = vec![graph.mul(rest, inverse)?];
        if self.affine {
            let axes: Vec<usize> = (0..self.axis()).collect();
            let weighted = graph.mul(dy, normal)?;
            for value in [weighted, dy] {
                let total = graph.sum(value, &axes)?;
                outputs.push(graph.reshape(total, &[self.columns()])?);
            }
        }
        Ok(outputs)
    }
}

/// Makes calls of the layer norms of `model`.
///
/// # Errors
/// What tract says.
pub fn layer_norms(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let Some(found) = Found::at(model, id)? else { continue };
        let mut patch = TypedModelPatch::default();
        let name = format!("{}.layer_norm", model.node(id).name);
        let mut inputs = patch.taps(model, &[found.x])?;
        for (at, row) in found.rows.into_iter().flatten().enumerate() {
            let row = patch.tap_model(model, row)?;
            let from = patch.model.outlet_fact(row)?.shape.to_tvec();
            let to = tvec!(found.norm.columns().to_dim());
            let reshape = AxisOp::Reshape(0, from, to);
            inputs.extend(patch.wire_node(format!("{name}.{at}"), reshape, &[row])?);
        }
        let y = patch.wire_node(&name, Call::LayerNorm(found.norm), &inputs)?[0];
        patch.shunt_outside(model, found.end, y)?;
        patch.apply(model)?;
    }
    model.compact()
}

/// A layer norm in ordinary operators.
struct Found {
    norm: LayerNorm,
    x: OutletId,
    rows: Option<[OutletId; 2]>,
    end: OutletId,
}

impl Found {
    /// The layer norm around the root mean square of node `id`.
    fn at(model: &TypedModel, id: usize) -> TractResult<Option<Self>> {
        let Some(norm) = model.node(id).op_as::<RmsNorm>() else { return Ok(None) };
        let root = OutletId::new(id, 0);
        let fact = model.outlet_fact(root)?;
        let Some(shape) = fact.shape.as_concrete().filter(|_| fact.datum_type == f32::datum_type()) else {
            return Ok(None);
        };
        let columns = shape.last().copied().unwrap_or(0);
        if norm.axis + 1 != shape.len() || shape.len() > 6 || shape.contains(&0) {
            return Ok(None);
        }
        let Some([x, mean]) = operands(model, model.node(id).inputs[0], "Sub") else { return Ok(None) };
        if !is_mean(model, mean, x, columns)? || model.outlet_fact(x)?.shape != fact.shape {
            return Ok(None);
        }
        let affine = affine(model, root, columns)?;
        let norm = LayerNorm {
            shape: shape.to_vec(),
            epsilon: norm.eps.cast_to_scalar::<f32>()?,
            affine: affine.is_some(),
        };
        let (rows, end) = affine.map_or((None, root), |(rows, end)| (Some(rows), end));
        Ok(Some(Self { norm, x, rows, end }))
    }
}

/// The operands of the node that makes `o`, when it does `operator` of two values.
fn operands(model: &TypedModel, o: OutletId, operator: &str) -> Option<[OutletId; 2]> {
    let node = model.node(o.node);
    let op = node.op_as::<TypedBinOp>().filter(|op| op.0.name() == operator);
    op.and_then(|_| <[OutletId; 2]>::try_from(node.inputs.as_slice()).ok())
}

/// Whether `mean` is that of `x` over the last axis, which has `columns` values.
fn is_mean(model: &TypedModel, mean: OutletId, x: OutletId, columns: usize) -> TractResult<bool> {
    let Some([a, b]) = operands(model, mean, "Mul") else { return Ok(false) };
    let last = model.outlet_fact(x)?.rank().saturating_sub(1);
    for (total, factor) in [(a, b), (b, a)] {
        let factor = model.outlet_fact(factor)?.konst.clone();
        let Some(factor) = factor.filter(|k| k.len() == 1 && k.datum_type() == f32::datum_type()) else {
            continue;
        };
        let sum = model.node(total.node);
        let is_sum = sum.op_as::<Reduce>().is_some_and(|op| {
            op.reducer == Reducer::Sum && op.axes.as_slice() == [last] && sum.inputs[0] == x
        });
        let share = factor.cast_to_scalar::<f32>()? * columns as f32;
        if is_sum && (share - 1.0).abs() < 1e-6 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The scale and shift that alone follow `root`, and the value after them.
fn affine(
    model: &TypedModel,
    root: OutletId,
    columns: usize,
) -> TractResult<Option<([OutletId; 2], OutletId)>> {
    let Some((scale, scaled)) = next(model, root, "Mul", columns)? else { return Ok(None) };
    let Some((shift, end)) = next(model, scaled, "Add", columns)? else { return Ok(None) };
    Ok(Some(([scale, shift], end)))
}

/// The row that `operator` joins to `value` in its only reader, and that reader's result.
fn next(
    model: &TypedModel,
    value: OutletId,
    operator: &str,
    columns: usize,
) -> TractResult<Option<(OutletId, OutletId)>> {
    let [reader] = model.outlet_successors(value) else { return Ok(None) };
    let end = OutletId::new(reader.node, 0);
    let Some([a, b]) = operands(model, end, operator) else { return Ok(None) };
    if model.output_outlets()?.contains(&value) {
        return Ok(None);
    }
    let row = if a == value { b } else { a };
    let fact = model.outlet_fact(row)?;
    let is_row = fact.datum_type == f32::datum_type()
        && fact.shape.as_concrete().is_some_and(|shape| {
            shape.last() == Some(&columns) && shape.iter().product::<usize>() == columns
        });
    Ok(is_row.then_some((row, end)))
}
