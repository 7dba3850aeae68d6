#![allow(clippy::unwrap_used)]
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math;

use tract_onnx::tract_core::internal::*;

use super::*;

/// `x [100] -> a = x + c (c [100] constant) -> b = exp a; d = concat(a, b); e = d * d; out = sum of e`,
/// by hand: constants 400, input 400.
///
/// | step | alive beside them | bytes |
/// |---|---|---|
/// | a: x is kept by the caller, so a is new | a | 400 |
/// | b: a is read again, so b is new | a, b | 800 |
/// | d: concatenation of both | a, b, d | 1600 |
/// | e: d is read twice by one node, so e is new | d, e | 1600 |
/// | f: exp writes over e | e | 800 |
#[test]
fn five_nodes_by_hand() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([100])).unwrap();
    let c = model.add_const("c", Tensor::zero::<f32>(&[100]).unwrap()).unwrap();
    let a = model.wire_node("a", math::add(), &[x, c]).unwrap()[0];
    let b = model.wire_node("b", math::exp(), &[a]).unwrap()[0];
    let d = model.wire_node("d", TypedConcat::new(0), &[a, b]).unwrap()[0];
    let e = model.wire_node("e", math::mul(), &[d, d]).unwrap()[0];
    let f = model.wire_node("f", math::exp(), &[e]).unwrap()[0];
    model.select_output_outlets(&[f]).unwrap();
    let plan = Plan::of(&model, &model).unwrap();
    assert_eq!((plan.weights_bytes, plan.state_bytes), (400, 400));
    assert_eq!(plan.peak_bytes, 800 + 1600 + 6 * NODE_BYTES);
    assert_eq!(plan.peak_at, "d");
    assert_eq!(plan.nodes, 6);
    let largest: Vec<(&str, u64)> = plan.largest.iter().map(|v| (v.name.as_str(), v.bytes)).collect();
    assert_eq!(largest, [("d", 800), ("e", 800), ("a", 400), ("b", 400)]);
    // Sums and maps pass 100 + 100 + 200 + 200 values; the concatenation copies 200.
    assert_eq!(plan.work, Work { elementwise: 600, movement: 200, ..Work::default() });
}

#[test]
fn products_count_their_multiply_adds() {
    let mut model = TypedModel::default();
    let a = model.add_source("a", f32::fact([3, 5])).unwrap();
    let b = model.add_source("b", f32::fact([5, 7])).unwrap();
    let op = EinSum { axes: "ij,jk->ik".parse().unwrap(), operating_dt: f32::datum_type(), q_params: None };
    let c = model.wire_node("c", op, &[a, b]).unwrap()[0];
    model.select_output_outlets(&[c]).unwrap();
    let plan = Plan::of(&model, &model.clone().into_optimized().unwrap()).unwrap();
    assert_eq!(plan.work.products, 3 * 5 * 7);
    assert_eq!(plan.state_bytes, 4 * (15 + 35));
    assert!(plan.peak_bytes >= plan.state_bytes + 4 * 21);
}

#[test]
fn symbolic_shapes_and_noise_are_refused() {
    assert!(matches!(plan(b"no onnx"), Err(PlanError::Onnx(_))));
    let mut model = TypedModel::default();
    let batch = model.symbols.new_with_prefix("n");
    let a = model.add_source("a", f32::fact([batch.to_dim()])).unwrap();
    let b = model.wire_node("b", math::exp(), &[a]).unwrap()[0];
    model.select_output_outlets(&[b]).unwrap();
    assert!(Plan::of(&model, &model).is_err());
}

#[test]
fn a_plan_that_contradicts_itself_is_not_sound() {
    let plan = Plan { peak_bytes: 10, state_bytes: 4, ..Plan::default() };
    assert!(plan.is_sound());
    assert!(!Plan { state_bytes: 11, ..plan.clone() }.is_sound());
    assert!(!Plan { peak_bytes: u64::MAX, ..plan }.is_sound());
}
