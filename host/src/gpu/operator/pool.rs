//! The largest or the mean of each window over one or two spatial axes, channels first.

use burn_backend::AutodiffBackend;
use burn_backend::tensor::FloatTensor;

use super::Operands;
use super::convolution::pair;
use super::movement::framed;
use crate::gpu::program::{Node, Place, Result, Value, shape_of};

/// A pooling. Lists have one entry a spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gpu) struct Pool {
    by: By,
    window: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    /// Whether a last window may reach beyond the padding.
    ceil: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Largest,
    /// Over whole windows, padding included, or over what is no padding.
    Mean {
        padding: bool,
    },
}

impl Pool {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let window = node.ints("kernel_shape").ok_or("it states no window")?;
        let count = window.len();
        if !(1..=2).contains(&count) {
            return Err(format!("{count} spatial axes; one or two are run"));
        }
        let pads = node.sizes("pads", 2 * count, 0)?;
        let (before, after) = pads.split_at(count);
        let by = match node.proto.op_type.as_str() {
            "MaxPool" => By::Largest,
            _ => By::Mean { padding: node.flag("count_include_pad", false) },
        };
        let this = Self {
            by,
            window: node.sizes("kernel_shape", count, 1)?,
            stride: node.sizes("strides", count, 1)?,
            dilation: node.sizes("dilations", count, 1)?,
            before: before.to_vec(),
            after: after.to_vec(),
            ceil: node.flag("ceil_mode", false),
        };
        if [&this.window, &this.stride, &this.dilation].iter().any(|sizes| sizes.contains(&0)) {
            return Err(format!("a window, a stride or a dilation of zero: {this:?}"));
        }
        Ok(this)
    }

    /// A spatial axis more keeps one code for one axis and two.
    pub(super) fn run<A: AutodiffBackend>(
        &self,
        mut operands: Operands<A>,
        place: &Place<A>,
    ) -> Result<FloatTensor<A>> {
        let x = operands.value(0)?;
        let shape = x.shape();
        if shape.len() != self.window.len() + 2 {
            return Err(format!("a window of {} axes over {shape:?}", self.window.len()));
        }
        if self.window.len() == 2 {
            return self.two(x.float()?, place);
        }
        let lifted = |sizes: &[usize], one: usize| [&[one], sizes].concat();
        let this = Self {
            window: lifted(&self.window, 1),
            stride: lifted(&self.stride, 1),
            dilation: lifted(&self.dilation, 1),
            before: lifted(&self.before, 0),
            after: lifted(&self.after, 0),
            ..self.clone()
        };
        let flat = x.reshape(&[shape[0], shape[1], 1, shape[2]])?.float()?;
        let y = this.two(flat, place)?;
        let shape = shape_of(&y);
        Value::<A>::Float(y).reshape(&[shape[0], shape[1], shape[3]])?.float()
    }

    fn two<A: AutodiffBackend>(&self, x: FloatTensor<A>, place: &Place<A>) -> Result<FloatTensor<A>> {
        let (window, stride) = (pair(&self.window)?, pair(&self.stride)?);
        let shape = shape_of(&x);
        let mut after = vec![0, 0];
        for at in 0..2 {
            after.push(self.behind(at, shape[at + 2])?);
        }
        let before = [0, 0, self.before[0], self.before[1]];
        let padding = match self.by {
            By::Largest => {
                let x = framed(x, &before, &after, f32::MIN, place);
                return Ok(A::max_pool2d(x, window, stride, [0, 0], pair(&self.dilation)?, false));
            }
            By::Mean { padding } => padding,
        };
        if self.dilation != [1, 1] {
            return Err(format!("a mean with dilation {:?}", self.dilation));
        }
        let mean = |x| A::avg_pool2d(x, window, stride, [0, 0], true, false);
        let sums = mean(framed(x, &before, &after, 0.0, place));
        if padding || before.iter().chain(&after).all(|&pad| pad == 0) {
            return Ok(sums);
        }
        let ones = place.filled(1.0, &[1, 1, shape[2], shape[3]]);
        let share = mean(framed(ones, &before, &after, 0.0, place));
        Ok(A::float_div(sums, share))
    }

    /// Elements behind axis `at` of `extent` elements so that whole windows reach its end.
    fn behind(&self, at: usize, extent: usize) -> Result<usize> {
        let (before, after, stride) = (self.before[at], self.after[at], self.stride[at]);
        let reach = self.dilation[at] * (self.window[at] - 1) + 1;
        let rest = (before + extent + after).checked_sub(reach);
        let rest = rest.ok_or_else(|| format!("a window that reaches {reach} over {extent}"))?;
        // The last window may not begin in the padding behind.
        let beyond = self.ceil && rest % stride != 0 && (rest / stride + 1) * stride < before + extent;
        Ok(after + if beyond { stride - rest % stride } else { 0 })
    }
}
