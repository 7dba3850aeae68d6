//! Picking by a constant index. The gradient is a sum into the places picked from. There is no plain
//! operator for it that is fast, so it is turned round: for every place, what picked it, which is again
//! a gather by a constant index, once for each time that a place was picked.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Gather, GatherElements, GatherNd};

use super::{Site, Tape};
use crate::graph::Graph;

/// How often one place may be picked: the lowering has a node for each time.
const MOST_PICKS: usize = 64;

pub(super) fn gather_rule(tape: &mut Tape<'_>, op: &Gather, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let shape = tape.graph.shape(x)?;
    let index = constant_index(tape, site)?;
    let places = index.values.iter().map(|&i| place(i, shape[op.axis])).collect::<TractResult<Vec<_>>>()?;
    let mut picked = shape.clone();
    picked[op.axis] = places.len();
    let full = tape.full(site.gradient, &site.shape)?;
    let rows = tape.graph.reshape(full, &picked)?;
    let d = scatter_add(tape.graph, rows, op.axis, &places, shape[op.axis])?;
    tape.give(x, d)
}

/// The same with one index an element: on the flattened tensors it is a pick along their only axis.
pub(super) fn elements_rule(tape: &mut Tape<'_>, op: &GatherElements, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let shape = tape.graph.shape(x)?;
    let index = constant_index(tape, site)?;
    let mut places = Vec::with_capacity(index.values.len());
    for (position, &picked) in tract_ndarray::indices(index.shape.as_slice()).into_iter().zip(&index.values) {
        let mut flat = 0;
        for (axis, &extent) in shape.iter().enumerate() {
            let along = if axis == op.axis { place(picked, extent)? } else { position[axis] };
            flat = flat * extent + along;
        }
        places.push(flat);
    }
    flat_scatter(tape, site, x, &places, &[])
}

/// The same with a tuple of leading indices for each slice picked.
pub(super) fn nd_rule(tape: &mut Tape<'_>, op: &GatherNd, site: &Site) -> TractResult<()> {
    ensure!(op.batch_dims == 0, "a pick with {} batch axes", op.batch_dims);
    let x = site.inputs[0];
    let shape = tape.graph.shape(x)?;
    let index = constant_index(tape, site)?;
    let tuple = *index.shape.last().context("a pick by no index")?;
    ensure!((1..=shape.len()).contains(&tuple), "a pick by {tuple} indices of {} axes", shape.len());
    let mut places = vec![];
    for tuple in index.values.chunks_exact(tuple) {
        let flat = tuple
            .iter()
            .zip(shape.iter())
            .try_fold(0, |flat, (&i, &extent)| Ok::<_, TractError>(flat * extent + place(i, extent)?))?;
        places.push(flat);
    }
    flat_scatter(tape, site, x, &places, &shape[tuple..])
}

/// Gives `x` the gradient of slices of shape `inner`, picked at `places` of its flattened front.
fn flat_scatter(
    tape: &mut Tape<'_>,
    site: &Site,
    x: OutletId,
    places: &[usize],
    inner: &[usize],
) -> TractResult<()> {
    let shape = tape.graph.shape(x)?;
    let width: usize = inner.iter().product();
    let full = tape.full(site.gradient, &site.shape)?;
    let rows = tape.graph.reshape(full, &[places.len(), width])?;
    let front = shape.iter().product::<usize>() / width.max(1);
    let sum = scatter_add(tape.graph, rows, 0, places, front)?;
    let d = tape.graph.reshape(sum, &shape)?;
    tape.give(x, d)
}

/// The slices of `axis` of `picked`, each added into its place of an axis of `extent` zeros.
pub(super) fn scatter_add(
    graph: &mut Graph,
    picked: OutletId,
    axis: usize,
    places: &[usize],
    extent: usize,
) -> TractResult<OutletId> {
    let first = places.first().copied().unwrap_or(0);
    if places.iter().enumerate().all(|(i, &place)| place == first + i) {
        return graph.pad_axis(picked, axis, first, extent - first - places.len());
    }
    let mut pickers = vec![vec![]; extent];
    for (i, &place) in places.iter().enumerate() {
        pickers.get_mut(place).with_context(|| format!("no place {place} of {extent}"))?.push(i as i64);
    }
    let most = pickers.iter().map(Vec::len).max().unwrap_or(0);
    ensure!(most <= MOST_PICKS, "one place is picked {most} times, the rule covers {MOST_PICKS}");
    // One slice of zeros, for places that were picked less often.
    let padded = graph.pad_axis(picked, axis, 0, 1)?;
    let zero = places.len() as i64;
    let mut sum = None;
    for turn in 0..most {
        let indices: Vec<i64> = pickers.iter().map(|p| p.get(turn).copied().unwrap_or(zero)).collect();
        let part = graph.gather(padded, axis, &indices)?;
        sum = Some(match sum {
            Some(sum) => graph.add(sum, part)?,
            None => part,
        });
    }
    sum.context("a pick of nothing")
}

struct Index {
    shape: Vec<usize>,
    values: Vec<i64>,
}

fn constant_index(tape: &Tape<'_>, site: &Site) -> TractResult<Index> {
    let outlet = *site.inputs.get(1).context("a pick without an index")?;
    let fact = tape.graph.model.outlet_fact(outlet)?;
    let value = fact.konst.as_ref().context("an index that is computed")?.cast_to::<i64>()?;
    Ok(Index { shape: value.shape().to_vec(), values: value.try_as_plain_ram()?.as_slice::<i64>()?.to_vec() })
}

/// A negative index counts from the end.
fn place(index: i64, extent: usize) -> TractResult<usize> {
    let from_start = if index < 0 { index + extent as i64 } else { index };
    let place = usize::try_from(from_start).ok().filter(|&place| place < extent);
    place.with_context(|| format!("index {index} of an axis of {extent}"))
}
