//! Bounds of products: matrices, Einstein sums, recurrent layers.

use std::collections::HashMap;

use super::rules::Bounds;
use super::site::Site;
use super::value::{Value, stretched};
use super::{LimitError, MAX_RANK};
use crate::onnx::read::MAX_ELEMENTS;

fn product(value: Value, depth: usize) -> Bounds {
    let work = value.elements.saturating_mul(depth.max(1));
    Bounds { values: vec![value], work, patches: 0 }
}

pub(super) fn matmul(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let (left, right) = (site.shape(0)?, site.shape(1)?);
    let (Some(&depth), false) = (left.last(), right.is_empty()) else {
        return Err(site.operand("a matrix product of a scalar"));
    };
    let (rows, a) = match left {
        [batch @ .., rows, _] => (Some(*rows), batch),
        _ => (None, &[][..]),
    };
    let (inner, columns, b) = match right {
        [batch @ .., inner, columns] => (*inner, Some(*columns), batch),
        [inner] => (*inner, None, &[][..]),
        [] => (0, None, &[][..]),
    };
    if inner != depth {
        return Err(site.operand("the inner extents of a matrix product differ"));
    }
    let batch = stretched(a, b).ok_or_else(|| site.operand("the batches of a matrix product differ"))?;
    let shape = batch.into_iter().chain(rows).chain(columns).collect();
    Ok(product(Value::of_shape(shape), depth))
}

pub(super) fn gemm(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let (&[a, b], &[c, d]) = (site.shape(0)?, site.shape(1)?) else {
        return Err(site.operand("the operands of a matrix product must have two axes"));
    };
    let (rows, depth) = if site.flag("transA", 0)? { (b, a) } else { (a, b) };
    let (inner, columns) = if site.flag("transB", 0)? { (d, c) } else { (c, d) };
    if depth != inner {
        return Err(site.operand("the inner extents of a matrix product differ"));
    }
    let shape = vec![rows, columns];
    if let Some(bias) = site.optional(2) {
        // A bias that stretches the product is no bias.
        let fits = bias.shape.as_ref().is_none_or(|b| stretched(b, &shape).as_ref() == Some(&shape));
        if !fits || bias.elements > rows.saturating_mul(columns) {
            return Err(site.operand("the added matrix does not fit the product"));
        }
    }
    Ok(product(Value::of_shape(shape), depth))
}

/// Letters only, each operand of as many as it has axes: what exporters write, ellipses apart.
pub(super) fn einsum(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let fault = || site.operand("its equation is not `ab,bc->ac`, one letter an axis");
    let equation: String = site.string("equation").unwrap_or(&[]).iter().map(|&b| char::from(b)).collect();
    let equation: String = equation.chars().filter(|c| *c != ' ').collect();
    let (from, to) = equation.split_once("->").ok_or_else(fault)?;
    let operands: Vec<&str> = from.split(',').collect();
    if operands.len() != site.all().count() || operands.len() > 4 {
        return Err(fault());
    }
    let mut extents: HashMap<char, usize> = HashMap::new();
    for (place, letters) in operands.iter().enumerate() {
        let shape = site.shape(place)?;
        if letters.len() != shape.len() || letters.len() > MAX_RANK || !letters.is_ascii() {
            return Err(fault());
        }
        for (letter, &extent) in letters.chars().zip(shape) {
            let known = extents.entry(letter).or_insert(extent);
            // An axis of one extent stretches.
            *known = (*known).max(extent);
        }
    }
    if !extents.keys().all(char::is_ascii_alphabetic) || to.len() > MAX_RANK {
        return Err(fault());
    }
    let shape = to.chars().map(|letter| extents.get(&letter).copied()).collect::<Option<Vec<_>>>();
    let value = Value::of_shape(shape.ok_or_else(fault)?);
    let work = extents.values().fold(1usize, |n, &d| n.saturating_mul(d.max(1)));
    Ok(Bounds { values: vec![value], work, patches: 0 })
}

/// Input `[steps, batch, features]`; the outputs are all hidden states and the last ones.
pub(super) fn recurrent(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let (&[a, b, features], &[directions, rows, _]) = (site.shape(0)?, site.shape(1)?) else {
        return Err(site.operand("a recurrent layer reads `[steps, batch, features]`"));
    };
    let hidden = site.within("hidden_size", site.int("hidden_size", 0), 1, MAX_ELEMENTS as i64)?;
    let gates = rows.div_ceil(hidden);
    if !(1..=2).contains(&directions) || gates > 4 {
        return Err(site.operand("the weights do not fit the hidden size"));
    }
    let states = a.saturating_mul(b).saturating_mul(directions).saturating_mul(hidden);
    let depth = features.saturating_add(hidden).saturating_mul(gates);
    Ok(product(Value::unshaped(states), depth))
}
