//! Einstein sums that are matrix products: every axis is one of rows, columns, depth or batch, and the
//! axes of a kind lie together and in the same order in each operand.

use sedge_kernels::convolution::{self, Geometry, MAX_SIZE};
use sedge_kernels::{Product, Threads};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::convolution::Forward;
use super::tail::Tail;
use super::{Found, Work};

/// A product of two inputs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MatrixProduct {
    product: Product,
    /// Whether the second input is the left operand.
    swapped: bool,
    clip: Option<(f32, f32)>,
    pub(super) shape: Vec<usize>,
}

/// Deeper than this many times its rows and columns, a product is summed in chunks.
const DEEP: usize = 16;

/// What an axis does.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Batch,
    Rows,
    Columns,
    Depth,
}

/// The kernel for the sum of node `id`, `None` when it is no matrix product.
pub(super) fn of(
    model: &TypedModel,
    id: usize,
    op: &EinSum,
    threads: &Threads,
) -> TractResult<Option<Found>> {
    let node = model.node(id);
    let end = OutletId::new(id, 0);
    let [a, b] = *node.inputs.as_slice() else { return Ok(None) };
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
    let Some((product, swapped)) = matrix(op, &shapes) else { return Ok(None) };
    let shape = shapes.remove(2);
    let rank = shape.len();
    // Weights stored a row an output channel, as a convolution of one tap has them: it takes bias and clip.
    let pointwise = product.batch == 1
        && !product.transpose_a
        && product.transpose_b
        && [product.rows, product.depth, product.columns].iter().all(|d| *d <= MAX_SIZE)
        && shape.last() == Some(&product.columns);
    if pointwise {
        let tail = Tail::of(model, end, Some(product.columns), None)?;
        let Product { rows, depth, columns, .. } = product;
        let mut forward = Forward::of_rows(rows, depth, columns, tail.clip, shape);
        let (x, kernel) = if swapped { (b, a) } else { (a, b) };
        forward.pack(model, kernel, threads)?;
        let inputs = forward.operands(x, kernel, tail.bias);
        let (work, channels) = (Work::Convolution(forward), rank - 1);
        return Ok(Some(Found { work, inputs, end: tail.end, channels }));
    }
    let whole = MatrixProduct { product, swapped, clip: None, shape };
    let channels = rank.saturating_sub(1);
    // The kernel of deep sums adds nothing after.
    let tailed = product.batch == 1 && !whole.is_deep() && whole.shape.last() == Some(&product.columns);
    if !tailed {
        return Ok(Some(Found { work: Work::Product(whole), inputs: tvec!(a, b), end, channels }));
    }
    let tail = Tail::of(model, end, Some(product.columns), None)?;
    let work = Work::Product(MatrixProduct { clip: tail.clip, ..whole });
    let inputs = [a, b].into_iter().chain(tail.bias).collect();
    Ok(Some(Found { work, inputs, end: tail.end, channels }))
}

/// The product that the sum is over operands of `shapes` (the last is the result's), and whether the second
/// operand is the left one.
fn matrix(op: &EinSum, shapes: &[Vec<usize>]) -> Option<(Product, bool)> {
    // For each operand its axes in order, by label, those of extent one left out.
    let mut orders: [Vec<char>; 3] = Default::default();
    let mut extents = std::collections::HashMap::new();
    for axis in op.axes.iter_all_axes() {
        let mut places = [axis.inputs.first(), axis.inputs.get(1), axis.outputs.first()].into_iter();
        if places.any(|p| p.is_some_and(|p| p.len() > 1)) {
            return None;
        }
    }
    for (slot, order) in orders.iter_mut().enumerate() {
        for (place, &extent) in shapes[slot].iter().enumerate() {
            let io = if slot < 2 { InOut::In(slot) } else { InOut::Out(0) };
            let label = op.axes.axis((io, place)).ok()?.repr;
            if extent == 1 {
                continue;
            }
            if *extents.entry(label).or_insert(extent) != extent {
                return None;
            }
            order.push(label);
        }
    }
    let [a, b, out] = &orders;
    let kind = |label: &char| match (a.contains(label), b.contains(label), out.contains(label)) {
        (true, true, true) => Some(Kind::Batch),
        (true, false, true) => Some(Kind::Rows),
        (false, true, true) => Some(Kind::Columns),
        (true, true, false) => Some(Kind::Depth),
        // A sum over an axis of one operand, or a repetition.
        _ => None,
    };
    let of_kind = |order: &[char], wanted: Kind| -> Vec<char> {
        order.iter().copied().filter(|l| kind(l) == Some(wanted)).collect()
    };
    if orders.iter().flatten().any(|label| kind(label).is_none()) {
        return None;
    }
    let size = |wanted: Kind| -> usize {
        extents.iter().filter(|(l, _)| kind(l) == Some(wanted)).map(|(_, extent)| *extent).product()
    };
    // Whether an order is batch, then the axes of two kinds as the other operands have them.
    let batch = of_kind(out, Kind::Batch);
    let (rows, columns) = (of_kind(out, Kind::Rows), of_kind(out, Kind::Columns));
    let depth = of_kind(a, Kind::Depth);
    let is = |order: &[char], first: &[char], second: &[char]| order == [&batch, first, second].concat();
    let swapped = match (is(out, &rows, &columns), is(out, &columns, &rows)) {
        (true, _) => false,
        (false, true) => true,
        _ => return None,
    };
    let transposed = |order: &[char], free: &[char], free_first: bool| {
        match (is(order, free, &depth), is(order, &depth, free)) {
            // Where either has no extent the two are the same.
            (true, true) => Some(false),
            (true, false) => Some(!free_first),
            (false, true) => Some(free_first),
            _ => None,
        }
    };
    let product = |left: &[char], left_free: &[char], right: &[char], right_free: &[char]| {
        Some((transposed(left, left_free, true)?, transposed(right, right_free, false)?))
    };
    let ((transpose_a, transpose_b), rows, columns) = if swapped {
        (product(b, &columns, a, &rows)?, size(Kind::Columns), size(Kind::Rows))
    } else {
        (product(a, &rows, b, &columns)?, size(Kind::Rows), size(Kind::Columns))
    };
    let (batch, depth) = (size(Kind::Batch), size(Kind::Depth));
    Some((Product { batch, rows, depth, columns, transpose_a, transpose_b, accumulate: false }, swapped))
}

impl MatrixProduct {
    pub(super) fn name(&self) -> &'static str {
        if self.is_deep() { "DeepProduct" } else { "Product" }
    }

    /// A sum over many positions of two maps, such as the weight gradient of a convolution of one tap.
    fn is_deep(&self) -> bool {
        let Product { batch, rows, depth, columns, transpose_a, transpose_b, .. } = self.product;
        batch == 1
            && transpose_a
            && !transpose_b
            && (DEEP * rows.max(columns)..=MAX_SIZE).contains(&depth)
            && rows.max(columns) <= MAX_SIZE
    }

    pub(super) fn run(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        threads: &Threads,
    ) -> TractResult<()> {
        let ([a, b, bias @ ..], [out]) = (inputs, outputs) else {
            bail!("a product of {} operands", inputs.len())
        };
        let (a, b) = if self.swapped { (b, a) } else { (a, b) };
        let product = &self.product;
        if self.is_deep() {
            let geometry = Geometry::new(1, [1, product.depth], product.columns, product.rows, [1, 1]);
            convolution::weight_gradient(b, a, &geometry, out, None, false, threads)?;
        } else {
            product.run_with(a, b, bias.first().copied(), self.clip, out, threads)?;
        }
        Ok(())
    }
}
