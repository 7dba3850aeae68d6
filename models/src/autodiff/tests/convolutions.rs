//! Convolution and its transpose over random geometries.

use proptest::prelude::*;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{SIGNED, cases, check};

/// One spatial axis.
#[derive(Clone, Debug)]
struct Along {
    extent: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: (usize, usize),
}

impl Along {
    /// Whether at least one window fits.
    fn fits(&self) -> bool {
        self.extent + self.padding.0 + self.padding.1 > (self.kernel - 1) * self.dilation
    }
}

fn along() -> impl Strategy<Value = Along> {
    (3usize..7, 1usize..4, 1usize..4, 1usize..4, 0usize..3, 0usize..3)
        .prop_map(|(extent, kernel, stride, dilation, before, after)| {
            let padding = (before.min(kernel), after.min(kernel));
            Along { extent, kernel, stride, dilation, padding }
        })
        .prop_filter("no window fits", Along::fits)
}

fn spec(axes: &[Along], data_format: DataFormat, channels: (usize, usize)) -> PoolSpec {
    PoolSpec {
        data_format,
        kernel_shape: axes.iter().map(|a| a.kernel).collect(),
        padding: PaddingSpec::Explicit(
            axes.iter().map(|a| a.padding.0).collect(),
            axes.iter().map(|a| a.padding.1).collect(),
        ),
        dilations: Some(axes.iter().map(|a| a.dilation).collect()),
        strides: Some(axes.iter().map(|a| a.stride).collect()),
        input_channels: channels.0,
        output_channels: channels.1,
    }
}

fn feature_map(axes: &[Along], format: DataFormat, batch: usize, channels: usize) -> Vec<usize> {
    let mut shape: Vec<usize> = axes.iter().map(|a| a.extent).collect();
    let last = if format.c_is_last() { shape.len() } else { 0 };
    shape.insert(last, channels);
    if format.has_n() {
        shape.insert(0, batch);
    }
    shape
}

const FORMATS: [DataFormat; 4] = [DataFormat::NHWC, DataFormat::NCHW, DataFormat::HWC, DataFormat::CHW];

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn convolutions(
        axes in prop::collection::vec(along(), 1..3),
        format in 0usize..4,
        batch in 1usize..3,
        groups in 1usize..4,
        inner in 1usize..3,
        outer in 1usize..3,
    ) {
        let format = FORMATS[format];
        let (channels, out) = (groups * inner, groups * outer);
        let x = feature_map(&axes, format, batch, channels);
        let mut kernel = vec![out, inner];
        kernel.extend(axes.iter().map(|a| a.kernel));
        let op = Conv {
            pool_spec: spec(&axes, format, (channels, out)),
            kernel_fmt: KernelFormat::OIHW,
            group: groups,
            q_params: None,
        };
        check(&[&x, &kernel, &[out]], SIGNED, |graph, inputs| graph.node(op.clone(), inputs));
    }
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn transposed_convolutions(
        axes in prop::collection::vec(along(), 1..3),
        adjustment in 0usize..2,
        batch in 1usize..3,
        groups in 1usize..3,
        inner in 1usize..3,
        outer in 1usize..3,
    ) {
        // The transpose loses its padding at the ends, so it must leave something.
        let axes: Vec<Along> = axes
            .into_iter()
            .map(|a| Along { padding: (a.padding.0.min(1), a.padding.1.min(1)), ..a })
            .collect();
        let format = DataFormat::NCHW;
        let (channels, out) = (groups * inner, groups * outer);
        let x = feature_map(&axes, format, batch, channels);
        let mut kernel = vec![out, inner];
        kernel.extend(axes.iter().map(|a| a.kernel));
        let op = Deconv {
            pool_spec: spec(&axes, format, (channels, out)),
            kernel_format: KernelFormat::OIHW,
            adjustments: axes.iter().map(|a| adjustment.min(a.stride - 1)).collect(),
            group: groups,
        };
        check(&[&x, &kernel, &[out]], SIGNED, |graph, inputs| graph.node(op.clone(), inputs));
    }
}
