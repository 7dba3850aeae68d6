//! Reductions, running sums, and what normalises a row.

use burn_backend::AutodiffBackend;
use burn_backend::tensor::FloatTensor;

use super::Operands;
use crate::gpu::program::{Node, Result, Value, axis_of, shape_of};

/// A reduction or a normalisation.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gpu) enum Reduce {
    /// Over all axes where none are named.
    Over {
        by: By,
        axes: Option<Vec<i64>>,
    },
    Running {
        axis: i64,
        exclusive: bool,
        reverse: bool,
    },
    Softmax {
        axis: i64,
        logarithm: bool,
    },
}

/// What becomes of many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gpu) enum By {
    Sum,
    Mean,
    Max,
    Min,
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
            _ => return Err("the operator is not known here".into()),
        };
        if !node.flag("keepdims", true) {
            return Err("a reduction that drops axes".into());
        }
        Ok(Self::Over { by, axes: node.axes(1)? })
    }

    pub(super) fn run<A: AutodiffBackend>(&self, mut operands: Operands<A>) -> Result<FloatTensor<A>> {
        let x = operands.float(0)?;
        let shape = shape_of(&x);
        match self {
            Self::Over { by, axes } => {
                let all = (0..shape.len()).collect();
                let named = axes.as_deref().filter(|axes| !axes.is_empty());
                let axes = named.map(|a| a.iter().map(|&a| axis_of(a, shape.len())).collect::<Result<_>>());
                let axes: Vec<usize> = axes.transpose()?.unwrap_or(all);
                by.over::<A>(x, &axes)
            }
            Self::Running { axis, exclusive, reverse } => {
                let axis = axis_of(*axis, shape.len())?;
                let turned = |x: FloatTensor<A>| if *reverse { A::float_flip(x, &[axis]) } else { x };
                let x = turned(x);
                let sums = A::float_cumsum(x.clone(), axis);
                Ok(turned(if *exclusive { A::float_sub(sums, x) } else { sums }))
            }
            Self::Softmax { axis, logarithm } => {
                let axis = axis_of(*axis, shape.len())?;
                Ok(if *logarithm { A::log_softmax(x, axis) } else { A::softmax(x, axis) })
            }
        }
    }
}

impl By {
    /// Reduces `axes` to extent one. Neighbouring axes are one for the device.
    fn over<A: AutodiffBackend>(self, x: FloatTensor<A>, axes: &[usize]) -> Result<FloatTensor<A>> {
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
        let mut y = Value::<A>::Float(x).reshape(&sizes)?.float()?;
        for (at, _) in merged.iter().enumerate().filter(|(_, (_, reduced))| *reduced) {
            y = match self {
                Self::Sum => A::float_sum_dim(y, at),
                Self::Mean => A::float_mean_dim(y, at),
                Self::Max => A::float_max_dim(y, at),
                Self::Min => A::float_min_dim(y, at),
            };
        }
        let kept = shape.iter().enumerate().map(|(at, &e)| if axes.contains(&at) { 1 } else { e });
        Value::<A>::Float(y).reshape(&kept.collect::<Vec<_>>())?.float()
    }
}
