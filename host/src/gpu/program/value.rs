//! A value on a device: a burn tensor of one of three kinds. What moves values is the same for all.
//!
//! An ONNX scalar, which has no axis, is held as one axis of extent one: it broadcasts the same.

use burn_backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn_backend::{
    AutodiffBackend, Backend, BoolDType, FloatDType, IntDType, Shape, Slice, TensorData, TensorMetadata,
    get_device_settings,
};

use super::literal::{Literal, Numbers};
use crate::gpu::Precision;

/// Why an operator failed; whoever runs it adds which.
pub(in crate::gpu) type Result<T> = std::result::Result<T, String>;

/// One value.
#[derive(Clone, Debug)]
pub(in crate::gpu) enum Value<B: Backend> {
    Float(FloatTensor<B>),
    Int(IntTensor<B>),
    Bool(BoolTensor<B>),
}

/// Where values live and in what types.
#[derive(Clone, Debug)]
pub(in crate::gpu) struct Place<B: Backend> {
    pub(in crate::gpu) device: B::Device,
    pub(in crate::gpu) precision: Precision,
    pub(in crate::gpu) bools: BoolDType,
    pub(in crate::gpu) ints: IntDType,
}

impl<B: Backend> Place<B> {
    pub(in crate::gpu) fn new(device: B::Device, precision: Precision) -> Self {
        let settings = get_device_settings::<B>(&device);
        Self { device, precision, bools: settings.bool_dtype, ints: settings.int_dtype }
    }

    /// Brings floats to the device.
    pub(in crate::gpu) fn floats(&self, values: Vec<f32>, shape: &[usize]) -> FloatTensor<B> {
        B::float_from_data(TensorData::new(values, extents(shape)), &self.device)
    }

    pub(in crate::gpu) fn filled(&self, value: f32, shape: &[usize]) -> FloatTensor<B> {
        B::float_full(extents(shape), value.into(), &self.device, FloatDType::F32)
    }

    /// A factor of a product in the format in which products are computed.
    pub(in crate::gpu) fn narrowed(&self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self.precision {
            Precision::F32 => x,
            Precision::Bf16 => B::float_cast(x, FloatDType::BF16),
            Precision::F16 => B::float_cast(x, FloatDType::F16),
        }
    }

    /// A product in single precision again.
    pub(in crate::gpu) fn widened(&self, x: FloatTensor<B>) -> FloatTensor<B> {
        if self.precision == Precision::F32 { x } else { B::float_cast(x, FloatDType::F32) }
    }

    /// Brings a constant to the device.
    pub(in crate::gpu) fn constant(&self, literal: &Literal) -> Result<Value<B>> {
        let shape = extents(&literal.shape);
        Ok(match &literal.numbers {
            Numbers::Floats(values) => Value::Float(self.floats(values.clone(), &literal.shape)),
            Numbers::Ints(values) => {
                let narrow = values.iter().map(|&v| i32::try_from(v)).collect::<std::result::Result<_, _>>();
                let values: Vec<i32> = narrow.map_err(|_| "an index beyond 32 bits".to_string())?;
                let data = TensorData::new(values, shape).convert_dtype(self.ints.into());
                Value::Int(B::int_from_data(data, &self.device))
            }
            Numbers::Bools(values) => {
                let data = TensorData::new(values.clone(), shape).convert_dtype(self.bools.into());
                Value::Bool(B::bool_from_data(data, &self.device))
            }
        })
    }
}

/// A shape of burn's, which has an axis at least.
pub(in crate::gpu) fn extents(shape: &[usize]) -> Shape {
    if shape.is_empty() { Shape::from(vec![1]) } else { Shape::from(shape.to_vec()) }
}

/// The extents of a tensor.
pub(in crate::gpu) fn shape_of(tensor: &impl TensorMetadata) -> Vec<usize> {
    tensor.shape().iter().copied().collect()
}

/// The one operation of the three kinds.
macro_rules! each {
    ($value:expr, $x:ident => $float:expr, $int:expr, $bool:expr) => {
        match $value {
            Value::Float($x) => Value::Float($float),
            Value::Int($x) => Value::Int($int),
            Value::Bool($x) => Value::Bool($bool),
        }
    };
}

impl<B: Backend> Value<B> {
    pub(in crate::gpu) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Float(x) => shape_of(x),
            Self::Int(x) => shape_of(x),
            Self::Bool(x) => shape_of(x),
        }
    }

    pub(in crate::gpu) fn float(self) -> Result<FloatTensor<B>> {
        match self {
            Self::Float(x) => Ok(x),
            Self::Int(_) => Err("integers where floats are wanted".into()),
            Self::Bool(_) => Err("truth values where floats are wanted".into()),
        }
    }

    pub(in crate::gpu) fn int(self) -> Result<IntTensor<B>> {
        match self {
            Self::Int(x) => Ok(x),
            _ => Err("an index that is no integer".into()),
        }
    }

    pub(in crate::gpu) fn bool(self) -> Result<BoolTensor<B>> {
        match self {
            Self::Bool(x) => Ok(x),
            _ => Err("a condition that is no truth value".into()),
        }
    }

    pub(in crate::gpu) fn reshape(self, shape: &[usize]) -> Result<Self> {
        let from = self.shape();
        if from.iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err(format!("{from:?} cannot be seen as {shape:?}"));
        }
        if from == shape {
            return Ok(self);
        }
        let to = extents(shape);
        Ok(each!(self, x => B::float_reshape(x, to), B::int_reshape(x, to), B::bool_reshape(x, to)))
    }

    /// With axes of extent one in front, up to `rank`.
    pub(in crate::gpu) fn lifted(self, rank: usize) -> Result<Self> {
        let shape = self.shape();
        if shape.len() >= rank {
            return Ok(self);
        }
        let front = std::iter::repeat_n(1, rank - shape.len());
        self.reshape(&front.chain(shape).collect::<Vec<_>>())
    }

    pub(in crate::gpu) fn permute(self, axes: &[usize]) -> Result<Self> {
        let rank = self.shape().len();
        let mut seen = axes.to_vec();
        seen.sort_unstable();
        if !seen.into_iter().eq(0..rank) {
            return Err(format!("{axes:?} is no order of {rank} axes"));
        }
        if axes.iter().copied().eq(0..rank) {
            return Ok(self);
        }
        Ok(each!(self, x => B::float_permute(x, axes), B::int_permute(x, axes), B::bool_permute(x, axes)))
    }

    /// Stretched to `shape`, to which its own broadcasts.
    pub(in crate::gpu) fn expand(self, shape: &[usize]) -> Result<Self> {
        let this = self.lifted(shape.len())?;
        let from = this.shape();
        if from.len() != shape.len() || from.iter().zip(shape).any(|(a, b)| a != b && *a != 1) {
            return Err(format!("{from:?} cannot be stretched to {shape:?}"));
        }
        if from == shape {
            return Ok(this);
        }
        let to = extents(shape);
        Ok(each!(this, x => B::float_expand(x, to), B::int_expand(x, to), B::bool_expand(x, to)))
    }

    /// Every `step`th element from `start` to before `end` along `axis`.
    pub(in crate::gpu) fn slice(self, axis: usize, start: usize, end: usize, step: usize) -> Result<Self> {
        let shape = self.shape();
        let extent = *shape.get(axis).ok_or_else(|| format!("axis {axis} of {shape:?}"))?;
        if start >= end || end > extent || step == 0 {
            return Err(format!("elements {start}..{end} by {step} of {extent}"));
        }
        if (start, end, step) == (0, extent, 1) {
            return Ok(self);
        }
        let of = |at: usize, &whole: &usize| {
            let (from, to, by) = if at == axis { (start, end, step) } else { (0, whole, 1) };
            // Extents are limited far below the largest signed number.
            Slice::new(from as isize, Some(to as isize), by as isize)
        };
        let cut: Vec<Slice> = shape.iter().enumerate().map(|(at, whole)| of(at, whole)).collect();
        Ok(each!(self, x => B::float_slice(x, &cut), B::int_slice(x, &cut), B::bool_slice(x, &cut)))
    }

    pub(in crate::gpu) fn flip(self, axis: usize) -> Self {
        let axes = [axis];
        each!(self, x => B::float_flip(x, &axes), B::int_flip(x, &axes), B::bool_flip(x, &axes))
    }

    /// The elements of `axis` that `indices`, one axis, names.
    pub(in crate::gpu) fn select(self, axis: usize, indices: IntTensor<B>) -> Self {
        each!(self, x =>
            B::float_select(x, axis, indices),
            B::int_select(x, axis, indices),
            B::bool_select(x, axis, indices))
    }

    pub(in crate::gpu) fn gather(self, axis: usize, indices: IntTensor<B>) -> Self {
        each!(self, x =>
            B::float_gather(axis, x, indices),
            B::int_gather(axis, x, indices),
            B::bool_gather(axis, x, indices))
    }

    pub(in crate::gpu) fn repeat(self, axis: usize, times: usize) -> Self {
        each!(self, x =>
            B::float_repeat_dim(x, axis, times),
            B::int_repeat_dim(x, axis, times),
            B::bool_repeat_dim(x, axis, times))
    }

    /// One after the other along `axis`; all of one kind.
    pub(in crate::gpu) fn concat(values: Vec<Self>, axis: usize) -> Result<Self> {
        match values.first() {
            Some(Self::Float(_)) => {
                let all = values.into_iter().map(Self::float).collect::<Result<_>>()?;
                Ok(Self::Float(B::float_cat(all, axis)))
            }
            Some(Self::Int(_)) => {
                let all = values.into_iter().map(Self::int).collect::<Result<_>>()?;
                Ok(Self::Int(B::int_cat(all, axis)))
            }
            Some(Self::Bool(_)) => {
                let all = values.into_iter().map(Self::bool).collect::<Result<_>>()?;
                Ok(Self::Bool(B::bool_cat(all, axis)))
            }
            None => Err("nothing to put together".into()),
        }
    }
}

impl<A: AutodiffBackend> Value<A> {
    /// The same value, of which no gradient is known or asked.
    pub(in crate::gpu) fn detached(self) -> Self {
        match self {
            Self::Float(x) => Self::Float(A::from_inner(A::inner(x))),
            other => other,
        }
    }
}

/// The shape to which `a` and `b` broadcast.
pub(in crate::gpu) fn common(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing { 1 } else { shape[axis - missing] }
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err(format!("{a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// The place of an axis that may be counted from the end.
pub(in crate::gpu) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at).ok().filter(|at| *at < rank).ok_or_else(|| format!("axis {axis} of {rank}"))
}
