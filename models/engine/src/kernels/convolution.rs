//! Forward convolution, with the bias and clip that follow it.

use std::sync::Arc;

use sedge_kernels::convolution::{self, Direction, Geometry, PackedKernel};
use sedge_kernels::{Threads, depthwise};
use sedge_models::fused::Convolution;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::tail::Tail;
use super::{Found, Work};

/// A convolution of input, kernel unless it is packed, and bias where there is one more input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forward {
    geometry: Geometry,
    depthwise: bool,
    packed: Option<Constant>,
    clip: Option<(f32, f32)>,
    pub(super) shape: Vec<usize>,
}

/// Weights that stay as they are, packed once.
#[derive(Clone, Debug)]
pub(super) struct Constant(Arc<PackedKernel>);

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The kernel's geometry of a convolution with one or two axes.
pub(super) fn geometry(c: &Convolution) -> Geometry {
    // One axis is the second of two.
    let pair = |list: &[usize], fill: usize| match *list {
        [rows, columns] => [rows, columns],
        [columns] => [fill, columns],
        _ => [fill, fill],
    };
    Geometry {
        batch: c.batch,
        input: pair(&c.extent, 1),
        channels_in: c.channels,
        channels_out: c.out,
        groups: c.groups,
        kernel: pair(&c.kernel, 1),
        stride: pair(&c.stride, 1),
        dilation: pair(&c.dilation, 1),
        pad_before: pair(&c.before, 0),
        pad_after: pair(&c.after, 0),
    }
}

/// The kernel for the convolution of node `id`, `None` when there is none for it.
pub(super) fn of(
    model: &TypedModel,
    id: usize,
    conv: &Conv,
    threads: &Threads,
) -> TractResult<Option<Found>> {
    let [x, kernel, bias] = *model.node(id).inputs.as_slice() else { return Ok(None) };
    let floats = |o: OutletId| model.outlet_fact(o).map(|f| f.datum_type == f32::datum_type());
    if !floats(x)? || !floats(kernel)? {
        return Ok(None);
    }
    let Some(input) = model.outlet_fact(x)?.shape.as_concrete() else { return Ok(None) };
    // tract takes a batch of one off; the kernel wants it.
    let (mut conv, mut input, last) = (conv.clone(), input.to_vec(), input.len() - 1);
    let format = conv.pool_spec.data_format;
    let channels = match format {
        DataFormat::NCHW => 1,
        DataFormat::CHW => 0,
        DataFormat::NHWC | DataFormat::HWC => last,
    };
    if !format.has_n() {
        input.insert(0, 1);
        conv.pool_spec.data_format =
            if format == DataFormat::CHW { DataFormat::NCHW } else { DataFormat::NHWC };
    }
    input[1..].rotate_left(usize::from(channels != last));
    let Some(covered) = Convolution::of(&conv, &input) else { return Ok(None) };
    let fact = model.outlet_fact(bias)?;
    let bias = match fact.shape.as_concrete() {
        Some([channels]) if *channels == covered.out => Some(bias),
        Some([]) if fact.konst.as_ref().is_some_and(|k| k.is_all_zero().unwrap_or(false)) => None,
        _ => return Ok(None),
    };
    // A row of channels is one on the last axis.
    let rows = (channels == last).then_some(covered.out);
    let tail = Tail::of(model, OutletId::new(id, 0), rows, bias)?;
    let mut shape = covered.output_shape();
    if !format.has_n() {
        shape.remove(0);
    }
    let mut forward = Forward {
        geometry: geometry(&covered),
        depthwise: covered.is_depthwise(),
        packed: None,
        clip: tail.clip,
        shape,
    };
    forward.pack(model, kernel, threads)?;
    let inputs = forward.operands(x, kernel, tail.bias);
    Ok(Some(Found { work: Work::Convolution(forward), inputs, end: tail.end, channels }))
}

impl Forward {
    /// A product of rows `[rows, depth]` and weights `[columns, depth]`.
    pub(super) fn of_rows(
        rows: usize,
        depth: usize,
        columns: usize,
        clip: Option<(f32, f32)>,
        shape: Vec<usize>,
    ) -> Self {
        let geometry = Geometry::new(1, [1, rows], depth, columns, [1, 1]);
        Self { geometry, depthwise: false, packed: None, clip, shape }
    }

    /// Packs the kernel here and now if it is constant. A depthwise one is not packed at all.
    pub(super) fn pack(
        &mut self,
        model: &TypedModel,
        kernel: OutletId,
        threads: &Threads,
    ) -> TractResult<()> {
        if let (Some(value), false) = (&model.outlet_fact(kernel)?.konst, self.depthwise) {
            let view = value.try_as_plain_ram()?;
            let packed =
                PackedKernel::new(&self.geometry, Direction::Forward, view.as_slice::<f32>()?, threads)?;
            self.packed = Some(Constant(Arc::new(packed)));
        }
        Ok(())
    }

    /// Bytes of the packed kernel, none where it is an input.
    pub(super) fn packed_bytes(&self) -> usize {
        self.packed.as_ref().map_or(0, |constant| constant.0.bytes())
    }

    /// What [`Forward::run`] is to be given.
    pub(super) fn operands(&self, x: OutletId, kernel: OutletId, bias: Option<OutletId>) -> TVec<OutletId> {
        let kernel = self.packed.is_none().then_some(kernel);
        [x].into_iter().chain(kernel).chain(bias).collect()
    }

    pub(super) fn name(&self) -> &'static str {
        if self.depthwise { "DepthwiseConvolution" } else { "Convolution" }
    }

    pub(super) fn run(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        threads: &Threads,
    ) -> TractResult<()> {
        let ([x, operands @ ..], [y]) = (inputs, outputs) else { bail!("a convolution of too few operands") };
        if let Some(Constant(kernel)) = &self.packed {
            let bias = operands.first().copied();
            return Ok(convolution::forward(x, kernel, bias, self.clip, y, threads)?);
        }
        let [kernel, bias @ ..] = operands else { bail!("a convolution without a kernel") };
        let bias = bias.first().copied();
        if self.depthwise {
            let bounds = self.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            depthwise::forward(threads, &self.geometry, x, kernel, bias, bounds, y)?;
        } else {
            let kernel = PackedKernel::new(&self.geometry, Direction::Forward, kernel, threads)?;
            convolution::forward(x, &kernel, bias, self.clip, y, threads)?;
        }
        Ok(())
    }
}
