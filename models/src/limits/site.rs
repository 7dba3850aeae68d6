//! One node as its rule sees it: operands by place, attributes by name, each with a typed error.

use tract_onnx::pb::{AttributeProto, NodeProto};

use super::LimitError;
use super::value::Value;
use crate::fused::{Call, DOMAIN};

pub(super) struct Site<'a> {
    node: &'a NodeProto,
    inputs: Vec<Option<&'a Value>>,
    pub opset: i64,
}

impl<'a> Site<'a> {
    /// A node with a subgraph is refused: what it computes is not walked.
    pub fn new(node: &'a NodeProto, inputs: Vec<Option<&'a Value>>, opset: i64) -> Result<Self, LimitError> {
        let site = Self { node, inputs, opset };
        if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
            return Err(site.unknown());
        }
        Ok(site)
    }

    pub fn operator(&self) -> &'a str {
        &self.node.op_type
    }

    /// Whether the node calls a fused function.
    pub fn is_call(&self) -> bool {
        self.node.domain == DOMAIN
    }

    /// The fused call that the node states.
    pub fn call(&self) -> Result<Call, LimitError> {
        Call::of_node(self.node).map_err(|_| self.unknown())
    }

    pub fn outputs(&self) -> usize {
        self.node.output.len()
    }

    pub fn is_constant(&self) -> bool {
        self.inputs.iter().flatten().all(|value| value.constant)
    }

    pub fn all(&self) -> impl Iterator<Item = &'a Value> {
        self.inputs.iter().flatten().copied()
    }

    pub fn optional(&self, place: usize) -> Option<&'a Value> {
        self.inputs.get(place).copied().flatten()
    }

    pub fn input(&self, place: usize) -> Result<&'a Value, LimitError> {
        self.optional(place).ok_or_else(|| self.operand("an operand is missing"))
    }

    pub fn shape(&self, place: usize) -> Result<&'a [usize], LimitError> {
        let shape = self.input(place)?.shape.as_deref();
        shape.ok_or_else(|| self.unbounded("the shape of an operand"))
    }

    /// The constant integers of an operand, `None` when the operand is not given.
    pub fn constant(&self, place: usize, what: &'static str) -> Result<Option<&'a [i64]>, LimitError> {
        let Some(value) = self.optional(place) else { return Ok(None) };
        value.ints().map(Some).ok_or_else(|| self.unbounded(what))
    }

    pub fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    /// A switch. tract takes some numbers beside zero and one for on and some for off.
    pub fn flag(&self, name: &'static str, default: i64) -> Result<bool, LimitError> {
        Ok(self.within(name, self.int(name, default), 0, 1)? == 1)
    }

    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub fn string(&self, name: &str) -> Option<&'a [u8]> {
        self.attribute(name).map(|a| a.s.as_slice())
    }

    /// A list that older operator sets hold as an attribute and newer ones as an operand.
    pub fn list(&self, name: &'static str, place: usize) -> Result<Option<&'a [i64]>, LimitError> {
        match self.ints(name) {
            Some(ints) => Ok(Some(ints)),
            None => self.constant(place, name),
        }
    }

    /// `value` as a place among `rank` axes, counted from the end when negative.
    pub fn axis(&self, value: i64, rank: usize) -> Result<usize, LimitError> {
        let signed = rank as i64;
        let axis = if value < 0 { value.saturating_add(signed) } else { value };
        usize::try_from(axis).ok().filter(|axis| *axis < rank).ok_or_else(|| LimitError::Attribute {
            place: self.place(),
            attribute: "axis",
            found: value,
            low: -signed,
            high: signed - 1,
        })
    }

    pub fn within(
        &self,
        attribute: &'static str,
        found: i64,
        low: i64,
        high: i64,
    ) -> Result<usize, LimitError> {
        if !(low..=high).contains(&found) {
            return Err(LimitError::Attribute { place: self.place(), attribute, found, low, high });
        }
        Ok(usize::try_from(found).unwrap_or(0))
    }

    pub fn place(&self) -> String {
        crate::onnx::place(self.node)
    }

    pub fn unknown(&self) -> LimitError {
        LimitError::Operator { place: self.place(), operator: self.node.op_type.clone() }
    }

    pub fn unbounded(&self, what: &'static str) -> LimitError {
        LimitError::Unbounded { place: self.place(), what }
    }

    pub fn operand(&self, what: &'static str) -> LimitError {
        LimitError::Operand { place: self.place(), what }
    }
}
