//! Batch normalisation by batch statistics, as a fused call. Its statistics leave the graph and carry no
//! gradient of their own.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::{Site, Tape};
use crate::fused::{BatchNorm, Call};

pub(super) fn rule(tape: &mut Tape<'_>, norm: &BatchNorm, site: &Site) -> TractResult<()> {
    let [x, scale, shift] = *site.inputs.as_slice() else {
        bail!("a batch norm of {} inputs", site.inputs.len())
    };
    let [mean, variance] = [1, 2].map(|slot| OutletId::new(site.output.node, slot));
    let gradient = tape.full(site.gradient, &site.shape)?;
    let call = Call::BatchNormGradient(norm.clone());
    let inputs = [x, scale, shift, mean, variance, gradient];
    let gradients = tape.graph.call(call, &inputs)?;
    for (operand, gradient) in [x, scale, shift].into_iter().zip(gradients) {
        tape.give(operand, gradient)?;
    }
    Ok(())
}
