//! Channels last. tract's matrix kernels eat channels-last feature maps without packing them anew, and
//! sums over positions become sums over rows; so every convolution is rewritten to that layout before
//! differentiation. Axis moves are wired around each convolution, and decluttering cancels the pairs.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_core::ops::source::TypedSource;

/// `model` with every channels-first convolution computed channels last; inputs and outputs keep
/// their layout.
pub fn channels_last(model: &TypedModel) -> TractResult<TypedModel> {
    let mut target = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let mut mapped: HashMap<OutletId, OutletId> = HashMap::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        let inputs: TVec<OutletId> = node.inputs.iter().map(|input| mapped[input]).collect();
        let outputs = match node.op_as::<Conv>() {
            Some(conv) if conv.pool_spec.data_format == DataFormat::NCHW => {
                convolution(&mut target, &node.name, conv, inputs)?
            }
            _ if node.op_is::<TypedSource>() => {
                tvec!(target.add_source(&node.name, node.outputs[0].fact.clone())?)
            }
            _ => target.wire_node(&node.name, node.op.clone(), &inputs)?,
        };
        mapped.extend(outputs.iter().enumerate().map(|(slot, &o)| (OutletId::new(id, slot), o)));
    }
    // Every outlet was mapped in evaluation order above.
    let outputs: Vec<OutletId> = model.output_outlets()?.iter().map(|o| mapped[o]).collect();
    target.select_output_outlets(&outputs)?;
    target.into_decluttered()
}

fn convolution(
    target: &mut TypedModel,
    name: &str,
    conv: &Conv,
    mut inputs: TVec<OutletId>,
) -> TractResult<TVec<OutletId>> {
    let last = target.outlet_fact(inputs[0])?.rank() - 1;
    let mut conv = conv.clone();
    conv.pool_spec.data_format = DataFormat::NHWC;
    inputs[0] = target.wire_node(format!("{name}.to_last"), AxisOp::Move(1, last), &[inputs[0]])?[0];
    let output = target.wire_node(format!("{name}.channels_last"), conv, &inputs)?;
    target.wire_node(name, AxisOp::Move(last, 1), &output)
}
