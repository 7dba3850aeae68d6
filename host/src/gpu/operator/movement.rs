//! Operators that only move values, or choose between them.

use burn_backend::Backend;
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};

use super::Operands;
use crate::gpu::program::{Node, Place, Result, Value, axis_of, common};

/// A movement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Movement {
    Identity,
    /// As ONNX writes it: zero for the extent that is there, minus one for what is left.
    Reshape(Vec<i64>),
    /// All axes before this one together, and all others.
    Flatten(i64),
    Unsqueeze(Vec<i64>),
    /// All axes of extent one where none are named.
    Squeeze(Option<Vec<i64>>),
    /// Backwards where no order is given.
    Transpose(Option<Vec<usize>>),
    Slice(Vec<Cut>),
    Concat(i64),
    Expand(Vec<usize>),
    Tile(Vec<usize>),
    Pad { mode: Mode, pads: Vec<usize>, value: f32 },
    Where,
}

/// What is cut along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    axis: i64,
    start: i64,
    end: i64,
    step: i64,
}

/// What lies beyond the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
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
            "Reshape" if node.flag("allowzero", false) => return Err("a shape that may be empty".into()),
            "Reshape" => Self::Reshape(ints(1)?),
            "Flatten" => Self::Flatten(node.int("axis", 1)),
            "Unsqueeze" => Self::Unsqueeze(node.axes(1)?.ok_or("it names no axes")?),
            "Squeeze" => Self::Squeeze(node.axes(1)?),
            "Transpose" => {
                let order = node.ints("perm").map(|order| sizes(&order)).transpose()?;
                Self::Transpose(order)
            }
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
        let pads = match node.ints("pads") {
            Some(pads) => pads,
            None => node.operand_ints(1)?.ok_or("it has no pads")?,
        };
        if node.has(3) {
            return Err("padding of chosen axes".into());
        }
        let value = match node.operand_number(2) {
            None if node.has(2) => return Err("padding by a value that is no constant number".into()),
            value => value.unwrap_or_else(|| node.float("value", 0.0)),
        };
        Ok(Self::Pad { mode, pads: sizes(&pads)?, value })
    }

    pub(super) fn run<B: Backend>(&self, mut operands: Operands<B>, place: &Place<B>) -> Result<Value<B>> {
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
            Self::Reshape(wanted) => x.reshape(&resolved(wanted, &shape)?),
            Self::Flatten(axis) => {
                let at = if *axis == shape.len() as i64 { shape.len() } else { axis_of(*axis, shape.len())? };
                x.reshape(&[shape[..at].iter().product(), shape[at..].iter().product()])
            }
            Self::Unsqueeze(axes) => x.reshape(&unsqueezed(axes, &shape)?),
            Self::Squeeze(axes) => x.reshape(&squeezed(axes.as_deref(), &shape)?),
            // A scalar is held with one axis and has none to order.
            Self::Transpose(Some(order)) if order.is_empty() => Ok(x),
            Self::Transpose(Some(order)) => x.permute(order),
            Self::Transpose(None) => x.permute(&(0..shape.len()).rev().collect::<Vec<_>>()),
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
    fn of<B: Backend>(self, x: Value<B>) -> Result<Value<B>> {
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
        x.slice(axis, start.unsigned_abs() as usize, end.unsigned_abs() as usize, self.step.unsigned_abs() as usize)
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

fn resolved(wanted: &[i64], shape: &[usize]) -> Result<Vec<usize>> {
    let all: usize = shape.iter().product();
    let mut known = vec![];
    for (at, &extent) in wanted.iter().enumerate() {
        known.push(match extent {
            0 => shape.get(at).copied().ok_or_else(|| format!("{wanted:?} of {shape:?}"))?,
            -1 => 1,
            extent => usize::try_from(extent).map_err(|_| format!("a shape {wanted:?}"))?,
        });
    }
    let rest = all.checked_div(known.iter().product()).unwrap_or(0);
    for (extent, wanted) in known.iter_mut().zip(wanted) {
        if *wanted == -1 {
            *extent = rest;
        }
    }
    Ok(known)
}

fn unsqueezed(axes: &[i64], shape: &[usize]) -> Result<Vec<usize>> {
    let rank = shape.len() + axes.len();
    let axes = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>>>()?;
    let mut left = shape.iter().copied();
    Ok((0..rank).map(|at| if axes.contains(&at) { 1 } else { left.next().unwrap_or(1) }).collect())
}

fn squeezed(axes: Option<&[i64]>, shape: &[usize]) -> Result<Vec<usize>> {
    let axes = axes.map(|axes| axes.iter().map(|&a| axis_of(a, shape.len())).collect::<Result<Vec<_>>>());
    let axes = axes.transpose()?;
    let dropped = |at: usize, extent: usize| axes.as_ref().map_or(extent == 1, |axes| axes.contains(&at));
    Ok(shape.iter().enumerate().filter(|(at, e)| !dropped(*at, **e)).map(|(_, e)| *e).collect())
}

/// `pads` of zero where there are no others: this is what windows want.
pub(super) fn padded<B: Backend>(
    mut x: Value<B>,
    mode: Mode,
    pads: &[usize],
    value: f32,
    place: &Place<B>,
) -> Result<Value<B>> {
    let rank = x.shape().len();
    if pads.len() != 2 * rank {
        return Err(format!("{} pads of {rank} axes", pads.len()));
    }
    let (before, after) = pads.split_at(rank);
    for (axis, (&before, &after)) in before.iter().zip(after).enumerate() {
        if (before, after) == (0, 0) {
            continue;
        }
        let front = beyond(&x, mode, axis, before, true, value, place)?;
        let back = beyond(&x, mode, axis, after, false, value, place)?;
        x = Value::concat(front.into_iter().chain([x]).chain(back).collect(), axis)?;
    }
    Ok(x)
}

/// `count` elements beyond one end of `axis`.
fn beyond<B: Backend>(
    x: &Value<B>,
    mode: Mode,
    axis: usize,
    count: usize,
    front: bool,
    value: f32,
    place: &Place<B>,
) -> Result<Option<Value<B>>> {
    if count == 0 {
        return Ok(None);
    }
    let mut shape = x.shape();
    let extent = shape[axis];
    match mode {
        Mode::Constant => {
            shape[axis] = count;
            Ok(Some(Value::Float(place.filled(value, &shape))))
        }
        Mode::Edge => {
            let at = if front { 0 } else { extent - 1 };
            let edge = x.clone().slice(axis, at, at + 1, 1)?;
            Ok(Some(edge.repeat(axis, count)))
        }
        Mode::Reflect if count < extent => {
            let (start, end) = if front { (1, count + 1) } else { (extent - 1 - count, extent - 1) };
            Ok(Some(x.clone().slice(axis, start, end, 1)?.flip(axis)))
        }
        Mode::Reflect => Err(format!("{count} reflected elements of {extent}")),
    }
}

fn choose<B: Backend>(mut operands: Operands<B>) -> Result<Value<B>> {
    let (condition, yes, no) = (operands.value(0)?, operands.value(1)?, operands.value(2)?);
    let shape = common(&common(&condition.shape(), &yes.shape())?, &no.shape())?;
    let condition = condition.expand(&shape)?.bool()?;
    match (yes.expand(&shape)?, no.expand(&shape)?) {
        (Value::Float(yes), Value::Float(no)) => Ok(Value::Float(B::float_mask_where(no, condition, yes))),
        (Value::Int(yes), Value::Int(no)) => Ok(Value::Int(B::int_mask_where(no, condition, yes))),
        (Value::Bool(yes), Value::Bool(no)) => Ok(Value::Bool(B::bool_mask_where(no, condition, yes))),
        _ => Err("a choice between values of different kinds".into()),
    }
}
