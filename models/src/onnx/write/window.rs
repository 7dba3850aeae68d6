//! Operators with a window: convolution, its transpose, and pooling. The standard forms have channels
//! first and a batch axis, so other layouts are moved there and back.

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{Writer, list, proto};

impl Writer<'_> {
    pub(super) fn convolution(
        &mut self,
        op: &Conv,
        inputs: &[String],
        node: &TypedNode,
        outlet: OutletId,
    ) -> TractResult<String> {
        let spec = &op.pool_spec;
        let [x, kernel, bias] = inputs else { bail!("a convolution of {} inputs", inputs.len()) };
        let x_shape = self.shape(node.inputs[0])?;
        let x = self.in_standard_layout(x, spec.data_format, &x_shape);
        let spatial = spec.rank() as i64;
        let kernel = match op.kernel_fmt {
            KernelFormat::OIHW => kernel.clone(),
            KernelFormat::HWIO => {
                ensure!(op.group == spec.input_channels, "a dense kernel in {:?} order", op.kernel_fmt);
                let perm = (spatial..spatial + 2).chain(0..spatial).collect();
                self.transpose(kernel, perm)
            }
            KernelFormat::OHWI => bail!("a kernel in {:?} order", op.kernel_fmt),
        };
        let mut attributes = window(spec, &x_shape)?;
        attributes.push(proto::ints("dilations", list(&spec.dilations())));
        attributes.push(proto::int("group", op.group as i64));
        let mut operands = vec![x, kernel];
        if !self.shape(node.inputs[2])?.is_empty() {
            operands.push(bias.clone());
        }
        let y = self.node("Conv", &operands, attributes);
        self.in_own_layout(&y, spec.data_format, outlet)
    }

    pub(super) fn transposed_convolution(
        &mut self,
        op: &Deconv,
        inputs: &[String],
        node: &TypedNode,
        outlet: OutletId,
    ) -> TractResult<String> {
        let spec = &op.pool_spec;
        let [x, kernel, bias] = inputs else { bail!("a transposed convolution of {} inputs", inputs.len()) };
        ensure!(op.kernel_format == KernelFormat::OIHW, "a kernel in {:?} order", op.kernel_format);
        let x_shape = self.shape(node.inputs[0])?;
        let x = self.in_standard_layout(x, spec.data_format, &x_shape);
        let shape = self.shape(node.inputs[1])?;
        let (groups, taps) = (op.group.max(1), shape[2..].to_vec());
        let (out, inner) = (shape[0] / groups, shape[1]);
        // `[group * out, in, k...]` here, `[group * in, out, k...]` in the standard operator.
        let split: Vec<usize> = [groups, out, inner].into_iter().chain(taps.iter().copied()).collect();
        let kernel = self.reshape(kernel, &split);
        let perm = [0, 2, 1].into_iter().chain(3..split.len() as i64).collect();
        let kernel = self.transpose(&kernel, perm);
        let joined: Vec<usize> = [groups * inner, out].into_iter().chain(taps).collect();
        let kernel = self.reshape(&kernel, &joined);
        let (before, after) = match &spec.padding {
            PaddingSpec::Explicit(before, after) => (before.to_vec(), after.to_vec()),
            PaddingSpec::Valid => (vec![0; spec.rank()], vec![0; spec.rank()]),
            padding => bail!("no ONNX form for a transposed convolution with padding {padding:?}"),
        };
        let attributes = vec![
            proto::ints("kernel_shape", list(&spec.kernel_shape)),
            proto::ints("strides", list(&spec.strides())),
            proto::ints("dilations", list(&spec.dilations())),
            proto::ints("pads", list(&[before, after].concat())),
            proto::ints("output_padding", list(&op.adjustments)),
            proto::int("group", groups as i64),
        ];
        let mut operands = vec![x, kernel];
        if !self.shape(node.inputs[2])?.is_empty() {
            operands.push(bias.clone());
        }
        let y = self.node("ConvTranspose", &operands, attributes);
        self.in_own_layout(&y, spec.data_format, outlet)
    }

    pub(super) fn max_pool(
        &mut self,
        op: &MaxPool,
        inputs: &[String],
        node: &TypedNode,
        outlet: OutletId,
    ) -> TractResult<String> {
        ensure!(op.with_index_outputs.is_none(), "no ONNX form for a maximum whose index is used");
        let spec = &op.pool_spec;
        let x_shape = self.shape(node.inputs[0])?;
        let mut attributes = window(spec, &x_shape)?;
        attributes.push(proto::ints("dilations", list(&spec.dilations())));
        self.pool("MaxPool", spec, inputs, &x_shape, attributes, outlet)
    }

    pub(super) fn average_pool(
        &mut self,
        op: &SumPool,
        inputs: &[String],
        node: &TypedNode,
        outlet: OutletId,
    ) -> TractResult<String> {
        let spec = &op.pool_spec;
        ensure!(op.normalize, "no ONNX form for a sum over windows");
        ensure!(spec.dilations().iter().all(|d| *d == 1), "a mean with dilation {:?}", spec.dilations());
        let x_shape = self.shape(node.inputs[0])?;
        let mut attributes = window(spec, &x_shape)?;
        attributes.push(proto::int("count_include_pad", i64::from(op.count_include_pad)));
        self.pool("AveragePool", spec, inputs, &x_shape, attributes, outlet)
    }

    fn pool(
        &mut self,
        name: &str,
        spec: &PoolSpec,
        inputs: &[String],
        x_shape: &[usize],
        mut attributes: Vec<pb::AttributeProto>,
        outlet: OutletId,
    ) -> TractResult<String> {
        let [x] = inputs else { bail!("a pooling of {} inputs", inputs.len()) };
        let up = matches!(spec.padding, PaddingSpec::ExplicitOnnxPool(_, _, true));
        attributes.push(proto::int("ceil_mode", i64::from(up)));
        let x = self.in_standard_layout(x, spec.data_format, x_shape);
        let y = self.node(name, &[x], attributes);
        self.in_own_layout(&y, spec.data_format, outlet)
    }

    fn in_standard_layout(&mut self, x: &str, format: DataFormat, shape: &[usize]) -> String {
        let mut x = x.to_string();
        let mut rank = shape.len() as i64;
        // Decluttering drops a batch axis of extent one, which the standard operator wants back.
        if !format.has_n() {
            let with_batch: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
            x = self.reshape(&x, &with_batch);
            rank += 1;
        }
        if format.c_is_last() {
            x = self.transpose(&x, [0, rank - 1].into_iter().chain(1..rank - 1).collect());
        }
        x
    }

    fn in_own_layout(&mut self, y: &str, format: DataFormat, outlet: OutletId) -> TractResult<String> {
        let shape = self.shape(outlet)?;
        let rank = shape.len() as i64 + i64::from(!format.has_n());
        let mut y = y.to_string();
        if format.c_is_last() {
            y = self.transpose(&y, [0].into_iter().chain(2..rank).chain([1]).collect());
        }
        if !format.has_n() {
            y = self.reshape(&y, &shape);
        }
        Ok(y)
    }
}

/// Extent, strides and padding of a window over an input of `shape`.
fn window(spec: &PoolSpec, shape: &[usize]) -> TractResult<Vec<pb::AttributeProto>> {
    let extent: Vec<usize> = spec.data_format.shape(shape)?.hw_dims().to_vec();
    let padding = spec.computed_padding(&extent);
    let before = padding.iter().map(|p| p.pad_before as i64);
    let pads = before.chain(padding.iter().map(|p| p.pad_after as i64)).collect();
    Ok(vec![
        proto::ints("kernel_shape", list(&spec.kernel_shape)),
        proto::ints("strides", list(&spec.strides())),
        proto::ints("pads", pads),
    ])
}
