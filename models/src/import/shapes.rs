//! Shapes of every value by name, from tract's own analysis, its errors and panics contained.

use std::collections::HashMap;

use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::ImportError;
use super::draft::{from_front, int, label};
use crate::fused::read_shapes;
use crate::{contain, limits};

/// Shapes by value name. A value whose shape could not be told is left out.
pub(super) type Shapes = HashMap<String, Vec<usize>>;

/// The shapes of `model`, whose input shape is fixed.
pub(super) fn of(mut model: pb::ModelProto, stage: &'static str) -> Result<Shapes, ImportError> {
    let refused = |error: limits::LimitError| ImportError::Shapes { stage, reason: error.to_string() };
    limits::check(&model, None).map_err(refused)?;
    let norms = plain_norms(&mut model);
    let analyse = || -> TractResult<Shapes> {
        let mut analysed = read_shapes(&model)?;
        analysed.analyse(false)?;
        let mut shapes = Shapes::new();
        for node in analysed.nodes() {
            for (slot, output) in node.outputs.iter().enumerate() {
                let label = analysed.outlet_label(OutletId::new(node.id, slot));
                let name = label.unwrap_or(node.name.as_str()).to_string();
                if let Some(shape) = output.fact.shape.as_concrete_finite()? {
                    shapes.insert(name, shape.to_vec());
                }
            }
        }
        Ok(shapes)
    };
    // The model is only read; nothing half-changed outlives the panic.
    let shapes = match contain::quietly(analyse) {
        Ok(Ok(shapes)) => shapes,
        Ok(Err(error)) => return Err(ImportError::Shapes { stage, reason: format!("{error:#}") }),
        Err(_) => return Err(ImportError::Panicked { stage }),
    };
    for (name, x, axis) in norms {
        let rank = shapes.get(&x).map_or(0, Vec::len);
        if from_front(axis, rank).is_none_or(|axis| axis == rank) {
            let reason = format!("node `{name}` normalises axis {axis} of a value of {rank} axes");
            return Err(ImportError::Shapes { stage, reason });
        }
    }
    Ok(shapes)
}

/// Lets layer norms, which keep the shape, be copies for the analysis: with an axis out of range it would
/// not end. Gives name, input and axis of each, to be checked by the shapes found.
fn plain_norms(model: &mut pb::ModelProto) -> Vec<(String, String, i64)> {
    let mut norms = vec![];
    let nodes = model.graph.iter_mut().flat_map(|g| &mut g.node);
    for node in nodes.filter(|n| n.op_type == "LayerNormalization") {
        let x = node.input.first().cloned().unwrap_or_default();
        norms.push((label(node), x, int(node, "axis", -1)));
        node.op_type = "Identity".into();
        node.input.truncate(1);
        node.output.truncate(1);
        node.attribute.clear();
    }
    norms
}
