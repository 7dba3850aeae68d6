//! Picking elements by index.

use burn_backend::AutodiffBackend;

use super::Operands;
use crate::gpu::program::{Node, Result, Value, axis_of};

/// A pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gpu) enum Gather {
    /// Whole slices along an axis; `scalar` where the index has no axis, so that this one goes.
    Slices { axis: i64, scalar: bool },
    /// One element for each index.
    Elements { axis: i64 },
    /// Slices by a tuple of leading indices.
    Tuples,
}

impl Gather {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        match node.proto.op_type.as_str() {
            "Gather" => Ok(Self::Slices { axis: node.int("axis", 0), scalar: node.operand_is_scalar(1) }),
            "GatherElements" => Ok(Self::Elements { axis: node.int("axis", 0) }),
            "GatherND" => match node.int("batch_dims", 0) {
                0 => Ok(Self::Tuples),
                axes => Err(format!("a pick with {axes} batch axes")),
            },
            _ => Err("the operator is not known here".into()),
        }
    }

    pub(super) fn run<A: AutodiffBackend>(&self, mut operands: Operands<A>) -> Result<Value<A>> {
        let (x, index) = (operands.value(0)?, operands.value(1)?);
        let (shape, picks) = (x.shape(), index.shape());
        match *self {
            Self::Slices { axis, scalar } => {
                let axis = axis_of(axis, shape.len())?;
                let flat = index.reshape(&[picks.iter().product()])?.int()?;
                let picked = x.select(axis, flat);
                let picks = if scalar { &[] } else { picks.as_slice() };
                picked.reshape(&[&shape[..axis], picks, &shape[axis + 1..]].concat())
            }
            Self::Elements { axis } => Ok(x.gather(axis_of(axis, shape.len())?, index.int()?)),
            Self::Tuples => tuples(x, index),
        }
    }
}

fn tuples<A: AutodiffBackend>(x: Value<A>, index: Value<A>) -> Result<Value<A>> {
    let (shape, picks) = (x.shape(), index.shape());
    let (&tuple, picks) = picks.split_last().ok_or("a pick by no index")?;
    if tuple == 0 || tuple > shape.len() {
        return Err(format!("a pick by {tuple} indices of {shape:?}"));
    }
    let count: usize = picks.iter().product();
    let index = index.reshape(&[count, tuple])?;
    let mut flat = None;
    for (at, &extent) in shape[..tuple].iter().enumerate() {
        let along = index.clone().slice(1, at, at + 1, 1)?.reshape(&[count])?.int()?;
        flat = Some(match flat {
            None => along,
            Some(flat) => A::int_add(A::int_mul_scalar(flat, (extent as i64).into()), along),
        });
    }
    let flat = flat.ok_or("a pick by no index")?;
    let (leading, rest) = shape.split_at(tuple);
    let rows = x.reshape(&[leading.iter().product(), rest.iter().product()])?;
    rows.select(0, flat).reshape(&[picks, rest].concat())
}
