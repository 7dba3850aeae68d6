//! Einstein sums that are batches of products inside larger tensors: the heads of attention, which lie
//! between tokens and width. No operand is transposed for them. A factor of all values of an operand or
//! of the result, the scale of attention, is taken over.

use sedge_kernels::{StridedProduct, Strides, Threads};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::{Found, Work};

/// A batch of products of two inputs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strided {
    product: StridedProduct,
    /// Whether the second input is the left operand.
    swapped: bool,
    pub(super) shape: Vec<usize>,
}

/// The kernel for the sum of node `id`, `None` when it is no such batch.
pub(super) fn of(model: &TypedModel, id: usize, op: &EinSum) -> TractResult<Option<Found>> {
    let [a, b] = *model.node(id).inputs.as_slice() else { return Ok(None) };
    let end = OutletId::new(id, 0);
    let mut shapes = vec![];
    for o in [a, b, end] {
        let fact = model.outlet_fact(o)?;
        let Some(shape) = fact.shape.as_concrete() else { return Ok(None) };
        if fact.datum_type != f32::datum_type() || shape.contains(&0) {
            return Ok(None);
        }
        shapes.push(shape.to_vec());
    }
    if op.q_params.is_some() || op.operating_dt != f32::datum_type() {
        return Ok(None);
    }
    let Some(axes) = axes(op, &shapes) else { return Ok(None) };
    let found = matrices(&axes, [0, 1]).map(|p| (p, false));
    let Some((mut product, swapped)) = found.or_else(|| matrices(&axes, [1, 0]).map(|p| (p, true))) else {
        return Ok(None);
    };
    let mut inputs = tvec!();
    for o in [a, b] {
        let (value, factor) = without_factor(model, o)?;
        product.scale *= factor;
        inputs.push(value);
    }
    let (factor, end) = factor_after(model, end)?;
    product.scale *= factor;
    let shape = shapes.remove(2);
    let channels = shape.len().saturating_sub(1);
    let work = Work::Strided(Strided { product, swapped, shape });
    Ok(Some(Found { work, inputs, end, channels }))
}

/// An axis, or several that lie together in every tensor: its extent, and its stride in the two operands
/// and the result, where they have it.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    strides: [Option<usize>; 3],
}

/// The axes of a sum in the order of the result, then those summed in the order of the first operand;
/// neighbours that lie together everywhere as one.
fn axes(op: &EinSum, shapes: &[Vec<usize>]) -> Option<Vec<Axis>> {
    let mut labels: Vec<(char, Axis)> = vec![];
    for slot in [2, 0, 1] {
        let mut stride = 1;
        let shape = shapes.get(slot)?;
        let mut strides = vec![];
        for &extent in shape.iter().rev() {
            strides.push(stride);
            stride *= extent;
        }
        strides.reverse();
        for (place, (&extent, stride)) in shape.iter().zip(strides).enumerate() {
            let io = if slot < 2 { InOut::In(slot) } else { InOut::Out(0) };
            let label = op.axes.axis((io, place)).ok()?.repr;
            if extent == 1 {
                continue;
            }
            let known = labels.iter_mut().find(|(other, _)| *other == label);
            match known {
                Some((_, axis)) if axis.extent == extent && axis.strides[slot].is_none() => {
                    axis.strides[slot] = Some(stride);
                }
                Some(_) => return None,
                None => {
                    let mut axis = Axis { extent, strides: [None; 3] };
                    axis.strides[slot] = Some(stride);
                    labels.push((label, axis));
                }
            }
        }
    }
    let mut joined: Vec<Axis> = vec![];
    for (_, axis) in labels {
        let together = |outer: &Axis| {
            outer.strides.iter().zip(&axis.strides).all(|pair| match pair {
                (Some(outer), Some(inner)) => *outer == inner * axis.extent,
                (None, None) => true,
                _ => false,
            })
        };
        match joined.last_mut().filter(|outer| together(outer)) {
            Some(outer) => *outer = Axis { extent: outer.extent * axis.extent, strides: axis.strides },
            None => joined.push(axis),
        }
    }
    Some(joined)
}

/// The batch of products with operand `left` on the left, `None` where the axes do not make one.
fn matrices(axes: &[Axis], [left, right]: [usize; 2]) -> Option<StridedProduct> {
    let single = Axis { extent: 1, strides: [Some(1); 3] };
    let (mut rows, mut columns, mut depth) = (None, None, None);
    let mut batch = vec![];
    for axis in axes {
        let kind =
            match (axis.strides[left].is_some(), axis.strides[right].is_some(), axis.strides[2].is_some()) {
                (true, true, true) => {
                    batch.push(*axis);
                    continue;
                }
                (true, false, true) => &mut rows,
                (false, true, true) => &mut columns,
                (true, true, false) => &mut depth,
                _ => return None,
            };
        if kind.replace(*axis).is_some() {
            return None;
        }
    }
    let [rows, columns, depth] = [rows, columns, depth].map(|axis| axis.unwrap_or(single));
    let outer = *batch.first()?;
    let inner = match batch.as_slice() {
        [_] => Axis { extent: 1, strides: [Some(0); 3] },
        [_, inner] => *inner,
        _ => return None,
    };
    let place = |slot: usize, row: Axis, column: Axis| {
        let stride = |axis: Axis| axis.strides[slot];
        Some(Strides { batch: [stride(outer)?, stride(inner)?], row: stride(row)?, column: stride(column)? })
    };
    let product = StridedProduct {
        batch: [outer.extent, inner.extent],
        rows: rows.extent,
        depth: depth.extent,
        columns: columns.extent,
        scale: 1.0,
        a: place(left, rows, depth)?,
        b: place(right, depth, columns)?,
        out: place(2, rows, columns)?,
    };
    let lies = |strides: &Strides| strides.row == 1 || strides.column == 1;
    let outermost = product.out.batch[0] == inner.extent * rows.extent * columns.extent;
    (lies(&product.a) && lies(&product.b) && product.out.column == 1 && outermost).then_some(product)
}

/// What `o` is a multiple of, and the factor, where only sums read it.
fn without_factor(model: &TypedModel, o: OutletId) -> TractResult<(OutletId, f32)> {
    let is_sum = |reader: &InletId| model.node(reader.node).op_is::<EinSum>();
    let kept = model.output_outlets()?.contains(&o) || !model.outlet_successors(o).iter().all(is_sum);
    let factor = if kept { None } else { factor(model, o)? };
    Ok(factor.unwrap_or((o, 1.0)))
}

/// The factor by which the only reader of `o` multiplies it, and that reader's result.
fn factor_after(model: &TypedModel, o: OutletId) -> TractResult<(f32, OutletId)> {
    let [reader] = model.outlet_successors(o) else { return Ok((1.0, o)) };
    let end = OutletId::new(reader.node, 0);
    if model.output_outlets()?.contains(&o) {
        return Ok((1.0, o));
    }
    let factor = factor(model, end)?.filter(|(value, _)| *value == o);
    Ok(factor.map_or((1.0, o), |(_, factor)| (factor, end)))
}

/// A value and the constant that multiplies all of it to `o`.
fn factor(model: &TypedModel, o: OutletId) -> TractResult<Option<(OutletId, f32)>> {
    let node = model.node(o.node);
    let (Some(op), [a, b]) = (node.op_as::<TypedBinOp>(), node.inputs.as_slice()) else { return Ok(None) };
    if op.0.name() != "Mul" {
        return Ok(None);
    }
    for (value, constant) in [(*a, *b), (*b, *a)] {
        let constant = model.outlet_fact(constant)?.konst.clone();
        let same = model.outlet_fact(value)?.shape == model.outlet_fact(o)?.shape;
        if let Some(number) = constant.filter(|k| same && k.len() == 1 && k.datum_type() == f32::datum_type())
        {
            return Ok(Some((value, number.cast_to_scalar::<f32>()?)));
        }
    }
    Ok(None)
}

impl Strided {
    pub(super) fn run(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        threads: &Threads,
    ) -> TractResult<()> {
        let ([a, b], [out]) = (inputs, outputs) else { bail!("a product of {} operands", inputs.len()) };
        let (a, b) = if self.swapped { (b, a) } else { (a, b) };
        Ok(self.product.run(a, b, out, threads)?)
    }
}
