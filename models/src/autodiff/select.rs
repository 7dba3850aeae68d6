//! The choice between two values by a condition. The condition itself has no gradient: it comes from a
//! constant or a comparison, which is flat wherever it does not jump.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::logic::Iff;

use super::{Site, Tape};

pub(super) fn rule(tape: &mut Tape<'_>, site: &Site) -> TractResult<()> {
    let [condition, then, otherwise] = *site.inputs.as_slice() else {
        bail!("a choice of {} inputs", site.inputs.len())
    };
    let zero = tape.graph.scalar(0.0, site.shape.len())?;
    for (operand, chosen) in
        [(then, [condition, site.gradient, zero]), (otherwise, [condition, zero, site.gradient])]
    {
        if tape.needs(operand) {
            let shape = tape.graph.shape(operand)?;
            let masked = tape.graph.node(Iff::new(), &chosen)?;
            let d = tape.unbroadcast(masked, &site.shape, &shape)?;
            tape.give(operand, d)?;
        }
    }
    Ok(())
}
