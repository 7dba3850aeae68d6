//! Operators other than convolution and pooling.

use proptest::prelude::*;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{CumSum, Gather, GatherElements, GatherNd, Pad, PadMode, Tile};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::{Iff, comp_gt, comp_lt};
use tract_onnx::tract_core::ops::nn::gelu_approximate::gelu_approximate;
use tract_onnx::tract_core::ops::nn::gelu_exact::gelu_exact;
use tract_onnx::tract_core::ops::nn::silu::silu;
use tract_onnx::tract_core::ops::nn::{
    NearestUpsample, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind, hard_swish, leaky_relu, sigmoid,
};
use tract_onnx::tract_core::ops::{array, math};

use super::{POSITIVE, SIGNED, cases, check, check_at};

#[test]
fn products() {
    for (equation, a, b) in [
        ("ik,jk->ij", vec![3, 4], vec![5, 4]),
        ("bij,bjk->bik", vec![2, 3, 4], vec![2, 4, 2]),
        ("abmk,akcbn->ambn", vec![2, 2, 3, 4], vec![2, 4, 1, 2, 3]),
        // An axis that one factor alone has is summed.
        ("mbak,nk->mn", vec![2, 3, 2, 4], vec![3, 4]),
        // Axes that only the output has, of extent one.
        ("NI,OI->NHWO", vec![2, 3], vec![4, 3]),
        // Axes of extent one that the other factor stretches, kept and summed.
        ("amk,bkn->bmn", vec![1, 2, 3], vec![4, 3, 2]),
        ("mk,nk->mn", vec![2, 1], vec![3, 4]),
        ("bmk,bkn->bmn", vec![1, 2, 3], vec![4, 3, 2]),
        ("i,j->ij", vec![2], vec![3]),
    ] {
        check(&[&a, &b], SIGNED, |g, i| g.einsum(equation, i[0], i[1]));
    }
}

#[test]
fn products_of_one_and_three_factors() {
    check(&[&[2, 3]], SIGNED, |g, i| g.product("ab->ba", i));
    check(&[&[2, 3]], SIGNED, |g, i| g.product("ab->a", i));
    check(&[&[2, 2, 3], &[2, 2, 3], &[2, 3, 2]], SIGNED, |g, i| g.product("bij,bkj,bjl->bikl", i));
    check(&[&[2, 3], &[3, 2], &[2, 2]], SIGNED, |g, i| g.product("ij,jk,kl->il", i));
    check(&[&[3, 2]], SIGNED, |g, i| g.einsum("ik,jk->ij", i[0], i[0]));
}

#[test]
fn products_under_a_sum() {
    for (equation, a, b) in [
        ("nhwk,ko->nhwo", vec![2, 2, 3, 4], vec![4, 2]),
        ("nk,ok->no", vec![2, 3], vec![4, 3]),
        ("bik,bkj->bij", vec![2, 3, 2], vec![1, 2, 3]),
    ] {
        for axes in [vec![0], vec![1], vec![0, 1]] {
            check(&[&a, &b], SIGNED, |g, i| {
                let y = g.einsum(equation, i[0], i[1])?;
                g.sum(y, &axes)
            });
        }
    }
}

#[test]
fn pairs_of_values() {
    check(&[&[2, 3], &[2, 3]], POSITIVE, |g, i| g.binary(math::pow(), i[0], i[1]));
    check(&[&[2, 3], &[1, 3]], POSITIVE, |g, i| g.binary(math::pow(), i[0], i[1]));
    for op in [math::max, math::min] {
        check(&[&[3, 4], &[3, 4]], SIGNED, |g, i| g.binary(op(), i[0], i[1]));
        check(&[&[3, 4], &[3, 1]], SIGNED, |g, i| g.binary(op(), i[0], i[1]));
    }
}

#[test]
fn tied_values_share_the_gradient() {
    // Differences to both sides of a tie are a half as well.
    let tied = tensor1(&[1f32, 2.0, 3.0]);
    for op in [math::max, math::min] {
        check_at(&[tied.clone(), tied.clone()], |g, i| g.binary(op(), i[0], i[1]));
    }
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn pairs_broadcast(
        extents in prop::collection::vec(1usize..4, 1..4),
        stretched in prop::collection::vec(0u8..3, 3),
        op in 0usize..6,
    ) {
        let keep = |which: u8| -> Vec<usize> {
            extents.iter().zip(&stretched).map(|(&e, &s)| if s == which { 1 } else { e }).collect()
        };
        let (a, b) = (keep(1), keep(2));
        let ops: [fn() -> TypedBinOp; 6] =
            [math::add, math::sub, math::mul, math::div, math::max, math::min];
        check(&[&a, &b], POSITIVE, |g, i| g.binary(ops[op](), i[0], i[1]));
        // The lazy gradient of a sum over everything.
        let axes: Vec<usize> = (0..a.len()).collect();
        check(&[&a, &b], POSITIVE, |g, i| {
            let y = g.binary(ops[op](), i[0], i[1])?;
            g.sum(y, &axes)
        });
    }

    #[test]
    fn reductions(
        extents in prop::collection::vec(1usize..4, 1..4),
        chosen in prop::collection::vec(any::<bool>(), 3),
        op in 0usize..5,
    ) {
        let axes: TVec<usize> = (0..extents.len()).filter(|&i| chosen[i]).collect();
        let reducer = [Reducer::Sum, Reducer::MeanOfSquares, Reducer::Max, Reducer::Min, Reducer::Prod][op];
        check(&[&extents], SIGNED, |g, i| g.node(Reduce::new(axes.clone(), reducer), &[i[0]]));
    }

    #[test]
    fn softmaxes(
        extents in prop::collection::vec(1usize..4, 1..4),
        chosen in prop::collection::vec(any::<bool>(), 3),
        logarithm: bool,
    ) {
        let mut axes: TVec<usize> = (0..extents.len()).filter(|&i| chosen[i]).collect();
        if axes.is_empty() {
            axes.push(0);
        }
        let kind = if logarithm { SoftmaxKind::LogSoftmax } else { SoftmaxKind::Softmax };
        check(&[&extents], SIGNED, |g, i| {
            g.node(Softmax { axes: axes.clone(), quant_output_dt: None, kind }, &[i[0]])
        });
    }
}

#[test]
fn a_log_softmax_under_a_sum_over_its_axis() {
    check(&[&[3, 4]], SIGNED, |g, i| {
        let op = Softmax { axes: tvec!(1), quant_output_dt: None, kind: SoftmaxKind::LogSoftmax };
        let y = g.node(op, &[i[0]])?;
        g.sum(y, &[1])
    });
}

#[test]
fn a_product_with_zeros() {
    for zeros in [[1f32, 0.0, 3.0], [0.0, 0.0, 3.0]] {
        check_at(&[tensor1(&zeros)], |g, i| g.node(Reduce::new(tvec!(0), Reducer::Prod), &[i[0]]));
    }
}

#[test]
fn clips() {
    check(&[&[4, 5]], POSITIVE, |g, i| {
        let low = g.scalar(0.8, 2)?;
        g.binary(math::max(), i[0], low)
    });
    check(&[&[4, 5]], POSITIVE, |g, i| {
        let high = g.scalar(1.2, 2)?;
        g.binary(math::min(), i[0], high)
    });
    check(&[&[4, 5]], POSITIVE, |g, i| {
        let (low, high) = (g.scalar(0.8, 2)?, g.scalar(1.2, 2)?);
        let above = g.binary(math::max(), i[0], low)?;
        g.binary(math::min(), above, high)
    });
}

#[test]
fn functions() {
    type Build = fn() -> ElementWiseOp;
    let positive: [Build; 9] = [
        || math::ln(),
        || math::sqrt(),
        || math::rsqrt(),
        || math::recip(),
        || math::pow_const(3.0),
        || math::pow_const(1.5),
        || math::pow_const(-2.0),
        || math::pow_const(2.0),
        || math::pow_const(1.0),
    ];
    for op in positive {
        check(&[&[3, 4]], POSITIVE, |g, i| g.element(op(), i[0]));
    }
    let signed: [Build; 12] = [
        || math::exp(),
        || math::neg(),
        || math::abs(),
        || math::square(),
        || math::tanh(),
        || math::erf(),
        || math::sin(),
        || math::cos(),
        || math::tan(),
        || math::sinh(),
        || math::asinh(),
        || math::atan(),
    ];
    for op in signed {
        check(&[&[3, 4]], SIGNED, |g, i| g.element(op(), i[0]));
    }
    for op in [|| math::asin(), || math::acos(), || math::atanh()] as [Build; 3] {
        check(&[&[3, 4]], (-0.8, 0.8), |g, i| g.element(op(), i[0]));
    }
    check(&[&[3, 4]], (1.2, 2.0), |g, i| g.element(math::acosh(), i[0]));
    check(&[&[3, 4]], SIGNED, |g, i| g.element(math::cosh(), i[0]));
}

#[test]
fn activations() {
    type Build = fn() -> ElementWiseOp;
    let all: [Build; 7] = [
        || sigmoid(),
        || silu(),
        || hard_swish(),
        || leaky_relu(0.1),
        || gelu_exact(),
        || gelu_approximate(false),
        || gelu_approximate(true),
    ];
    for op in all {
        check(&[&[5, 8]], (-4.0, 4.0), |g, i| g.element(op(), i[0]));
    }
}

#[test]
fn flat_functions_pass_nothing() {
    check(&[&[3, 4]], (0.1, 0.9), |g, i| {
        let flat = g.element(math::floor(), i[0])?;
        let sign = g.element(math::sign(), i[0])?;
        let sum = g.add(flat, sign)?;
        g.add(sum, i[0])
    });
}

#[test]
fn choices() {
    check(&[&[3, 4], &[3, 4]], SIGNED, |g, i| {
        let bound = g.scalar(0.2, 2)?;
        let condition = g.binary(TypedBinOp(comp_gt(), None), i[0], bound)?;
        g.node(Iff::new(), &[condition, i[0], i[1]])
    });
    check(&[&[3, 4], &[1, 4]], SIGNED, |g, i| {
        let bound = g.scalar(0.2, 2)?;
        let condition = g.binary(TypedBinOp(comp_lt(), None), i[0], bound)?;
        g.node(Iff::new(), &[condition, i[1], i[0]])
    });
    check(&[&[2, 3]], SIGNED, |g, i| {
        let condition = g.constant(Tensor::from_shape(&[1, 3], &[true, false, true])?)?;
        let other = g.scalar(-9.0, 2)?;
        g.node(Iff::new(), &[condition, i[0], other])
    });
}

#[test]
fn normalisations() {
    for axis in 0..3 {
        check(&[&[2, 3, 4]], SIGNED, |g, i| g.node(RmsNorm { axis, eps: rctensor0(1e-5f32) }, &[i[0]]));
    }
    check(&[&[2, 3, 4]], SIGNED, |g, i| {
        let sum = g.sum(i[0], &[2])?;
        let mean = g.scale(sum, 0.25)?;
        let centred = g.sub(i[0], mean)?;
        g.node(RmsNorm { axis: 2, eps: rctensor0(1e-5f32) }, &[centred])
    });
}

#[test]
fn cumulative_sums() {
    for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
        check(&[&[2, 4]], SIGNED, |g, i| g.node(CumSum { axis: 1, exclusive, reverse }, &[i[0]]));
    }
}

#[test]
fn movements() {
    check(&[&[2, 3, 4]], SIGNED, |g, i| g.move_axis(i[0], 0, 2));
    check(&[&[2, 3, 4]], SIGNED, |g, i| g.reshape(i[0], &[6, 4]));
    check(&[&[2, 3]], SIGNED, |g, i| g.node(AxisOp::Add(1), &[i[0]]));
    check(&[&[2, 1, 3]], SIGNED, |g, i| g.node(AxisOp::Rm(1), &[i[0]]));
    check(&[&[2, 1]], SIGNED, |g, i| g.broadcast(i[0], &[2, 5]));
    check(&[&[2, 5]], SIGNED, |g, i| g.slice(i[0], 1, 1, 4));
    check(&[&[2, 2], &[2, 3]], SIGNED, |g, i| g.concat(1, &[i[0], i[1]]));
    check(&[&[7, 2]], SIGNED, |g, i| g.node(Downsample::new(0, 3, 0), &[i[0]]));
    check(&[&[7, 2]], SIGNED, |g, i| g.node(Downsample::new(0, 3, 2), &[i[0]]));
    check(&[&[7, 2]], SIGNED, |g, i| g.node(Downsample::new(0, -1, 0), &[i[0]]));
    check(&[&[7, 2]], SIGNED, |g, i| g.node(Downsample::new(0, -2, 0), &[i[0]]));
    check(&[&[2, 3]], SIGNED, |g, i| g.node(Tile { multipliers: tvec!(2.to_dim(), 3.to_dim()) }, &[i[0]]));
    check(&[&[2, 3, 2]], SIGNED, |g, i| g.node(NearestUpsample { scales: tvec!(1, 2, 3) }, &[i[0]]));
}

#[test]
fn paddings() {
    for mode in [
        PadMode::Constant(rctensor0(0f32)),
        PadMode::Constant(rctensor0(0.5f32)),
        PadMode::Edge,
        PadMode::Reflect,
    ] {
        for pads in [vec![(0, 1), (2, 0)], vec![(2, 2), (1, 2)], vec![(0, 0), (3, 3)]] {
            check(&[&[3, 4]], SIGNED, |g, i| g.node(Pad { pads: pads.clone(), mode: mode.clone() }, &[i[0]]));
        }
    }
}

#[test]
fn picks() {
    for index in [tensor1(&[1i64, 2]), tensor1(&[2i64, 0]), tensor1(&[1i64, 1, -1, 1]), tensor0(2i64)] {
        for axis in 0..2 {
            check(&[&[3, 4]], SIGNED, |g, i| {
                let index = g.constant(index.clone())?;
                g.node(Gather::new(axis), &[i[0], index])
            });
        }
    }
    check(&[&[3, 4]], SIGNED, |g, i| {
        let index = g.constant(tensor2(&[[0i64, 1], [1, 1]]))?;
        g.node(Gather::new(0), &[i[0], index])
    });
    check(&[&[3, 4]], SIGNED, |g, i| {
        let index = g.constant(tensor2(&[[0i64, 1, 1, -1], [0, 0, 2, 2]]))?;
        g.node(GatherElements::new(0), &[i[0], index])
    });
    check(&[&[3, 4, 2]], SIGNED, |g, i| {
        let index = g.constant(tensor2(&[[0i64, 1], [1, 3], [0, 1]]))?;
        g.node(GatherNd::new(0), &[i[0], index])
    });
    check(&[&[3, 4]], SIGNED, |g, i| {
        let index = g.constant(tensor2(&[[1i64], [1]]))?;
        g.node(array::GatherNd::new(0), &[i[0], index])
    });
}
