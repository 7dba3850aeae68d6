//! Forward convolution, with the bias and clip that follow it.

use sedge_kernels::convolution::{self, Direction, Geometry, PackedKernel};
use sedge_kernels::{Threads, depthwise};
use sedge_models::fused::Convolution;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::tail::Tail;
use super::{Found, Work};

/// A convolution of input and kernel, and of a bias when there are three inputs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forward {
    geometry: Geometry,
    depthwise: bool,
    clip: Option<(f32, f32)>,
    pub(super) shape: Vec<usize>,
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
pub(super) fn of(model: &TypedModel, id: usize, conv: &Conv) -> TractResult<Option<Found>> {
    let [x, kernel, bias] = *model.node(id).inputs.as_slice() else { return Ok(None) };
    let floats = |o: OutletId| model.outlet_fact(o).map(|f| f.datum_type == f32::datum_type());
    let format = conv.pool_spec.data_format;
    if !format.has_n() || !floats(x)? || !floats(kernel)? {
        return Ok(None);
    }
    let Some(input) = model.outlet_fact(x)?.shape.as_concrete() else { return Ok(None) };
    let (mut input, last) = (input.to_vec(), input.len() - 1);
    let channels = if format == DataFormat::NCHW { 1 } else { last };
    input[1..].rotate_left(if channels == last { 0 } else { 1 });
    let Some(covered) = Convolution::of(conv, &input) else { return Ok(None) };
    let fact = model.outlet_fact(bias)?;
    let bias = match fact.shape.as_concrete() {
        Some([channels]) if *channels == covered.out => Some(bias),
        Some([]) if fact.konst.as_ref().is_some_and(|k| k.is_all_zero().unwrap_or(false)) => None,
        _ => return Ok(None),
    };
    // A row of channels is one on the last axis.
    let rows = (channels == last).then_some(covered.out);
    let tail = Tail::of(model, OutletId::new(id, 0), rows, bias)?;
    let work = Work::Convolution(Forward {
        geometry: geometry(&covered),
        depthwise: covered.is_depthwise(),
        clip: tail.clip,
        shape: covered.output_shape(),
    });
    let inputs = [x, kernel].into_iter().chain(tail.bias).collect();
    Ok(Some(Found { work, inputs, end: tail.end, channels }))
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
        Self { geometry, depthwise: false, clip, shape }
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
        let ([x, kernel, bias @ ..], [y]) = (inputs, outputs) else {
            bail!("a convolution of too few operands")
        };
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
