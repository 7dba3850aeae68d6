//! What an operator without a rule says.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::Trilu;

use super::super::{NoRule, TrainableCut, differentiate};
use crate::graph::Graph;

/// `w2 * triangle(w1 * x)`, then a weight `head` on top; the triangle has no rule.
fn refusal(trained: &[&str]) -> NoRule {
    let mut model = TypedModel::default();
    let [x, w1, w2] = ["x", "w1", "w2"].map(|name| model.add_source(name, f32::fact([2, 3])).unwrap());
    let first = model.wire_node("first", tract_onnx::tract_core::ops::math::mul(), &[x, w1]).unwrap()[0];
    let diagonal = model.add_const("diagonal", tensor0(0i64)).unwrap();
    let triangle = model.wire_node("triangle", Trilu { upper: true }, &[first, diagonal]).unwrap()[0];
    let second =
        model.wire_node("second", tract_onnx::tract_core::ops::math::mul(), &[triangle, w2]).unwrap()[0];
    let mut graph = Graph::new(model);
    let head = graph.source("head", &[2, 3]).unwrap();
    let y = graph.mul(second, head).unwrap();
    let loss = graph.sum(y, &[0, 1]).unwrap();
    graph.model.select_output_outlets(&[loss]).unwrap();
    let weights: Vec<OutletId> =
        trained.iter().map(|n| OutletId::new(graph.model.node_by_name(n).unwrap().id, 0)).collect();
    let error = differentiate(&mut graph, loss, &weights).unwrap_err();
    error.downcast_ref::<NoRule>().unwrap().clone()
}

#[test]
fn node_operator_and_shape_are_named() {
    let error = refusal(&["w1", "w2", "head"]);
    assert_eq!(error.node, "triangle");
    assert_eq!(error.operator, "Trilu");
    assert_eq!(error.shape, [2, 3]);
}

#[test]
fn the_weights_after_it_are_named() {
    let error = refusal(&["w1", "w2", "head"]);
    assert_eq!(error.cut, TrainableCut::After { weights: vec!["w2".into()] });
    assert_eq!(
        error.to_string(),
        "no gradient rule for operator Trilu of node `triangle` (output [2, 3]): the operator is not \
         covered; train only weights after it: `w2`; or `--train head`"
    );
}

#[test]
fn without_weights_after_it_the_head_is_left() {
    let error = refusal(&["w1", "head"]);
    assert_eq!(error.cut, TrainableCut::Head);
    assert!(error.to_string().ends_with("`--train head` needs none"), "{error}");
}
