//! Calls in typed graphs and files. Tests elsewhere run graphs with calls through [`expanded`].

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::*;
use crate::graph::Graph;
use crate::onnx::read::parse;
use crate::onnx::write::write;
use prost::Message;

/// `model` with every call replaced by its body.
pub(crate) fn expanded(model: &TypedModel) -> TypedModel {
    let mut graph = Graph::new(TypedModel::default());
    let mut mapped = std::collections::HashMap::new();
    // An input that nothing reads is still an input.
    for &input in model.input_outlets().unwrap() {
        let fact = model.outlet_fact(input).unwrap().clone();
        mapped.insert(input, graph.model.add_source(&model.node(input.node).name, fact).unwrap());
    }
    for id in model.eval_order().unwrap() {
        let node = model.node(id);
        let inputs: Vec<OutletId> = node.inputs.iter().map(|i| mapped[i]).collect();
        let outputs: Vec<OutletId> = if let Some(call) = node.op_as::<Call>() {
            call.body(&mut graph, &inputs).unwrap()
        } else if node.op_is::<TypedSource>() {
            continue;
        } else {
            let name = graph.fresh_name(&node.name);
            graph.model.wire_node(name, node.op.clone(), &inputs).unwrap().to_vec()
        };
        mapped.extend(outputs.into_iter().enumerate().map(|(slot, o)| (OutletId::new(id, slot), o)));
    }
    let outputs: Vec<OutletId> = model.output_outlets().unwrap().iter().map(|o| mapped[o]).collect();
    graph.model.select_output_outlets(&outputs).unwrap();
    graph.model
}

fn convolution() -> Convolution {
    Convolution {
        batch: 2,
        channels: 6,
        out: 6,
        groups: 6,
        kernel: vec![3, 3],
        stride: vec![2, 2],
        dilation: vec![1, 1],
        extent: vec![7, 8],
        before: vec![1, 1],
        after: vec![1, 0],
    }
}

fn calls() -> Vec<Call> {
    let norm = BatchNorm {
        shape: vec![2, 3, 4, 5],
        axis: 3,
        epsilon: 1e-5,
        clip: Clip { low: Some(0.0), high: Some(6.0) },
    };
    let layer = LayerNorm { shape: vec![2, 3, 4], epsilon: 1e-5, affine: true };
    let shaped = Shaped { shape: vec![2, 3, 4] };
    let dense = Convolution { groups: 1, out: 4, ..convolution() };
    vec![
        Call::ConvolutionInputGradient(convolution()),
        Call::ConvolutionInputGradient(dense.clone()),
        Call::ConvolutionWeightGradient(convolution()),
        Call::ConvolutionWeightGradient(dense),
        Call::BatchNorm(norm.clone()),
        Call::BatchNorm(BatchNorm { axis: 1, clip: Clip::default(), ..norm.clone() }),
        Call::BatchNormGradient(norm),
        Call::ClipGradient(Clipped { shape: vec![3, 5], clip: Clip { low: None, high: Some(1.5) } }),
        Call::LayerNorm(layer.clone()),
        Call::LayerNorm(LayerNorm { affine: false, ..layer.clone() }),
        Call::LayerNormGradient(layer.clone()),
        Call::LayerNormGradient(LayerNorm { affine: false, ..layer }),
        Call::SoftmaxGradient(shaped.clone()),
        Call::GeluGradient(shaped.clone()),
        Call::StopGradient(shaped),
    ]
}

fn written(call: &Call) -> pb::ModelProto {
    let mut graph = Graph::new(TypedModel::default());
    let inputs: Vec<OutletId> =
        call.inputs().iter().enumerate().map(|(i, s)| graph.source(&format!("in{i}"), s).unwrap()).collect();
    let outputs = graph.call(call.clone(), &inputs).unwrap();
    // Called twice: one function serves both.
    let again = graph.call(call.clone(), &inputs).unwrap();
    graph.model.select_output_outlets(&[outputs.to_vec(), again.to_vec()].concat()).unwrap();
    let names: Vec<String> = (0..2 * outputs.len()).map(|i| format!("out{i}")).collect();
    write(&graph.model, "calls", &names).unwrap()
}

#[test]
fn a_written_call_is_read_as_it_was() {
    for call in calls() {
        let model = written(&call);
        assert_eq!(model.functions.len(), 1);
        let model = parse(&model.encode_to_vec()).unwrap();
        let typed = read(&model).unwrap().into_typed().unwrap();
        let found: Vec<&Call> = typed.nodes().iter().filter_map(|n| n.op_as::<Call>()).collect();
        assert_eq!(found, [&call, &call]);
    }
}

#[test]
fn an_inlined_call_leaves_ordinary_operators() {
    for call in calls() {
        let mut model = written(&call);
        inline_where(&mut model, |_| true).unwrap();
        assert!(model.functions.is_empty());
        let model = parse(&model.encode_to_vec()).unwrap();
        let typed = read(&model).unwrap().into_typed().unwrap();
        assert!(typed.nodes().iter().all(|n| !n.op_is::<Call>()));
        let shapes: Vec<Vec<usize>> = typed
            .output_outlets()
            .unwrap()
            .iter()
            .map(|o| typed.outlet_fact(*o).unwrap().shape.as_concrete().unwrap().to_vec())
            .collect();
        assert_eq!(shapes, [call.outputs(), call.outputs()].concat());
    }
}

#[test]
fn functions_of_other_domains_and_calls_of_none_are_refused() {
    let call = &calls()[0];
    let mut other = written(call);
    other.functions[0].domain = Some("other".into());
    assert!(parse(&other.encode_to_vec()).is_err());

    let mut missing = written(call);
    missing.functions.clear();
    assert!(parse(&missing.encode_to_vec()).is_err());

    let mut twice = written(call);
    let function = twice.functions[0].clone();
    twice.functions.push(function);
    assert!(parse(&twice.encode_to_vec()).is_err());

    let mut open = written(call);
    open.functions[0].node[0].input.push("nowhere".into());
    assert!(parse(&open.encode_to_vec()).is_err());
}

#[test]
fn hostile_attributes_are_refused() {
    let spoil: [fn(&mut pb::AttributeProto); 4] =
        [|a| a.i = -1, |a| a.i = i64::MAX, |a| a.ints = vec![0, 0], |a| a.ints = vec![1 << 40, 1 << 40]];
    for call in calls() {
        for spoil in spoil {
            for at in 0..call.attributes().len() {
                let mut model = written(&call);
                let graph = model.graph.as_mut().unwrap();
                spoil(&mut graph.node[0].attribute[at]);
                // An error or the very call: never a panic, never another shape.
                if let Ok(typed) = read(&model).and_then(|m| m.into_typed()) {
                    assert!(
                        typed
                            .nodes()
                            .iter()
                            .filter_map(|n| n.op_as::<Call>())
                            .all(|c| { c.inputs() == call.inputs() && c.outputs() == call.outputs() })
                    );
                }
            }
        }
    }
}
