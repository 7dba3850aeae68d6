//! Bounds of operators that make, cut or rearrange shapes. Where a shape cannot be told but the number of
//! elements can (a reshape of what is there), the value goes on without a shape.

use super::LimitError;
use super::rules::{Bounds, like};
use super::site::Site;
use super::value::{Numbers, Value, stretched};
use crate::onnx::read::MAX_ELEMENTS;

const MOST: i64 = MAX_ELEMENTS as i64;

/// Constant integers as extents.
fn extents(site: &Site<'_>, what: &'static str, ints: &[i64]) -> Result<Vec<usize>, LimitError> {
    ints.iter().map(|&extent| site.within(what, extent, 0, MOST)).collect()
}

/// The constant integers of an operand that must be there.
fn needed<'a>(site: &Site<'a>, place: usize, what: &'static str) -> Result<&'a [i64], LimitError> {
    site.constant(place, what)?.ok_or_else(|| site.operand("an operand is missing"))
}

pub(super) fn constant_of_shape(site: &Site<'_>) -> Result<Value, LimitError> {
    let shape = extents(site, "shape", needed(site, 0, "the shape asked for")?)?;
    let value = Value { constant: true, ..Value::of_shape(shape) };
    let fill = site.attribute("value").and_then(|a| a.t.as_ref()).map(Value::of_tensor);
    // Only integers become shapes; without a value the fill is a float zero.
    let Some(&[int]) = fill.as_ref().and_then(Value::ints) else { return Ok(value) };
    let elements = value.elements;
    Ok(value.with_numbers((elements <= 64).then(|| Numbers::Ints(vec![int; elements]))))
}

pub(super) fn expand(site: &Site<'_>) -> Result<Value, LimitError> {
    let to = extents(site, "shape", needed(site, 1, "the shape asked for")?)?;
    let value = site.input(0)?;
    let shape = value.shape.as_ref().and_then(|from| stretched(from, &to));
    let all = || Value::unshaped(value.elements.saturating_mul(Value::of_shape(to.clone()).elements));
    let result = shape.map_or_else(all, Value::of_shape);
    let ints = match value.ints() {
        Some(&[int]) if result.elements <= 64 => Some(Numbers::Ints(vec![int; result.elements])),
        _ => None,
    };
    Ok(result.with_numbers(ints))
}

pub(super) fn tile(site: &Site<'_>) -> Result<Value, LimitError> {
    let repeats = extents(site, "repeats", needed(site, 1, "the repeats")?)?;
    let value = site.input(0)?;
    Ok(match &value.shape {
        Some(shape) if shape.len() == repeats.len() => {
            Value::of_shape(shape.iter().zip(&repeats).map(|(d, r)| d.saturating_mul(*r)).collect())
        }
        _ => Value::unshaped(value.elements.saturating_mul(Value::of_shape(repeats).elements)),
    })
}

pub(super) fn range(site: &Site<'_>) -> Result<Value, LimitError> {
    let mut ends = [0.0; 3];
    for (place, end) in ends.iter_mut().enumerate() {
        let numbers = site.input(place)?.floats();
        *end = numbers
            .and_then(|n| n.first().copied())
            .ok_or_else(|| site.unbounded("the ends of the range"))?;
    }
    let [start, limit, delta] = ends;
    let length = ((limit - start) / delta).ceil();
    // Not a number, infinite or negative: none of these is a length.
    let length = if length.is_finite() { length.clamp(-1.0, 9e15) as i64 } else { -1 };
    let length = site.within("the length of the range", length, 0, MOST)?;
    let ints = (0..3).map(|place| site.optional(place)?.ints()).collect::<Option<Vec<_>>>();
    let ints = match ints.as_deref() {
        Some(&[&[start], _, &[delta]]) if length <= 1024 => {
            (0..length as i64).map(|i| i.checked_mul(delta)?.checked_add(start)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    Ok(Value::of_shape(vec![length]).with_numbers(ints.map(Numbers::Ints)))
}

pub(super) fn one_hot(site: &Site<'_>) -> Result<Value, LimitError> {
    let depth = needed(site, 1, "the depth")?.first().copied().unwrap_or(0);
    let depth = site.within("depth", depth, 0, MOST)?;
    Ok(Value::unshaped(site.input(0)?.elements.saturating_mul(depth)))
}

/// The same elements in another shape; numbers go along, in the same order.
fn reshaped(value: &Value, shape: Vec<usize>) -> Value {
    let next = Value::of_shape(shape);
    if next.elements != value.elements {
        return Value::unshaped(value.elements.max(next.elements));
    }
    next.with_numbers(value.numbers.clone())
}

pub(super) fn reshape(site: &Site<'_>) -> Result<Value, LimitError> {
    let value = site.input(0)?;
    let Some(wanted) = site.input(1)?.ints() else { return Ok(Value::unshaped(value.elements)) };
    let keep_zero = site.flag("allowzero", 0)?;
    let mut shape = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (axis, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            -1 if free.is_none() => {
                free = Some(axis);
                1
            }
            0 if !keep_zero => match &value.shape {
                Some(from) => {
                    *from.get(axis).ok_or_else(|| site.operand("it copies an axis that is not there"))?
                }
                None => return Ok(Value::unshaped(value.elements)),
            },
            _ => site.within("shape", extent, 0, MOST)?,
        });
    }
    if let Some(axis) = free {
        let rest = Value::of_shape(shape.clone()).elements;
        if !value.elements.is_multiple_of(rest) {
            return Err(site.operand("its operand cannot be reshaped so"));
        }
        shape[axis] = value.elements / rest;
        if value.shape.is_none() {
            // The elements are a bound only, so that neither is this extent more than one.
            return Ok(Value::unshaped(value.elements));
        }
    }
    Ok(reshaped(value, shape))
}

pub(super) fn flatten(site: &Site<'_>) -> Result<Value, LimitError> {
    let (value, shape) = (site.input(0)?, site.shape(0)?);
    let axis = site.int("axis", 1);
    let axis = if axis == shape.len() as i64 { shape.len() } else { site.axis(axis, shape.len())? };
    let product = |dims: &[usize]| dims.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    let (rows, columns) = shape.split_at(axis);
    Ok(reshaped(value, vec![product(rows), product(columns)]))
}

pub(super) fn squeeze(site: &Site<'_>) -> Result<Value, LimitError> {
    let value = site.input(0)?;
    let Some(shape) = &value.shape else { return Ok(Value::unshaped(value.elements)) };
    let axes = site.list("axes", 1)?;
    let gone: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&a| site.axis(a, shape.len())).collect::<Result<_, _>>()?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    let kept = shape.iter().enumerate().filter(|(axis, _)| !gone.contains(axis)).map(|(_, &d)| d);
    Ok(reshaped(value, kept.collect()))
}

pub(super) fn unsqueeze(site: &Site<'_>) -> Result<Value, LimitError> {
    let value = site.input(0)?;
    let axes = site.list("axes", 1)?.unwrap_or(&[]);
    let Some(shape) = &value.shape else { return Ok(Value::unshaped(value.elements)) };
    let rank = shape.len() + axes.len();
    let mut added: Vec<usize> = axes.iter().map(|&a| site.axis(a, rank)).collect::<Result<_, _>>()?;
    added.sort_unstable();
    if added.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(site.operand("it adds an axis twice"));
    }
    let mut rest = shape.iter().copied();
    let next = (0..rank).map(|axis| if added.contains(&axis) { 1 } else { rest.next().unwrap_or(1) });
    Ok(reshaped(value, next.collect()))
}

pub(super) fn transpose(site: &Site<'_>) -> Result<Value, LimitError> {
    let value = site.input(0)?;
    let Some(shape) = &value.shape else { return Ok(Value::unshaped(value.elements)) };
    let Some(order) = site.ints("perm") else {
        return Ok(Value::of_shape(shape.iter().rev().copied().collect()));
    };
    let order: Vec<usize> = order.iter().map(|&a| site.axis(a, shape.len())).collect::<Result<_, _>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..shape.len()) {
        return Err(site.operand("`perm` is no permutation of its axes"));
    }
    Ok(Value::of_shape(order.iter().map(|&axis| shape[axis]).collect()))
}

pub(super) fn concat(site: &Site<'_>) -> Result<Value, LimitError> {
    let elements = site.all().fold(0usize, |sum, value| sum.saturating_add(value.elements));
    let Some(shapes) = site.all().map(|value| value.shape.as_deref()).collect::<Option<Vec<_>>>() else {
        return Ok(Value::unshaped(elements));
    };
    let Some((first, rest)) = shapes.split_first() else {
        return Err(site.operand("nothing to join"));
    };
    let axis = site.axis(site.int("axis", 0), first.len())?;
    let mut shape = first.to_vec();
    for next in rest {
        let fits = next.len() == shape.len()
            && next.iter().zip(&shape).enumerate().all(|(at, (a, b))| at == axis || a == b);
        if !fits {
            return Err(site.operand("its operands differ along an axis that is not joined"));
        }
        shape[axis] = shape[axis].saturating_add(next[axis]);
    }
    let ints = site.all().map(Value::ints).collect::<Option<Vec<_>>>().map(|parts| parts.concat());
    let is_list = shape.len() == 1 && ints.as_ref().is_some_and(|ints| ints.len() == shape[0]);
    Ok(Value::of_shape(shape).with_numbers(ints.filter(|_| is_list).map(Numbers::Ints)))
}

pub(super) fn split(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let value = site.input(0)?;
    let parts = site.outputs();
    let Some(shape) = &value.shape else {
        return Ok(Bounds { values: vec![Value::unshaped(value.elements); parts], work: 0, patches: 0 });
    };
    let axis = site.axis(site.int("axis", 0), shape.len())?;
    let sizes = match site.list("split", 1)? {
        Some(sizes) => extents(site, "split", sizes)?,
        None => {
            let size = shape[axis].div_ceil(parts.max(1));
            (0..parts).map(|i| size.min(shape[axis].saturating_sub(i.saturating_mul(size)))).collect()
        }
    };
    if sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size)) != shape[axis] || sizes.len() != parts
    {
        return Err(site.operand("the parts do not add up to the axis that is split"));
    }
    let part = |size: usize| {
        let mut shape = shape.clone();
        shape[axis] = size;
        Value::of_shape(shape)
    };
    Ok(Bounds { values: sizes.into_iter().map(part).collect(), work: 0, patches: 0 })
}

pub(super) fn slice(site: &Site<'_>) -> Result<Value, LimitError> {
    let value = site.input(0)?;
    let Some(shape) = &value.shape else { return Ok(Value::unshaped(value.elements)) };
    let (starts, ends) = (site.list("starts", 1)?, site.list("ends", 2)?);
    let (Some(starts), Some(ends)) = (starts, ends) else {
        return Err(site.operand("a slice without starts or ends"));
    };
    let axes = match site.list("axes", 3)? {
        Some(axes) => axes.to_vec(),
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match site.constant(4, "the steps")? {
        Some(steps) => steps.to_vec(),
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(site.operand("starts, ends, axes and steps differ in length"));
    }
    let mut next = shape.clone();
    let mut numbers = value.ints().map(<[i64]>::to_vec);
    for (((&start, &end), &axis), &step) in starts.iter().zip(ends).zip(&axes).zip(&steps) {
        let axis = site.axis(axis, shape.len())?;
        let extent = i64::try_from(shape[axis]).unwrap_or(i64::MAX);
        let from_start = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
        if step == 0 || step == i64::MIN {
            return Err(site.operand("a slice by steps of zero"));
        }
        let (start, end) = if step > 0 {
            (from_start(start).clamp(0, extent), from_start(end).clamp(0, extent))
        } else {
            (from_start(start).clamp(-1, extent - 1), from_start(end).clamp(-1, extent - 1))
        };
        let span = if step > 0 { end - start } else { start - end };
        next[axis] = usize::try_from(span.max(0)).unwrap_or(0).div_ceil(step.unsigned_abs() as usize);
        let taken = 0..next[axis] as i64;
        numbers = numbers.filter(|_| shape.len() == 1).and_then(|ints| {
            taken.map(|i| ints.get(usize::try_from(start + i * step).ok()?).copied()).collect()
        });
    }
    Ok(Value::of_shape(next).with_numbers(numbers.map(Numbers::Ints)))
}

pub(super) fn gather(site: &Site<'_>) -> Result<Value, LimitError> {
    let (data, indices) = (site.input(0)?, site.input(1)?);
    let (Some(from), Some(at)) = (&data.shape, &indices.shape) else {
        return Ok(Value::unshaped(data.elements.saturating_mul(indices.elements)));
    };
    let axis = site.axis(site.int("axis", 0), from.len())?;
    let shape = [&from[..axis], at, &from[axis + 1..]].concat();
    let ints = data.ints().filter(|_| from.len() == 1).zip(indices.ints()).and_then(|(data, places)| {
        let length = data.len() as i64;
        let one = |&place: &i64| {
            let place = if place < 0 { place.saturating_add(length) } else { place };
            data.get(usize::try_from(place).ok()?).copied()
        };
        places.iter().map(one).collect::<Option<Vec<_>>>()
    });
    Ok(Value::of_shape(shape).with_numbers(ints.map(Numbers::Ints)))
}

pub(super) fn gather_nd(site: &Site<'_>) -> Result<Value, LimitError> {
    let (data, at) = (site.shape(0)?, site.shape(1)?);
    let batch = site.within("batch_dims", site.int("batch_dims", 0), 0, 0)?;
    let Some((&depth, rows)) = at.split_last() else {
        return Err(site.operand("indices without axes"));
    };
    let rest = data.get(batch + depth..).ok_or_else(|| site.operand("indices deeper than the data"))?;
    Ok(Value::of_shape([rows, rest].concat()))
}

/// Reduction over `axes`, all where none are given.
pub(super) fn reduce(site: &Site<'_>, axes: Option<Vec<i64>>) -> Result<Value, LimitError> {
    let value = site.input(0)?;
    let Some(shape) = &value.shape else { return Ok(Value::unshaped(value.elements)) };
    let axes = axes.unwrap_or_default();
    if axes.is_empty() && site.flag("noop_with_empty_axes", 0)? {
        return Ok(like(value));
    }
    let axes: Vec<usize> = axes.iter().map(|&a| site.axis(a, shape.len())).collect::<Result<_, _>>()?;
    let reduced = |axis: &usize| axes.is_empty() || axes.contains(axis);
    let keep = site.flag("keepdims", 1)?;
    let next = (0..shape.len()).filter(|axis| keep || !reduced(axis));
    Ok(Value::of_shape(next.map(|axis| if reduced(&axis) { 1 } else { shape[axis] }).collect()))
}
