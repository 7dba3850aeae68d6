//! Models built by hand, then broken in one way each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value as Dim},
    type_proto,
};

use super::OnnxError;
use super::inspect::inspect;
use super::read::{MAX_GRAPH_DEPTH, MAX_MODEL_BYTES, parse};

/// A float value of the given dimensions; zero stands for the symbol `N`.
pub(crate) fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|&n| Dimension {
            value: Some(if n == 0 { Dim::DimParam("N".into()) } else { Dim::DimValue(n) }),
            ..Default::default()
        })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn weights(name: &str, dims: &[i64]) -> TensorProto {
    let bytes = dims.iter().product::<i64>() * 4;
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: vec![0; bytes as usize],
        ..Default::default()
    }
}

/// `y = relu(x . w)`, `x` of shape `[N, 4]`.
pub(crate) fn model() -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        producer_name: "test".into(),
        graph: Some(GraphProto {
            name: "g".into(),
            input: vec![value("x", &[0, 4])],
            initializer: vec![weights("w", &[4, 3])],
            node: vec![node("MatMul", &["x", "w"], "h"), node("Relu", &["h"], "y")],
            output: vec![value("y", &[0, 3])],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn broken(change: impl FnOnce(&mut GraphProto)) -> OnnxError {
    let mut model = model();
    change(model.graph.as_mut().unwrap());
    parse(&model.encode_to_vec()).expect_err("the model was broken")
}

/// `levels` graphs, each but the innermost the body of an `If` in the one around it.
fn nested(levels: usize) -> ModelProto {
    let mut model = model();
    for _ in 1..levels {
        let inner = model.graph.take().unwrap();
        let mut outer = self::model().graph.unwrap();
        // Names of a subgraph must differ from those around it, which stay visible.
        let inner = rename(inner);
        let mut branch = node("If", &["y"], "z");
        branch.attribute =
            vec![AttributeProto { name: "then_branch".into(), g: Some(inner), ..Default::default() }];
        outer.node.push(branch);
        model.graph = Some(outer);
    }
    model
}

fn rename(mut graph: GraphProto) -> GraphProto {
    graph.input.iter_mut().chain(&mut graph.output).for_each(|v| v.name.push('\''));
    graph.initializer.iter_mut().for_each(|t| t.name.push('\''));
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(|n| n.push('\''));
        for attribute in &mut node.attribute {
            attribute.g = attribute.g.take().map(rename);
        }
    }
    graph
}

#[test]
fn a_plain_model_is_read_and_summarised() {
    let bytes = model().encode_to_vec();
    let read = parse(&bytes).unwrap();
    assert_eq!(read, model());
    let summary = inspect(&read);
    assert_eq!((summary.ir, summary.opset, summary.parameters), (8, 17, 12));
    assert_eq!(summary.bytes, bytes.len());
    assert_eq!(summary.nodes(), 2);
    assert_eq!(summary.operators["MatMul"], 1);
    assert_eq!(summary.inputs[0].shape, Some(vec!["N".to_string(), "4".to_string()]));
    assert_eq!(summary.outputs[0].data_type, "float");
}

#[test]
fn an_optional_input_left_out_and_a_default_for_an_input_are_fine() {
    let mut model = model();
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(node("Clip", &["y", "", "w"], "c"));
    graph.input.push(value("w", &[4, 3]));
    let read = parse(&model.encode_to_vec()).unwrap();
    assert_eq!(inspect(&read).inputs.len(), 1);
}

#[test]
fn nesting_is_limited() {
    parse(&nested(MAX_GRAPH_DEPTH).encode_to_vec()).unwrap();
    let error = parse(&nested(MAX_GRAPH_DEPTH + 1).encode_to_vec()).unwrap_err();
    assert_eq!(error, OnnxError::TooDeep { limit: MAX_GRAPH_DEPTH });
}

#[test]
fn size_is_limited() {
    let error = parse(&vec![0; MAX_MODEL_BYTES + 1]).unwrap_err();
    assert!(matches!(error, OnnxError::TooLarge { .. }), "{error}");
}

#[test]
fn small_messages_cannot_take_much_memory() {
    // Two bytes a node: 4 million of them would take over 600 MB decoded.
    let nodes = [0x0a, 0x00].repeat(4 << 20);
    let mut bytes = vec![0x3a];
    let mut length = nodes.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(nodes);
    assert!(matches!(parse(&bytes), Err(OnnxError::Memory { .. })));
}

#[test]
fn too_many_nodes() {
    let error = broken(|g| g.node.extend((0..100_000).map(|i| node("Relu", &["x"], &format!("n{i}")))));
    assert!(matches!(error, OnnxError::TooManyNodes { found: 100_002, .. }), "{error}");
}

#[test]
fn truncation_at_any_byte_is_an_error() {
    let bytes = model().encode_to_vec();
    for end in 0..bytes.len() {
        // A cut between the fields of the model itself leaves protobuf that is whole but says too little.
        assert!(parse(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn groups_and_wrong_text_are_refused() {
    assert!(matches!(parse(&[0x0b]), Err(OnnxError::Wire { reason: "a protobuf group", .. })));
    assert!(matches!(parse(&[0x12, 0x01, 0xff]), Err(OnnxError::Decode { .. })));
    assert!(matches!(parse(&[0xff; 12]), Err(OnnxError::Wire { .. })));
}

#[test]
fn versions_outside_the_range_are_named() {
    let with_opset = |version| {
        let mut model = model();
        model.opset_import[0].version = version;
        parse(&model.encode_to_vec()).unwrap_err()
    };
    assert!(matches!(with_opset(8), OnnxError::Opset { found: Some(8), min: 9, .. }));
    assert!(with_opset(99).to_string().contains("99"));
    let mut none = model();
    none.opset_import.clear();
    assert!(matches!(parse(&none.encode_to_vec()), Err(OnnxError::Opset { found: None, .. })));
    let mut ir = model();
    ir.ir_version = 1000;
    assert!(matches!(parse(&ir.encode_to_vec()), Err(OnnxError::IrVersion { found: 1000, .. })));
    let mut empty = model();
    empty.graph = None;
    assert_eq!(parse(&empty.encode_to_vec()).unwrap_err(), OnnxError::NoGraph);
}

#[test]
fn tensors_must_hold_what_their_shape_says() {
    let error = broken(|g| g.initializer[0].raw_data.truncate(47));
    assert!(matches!(error, OnnxError::DataLength { wanted: 48, found: 47, .. }), "{error}");
    let error = broken(|g| {
        g.initializer[0].raw_data.clear();
        g.initializer[0].float_data = vec![0.0; 11];
    });
    assert!(matches!(error, OnnxError::DataLength { wanted: 12, found: 11, .. }), "{error}");
    let error = broken(|g| g.initializer[0].dims = vec![-4, 3]);
    assert!(matches!(error, OnnxError::Dims { .. }), "{error}");
    let error = broken(|g| g.initializer[0].dims = vec![0, i64::MAX, i64::MAX]);
    assert!(matches!(error, OnnxError::Dims { .. }), "{error}");
    let error = broken(|g| g.input[0] = value("x", &[1 << 20, 1 << 20]));
    assert!(matches!(error, OnnxError::Dims { .. }), "{error}");
}

#[test]
fn tensors_inside_nodes_are_checked_too() {
    let error = broken(|g| {
        let mut constant = node("Constant", &[], "c");
        let mut t = weights("", &[5]);
        t.raw_data.pop();
        constant.attribute = vec![AttributeProto { name: "value".into(), t: Some(t), ..Default::default() }];
        g.node.push(constant);
    });
    assert!(error.to_string().contains("value of the Constant node that makes `c`"), "{error}");
}

#[test]
fn external_data_is_refused_with_words() {
    let error = broken(|g| {
        g.initializer[0].data_location = Some(1);
        g.initializer[0].external_data =
            vec![StringStringEntryProto { key: "location".into(), value: "../../etc/passwd".into() }];
    });
    assert_eq!(error, OnnxError::ExternalData { tensor: "w".into() });
    assert!(error.to_string().contains("save_as_external_data=False"));
}

#[test]
fn data_types_that_are_not_read_are_named() {
    let error = broken(|g| g.initializer[0].data_type = DataType::Bfloat16 as i32);
    assert!(error.to_string().contains("BFLOAT16"), "{error}");
    let error = broken(|g| g.initializer[0].data_type = 4242);
    assert!(error.to_string().contains("number 4242"), "{error}");
    let error = broken(|g| g.initializer[0].data_type = DataType::String as i32);
    assert!(matches!(error, OnnxError::Unsupported { what: "raw strings", .. }), "{error}");
}

#[test]
fn names_are_unique_and_defined() {
    let error = broken(|g| g.node.push(node("Relu", &["x"], "h")));
    assert!(matches!(&error, OnnxError::Duplicate { name, .. } if name == "h"), "{error}");
    let error = broken(|g| g.initializer.push(weights("w", &[1])));
    assert!(matches!(&error, OnnxError::Duplicate { name, .. } if name == "w"), "{error}");
    let error = broken(|g| g.node.swap(0, 1));
    assert!(matches!(&error, OnnxError::Undefined { value, .. } if value == "h"), "{error}");
    let error = broken(|g| g.output[0].name = "nowhere".into());
    assert!(matches!(&error, OnnxError::Undefined { value, .. } if value == "nowhere"), "{error}");
    let error = broken(|g| g.input[0].name.clear());
    assert!(matches!(error, OnnxError::NoName { .. }), "{error}");
    let error = broken(|g| g.output[0].r#type = None);
    assert!(matches!(error, OnnxError::NoType { what: "output", .. }), "{error}");
    let error = broken(|g| {
        let twice = AttributeProto { name: "a".into(), ..Default::default() };
        g.node[0].attribute = vec![twice.clone(), twice];
    });
    assert!(matches!(error, OnnxError::Duplicate { .. }), "{error}");
}

#[test]
fn what_is_not_read_is_named() {
    let mut training = model();
    training.training_info.push(Default::default());
    assert!(matches!(parse(&training.encode_to_vec()), Err(OnnxError::Unsupported { .. })));
    let mut functions = model();
    functions.functions.push(Default::default());
    assert!(matches!(parse(&functions.encode_to_vec()), Err(OnnxError::Unsupported { .. })));
    let error = broken(|g| g.sparse_initializer.push(Default::default()));
    assert!(matches!(error, OnnxError::Unsupported { .. }));
    let error = broken(|g| g.initializer[0].segment = Some(Default::default()));
    assert!(matches!(error, OnnxError::Unsupported { .. }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn mutated_models_never_panic(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
        cut in any::<usize>(),
    ) {
        let mut bytes = nested(3).encode_to_vec();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(cut % (bytes.len() * 4));
        if let Ok(model) = parse(&bytes) {
            inspect(&model);
        }
    }
}
