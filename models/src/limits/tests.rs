//! Bounds against shapes worked out by hand, and graphs that ask for too much in one way each.

use prost::Message;
use tract_onnx::pb;

use super::*;
use crate::onnx::proto;

fn node(op: &str, inputs: &[&str], output: &str, attributes: Vec<pb::AttributeProto>) -> pb::NodeProto {
    pb::NodeProto {
        name: output.into(),
        op_type: op.into(),
        input: inputs.iter().map(|i| (*i).into()).collect(),
        output: vec![output.into()],
        attribute: attributes,
        ..Default::default()
    }
}

/// Nodes over `x` of shape `input`, with integer lists as constants.
fn model(input: &[usize], constants: &[(&str, &[i64])], nodes: Vec<pb::NodeProto>) -> pb::ModelProto {
    let graph = pb::GraphProto {
        input: vec![proto::value_info("x", input)],
        initializer: constants.iter().map(|(name, ints)| proto::int_tensor(name, ints)).collect(),
        node: nodes,
        ..Default::default()
    };
    proto::model(graph, 17, 8)
}

fn elements(input: &[usize], constants: &[(&str, &[i64])], last: pb::NodeProto) -> usize {
    check(&model(input, constants, vec![last]), None).unwrap().elements
}

fn refusal(constants: &[(&str, &[i64])], nodes: Vec<pb::NodeProto>) -> LimitError {
    check(&model(&[4, 3, 8, 8], constants, nodes), None).unwrap_err()
}

#[test]
fn sizes_are_those_of_the_standard() {
    let x = [4, 3, 8, 8];
    let pool = || vec![proto::ints("kernel_shape", vec![3, 3]), proto::ints("strides", vec![2, 2])];
    // (8 - 3) / 2 + 1 = 3 positions; rounded up, 4.
    assert_eq!(elements(&x, &[], node("MaxPool", &["x"], "y", pool())), 4 * 3 * 3 * 3);
    let ceil = [pool(), vec![proto::int("ceil_mode", 1)]].concat();
    assert_eq!(elements(&x, &[], node("MaxPool", &["x"], "y", ceil)), 4 * 3 * 4 * 4);
    let same = [pool(), vec![proto::string("auto_pad", "SAME_UPPER")]].concat();
    assert_eq!(elements(&x, &[], node("AveragePool", &["x"], "y", same)), 4 * 3 * 4 * 4);
    let pads: (&str, &[i64]) = ("p", &[0, 0, 1, 2, 0, 0, 3, 4]);
    assert_eq!(elements(&x, &[pads], node("Pad", &["x", "p"], "y", vec![])), 4 * 3 * 12 * 14);
    let repeats: (&str, &[i64]) = ("r", &[1, 2, 3, 1]);
    assert_eq!(elements(&x, &[repeats], node("Tile", &["x", "r"], "y", vec![])), 4 * 6 * 24 * 8);
    let to: (&str, &[i64]) = ("t", &[5, 1, 1, 1, 1]);
    assert_eq!(elements(&x, &[to], node("Expand", &["x", "t"], "y", vec![])), 5 * 768);
    let block = vec![proto::int("blocksize", 2)];
    assert_eq!(elements(&x, &[], node("SpaceToDepth", &["x"], "y", block)), 768);
    let cut: [(&str, &[i64]); 4] = [("s", &[-1]), ("e", &[i64::MIN]), ("a", &[3]), ("d", &[-3])];
    // Positions 7, 4 and 1 of the last axis.
    assert_eq!(elements(&x, &cut, node("Slice", &["x", "s", "e", "a", "d"], "y", vec![])), 4 * 3 * 8 * 3);
}

#[test]
fn a_batch_that_was_symbolic_is_followed_through_shape_arithmetic() {
    let constants: [(&str, &[i64]); 2] = [("zero", &[0]), ("rest", &[-1])];
    let nodes = vec![
        node("Shape", &["x"], "shape", vec![]),
        node("Gather", &["shape", "zero"], "batch", vec![]),
        node("Concat", &["batch", "rest"], "flat", vec![proto::int("axis", 0)]),
        node("Reshape", &["x", "flat"], "y", vec![]),
        node("MatMul", &["y", "w"], "z", vec![]),
    ];
    let mut model = model(&[9, 3, 8], &constants, nodes);
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(proto::tensor("w", &ndarray::ArrayD::zeros(ndarray::IxDyn(&[24, 5]))));
    let cost = check(&model, None).unwrap();
    assert_eq!(cost.elements, 3 + 1 + 2 + 9 * 24 + 9 * 5);
    assert_eq!(cost.folded, 3 + 1 + 2);
    // Everything else counts one an element.
    assert_eq!(cost.work, 3 + 1 + 2 + 9 * 24 + 9 * 24 * 5);
}

#[test]
fn memory_out_of_thin_air_is_refused() {
    let huge: (&str, &[i64]) = ("n", &[1 << 20, 1 << 20]);
    for op in ["ConstantOfShape", "Expand", "Tile"] {
        let inputs: &[&str] = if op == "ConstantOfShape" { &["n"] } else { &["n", "n"] };
        let error = refusal(&[huge], vec![node(op, inputs, "y", vec![])]);
        assert!(matches!(error, LimitError::Elements { .. }), "{op}: {error}");
    }
    // Each is small enough; together they are not.
    let mut nodes: Vec<_> =
        (0..9).map(|i| node("ConstantOfShape", &["n"], &format!("y{i}"), vec![])).collect();
    let error = refusal(&[("n", &[1 << 22])], nodes.clone());
    assert!(matches!(error, LimitError::Budget { what: "values computed from constants", .. }), "{error}");
    nodes.truncate(1);
    let broadcast = node("Where", &["y0", "y0", "y0"], "z", vec![]);
    assert!(check(&model(&[1], &[("n", &[1 << 20])], [nodes, vec![broadcast]].concat()), None).is_ok());
    let by_data = node("Expand", &["x", "x"], "y", vec![]);
    assert!(matches!(refusal(&[], vec![by_data]), LimitError::Unbounded { .. }));
}

#[test]
fn attributes_out_of_range_and_unknown_operators_name_their_node() {
    let kernel = proto::ints("kernel_shape", vec![2, 2]);
    for (name, values) in [
        ("strides", vec![0, 1]),
        ("strides", vec![1 << 40, 1]),
        ("pads", vec![-1, 0, 0, 0]),
        ("dilations", vec![i64::MIN, 1]),
    ] {
        let attributes = vec![kernel.clone(), proto::ints(name, values)];
        let error = refusal(&[], vec![node("MaxPool", &["x"], "pool", attributes)]);
        assert!(matches!(error, LimitError::Attribute { .. }), "{error}");
        assert!(error.to_string().contains("pool") && error.to_string().contains(name), "{error}");
    }
    for op in ["Loop", "NonMaxSuppression", "RandomNormal", "Nonsense"] {
        let error = refusal(&[], vec![node(op, &["x"], "y", vec![])]);
        assert!(matches!(&error, LimitError::Operator { operator, .. } if operator == op), "{error}");
    }
    let error = refusal(&[("n", &[0; 7])], vec![node("Add", &["x", "n"], "y", vec![])]);
    assert!(matches!(error, LimitError::Operand { .. }), "{error}");
}

#[test]
fn nodes_axes_inputs_and_symbols_are_limited() {
    let chain = |n: usize| (0..n).map(|i| node("Relu", &["x"], &format!("y{i}"), vec![])).collect();
    assert!(check(&model(&[1], &[], chain(MAX_GRAPH_NODES)), None).is_ok());
    let error = check(&model(&[1], &[], chain(MAX_GRAPH_NODES + 1)), None).unwrap_err();
    assert_eq!(error, LimitError::Nodes { found: MAX_GRAPH_NODES + 1, limit: MAX_GRAPH_NODES });
    let many = check(&model(&[1; MAX_RANK + 1], &[], vec![]), None).unwrap_err();
    assert!(matches!(many, LimitError::Rank { .. }), "{many}");
    let zero = check(&model(&[4, 0], &[], vec![]), None).unwrap_err();
    assert!(matches!(zero, LimitError::Input { .. }), "{zero}");
    let mut symbolic = model(&[1], &[], vec![]);
    let graph = symbolic.graph.as_mut().unwrap();
    graph.input = vec![proto::symbolic_value_info("x", "batch", &[3])];
    assert!(check(&symbolic, Some(8)).is_ok());
    assert!(matches!(check(&symbolic, None), Err(LimitError::Input { .. })));
    let deep = format!("{}N{}", "(".repeat(40), ")".repeat(40));
    symbolic.graph.as_mut().unwrap().input = vec![proto::symbolic_value_info("x", &deep, &[3])];
    assert!(matches!(check(&symbolic, Some(8)), Err(LimitError::Symbol { .. })));
    assert!(check_embedding(&[MAX_BATCH, MAX_EMBEDDING]).is_ok());
    assert!(check_embedding(&[MAX_BATCH + 1, 1]).is_err() && check_embedding(&[4]).is_err());
}

/// A hostile file cannot make the walk itself expensive: lists that double are not kept.
#[test]
fn numbers_of_large_lists_are_not_kept() {
    let double = |i: usize| {
        let last = format!("y{i}");
        node("Concat", &[&last, &last], &format!("y{}", i + 1), vec![proto::int("axis", 0)])
    };
    let mut nodes = vec![node("Identity", &["n"], "y0", vec![])];
    nodes.extend((0..20).map(double));
    let model = model(&[1], &[("n", &[1, 2, 3, 4])], nodes);
    assert!(model.encoded_len() < 2000);
    assert_eq!(check(&model, None).unwrap().elements, 4 * ((1 << 21) - 1));
}

#[test]
fn a_layer_norm_without_its_axis_is_refused() {
    for (axis, held) in [(-4, true), (3, true), (4, false), (-5, false), (i64::MIN, false)] {
        let norm = node("LayerNormalization", &["x", "x"], "y", vec![proto::int("axis", axis)]);
        let checked = check(&model(&[4, 3, 8, 8], &[], vec![norm]), None);
        assert_eq!(checked.is_ok(), held, "axis {axis}: {checked:?}");
    }
    let norm = node("LayerNormalization", &["x", "x"], "y", vec![]);
    assert!(matches!(check(&model(&[], &[], vec![norm]), None), Err(LimitError::Operand { .. })));
}
