//! Convolutions and their transposes over one or two spatial axes, channels first.

use burn_backend::AutodiffBackend;
use burn_backend::ops::{ConvOptions, ConvTransposeOptions};
use burn_backend::tensor::FloatTensor;

use super::Operands;
use super::movement::framed;
use crate::gpu::program::{Node, Place, Result, Value, shape_of};

/// A convolution, or the transpose of one. Lists have one entry a spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gpu) struct Convolution {
    transposed: bool,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    /// What a transpose adds behind, among the extents that its convolution cannot tell apart.
    adjusted: Vec<usize>,
    groups: usize,
}

impl Convolution {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let kernel = node.ints("kernel_shape").ok_or("it states no kernel's extent")?;
        let count = kernel.len();
        if !(1..=2).contains(&count) {
            return Err(format!("{count} spatial axes; one or two are run"));
        }
        let pads = node.sizes("pads", 2 * count, 0)?;
        let (before, after) = pads.split_at(count);
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        let this = Self {
            transposed: node.proto.op_type == "ConvTranspose",
            stride: node.sizes("strides", count, 1)?,
            dilation: node.sizes("dilations", count, 1)?,
            before: before.to_vec(),
            after: after.to_vec(),
            adjusted: node.sizes("output_padding", count, 0)?,
            groups,
        };
        if groups == 0 || this.stride.contains(&0) || this.dilation.contains(&0) {
            return Err(format!("a stride, a dilation or a number of groups of zero: {this:?}"));
        }
        Ok(this)
    }

    pub(super) fn run<A: AutodiffBackend>(
        &self,
        mut operands: Operands<A>,
        place: &Place<A>,
    ) -> Result<FloatTensor<A>> {
        let (x, kernel) = (operands.float(0)?, operands.float(1)?);
        let bias = operands.optional(2).map(Value::float).transpose()?;
        let (shape, taps) = (shape_of(&x), shape_of(&kernel));
        let rank = self.stride.len() + 2;
        let inner =
            if self.transposed { taps.first().copied() } else { taps.get(1).map(|c| c * self.groups) };
        if shape.len() != rank || taps.len() != rank || inner != shape.get(1).copied() {
            return Err(format!("a kernel of shape {taps:?} over {shape:?}"));
        }
        let y = if self.transposed {
            self.transpose::<A>(place.narrowed(x), place.narrowed(kernel))?
        } else {
            self.forward::<A>(x, place.narrowed(kernel), place)?
        };
        let y = place.widened(y);
        let Some(bias) = bias else { return Ok(y) };
        let mut row = vec![1; rank];
        row[1] = shape_of(&bias).iter().product();
        Ok(A::float_add(y, Value::<A>::Float(bias).reshape(&row)?.float()?))
    }

    fn forward<A: AutodiffBackend>(
        &self,
        x: FloatTensor<A>,
        kernel: FloatTensor<A>,
        place: &Place<A>,
    ) -> Result<FloatTensor<A>> {
        // burn pads both ends alike.
        let even: Vec<usize> = self.before.iter().zip(&self.after).map(|(b, a)| *b.min(a)).collect();
        let rest = |pads: &[usize]| -> Vec<usize> {
            [0, 0].into_iter().chain(pads.iter().zip(&even).map(|(pad, even)| pad - even)).collect()
        };
        let x = place.narrowed(framed(x, &rest(&self.before), &rest(&self.after), 0.0, place));
        Ok(
            if let (&[stride], &[dilation], &[pad]) =
                (self.stride.as_slice(), self.dilation.as_slice(), even.as_slice())
            {
                A::conv1d(x, kernel, None, ConvOptions::new([stride], [pad], [dilation], self.groups))
            } else {
                let (stride, pad, dilation) = (pair(&self.stride)?, pair(&even)?, pair(&self.dilation)?);
                A::conv2d(x, kernel, None, ConvOptions::new(stride, pad, dilation, self.groups))
            },
        )
    }

    /// The transpose without padding, what padding takes away cut off after.
    fn transpose<A: AutodiffBackend>(
        &self,
        x: FloatTensor<A>,
        kernel: FloatTensor<A>,
    ) -> Result<FloatTensor<A>> {
        let y = if let (&[stride], &[dilation], &[adjusted]) =
            (self.stride.as_slice(), self.dilation.as_slice(), self.adjusted.as_slice())
        {
            let options = ConvTransposeOptions::new([stride], [0], [adjusted], [dilation], self.groups);
            A::conv_transpose1d(x, kernel, None, options)
        } else {
            let (stride, dilation) = (pair(&self.stride)?, pair(&self.dilation)?);
            let adjusted = pair(&self.adjusted)?;
            let options = ConvTransposeOptions::new(stride, [0, 0], adjusted, dilation, self.groups);
            A::conv_transpose2d(x, kernel, None, options)
        };
        let mut y = Value::<A>::Float(y);
        for (axis, (before, after)) in self.before.iter().zip(&self.after).enumerate() {
            let extent = y.shape().get(axis + 2).copied().unwrap_or(0);
            y = y.slice(axis + 2, *before, extent.saturating_sub(*after), 1)?;
        }
        y.float()
    }
}

/// The entries of two spatial axes.
pub(super) fn pair(values: &[usize]) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(values).map_err(|_| format!("{values:?} where two spatial axes are wanted"))
}
