//! Einstein products as products of matrices: axes that both factors have and the result keeps are a batch, axes
//! that the result loses are contracted, the others are rows and columns.

use burn_backend::AutodiffBackend;
use burn_backend::tensor::FloatTensor;

use super::Operands;
use crate::gpu::program::{Node, Place, Result, Value, shape_of};

/// An equation such as `abc,cd->abd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gpu) struct Product {
    factors: Vec<Vec<char>>,
    result: Vec<char>,
}

impl Product {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let equation = node.string("equation").ok_or("it has no equation")?;
        let (left, right) = equation.split_once("->").ok_or_else(|| format!("the equation {equation}"))?;
        let factors: Vec<Vec<char>> = left.split(',').map(|axes| axes.trim().chars().collect()).collect();
        let result: Vec<char> = right.trim().chars().collect();
        let repeats = |axes: &[char]| axes.iter().enumerate().any(|(at, axis)| axes[..at].contains(axis));
        let unknown = result.iter().any(|axis| !factors.iter().flatten().any(|known| known == axis));
        if unknown || factors.iter().chain([&result]).any(|axes| repeats(axes)) {
            return Err(format!("the equation {equation}"));
        }
        if factors.len() != node.proto.input.len() {
            return Err(format!("the equation {equation} of {} operands", node.proto.input.len()));
        }
        Ok(Self { factors, result })
    }

    pub(super) fn run<A: AutodiffBackend>(
        &self,
        mut operands: Operands<A>,
        place: &Place<A>,
    ) -> Result<FloatTensor<A>> {
        let mut so_far: Option<Factor<A>> = None;
        for (at, axes) in self.factors.iter().enumerate() {
            let factor = Factor::new(operands.float(at)?, axes)?;
            let wanted = |axis: &char| {
                self.result.contains(axis) || self.factors[at + 1..].iter().any(|axes| axes.contains(axis))
            };
            so_far = Some(match so_far {
                Some(known) => known.times(factor, wanted, place)?,
                None => factor,
            });
        }
        let whole = so_far.ok_or("a product of nothing")?;
        let whole = whole.summed(|axis| self.result.contains(axis))?;
        whole.ordered(&self.result)
    }
}

/// A tensor whose axes have names.
struct Factor<A: AutodiffBackend> {
    value: FloatTensor<A>,
    axes: Vec<char>,
}

impl<A: AutodiffBackend> Factor<A> {
    fn new(value: FloatTensor<A>, axes: &[char]) -> Result<Self> {
        let shape = shape_of(&value);
        // A scalar is held with one axis.
        if axes.is_empty() && shape == [1] {
            return Ok(Self { value, axes: vec![] });
        }
        if shape.len() != axes.len() {
            return Err(format!("{shape:?} with axes {axes:?}"));
        }
        Ok(Self { value, axes: axes.to_vec() })
    }

    fn extent(&self, axis: char) -> usize {
        let shape = shape_of(&self.value);
        self.axes.iter().position(|a| *a == axis).and_then(|at| shape.get(at)).copied().unwrap_or(1)
    }

    /// The product of the extents of `axes`.
    fn extents(&self, axes: &[char]) -> usize {
        axes.iter().map(|axis| self.extent(*axis)).product()
    }

    /// Summed over the axes that are not `wanted`.
    fn summed(self, wanted: impl Fn(&char) -> bool) -> Result<Self> {
        let Self { mut value, axes } = self;
        let mut shape = shape_of(&value);
        for (at, _) in axes.iter().enumerate().filter(|(_, axis)| !wanted(axis)) {
            value = A::float_sum_dim(value, at);
            shape[at] = 1;
        }
        let kept: Vec<(char, usize)> = axes.into_iter().zip(shape).filter(|(axis, _)| wanted(axis)).collect();
        let (axes, shape): (Vec<char>, Vec<usize>) = kept.into_iter().unzip();
        let value = Value::<A>::Float(value).reshape(&shape)?.float()?;
        Ok(Self { value, axes })
    }

    /// With its axes in `order`, which names all of them and may name more; those get extent one.
    fn ordered(self, order: &[char]) -> Result<FloatTensor<A>> {
        let extents: Vec<usize> = order.iter().map(|axis| self.extent(*axis)).collect();
        let places: Vec<usize> =
            order.iter().filter_map(|axis| self.axes.iter().position(|a| a == axis)).collect();
        let value = Value::<A>::Float(self.value);
        let value = if self.axes.is_empty() { value } else { value.permute(&places)? };
        value.reshape(&extents)?.float()
    }

    /// The product with `other`, summed over the axes that are not `wanted`.
    fn times(self, other: Self, wanted: impl Fn(&char) -> bool, place: &Place<A>) -> Result<Self> {
        let (left, right) = (self.axes.clone(), other.axes.clone());
        let this = self.summed(|axis| wanted(axis) || right.contains(axis))?;
        let other = other.summed(|axis| wanted(axis) || left.contains(axis))?;
        let pick = |from: &Self, of: &Self, shared: bool, kept: bool| -> Vec<char> {
            let chosen = |axis: &&char| of.axes.contains(axis) == shared && wanted(axis) == kept;
            from.axes.iter().filter(chosen).copied().collect()
        };
        let batch = pick(&this, &other, true, true);
        let inner = pick(&this, &other, true, false);
        let rows = pick(&this, &other, false, true);
        let columns = pick(&other, &this, false, true);
        if let Some(axis) = batch.iter().chain(&inner).find(|&&a| this.extent(a) != other.extent(a)) {
            return Err(format!(
                "axis {axis} has extents {} and {}",
                this.extent(*axis),
                other.extent(*axis)
            ));
        }
        let axes = [batch.as_slice(), &rows, &columns].concat();
        let shape: Vec<usize> = axes.iter().map(|axis| this.extent(*axis).max(other.extent(*axis))).collect();
        if inner.is_empty() {
            let value = A::float_mul(this.ordered(&axes)?, other.ordered(&axes)?);
            return Ok(Self { value, axes });
        }
        let sizes =
            [this.extents(&batch), this.extents(&rows), this.extents(&inner), other.extents(&columns)];
        let [count, height, depth, width] = sizes;
        let matrices = |factor: Self, order: [&[char]; 3], sizes: [usize; 3]| {
            let value = factor.ordered(&order.concat())?;
            Value::<A>::Float(value).reshape(&sizes)?.float()
        };
        let a = matrices(this, [&batch, &rows, &inner], [count, height, depth])?;
        let b = matrices(other, [&batch, &inner, &columns], [count, depth, width])?;
        let value = place.widened(A::float_matmul(place.narrowed(a), place.narrowed(b)));
        Ok(Self { value: Value::<A>::Float(value).reshape(&shape)?.float()?, axes })
    }
}
