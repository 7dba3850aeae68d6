//! Small networks as PyTorch exports them, by both of its exporters, against its gradients in float64
//! (`models/goldens/rules.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::float64::{Value, evaluate, widen};
use super::{by_name, expanded, run};
use crate::autodiff::differentiate;
use crate::fused;
use crate::graph::Graph;
use crate::layout::channels_last;
use crate::onnx;
use crate::tensors::Tensors;
use crate::weights::{TensorLimits, decode};

/// Of float64 against goldens that were rounded to float32.
const DOUBLE: f64 = 2e-6;
/// Of float32.
const SINGLE: f64 = 1e-4;

fn archive() -> (BTreeMap<String, pb::ModelProto>, Tensors) {
    let bytes = include_bytes!("../../../goldens/rules.tar");
    let mut models = BTreeMap::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().trim_end_matches(".onnx").to_string();
        let mut model = vec![];
        entry.read_to_end(&mut model).unwrap();
        models.insert(name, pb::ModelProto::decode(model.as_slice()).unwrap());
    }
    let tensors = include_bytes!("../../../goldens/rules.safetensors");
    (models, decode(tensors, TensorLimits::default()).unwrap())
}

fn tensor(values: &ndarray::ArrayD<f32>) -> Tensor {
    let flat: Vec<f32> = values.iter().copied().collect();
    Tensor::from_shape(values.shape(), &flat).unwrap()
}

/// A golden network with its gradients wired.
struct Wired {
    model: TypedModel,
    inputs: Vec<Tensor>,
    names: Vec<String>,
}

fn wire(mut proto: pb::ModelProto, golden: &Tensors, net: &str) -> TractResult<Wired> {
    let graph = proto.graph.as_ref().unwrap();
    let is_weight = |name: &str| golden.contains_key(&gradient_key(net, name));
    let lifted: BTreeSet<String> =
        graph.initializer.iter().map(|i| i.name.clone()).filter(|n| is_weight(n)).collect();
    let mut values = onnx::lift(&mut proto, &lifted).unwrap();
    values.insert("x".into(), golden[&format!("{net}/x")].clone());
    let typed = tract_onnx::onnx().model_for_proto_model(&proto)?.into_typed()?;
    let mut model = channels_last(&typed)?;
    fused::layer_norms(&mut model)?;
    let mut graph = Graph::new(model);
    let names: Vec<String> = values.keys().cloned().collect();
    let outlet = |graph: &Graph, name: &str| Ok(OutletId::new(graph.model.node_by_name(name)?.id, 0));
    let weights = names.iter().map(|n| outlet(&graph, n)).collect::<TractResult<Vec<_>>>()?;
    let y = graph.model.output_outlets()?[0];
    let shape = graph.shape(y)?;
    let count: usize = shape.iter().product();
    let cotangent: Vec<f32> = (0..count).map(|i| (0.7 * i as f64).cos() as f32).collect();
    let c = graph.constant(Tensor::from_shape(&shape, &cotangent)?)?;
    let product = graph.mul(y, c)?;
    let axes: Vec<usize> = (0..shape.len()).collect();
    let loss = graph.sum(product, &axes)?;
    graph.model.select_output_outlets(&[loss])?;
    let gradients = differentiate(&mut graph, loss, &weights)?;
    graph.model.select_output_outlets(&gradients)?;
    let inputs = graph.model.input_outlets()?.iter().map(|o| tensor(&values[&graph.model.node(o.node).name]));
    let inputs = inputs.collect();
    Ok(Wired { model: graph.model, inputs, names })
}

/// Where the gradient of the weight called `name` in the file is; transposed ones end in `.T`.
fn gradient_key(net: &str, name: &str) -> String {
    format!("{net}/gradient/{}", name.trim_end_matches(".T"))
}

fn compare(found: &[Value], golden: &Tensors, net: &str, names: &[String], tolerance: f64, how: &str) {
    for (name, found) in names.iter().zip(found) {
        let mut expected = golden[&gradient_key(net, name)].mapv(f64::from);
        if name.ends_with(".T") {
            expected = expected.reversed_axes();
        }
        assert_eq!(found.shape(), expected.shape(), "{net} {name}");
        // Some sums cancel almost wholly.
        let most = expected.iter().fold(0.1, |most: f64, v| most.max(v.abs()));
        let error = found.iter().zip(&expected).fold(0.0, |e: f64, (a, b)| e.max((a - b).abs())) / most;
        assert!(error <= tolerance, "gradient of {name}, {how}: error {error:.1e}");
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    let (models, golden) = archive();
    assert!(models.len() >= 20, "{} networks", models.len());
    for (file, proto) in models {
        let net = file.split('.').next().unwrap();
        let wired = wire(proto, &golden, net).unwrap_or_else(|error| panic!("{file}: {error:#}"));
        let wide: Vec<Value> = wired.inputs.iter().map(widen).collect();
        compare(
            &evaluate(&expanded(&wired.model), &wide),
            &golden,
            net,
            &wired.names,
            DOUBLE,
            &format!("{file} in float64"),
        );
        compare(
            &run(&wired.model, &wired.inputs),
            &golden,
            net,
            &wired.names,
            SINGLE,
            &format!("{file} in tract"),
        );
        let outputs: Vec<String> = (0..wired.names.len()).map(|i| format!("gradient{i}")).collect();
        let decluttered = wired.model.clone().into_decluttered().unwrap();
        let written = onnx::write::write(&decluttered, "test", &outputs).unwrap();
        let read = fused::read(&written).unwrap().into_typed().unwrap();
        let last = channels_last(&read).unwrap();
        let named: BTreeMap<String, Tensor> = wired
            .model
            .input_outlets()
            .unwrap()
            .iter()
            .map(|o| wired.model.node(o.node).name.clone())
            .zip(wired.inputs.iter().cloned())
            .collect();
        let inputs = by_name(&last, &named);
        compare(
            &run(&last, &inputs),
            &golden,
            net,
            &wired.names,
            SINGLE,
            &format!("{file} written and read"),
        );
    }
}
