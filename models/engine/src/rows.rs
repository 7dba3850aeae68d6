//! Rows widened for speed. tract runs `map + row` (a feature map and one value a channel) in one fused,
//! vectorised pass only when the row is long enough and fills whole vector registers; a row of 24 or
//! 96 channels is neither, and falls to a path several times slower. Repeating the row over as many
//! trailing positions as that takes costs a few kilobytes and changes no result.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::source::TypedSource;

/// Values that fill whole registers on every processor: tract counts them in bytes of a register.
const ALIGNMENT: usize = 64;
/// tract's own threshold for taking the fast path.
const SHORTEST: usize = 32;
/// Widest row made, so that it stays in the first-level cache.
const WIDEST: usize = 8192;

/// `model` with short rows widened; to be optimised without decluttering, which would undo it.
pub(crate) fn widen(model: &TypedModel) -> TractResult<TypedModel> {
    let mut target = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let mut mapped: HashMap<OutletId, OutletId> = HashMap::new();
    let mut widened: HashMap<(OutletId, TVec<usize>), OutletId> = HashMap::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        let mut inputs: TVec<OutletId> = node.inputs.iter().map(|input| mapped[input]).collect();
        if node.op_is::<TypedBinOp>() {
            for (row, map) in [(0, 1), (1, 0)] {
                let Some(shape) = wide_shape(&target, inputs[row], inputs[map])? else { continue };
                let key = (inputs[row], shape);
                inputs[row] = match widened.get(&key) {
                    Some(&known) => known,
                    None => {
                        let name =
                            format!("{}.{}.wide.{}", target.node(key.0.node).name, key.0.slot, widened.len());
                        let dims = key.1.iter().map(|d| d.to_dim()).collect::<TVec<_>>();
                        let wide =
                            target.wire_node(name, MultiBroadcastTo { shape: dims.into() }, &[key.0])?[0];
                        widened.insert(key, wide);
                        wide
                    }
                };
            }
        }
        let outputs = if node.op_is::<TypedSource>() {
            tvec!(target.add_source(&node.name, node.outputs[0].fact.clone())?)
        } else {
            target.wire_node(&node.name, node.op.clone(), &inputs)?
        };
        mapped.extend(outputs.iter().enumerate().map(|(slot, &o)| (OutletId::new(id, slot), o)));
    }
    // Every outlet was mapped in evaluation order above; sources were met in that order too.
    let renamed = |outlets: &[OutletId]| outlets.iter().map(|o| mapped[o]).collect::<Vec<_>>();
    target.set_input_outlets(&renamed(model.input_outlets()?))?;
    target.select_output_outlets(&renamed(model.output_outlets()?))?;
    Ok(target)
}

/// The shape to which `row` should be stretched against `map`, `None` when it is no row or fits already.
fn wide_shape(model: &TypedModel, row: OutletId, map: OutletId) -> TractResult<Option<TVec<usize>>> {
    let (row, map) = (model.outlet_fact(row)?, model.outlet_fact(map)?);
    let (Some(row), Some(map)) = (row.shape.as_concrete(), map.shape.as_concrete()) else { return Ok(None) };
    let rank = map.len();
    let is_row = rank >= 3
        && row.len() == rank
        && row[..rank - 1].iter().all(|&d| d == 1)
        && row[rank - 1] == map[rank - 1]
        && row[rank - 1] > 1;
    if !is_row {
        return Ok(None);
    }
    let mut shape: TVec<usize> = row.into();
    for axis in (1..rank - 1).rev() {
        let width: usize = shape.iter().product();
        if width.is_multiple_of(ALIGNMENT) && width > SHORTEST {
            break;
        }
        shape[axis] = map[axis];
        if shape.iter().product::<usize>() > WIDEST {
            return Ok(None);
        }
    }
    Ok(Some(shape).filter(|s| s.as_slice() != row))
}
