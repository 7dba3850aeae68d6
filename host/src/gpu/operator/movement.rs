//! Operators that only move values, or choose between them.

use burn_backend::tensor::FloatTensor;
use burn_backend::{AutodiffBackend, Slice};

use super::Operands;
use crate::gpu::program::{Node, Place, Result, Value, axis_of, common, shape_of};

/// A movement.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gpu) enum Movement {
    Identity,
    Reshape(Vec<usize>),
    Transpose(Vec<usize>),
    Slice(Vec<Cut>),
    Concat(i64),
    Expand(Vec<usize>),
    Tile(Vec<usize>),
    Pad { mode: Mode, pads: Vec<usize>, value: f32 },
    Where,
}

/// What is cut along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gpu) struct Cut {
    axis: i64,
    start: i64,
    end: i64,
    step: i64,
}

/// What lies beyond the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gpu) enum Mode {
    Constant,
    Edge,
    Reflect,
}

impl Movement {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let ints = |at: usize| {
            node.operand_ints(at)?.ok_or_else(|| format!("operand {at} must be constant integers"))
        };
        Ok(match node.proto.op_type.as_str() {
            "Identity" => Self::Identity,
            "Reshape" => Self::Reshape(sizes(&ints(1)?)?),
            "Transpose" => Self::Transpose(sizes(&node.ints("perm").ok_or("it has no order")?)?),
            "Slice" => Self::Slice(cuts(node)?),
            "Concat" => Self::Concat(node.int("axis", 0)),
            "Expand" => Self::Expand(sizes(&ints(1)?)?),
            "Tile" => Self::Tile(sizes(&ints(1)?)?),
            "Pad" => Self::pad(node)?,
            "Where" => Self::Where,
            _ => return Err("the operator is not known here".into()),
        })
    }

    fn pad(node: &Node<'_>) -> Result<Self> {
        let mode = match node.string("mode").as_deref() {
            None | Some("constant") => Mode::Constant,
            Some("edge") => Mode::Edge,
            Some("reflect") => Mode::Reflect,
            Some(other) => return Err(format!("padding by `{other}`")),
        };
        let pads = node.operand_ints(1)?.ok_or("it has no pads")?;
        if node.has(3) {
            return Err("padding of chosen axes".into());
        }
        let value = match node.operand_number(2) {
            None if node.has(2) => return Err("padding by a value that is no constant number".into()),
            value => value.map_or(0.0, |(value, _)| value),
        };
        Ok(Self::Pad { mode, pads: sizes(&pads)?, value })
    }

    pub(super) fn run<A: AutodiffBackend>(
        &self,
        mut operands: Operands<A>,
        place: &Place<A>,
    ) -> Result<Value<A>> {
        if matches!(self, Self::Where) {
            return choose(operands);
        }
        if let Self::Concat(axis) = self {
            let all = operands.0.into_iter().map(|v| v.ok_or("an operand is missing".to_string()));
            let all = all.collect::<Result<Vec<_>>>()?;
            let axis = axis_of(*axis, all.first().map_or(0, |v| v.shape().len()))?;
            return Value::concat(all, axis);
        }
        let x = operands.value(0)?;
        let shape = x.shape();
        match self {
            Self::Identity | Self::Where | Self::Concat(_) => Ok(x),
            Self::Reshape(wanted) => x.reshape(wanted),
            // A scalar is held with one axis and has none to order.
            Self::Transpose(order) if order.is_empty() => Ok(x),
            Self::Transpose(order) => x.permute(order),
            Self::Slice(cuts) => cuts.iter().try_fold(x, |x, cut| cut.of(x)),
            Self::Expand(wanted) => {
                let shape = common(&shape, wanted)?;
                x.expand(&shape)
            }
            Self::Tile(times) if times.len() == shape.len() => {
                let times = times.iter().enumerate().filter(|(_, times)| **times != 1);
                Ok(times.fold(x, |x, (axis, times)| x.repeat(axis, *times)))
            }
            Self::Tile(times) => Err(format!("{times:?} repetitions of {shape:?}")),
            Self::Pad { mode, pads, value } => padded(x, *mode, pads, *value, place),
        }
    }
}

impl Cut {
    fn of<A: AutodiffBackend>(self, x: Value<A>) -> Result<Value<A>> {
        let shape = x.shape();
        let axis = axis_of(self.axis, shape.len())?;
        let extent = shape[axis] as i64;
        let placed = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
        let (start, end) = (placed(self.start), placed(self.end));
        let (x, start, end) = if self.step > 0 {
            (x, start.clamp(0, extent), end.clamp(0, extent))
        } else {
            // Backwards is forwards along the turned axis.
            let (start, end) = (start.clamp(-1, extent - 1), end.clamp(-1, extent - 1));
            (x.flip(axis), extent - 1 - start, extent - 1 - end)
        };
        x.slice(
            axis,
            start.unsigned_abs() as usize,
            end.unsigned_abs() as usize,
            self.step.unsigned_abs() as usize,
        )
    }
}

fn cuts(node: &Node<'_>) -> Result<Vec<Cut>> {
    let wanted = |at: usize| node.operand_ints(at)?.ok_or_else(|| format!("operand {at} is missing"));
    let (starts, ends) = (wanted(1)?, wanted(2)?);
    let axes = node.operand_ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.operand_ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(format!("starts {starts:?}, ends {ends:?}, axes {axes:?}, steps {steps:?}"));
    }
    let all = starts.into_iter().zip(ends).zip(axes).zip(steps);
    Ok(all.map(|(((start, end), axis), step)| Cut { axis, start, end, step }).collect())
}

fn sizes(values: &[i64]) -> Result<Vec<usize>> {
    let sizes = values.iter().map(|&v| usize::try_from(v)).collect::<std::result::Result<_, _>>();
    sizes.map_err(|_| format!("{values:?} where sizes are wanted"))
}

/// `x` with `pads` elements beyond the front of every axis, then beyond the back of every axis.
fn padded<A: AutodiffBackend>(
    mut x: Value<A>,
    mode: Mode,
    pads: &[usize],
    value: f32,
    place: &Place<A>,
) -> Result<Value<A>> {
    let rank = x.shape().len();
    if pads.len() != 2 * rank {
        return Err(format!("{} pads of {rank} axes", pads.len()));
    }
    let (before, after) = pads.split_at(rank);
    if mode == Mode::Constant {
        return Ok(Value::Float(framed(x.float()?, before, after, value, place)));
    }
    for (axis, (&before, &after)) in before.iter().zip(after).enumerate() {
        let front = beyond(&x, mode, axis, before, true)?;
        let back = beyond(&x, mode, axis, after, false)?;
        if front.is_some() || back.is_some() {
            x = Value::concat(front.into_iter().chain([x]).chain(back).collect(), axis)?;
        }
    }
    Ok(x)
}

/// `x` within a frame of `value`, so many elements wide before and after each axis.
pub(super) fn framed<A: AutodiffBackend>(
    x: FloatTensor<A>,
    before: &[usize],
    after: &[usize],
    value: f32,
    place: &Place<A>,
) -> FloatTensor<A> {
    if before.iter().chain(after).all(|&pad| pad == 0) {
        return x;
    }
    let inner = shape_of(&x);
    let outer: Vec<usize> =
        inner.iter().zip(before.iter().zip(after)).map(|(e, (front, back))| e + front + back).collect();
    // Extents are limited far below the largest signed number.
    let within =
        |(&extent, &front): (&usize, &usize)| Slice::new(front as isize, Some((front + extent) as isize), 1);
    let window: Vec<Slice> = inner.iter().zip(before).map(within).collect();
    A::float_slice_assign(place.filled(value, &outer), &window, x)
}

/// `count` elements beyond one end of `axis`.
fn beyond<A: AutodiffBackend>(
    x: &Value<A>,
    mode: Mode,
    axis: usize,
    count: usize,
    front: bool,
) -> Result<Option<Value<A>>> {
    if count == 0 {
        return Ok(None);
    }
    let extent = x.shape()[axis];
    if mode == Mode::Edge {
        let at = if front { 0 } else { extent - 1 };
        return Ok(Some(x.clone().slice(axis, at, at + 1, 1)?.repeat(axis, count)));
    }
    if count >= extent {
        return Err(format!("{count} reflected elements of {extent}"));
    }
    let (start, end) = if front { (1, count + 1) } else { (extent - 1 - count, extent - 1) };
    Ok(Some(x.clone().slice(axis, start, end, 1)?.flip(axis)))
}

fn choose<A: AutodiffBackend>(mut operands: Operands<A>) -> Result<Value<A>> {
    let (condition, yes, no) = (operands.value(0)?, operands.value(1)?, operands.value(2)?);
    let shape = common(&common(&condition.shape(), &yes.shape())?, &no.shape())?;
    let condition = condition.expand(&shape)?.bool()?;
    match (yes.expand(&shape)?, no.expand(&shape)?) {
        (Value::Float(yes), Value::Float(no)) => Ok(Value::Float(A::float_mask_where(no, condition, yes))),
        (Value::Int(yes), Value::Int(no)) => Ok(Value::Int(A::int_mask_where(no, condition, yes))),
        (Value::Bool(yes), Value::Bool(no)) => Ok(Value::Bool(A::bool_mask_where(no, condition, yes))),
        _ => Err("a choice between values of different kinds".into()),
    }
}
