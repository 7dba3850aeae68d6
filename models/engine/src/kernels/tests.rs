//! Which sums are products and which operators a kernel takes over, and that results stay as they were.
#![allow(clippy::unwrap_used, clippy::panic)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_models::fused::{Call, Clip, Clipped};
use sedge_models::layout;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reducer};

use super::*;

fn threads() -> Arc<Threads> {
    Arc::new(Threads::new(2).unwrap())
}

fn draw(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0f32)).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

fn run(model: TypedModel, inputs: &[Tensor]) -> Vec<f32> {
    let inputs = inputs.iter().map(|t| t.clone().into_tvalue()).collect();
    let outputs = model.into_runnable().unwrap().run(inputs).unwrap();
    outputs[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

/// Binds `model` and checks that it computes as before; gives the names of its operators.
fn bound(model: &TypedModel, inputs: &[Tensor]) -> Vec<String> {
    let mut kernels = model.clone();
    bind(&mut kernels, &threads()).unwrap();
    let names = kernels.nodes().iter().map(|n| n.op.name().to_string()).collect();
    let (found, wanted) = (run(kernels, inputs), run(model.clone(), inputs));
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((found - wanted).abs() < 1e-4, "{found}, not {wanted}");
    }
    names
}

/// A sum of two inputs.
fn sum(equation: &str, a: &[usize], b: &[usize]) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut model = TypedModel::default();
    let sources =
        [model.add_source("a", f32::fact(a)).unwrap(), model.add_source("b", f32::fact(b)).unwrap()];
    let op = EinSum { axes: equation.parse().unwrap(), operating_dt: f32::datum_type(), q_params: None };
    let y = model.wire_node("y", op, &sources).unwrap();
    model.select_output_outlets(&y).unwrap();
    bound(&model, &[draw(a, &mut rng), draw(b, &mut rng)])
}

#[test]
fn sums_that_are_products_run_as_such() {
    for (equation, a, b, kernel) in [
        ("mk,kn->mn", vec![5, 7], vec![7, 3], "Product"),
        ("mk,nk->mn", vec![5, 7], vec![3, 7], "Convolution"),
        ("mk,nk->nm", vec![5, 7], vec![3, 7], "Convolution"),
        ("km,kn->mn", vec![7, 5], vec![7, 3], "Product"),
        ("km,nk->nm", vec![7, 5], vec![3, 7], "Product"),
        ("km,kn->nm", vec![200, 5], vec![200, 3], "DeepProduct"),
        ("nhwk,ok->nhwo", vec![2, 3, 4, 5], vec![6, 5], "Convolution"),
        ("nhwo,ok->nhwk", vec![2, 3, 4, 5], vec![5, 6], "Product"),
        ("nhwk,nhwo->ok", vec![9, 5, 4, 3], vec![9, 5, 4, 2], "DeepProduct"),
        ("bhqd,bhkd->bhqk", vec![2, 3, 4, 5], vec![2, 3, 6, 5], "StridedProduct"),
        ("bhqk,bhkd->bhqd", vec![2, 3, 4, 6], vec![2, 3, 6, 5], "StridedProduct"),
        ("bqhd,bkhd->bhqk", vec![2, 4, 3, 5], vec![2, 6, 3, 5], "StridedProduct"),
        ("bhqk,bkhd->bqhd", vec![2, 3, 4, 6], vec![2, 6, 3, 5], "StridedProduct"),
        ("bhqk,bqhd->bkhd", vec![2, 3, 4, 6], vec![2, 4, 3, 5], "StridedProduct"),
        ("bqhd,bhqk->bkhd", vec![2, 4, 3, 5], vec![2, 3, 4, 6], "StridedProduct"),
        ("bqzhd,bkzhd->bhqk", vec![2, 4, 1, 3, 5], vec![2, 6, 1, 3, 5], "StridedProduct"),
        ("abce,defg->abcd", vec![2, 3, 4, 5], vec![6, 5, 1, 1], "Convolution"),
    ] {
        let names = sum(equation, &a, &b);
        assert!(names.iter().any(|n| n == kernel), "{equation}: {names:?}");
    }
}

#[test]
fn other_sums_stay() {
    for (equation, a, b) in [
        ("ak,bk->ab", vec![1, 1], vec![1, 1]),
        ("mkj,jkn->mn", vec![2, 3, 4], vec![4, 3, 5]),
        ("mhk,kn->hmn", vec![2, 3, 4], vec![4, 5]),
        ("mk,n->mn", vec![2, 3], vec![4]),
    ] {
        let names = sum(equation, &a, &b);
        let stays = names.iter().any(|n| n == "EinSum") || a.iter().all(|d| *d == 1);
        assert!(stays, "{equation}: {names:?}");
    }
}

/// The scale of attention on either side of its product, and the functions between and after.
#[test]
fn the_operators_of_a_transformer_run_as_kernels() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let shape = [2, 6, 3, 5];
    let mut model = TypedModel::default();
    let q = model.add_source("q", f32::fact(shape)).unwrap();
    let k = model.add_source("k", f32::fact(shape)).unwrap();
    let factor = model.add_const("factor", Tensor::from_shape(&[1, 1, 1, 1], &[0.3f32]).unwrap()).unwrap();
    let op = |equation: &str| EinSum {
        axes: equation.parse().unwrap(),
        operating_dt: f32::datum_type(),
        q_params: None,
    };
    let scaled = model.wire_node("scaled", math::mul(), &[q, factor]).unwrap()[0];
    let logits = model.wire_node("logits", op("bqhd,bkhd->bhqk"), &[scaled, k]).unwrap()[0];
    let logits = model.wire_node("rescaled", math::mul(), &[logits, factor]).unwrap()[0];
    let softmax = tract_onnx::tract_core::ops::nn::Softmax { axes: tvec!(3), ..Default::default() };
    let weights = model.wire_node("weights", softmax, &[logits]).unwrap()[0];
    let mixed = model.wire_node("mixed", op("bhqk,bkhd->bqhd"), &[weights, k]).unwrap()[0];
    let y =
        model.wire_node("y", tract_onnx::tract_core::ops::nn::gelu_exact::gelu_exact(), &[mixed]).unwrap();
    model.select_output_outlets(&y).unwrap();
    let mut names = bound(&model, &[draw(&shape, &mut rng), draw(&shape, &mut rng)]);
    names.retain(|name| !name.contains("Const") && !name.contains("Source"));
    assert_eq!(names, ["StridedProduct", "SoftmaxRows", "StridedProduct", "Gelu"]);
}

/// Rows times weights, then some operators with constants.
fn tailed(tail: &[(TypedBinOp, Vec<usize>, f32)]) -> Vec<String> {
    let product = tailed_by("abk,ko->abo", &[5, 6], tail);
    let rows = tailed_by("abk,ok->abo", &[6, 5], tail);
    let as_rows: Vec<String> = product.iter().map(|name| name.replace("Product", "Convolution")).collect();
    assert_eq!(as_rows, rows, "weights in either order take the same tail");
    rows
}

fn tailed_by(equation: &str, weights: &[usize], tail: &[(TypedBinOp, Vec<usize>, f32)]) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([4, 3, 5])).unwrap();
    let weights = model.add_const("weights", draw(weights, &mut rng)).unwrap();
    let op = EinSum { axes: equation.parse().unwrap(), operating_dt: f32::datum_type(), q_params: None };
    let mut y = model.wire_node("y", op, &[x, weights]).unwrap()[0];
    for (at, (op, shape, value)) in tail.iter().enumerate() {
        let mut constant = Tensor::zero::<f32>(shape).unwrap();
        constant.try_as_plain_ram_mut().unwrap().as_slice_mut::<f32>().unwrap().fill(*value);
        let constant = model.add_const(format!("constant{at}"), constant).unwrap();
        y = model.wire_node(format!("tail{at}"), op.clone(), &[y, constant]).unwrap()[0];
    }
    model.select_output_outlets(&[y]).unwrap();
    let mut names = bound(&model, &[draw(&[4, 3, 5], &mut rng)]);
    names.retain(|name| !name.contains("Const") && !name.contains("Source"));
    names
}

#[test]
fn a_bias_and_a_clip_are_taken_over() {
    let (row, one) = (vec![1, 1, 6], vec![1, 1, 1]);
    let bias = (math::add(), row.clone(), 0.3);
    let low = (math::max(), one.clone(), -0.2);
    let high = (math::min(), one.clone(), 0.5);
    assert_eq!(tailed(&[bias.clone(), low.clone(), high.clone()]), ["Convolution"]);
    assert_eq!(tailed(std::slice::from_ref(&low)), ["Convolution"]);
    assert_eq!(tailed(&[low.clone(), bias.clone()]).len(), 2);
    assert_eq!(tailed(&[high.clone(), low.clone()]).len(), 2);
    assert_eq!(tailed(&[(math::add(), vec![4, 3, 6], 1.0)]).len(), 2);
    assert_eq!(tailed(&[(math::max(), row, 0.1)]).len(), 2);
    assert_eq!(tailed(&[(math::mul(), one, 0.1), bias]).len(), 3);
}

/// A convolution of three by three from 4 channels to as many, over a source and constants.
fn convolved(model: &mut TypedModel, format: DataFormat, x: OutletId, groups: usize) -> OutletId {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let padding = PaddingSpec::Explicit(tvec!(1, 1), tvec!(1, 1));
    let pool_spec = PoolSpec::new(format, tvec!(3, 3), padding, None, Some(tvec!(2, 1)), 4, 4);
    let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: groups, q_params: None };
    let kernel = model.add_const("kernel", draw(&[4, 4 / groups, 3, 3], &mut rng)).unwrap();
    let bias = model.add_const("bias", draw(&[4], &mut rng)).unwrap();
    model.wire_node("conv", conv, &[x, kernel, bias]).unwrap()[0]
}

#[test]
fn constant_weights_and_samples_without_a_batch_are_convolved() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for (format, shape) in [
        (DataFormat::NHWC, vec![2, 6, 5, 4]),
        (DataFormat::NCHW, vec![2, 4, 6, 5]),
        (DataFormat::HWC, vec![6, 5, 4]),
        (DataFormat::CHW, vec![4, 6, 5]),
    ] {
        for (groups, kernel) in [(1, "Convolution"), (2, "Convolution"), (4, "DepthwiseConvolution")] {
            let mut model = TypedModel::default();
            let x = model.add_source("x", f32::fact(&shape)).unwrap();
            let y = convolved(&mut model, format, x, groups);
            model.select_output_outlets(&[y]).unwrap();
            let names = bound(&model, &[draw(&shape, &mut rng)]);
            assert!(names.iter().any(|n| n == kernel), "{format:?}: {names:?}");
        }
    }
}

#[test]
fn sums_over_leading_axes_alone_have_a_kernel() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for (axes, covered) in [(vec![0], true), (vec![0, 1, 2], true), (vec![1, 2], false), (vec![3], false)] {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([8, 16, 8, 6])).unwrap();
        let sum = Reduce::new(axes.into(), Reducer::Sum);
        let y = model.wire_node("sum", sum, &[x]).unwrap();
        model.select_output_outlets(&y).unwrap();
        let names = bound(&model, &[draw(&[8, 16, 8, 6], &mut rng)]);
        assert_eq!(names.iter().any(|n| n == "ColumnSums"), covered, "{names:?}");
    }
}

#[test]
fn the_gradient_of_a_clip_follows_its_convolution_to_channels_last() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([2, 4, 6, 5])).unwrap();
    let y = convolved(&mut model, DataFormat::NCHW, x, 1);
    let shape = model.outlet_fact(y).unwrap().shape.as_concrete().unwrap().to_vec();
    let clip = Clip { low: Some(0.0), high: None };
    let call = Call::ClipGradient(Clipped { shape, clip });
    let gradient = model.wire_node("clip", call, &[y, y]).unwrap();
    model.select_output_outlets(&gradient).unwrap();
    let mut last = layout::channels_last(&model).unwrap();
    let wanted = [2, 3, 5, 4];
    let of_clip = last.nodes().iter().find(|n| n.op_is::<Call>()).unwrap();
    assert_eq!(of_clip.outputs[0].fact.shape.as_concrete(), Some(wanted.as_slice()));
    bind(&mut last, &threads()).unwrap();
    bind(&mut model, &threads()).unwrap();
    let input = draw(&[2, 4, 6, 5], &mut rng);
    assert_eq!(run(last, std::slice::from_ref(&input)), run(model, &[input]));
}
