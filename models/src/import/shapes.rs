//! Shapes of every value by name, from tract's own analysis, its errors and panics contained.

use std::collections::HashMap;

use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::ImportError;
use crate::fused::read_shapes;
use crate::{contain, limits};

/// Shapes by value name. A value whose shape could not be told is left out.
pub(super) type Shapes = HashMap<String, Vec<usize>>;

/// The shapes of `model`, whose input shape is fixed.
pub(super) fn of(model: &pb::ModelProto, stage: &'static str) -> Result<Shapes, ImportError> {
    let refused = |error: limits::LimitError| ImportError::Shapes { stage, reason: error.to_string() };
    limits::check(model, None).map_err(refused)?;
    let analyse = || -> TractResult<Shapes> {
        let mut analysed = read_shapes(model)?;
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
    match contain::quietly(analyse) {
        Ok(Ok(shapes)) => Ok(shapes),
        Ok(Err(error)) => Err(ImportError::Shapes { stage, reason: format!("{error:#}") }),
        Err(_) => Err(ImportError::Panicked { stage }),
    }
}
