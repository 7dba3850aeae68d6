//! Reductions, running sums, and what normalises a row.

use burn_backend::Backend;
use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_backend::tensor::FloatTensor;

use super::Operands;
use crate::gpu::program::{Node, Result, Value, axis_of, shape_of};

/// A reduction or a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reduce {
    /// Over all axes where none are named.
    Over { by: By, axes: Option<Vec<i64>>, keep: bool },
    Running { axis: i64, exclusive: bool, reverse: bool },
    Softmax { axis: i64, logarithm: bool },
}

/// What becomes of many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
}

impl Reduce {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let by = match node.proto.op_type.as_str() {
            "Softmax" => return Ok(Self::Softmax { axis: node.int("axis", -1), logarithm: false }),
            "LogSoftmax" => return Ok(Self::Softmax { axis: node.int("axis", -1), logarithm: true }),
            "CumSum" => {
                let axis = node.operand_ints(1)?.and_then(|axis| axis.first().copied());
                return Ok(Self::Running {
                    axis: axis.ok_or("it names no axis")?,
                    exclusive: node.flag("exclusive", false),
                    reverse: node.flag("reverse", false),
                });
            }
            "ReduceSum" => By::Sum,
            "ReduceMean" => By::Mean,
            "ReduceMax" => By::Max,
            "ReduceMin" => By::Min,
            "ReduceProd" => By::Prod,
            _ => return Err("the operator is not known here".into()),
        };
        if node.flag("noop_with_empty_axes", false) {
            return Err("a reduction that may be none".into());
        }
        Ok(Self::Over { by, axes: node.axes(1)?, keep: node.flag("keepdims", true) })
    }

    pub(super) fn run<B: Backend>(&self, mut operands: Operands<B>) -> Result<FloatTensor<B>> {
        let x = operands.float(0)?;
        let shape = shape_of(&x);
        match self {
            Self::Over { by, axes, keep } => {
                let all = (0..shape.len()).collect();
                let named = axes.as_deref().filter(|axes| !axes.is_empty());
                let axes = named.map(|a| a.iter().map(|&a| axis_of(a, shape.len())).collect::<Result<_>>());
                let axes: Vec<usize> = axes.transpose()?.unwrap_or(all);
                let y = by.over::<B>(x, &axes)?;
                if *keep {
                    return Ok(y);
                }
                let left = shape.iter().enumerate().filter(|(at, _)| !axes.contains(at)).map(|(_, e)| *e);
                Value::<B>::Float(y).reshape(&left.collect::<Vec<_>>())?.float()
            }
            Self::Running { axis, exclusive, reverse } => {
                let axis = axis_of(*axis, shape.len())?;
                let turned = |x: FloatTensor<B>| if *reverse { B::float_flip(x, &[axis]) } else { x };
                let x = turned(x);
                let sums = B::float_cumsum(x.clone(), axis);
                Ok(turned(if *exclusive { B::float_sub(sums, x) } else { sums }))
            }
            Self::Softmax { axis, logarithm } => {
                let axis = axis_of(*axis, shape.len())?;
                Ok(if *logarithm { B::log_softmax(x, axis) } else { B::softmax(x, axis) })
            }
        }
    }
}

impl By {
    /// Reduces `axes` to extent one. Neighbouring axes are one for the device.
    pub(super) fn over<B: Backend>(self, x: FloatTensor<B>, axes: &[usize]) -> Result<FloatTensor<B>> {
        let shape = shape_of(&x);
        let mut merged: Vec<(usize, bool)> = vec![];
        for (at, &extent) in shape.iter().enumerate() {
            let reduced = axes.contains(&at);
            match merged.last_mut() {
                Some((size, before)) if *before == reduced => *size *= extent,
                _ => merged.push((extent, reduced)),
            }
        }
        let sizes: Vec<usize> = merged.iter().map(|(size, _)| *size).collect();
        let mut y = Value::<B>::Float(x).reshape(&sizes)?.float()?;
        for (at, _) in merged.iter().enumerate().filter(|(_, (_, reduced))| *reduced) {
            y = match self {
                Self::Sum => B::float_sum_dim(y, at),
                Self::Mean => B::float_mean_dim(y, at),
                Self::Max => B::float_max_dim(y, at),
                Self::Min => B::float_min_dim(y, at),
                Self::Prod => B::float_prod_dim(y, at),
            };
        }
        let kept = shape.iter().enumerate().map(|(at, &e)| if axes.contains(&at) { 1 } else { e });
        Value::<B>::Float(y).reshape(&kept.collect::<Vec<_>>())?.float()
    }
}
