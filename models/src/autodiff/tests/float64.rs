//! A naive interpreter of typed graphs in float64: nested loops, no kernel in common with tract. It is
//! the oracle of the rules twice over: finite differences of a forward graph need its digits, and the
//! gradient graphs run in it show a rule's own error apart from float32's. tract itself runs only some
//! operators in float64 (not the sigmoid, `Erf`, GELU, `PowConst`, `MeanOfSquares`, `RmsNorm`).

use std::collections::HashMap;

use ndarray::{ArrayD, Axis, Dimension, IxDyn, Zip};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_core::ops;
use tract_onnx::tract_core::ops::array::{
    CumSum, Gather, GatherElements, GatherNd, MultiBroadcastTo, Pad, PadMode, Slice, Tile, TypedConcat,
};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{
    LeakyRelu, NearestUpsample, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind,
};

use super::windows;
use crate::fused::tests::expanded;

pub(super) type Value = ArrayD<f64>;

/// The outputs of `model` for `inputs`, in the order of its input outlets.
pub(super) fn evaluate(model: &TypedModel, inputs: &[Value]) -> Vec<Value> {
    let model = &expanded(model);
    let values = evaluate_all(model, inputs);
    model.output_outlets().unwrap().iter().map(|o| values[o].clone()).collect()
}

/// Every value of `model`.
pub(super) fn evaluate_all(model: &TypedModel, inputs: &[Value]) -> HashMap<OutletId, Value> {
    let mut values: HashMap<OutletId, Value> =
        model.input_outlets().unwrap().iter().copied().zip(inputs.iter().cloned()).collect();
    for id in model.eval_order().unwrap() {
        let outlet = OutletId::new(id, 0);
        if !values.contains_key(&outlet) {
            let node = model.node(id);
            let given: Vec<&Value> = node.inputs.iter().map(|i| &values[i]).collect();
            let value = operator(node, &given);
            let shape = node.outputs[0].fact.shape.as_concrete().unwrap();
            assert_eq!(value.shape(), shape, "`{}` ({})", node.name, node.op.name());
            values.insert(outlet, value);
        }
    }
    values
}

/// A tensor's numbers, truth values as zero and one.
pub(super) fn widen(tensor: &Tensor) -> Value {
    let numbers: Vec<f64> = if tensor.datum_type() == bool::datum_type() {
        tensor.try_as_plain_ram().unwrap().as_slice::<bool>().unwrap().iter().map(|&b| f64::from(b)).collect()
    } else {
        let cast = tensor.cast_to::<f64>().unwrap();
        cast.try_as_plain_ram().unwrap().as_slice::<f64>().unwrap().to_vec()
    };
    ArrayD::from_shape_vec(IxDyn(tensor.shape()), numbers).unwrap()
}

fn operator(node: &TypedNode, x: &[&Value]) -> Value {
    let op = node.op.as_op();
    if let Some(op) = op.downcast_ref::<ops::konst::Const>() {
        widen(op.val())
    } else if let Some(op) = op.downcast_ref::<ops::binary::TypedBinOp>() {
        pair(op.0.name(), x[0], x[1])
    } else if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
        let function = element(op);
        x[0].mapv(function)
    } else if op.is::<ops::logic::Iff>() {
        let shape: Vec<usize> = node.outputs[0].fact.shape.as_concrete().unwrap().to_vec();
        let [c, t, f] = [0, 1, 2].map(|i| x[i].broadcast(shape.as_slice()).unwrap());
        Zip::from(c).and(t).and(f).map_collect(|&c, &t, &f| if c != 0.0 { t } else { f })
    } else if let Some(op) = op.downcast_ref::<Reduce>() {
        reduce(op, x[0])
    } else if let Some(op) = op.downcast_ref::<Softmax>() {
        softmax(op, x[0])
    } else if let Some(op) = op.downcast_ref::<RmsNorm>() {
        let epsilon = f64::from(op.eps.cast_to_scalar::<f32>().unwrap());
        let mean = x[0].mapv(|v| v * v).mean_axis(Axis(op.axis)).unwrap().insert_axis(Axis(op.axis));
        x[0] / &mean.mapv(|m| (m + epsilon).sqrt())
    } else if let Some(op) = op.downcast_ref::<CumSum>() {
        cumulative_sum(op, x[0])
    } else if let Some(op) = op.downcast_ref::<EinSum>() {
        einsum(&op.axes.to_string(), x)
    } else if let Some(value) = windows::operator(op, x) {
        value
    } else {
        movement(node, x)
    }
}

fn pair(name: &str, a: &Value, b: &Value) -> Value {
    let truth = |v: bool| f64::from(v);
    let f: Box<dyn Fn(f64, f64) -> f64> = match name {
        "Add" => Box::new(|a, b| a + b),
        "Sub" => Box::new(|a, b| a - b),
        "Mul" => Box::new(|a, b| a * b),
        "Div" => Box::new(|a, b| a / b),
        "Pow" => Box::new(f64::powf),
        "Max" => Box::new(f64::max),
        "Min" => Box::new(f64::min),
        "Eq" => Box::new(move |a, b| truth(a == b)),
        "NE" => Box::new(move |a, b| truth(a != b)),
        "LT" => Box::new(move |a, b| truth(a < b)),
        "GT" => Box::new(move |a, b| truth(a > b)),
        "LTE" => Box::new(move |a, b| truth(a <= b)),
        "GTE" => Box::new(move |a, b| truth(a >= b)),
        "And" => Box::new(move |a, b| truth(a != 0.0 && b != 0.0)),
        "Or" => Box::new(move |a, b| truth(a != 0.0 || b != 0.0)),
        name => panic!("no float64 form of {name}"),
    };
    let shape: Vec<usize> = a.shape().iter().zip(b.shape()).map(|(a, b)| *a.max(b)).collect();
    let (a, b) = (a.broadcast(shape.as_slice()).unwrap(), b.broadcast(shape.as_slice()).unwrap());
    Zip::from(a).and(b).map_collect(|&a, &b| f(a, b))
}

fn element(op: &ElementWiseOp) -> Box<dyn Fn(f64) -> f64> {
    if let Some(op) = op.0.downcast_ref::<LeakyRelu>() {
        let alpha = f64::from(op.alpha);
        return Box::new(move |x| if x > 0.0 { x } else { alpha * x });
    }
    if let Some(op) = op.0.downcast_ref::<ops::math::PowConst>() {
        let exponent = f64::from(op.exponent);
        return Box::new(move |x| x.powf(exponent));
    }
    if let Some(op) = op.0.downcast_ref::<ops::nn::gelu_approximate::GeluApproximate>() {
        let power = if op.fast_impl { 2 } else { 3 };
        let outer = (2.0 / std::f64::consts::PI).sqrt();
        return Box::new(move |x| 0.5 * x * (1.0 + (outer * (x + 0.044_715 * x.powi(power))).tanh()));
    }
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    match &*op.0.name() {
        "Exp" => Box::new(f64::exp),
        "Ln" => Box::new(f64::ln),
        "Neg" => Box::new(|x| -x),
        "Abs" => Box::new(f64::abs),
        "Sign" => Box::new(|x| if x == 0.0 { 0.0 } else { x.signum() }),
        "Not" => Box::new(|x| f64::from(x == 0.0)),
        "Floor" => Box::new(f64::floor),
        "Sqrt" => Box::new(f64::sqrt),
        "Rsqrt" => Box::new(|x| 1.0 / x.sqrt()),
        "Recip" => Box::new(f64::recip),
        "Square" => Box::new(|x| x * x),
        "Tanh" => Box::new(f64::tanh),
        "Sigmoid" => Box::new(logistic),
        "Silu" => Box::new(move |x| x * logistic(x)),
        "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Erf" => Box::new(erf),
        "GeluExact" => Box::new(|x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))),
        "Sin" => Box::new(f64::sin),
        "Cos" => Box::new(f64::cos),
        "Tan" => Box::new(f64::tan),
        "Asin" => Box::new(f64::asin),
        "Acos" => Box::new(f64::acos),
        "Atan" => Box::new(f64::atan),
        "Sinh" => Box::new(f64::sinh),
        "Cosh" => Box::new(f64::cosh),
        "Asinh" => Box::new(f64::asinh),
        "Acosh" => Box::new(f64::acosh),
        "Atanh" => Box::new(f64::atanh),
        name => panic!("no float64 form of {name}"),
    }
}

/// `2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!`, whose terms all have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

fn fold(x: &Value, axes: &[usize], f: impl Fn(&mut dyn Iterator<Item = f64>) -> f64) -> Value {
    let shape: Vec<usize> =
        x.shape().iter().enumerate().map(|(i, &e)| if axes.contains(&i) { 1 } else { e }).collect();
    ArrayD::from_shape_fn(shape.as_slice(), |at| {
        let mut view = x.view();
        for axis in (0..x.ndim()).filter(|axis| !axes.contains(axis)) {
            view.slice_axis_inplace(Axis(axis), ndarray::Slice::from(at[axis]..at[axis] + 1));
        }
        f(&mut view.iter().copied())
    })
}

fn reduce(op: &Reduce, x: &Value) -> Value {
    let count: usize = op.axes.iter().map(|&axis| x.shape()[axis]).product();
    match op.reducer {
        Reducer::Sum => fold(x, &op.axes, |v| v.sum()),
        Reducer::Prod => fold(x, &op.axes, |v| v.product()),
        Reducer::Max => fold(x, &op.axes, |v| v.fold(f64::NEG_INFINITY, f64::max)),
        Reducer::Min => fold(x, &op.axes, |v| v.fold(f64::INFINITY, f64::min)),
        Reducer::MeanOfSquares => fold(x, &op.axes, |v| v.map(|v| v * v).sum::<f64>() / count as f64),
        ref reducer => panic!("no float64 form of a reduction by {reducer:?}"),
    }
}

fn softmax(op: &Softmax, x: &Value) -> Value {
    let below = x - &fold(x, &op.axes, |v| v.fold(f64::NEG_INFINITY, f64::max));
    let weight = below.mapv(f64::exp);
    let total = fold(&weight, &op.axes, |v| v.sum());
    match op.kind {
        SoftmaxKind::Softmax => weight / total,
        SoftmaxKind::LogSoftmax => below - total.mapv(f64::ln),
    }
}

fn cumulative_sum(op: &CumSum, x: &Value) -> Value {
    ArrayD::from_shape_fn(x.raw_dim(), |at| {
        let extent = x.shape()[op.axis];
        let entered = |i: usize| match (op.reverse, op.exclusive) {
            (false, false) => i <= at[op.axis],
            (false, true) => i < at[op.axis],
            (true, false) => i >= at[op.axis],
            (true, true) => i > at[op.axis],
        };
        let along = |i: usize| {
            let mut from = at.clone();
            from[op.axis] = i;
            x[from]
        };
        (0..extent).filter(|&i| entered(i)).map(along).sum()
    })
}

/// Loops over all axes of the equation. An axis of extent one stretches.
fn einsum(equation: &str, factors: &[&Value]) -> Value {
    let (left, right) = equation.split_once("->").unwrap();
    let names: Vec<Vec<char>> = left.split(',').map(|axes| axes.chars().collect()).collect();
    let output: Vec<char> = right.chars().collect();
    let mut axes = output.clone();
    for axis in names.iter().flatten() {
        if !axes.contains(axis) {
            axes.push(*axis);
        }
    }
    let place = |axis: &char| axes.iter().position(|a| a == axis).unwrap();
    let mut extents = vec![1; axes.len()];
    for (names, factor) in names.iter().zip(factors) {
        for (axis, &extent) in names.iter().zip(factor.shape()) {
            let known = &mut extents[place(axis)];
            *known = extent.max(*known);
        }
    }
    // For each factor and each axis of the equation, how far a step along it moves in memory.
    let owned: Vec<Vec<f64>> = factors.iter().map(|f| f.iter().copied().collect()).collect();
    let steps: Vec<Vec<usize>> = names
        .iter()
        .zip(factors)
        .map(|(names, factor)| {
            let mut steps = vec![0; axes.len()];
            let mut stride = 1;
            for (axis, &extent) in names.iter().zip(factor.shape()).rev() {
                if extent > 1 {
                    steps[place(axis)] += stride;
                }
                stride *= extent;
            }
            steps
        })
        .collect();
    let mut y = ArrayD::zeros(IxDyn(&extents[..output.len()]));
    let inner: usize = extents[output.len()..].iter().product();
    let mut position = vec![0; axes.len()];
    for sum in &mut y {
        for _ in 0..inner {
            let product: f64 = owned
                .iter()
                .zip(&steps)
                .map(|(values, steps)| values[position.iter().zip(steps).map(|(p, s)| p * s).sum::<usize>()])
                .product();
            *sum += product;
            for (at, &extent) in position.iter_mut().zip(&extents).rev() {
                *at += 1;
                if *at < extent {
                    break;
                }
                *at = 0;
            }
        }
    }
    y
}

fn movement(node: &TypedNode, x: &[&Value]) -> Value {
    let op = node.op.as_op();
    let shape: Vec<usize> = node.outputs[0].fact.shape.as_concrete().unwrap().to_vec();
    let first = x[0];
    if let Some(op) = op.downcast_ref::<AxisOp>() {
        match *op {
            AxisOp::Move(from, to) => {
                let mut order: Vec<usize> = (0..first.ndim()).collect();
                let axis = order.remove(from);
                order.insert(to, axis);
                first.view().permuted_axes(order).as_standard_layout().into_owned()
            }
            _ => ArrayD::from_shape_vec(shape, first.iter().copied().collect()).unwrap(),
        }
    } else if op.is::<MultiBroadcastTo>() {
        first.broadcast(shape.as_slice()).unwrap().to_owned()
    } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
        let views: Vec<_> = x.iter().map(|v| v.view()).collect();
        ndarray::concatenate(Axis(op.axis), &views).unwrap()
    } else {
        ArrayD::from_shape_fn(shape.as_slice(), |at| picked(node, x, &at))
    }
}

/// The element of the first input that lands at `at`.
fn picked(node: &TypedNode, x: &[&Value], at: &IxDyn) -> f64 {
    let op = node.op.as_op();
    let first = x[0];
    let mut from = at.clone();
    let wrapped = |i: f64, extent: usize| if i < 0.0 { (i + extent as f64) as usize } else { i as usize };
    if let Some(op) = op.downcast_ref::<Slice>() {
        from[op.axis] += op.start.to_usize().unwrap();
    } else if let Some(op) = op.downcast_ref::<Downsample>() {
        let stride = op.stride.unsigned_abs() * at[op.axis];
        let extent = first.shape()[op.axis];
        from[op.axis] = if op.stride < 0 { extent - 1 - stride } else { op.modulo + stride };
    } else if let Some(op) = op.downcast_ref::<Pad>() {
        for (axis, &(before, _)) in op.pads.iter().enumerate() {
            let (place, extent) = (at[axis] as isize - before as isize, first.shape()[axis] as isize);
            let inside = match &op.mode {
                PadMode::Constant(value) if !(0..extent).contains(&place) => {
                    return f64::from(value.cast_to_scalar::<f32>().unwrap());
                }
                PadMode::Constant(_) => place,
                PadMode::Edge => place.clamp(0, extent - 1),
                PadMode::Reflect => (extent - 1) - ((extent - 1) - place.abs()).abs(),
            };
            from[axis] = inside as usize;
        }
    } else if let Some(op) = op.downcast_ref::<Gather>() {
        let (axis, index) = (op.axis, x[1]);
        let all: Vec<usize> = at.as_array_view().to_vec();
        let place = index[IxDyn(&all[axis..axis + index.ndim()])];
        let mut full = all[..axis].to_vec();
        full.push(wrapped(place, first.shape()[axis]));
        full.extend(&all[axis + index.ndim()..]);
        from = IxDyn(&full);
    } else if let Some(op) = op.downcast_ref::<GatherElements>() {
        from[op.axis] = wrapped(x[1][at.clone()], first.shape()[op.axis]);
    } else if op.is::<GatherNd>() {
        let all: Vec<usize> = at.as_array_view().to_vec();
        let (front, index) = (x[1].ndim() - 1, x[1]);
        let tuple = index.shape()[front];
        let mut full = vec![];
        for i in 0..tuple {
            let place = index[IxDyn(&[&all[..front], &[i]].concat())];
            full.push(wrapped(place, first.shape()[i]));
        }
        full.extend(&all[front..]);
        from = IxDyn(&full);
    } else if op.is::<Tile>() {
        for axis in 0..at.ndim() {
            from[axis] %= first.shape()[axis];
        }
    } else if let Some(op) = op.downcast_ref::<NearestUpsample>() {
        for axis in 0..at.ndim() {
            from[axis] /= op.scales[axis];
        }
    } else {
        assert!(first.ndim() == at.ndim(), "no float64 form of {}", op.name());
    }
    first[from]
}
