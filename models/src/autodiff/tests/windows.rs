//! Convolution and pooling in float64, by their definitions.

use ndarray::{ArrayD, Axis, Dimension, IxDyn};
use tract_onnx::tract_core::internal::Op;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::float64::Value;

/// The operator's value, `None` when it is another one.
pub(super) fn operator(op: &dyn Op, x: &[&Value]) -> Option<Value> {
    if let Some(op) = op.downcast_ref::<Conv>() {
        let format = op.pool_spec.data_format;
        let input = standard(x[0], format);
        let kernel = if op.kernel_fmt == KernelFormat::HWIO {
            let rank = x[1].ndim();
            let order: Vec<usize> = (rank - 2..rank).chain(0..rank - 2).collect();
            x[1].view().permuted_axes(order).as_standard_layout().into_owned()
        } else {
            x[1].clone()
        };
        Some(restored(convolution(op, &input, &kernel, x[2]), format))
    } else if let Some(op) = op.downcast_ref::<Deconv>() {
        let format = op.pool_spec.data_format;
        Some(restored(transposed(op, &standard(x[0], format), x[1], x[2]), format))
    } else if let Some(op) = op.downcast_ref::<MaxPool>() {
        let format = op.pool_spec.data_format;
        let most = |_: &[usize], values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(restored(pool(&op.pool_spec, &standard(x[0], format), most), format))
    } else if let Some(op) = op.downcast_ref::<SumPool>() {
        let format = op.pool_spec.data_format;
        let input = standard(x[0], format);
        let mean =
            |at: &[usize], values: &[f64]| values.iter().sum::<f64>() / divisor(op, &input, at, values);
        Some(restored(pool(&op.pool_spec, &input, mean), format))
    } else {
        None
    }
}

/// Batch, channels, space.
fn standard(x: &Value, format: DataFormat) -> Value {
    let mut x = x.clone();
    if !format.has_n() {
        x.insert_axis_inplace(Axis(0));
    }
    if format.c_is_last() {
        let rank = x.ndim();
        let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        x = x.permuted_axes(order).as_standard_layout().into_owned();
    }
    x
}

fn restored(y: Value, format: DataFormat) -> Value {
    let mut y = y;
    if format.c_is_last() {
        let order: Vec<usize> = [0].into_iter().chain(2..y.ndim()).chain([1]).collect();
        y = y.permuted_axes(order).as_standard_layout().into_owned();
    }
    if format.has_n() { y } else { y.index_axis_move(Axis(0), 0) }
}

/// All positions in a box, row-major.
fn positions(extents: &[usize]) -> Vec<Vec<usize>> {
    ndarray::indices(IxDyn(extents)).into_iter().map(|at| at.as_array_view().to_vec()).collect()
}

/// Where tap `tap` of the window at `at` lands in an input of `extents`, if inside it.
fn landing(spec: &PoolSpec, extents: &[usize], at: &[usize], tap: &[usize]) -> Option<Vec<usize>> {
    let padding = spec.computed_padding(extents);
    (0..extents.len())
        .map(|i| {
            let place = at[i] * spec.stride(i) + tap[i] * spec.dilation(i);
            place.checked_sub(padding[i].pad_before).filter(|&p| p < extents[i])
        })
        .collect()
}

fn full(batch: usize, channel: usize, place: &[usize]) -> IxDyn {
    IxDyn(&[&[batch, channel], place].concat())
}

fn bias_of(bias: &Value, channel: usize) -> f64 {
    let all: Vec<f64> = bias.iter().copied().collect();
    if all.len() == 1 { all[0] } else { all[channel] }
}

fn output_extents(spec: &PoolSpec, extents: &[usize]) -> Vec<usize> {
    spec.computed_padding(extents).iter().map(|p| p.convoluted).collect()
}

fn convolution(op: &Conv, x: &Value, kernel: &Value, bias: &Value) -> Value {
    let spec = &op.pool_spec;
    let extents = &x.shape()[2..];
    let output = output_extents(spec, extents);
    let (out, inner) = (kernel.shape()[0], kernel.shape()[1]);
    let mut shape = vec![x.shape()[0], out];
    shape.extend(&output);
    let mut y = ArrayD::zeros(shape);
    let taps = positions(&spec.kernel_shape);
    for at in positions(&output) {
        for tap in &taps {
            let Some(place) = landing(spec, extents, &at, tap) else { continue };
            for n in 0..x.shape()[0] {
                for o in 0..out {
                    let group = o / (out / op.group);
                    for i in 0..inner {
                        y[full(n, o, &at)] += kernel[full(o, i, tap)] * x[full(n, group * inner + i, &place)];
                    }
                }
            }
        }
        for n in 0..x.shape()[0] {
            for o in 0..out {
                y[full(n, o, &at)] += bias_of(bias, o);
            }
        }
    }
    y
}

/// Scatters every input element over its window.
fn transposed(op: &Deconv, x: &Value, kernel: &Value, bias: &Value) -> Value {
    let spec = &op.pool_spec;
    let extents = &x.shape()[2..];
    let detail = spec
        .padding
        .compute_for_deconv(extents, &spec.kernel_shape, &spec.dilations(), &spec.strides(), &op.adjustments)
        .unwrap();
    let output: Vec<usize> = detail.iter().map(|d| d.deconvoluted).collect();
    let (out, inner) = (kernel.shape()[0], kernel.shape()[1]);
    let mut shape = vec![x.shape()[0], out];
    shape.extend(&output);
    let mut y = ArrayD::from_shape_fn(shape, |at| bias_of(bias, at[1]));
    for at in positions(extents) {
        for tap in positions(&spec.kernel_shape) {
            let place: Option<Vec<usize>> = (0..output.len())
                .map(|i| {
                    let place = at[i] * spec.stride(i) + tap[i] * spec.dilation(i);
                    place.checked_sub(detail[i].pad_before).filter(|&p| p < output[i])
                })
                .collect();
            let Some(place) = place else { continue };
            for n in 0..x.shape()[0] {
                for o in 0..out {
                    let group = o / (out / op.group);
                    for i in 0..inner {
                        y[full(n, o, &place)] +=
                            kernel[full(o, i, &tap)] * x[full(n, group * inner + i, &at)];
                    }
                }
            }
        }
    }
    y
}

fn pool(spec: &PoolSpec, x: &Value, f: impl Fn(&[usize], &[f64]) -> f64) -> Value {
    let extents = &x.shape()[2..];
    let output = output_extents(spec, extents);
    let mut shape = vec![x.shape()[0], x.shape()[1]];
    shape.extend(&output);
    let taps = positions(&spec.kernel_shape);
    ArrayD::from_shape_fn(shape, |at| {
        let at: Vec<usize> = at.as_array_view().to_vec();
        let places = taps.iter().filter_map(|tap| landing(spec, extents, &at[2..], tap));
        let values: Vec<f64> = places.map(|place| x[full(at[0], at[1], &place)]).collect();
        f(&at[2..], &values)
    })
}

/// What a mean divides by: the elements met, or with counted padding all taps within the padded input.
fn divisor(op: &SumPool, x: &Value, at: &[usize], values: &[f64]) -> f64 {
    let spec = &op.pool_spec;
    if !op.normalize {
        return 1.0;
    }
    if !op.count_include_pad {
        return values.len() as f64;
    }
    let PaddingSpec::ExplicitOnnxPool(before, after, true) = &spec.padding else {
        return spec.kernel_shape.iter().product::<usize>() as f64;
    };
    let within = |tap: &Vec<usize>| {
        (0..tap.len()).all(|i| {
            at[i] * spec.stride(i) + tap[i] * spec.dilation(i) < before[i] + x.shape()[2 + i] + after[i]
        })
    };
    positions(&spec.kernel_shape).iter().filter(|tap| within(tap)).count() as f64
}
