//! A node of the file while its operator is read: attributes with their defaults, and operands that must be
//! known before the graph runs.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use sedge_models::onnx::pb::{AttributeProto, NodeProto};

use super::literal::{Literal, Numbers};
use super::value::Result;

/// One node.
pub(in crate::gpu) struct Node<'a> {
    pub(in crate::gpu) proto: &'a NodeProto,
    constants: &'a HashMap<String, Literal>,
    /// Operands that were read here and are not wanted while running.
    read: RefCell<BTreeSet<usize>>,
}

impl<'a> Node<'a> {
    pub(super) fn new(proto: &'a NodeProto, constants: &'a HashMap<String, Literal>) -> Self {
        Self { proto, constants, read: RefCell::default() }
    }

    /// Whether operand `at` is there and was not read already.
    pub(super) fn wants(&self, at: usize) -> bool {
        self.has(at) && !self.read.borrow().contains(&at)
    }

    pub(in crate::gpu) fn has(&self, at: usize) -> bool {
        self.proto.input.get(at).is_some_and(|name| !name.is_empty())
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    pub(in crate::gpu) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    pub(in crate::gpu) fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, i64::from(default)) != 0
    }

    pub(in crate::gpu) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.f)
    }

    pub(in crate::gpu) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|a| a.ints.clone())
    }

    /// A list of sizes, `default` in all `count` places where it is left out.
    pub(in crate::gpu) fn sizes(&self, name: &str, count: usize, default: usize) -> Result<Vec<usize>> {
        let Some(values) = self.ints(name) else { return Ok(vec![default; count]) };
        let sizes = values.iter().map(|&v| usize::try_from(v)).collect::<std::result::Result<Vec<_>, _>>();
        let sizes = sizes.map_err(|_| format!("`{name}` is {values:?}"))?;
        if sizes.len() == count {
            Ok(sizes)
        } else {
            Err(format!("`{name}` is {values:?}, of which {count} are wanted"))
        }
    }

    pub(in crate::gpu) fn string(&self, name: &str) -> Option<String> {
        self.attribute(name).map(|a| String::from_utf8_lossy(&a.s).into_owned())
    }

    fn constant(&self, at: usize) -> Option<&'a Literal> {
        self.constants.get(self.proto.input.get(at)?)
    }

    /// The integers of operand `at`, which must be constant; `None` when it is left out.
    pub(in crate::gpu) fn operand_ints(&self, at: usize) -> Result<Option<Vec<i64>>> {
        if !self.has(at) {
            return Ok(None);
        }
        match self.constant(at).map(|literal| &literal.numbers) {
            Some(Numbers::Ints(values)) => {
                self.read.borrow_mut().insert(at);
                Ok(Some(values.clone()))
            }
            _ => Err(format!("operand {at} must be constant integers")),
        }
    }

    /// The only value of operand `at`, where it is a constant of one float, and how many axes it has.
    pub(in crate::gpu) fn operand_number(&self, at: usize) -> Option<(f32, usize)> {
        let literal = self.constant(at)?;
        let value = literal.number()?;
        self.read.borrow_mut().insert(at);
        Some((value, literal.shape.len()))
    }

    /// Whether operand `at` is a constant without axes.
    pub(in crate::gpu) fn operand_is_scalar(&self, at: usize) -> bool {
        self.constant(at).is_some_and(|literal| literal.shape.is_empty())
    }

    /// Axes from operand `at` or, as operators differ, from the attribute `axes`.
    pub(in crate::gpu) fn axes(&self, at: usize) -> Result<Option<Vec<i64>>> {
        match self.ints("axes") {
            Some(axes) => Ok(Some(axes)),
            None => self.operand_ints(at),
        }
    }
}
