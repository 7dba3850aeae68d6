//! A file as a list of nodes, each with its operator read and its values numbered, and how it is run.
//!
//! The list has two parts. The first computes the loss, and what it reads of weights is followed for gradients;
//! the second has all the rest, for which gradients are inputs.

mod literal;
mod node;
mod value;

use std::collections::{HashMap, HashSet};

use burn_backend::AutodiffBackend;
use prost::Message;
use sedge_models::fused::{Call, DOMAIN, inline_where};
use sedge_models::onnx::pb;

pub(super) use literal::Literal;
pub(super) use node::Node;
pub(super) use value::{Place, Result, Value, axis_of, common, shape_of};

use super::GpuError;
use super::operator::{Operands, Operator};

/// One value's number.
pub(super) type Slot = usize;

/// A node, ready to run.
#[derive(Debug)]
struct Instruction {
    name: String,
    operator_name: String,
    operator: Operator,
    /// `None` for operands that are left out or were read already.
    inputs: Vec<Option<Slot>>,
    output: Slot,
    /// Values that nothing reads after.
    last: Vec<Slot>,
}

/// A graph, ready to run.
#[derive(Debug)]
pub(super) struct Program {
    instructions: Vec<Instruction>,
    /// How many of them compute the loss.
    forward: usize,
    slots: HashMap<String, Slot>,
    constants: Vec<(Slot, Literal)>,
}

/// The values of one run, by slot.
pub(super) struct Values<A: AutodiffBackend>(Vec<Option<Value<A>>>);

impl<A: AutodiffBackend> Values<A> {
    pub(super) fn set(&mut self, slot: Slot, value: Value<A>) {
        if let Some(place) = self.0.get_mut(slot) {
            *place = Some(value);
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Value<A>> {
        self.0.get(slot).and_then(Option::as_ref)
    }

    /// Forgets how every value came about.
    pub(super) fn detach(&mut self) {
        for value in &mut self.0 {
            *value = value.take().map(Value::detached);
        }
    }
}

/// Which part of a program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Forward,
    Rest,
}

impl Program {
    /// Reads a file; what leads to the output `loss` comes first.
    pub(super) fn read(onnx: &[u8], loss: &str) -> std::result::Result<Self, GpuError> {
        let unreadable = |reason: String| GpuError::Graph { reason };
        let mut model = pb::ModelProto::decode(onnx).map_err(|e| unreadable(e.to_string()))?;
        inline_where(&mut model, |call| !matches!(call, Call::StopGradient(_)))
            .map_err(|e| unreadable(format!("{e:#}")))?;
        let graph = model.graph.ok_or_else(|| unreadable("there is none".into()))?;
        let mut literals = HashMap::new();
        for tensor in &graph.initializer {
            let literal = Literal::read(tensor).map_err(|e| unreadable(format!("`{}`: {e}", tensor.name)))?;
            literals.insert(tensor.name.clone(), literal);
        }
        let mut nodes = vec![];
        for node in graph.node {
            if node.op_type == "Constant" && node.domain != DOMAIN {
                let literal = constant(&node).map_err(|reason| refused(&node, reason))?;
                literals.extend(node.output.into_iter().map(|name| (name, literal.clone())));
            } else {
                nodes.push(node);
            }
        }
        let (nodes, forward) = loss_first(nodes, loss);
        let names: Vec<String> = graph.input.into_iter().map(|input| input.name).collect();
        let outputs: Vec<String> = graph.output.into_iter().map(|output| output.name).collect();
        Self::assembled(&nodes, forward, &names, &outputs, literals)
    }

    fn assembled(
        nodes: &[pb::NodeProto],
        forward: usize,
        inputs: &[String],
        outputs: &[String],
        literals: HashMap<String, Literal>,
    ) -> std::result::Result<Self, GpuError> {
        let mut slots: HashMap<String, Slot> = HashMap::new();
        for name in inputs.iter().chain(literals.keys()) {
            let next = slots.len();
            slots.entry(name.clone()).or_insert(next);
        }
        let mut instructions = vec![];
        for proto in nodes {
            let node = Node::new(proto, &literals);
            let operator = Operator::read(&node).map_err(|reason| refused(proto, reason))?;
            let slot = |(at, name): (usize, &String)| match slots.get(name) {
                _ if !node.wants(at) => Ok(None),
                Some(slot) => Ok(Some(*slot)),
                None => Err(refused(proto, format!("nothing computes its operand `{name}`"))),
            };
            let inputs = proto.input.iter().enumerate().map(slot).collect::<std::result::Result<_, _>>()?;
            let [output] = proto.output.as_slice() else {
                return Err(refused(proto, format!("it has {} outputs", proto.output.len())));
            };
            let next = slots.len();
            let output = *slots.entry(output.clone()).or_insert(next);
            let (name, operator_name) = (proto.name.clone(), proto.op_type.clone());
            instructions.push(Instruction { name, operator_name, operator, inputs, output, last: vec![] });
        }
        // Outputs are never let go.
        let mut seen: HashSet<Slot> = outputs.iter().filter_map(|name| slots.get(name).copied()).collect();
        for instruction in instructions.iter_mut().rev() {
            let read = instruction.inputs.iter().flatten();
            instruction.last = read.copied().filter(|slot| seen.insert(*slot)).collect();
        }
        let placed = |(name, literal): (String, Literal)| Some((*slots.get(&name)?, literal));
        let constants =
            literals.into_iter().filter_map(placed).filter(|(slot, _)| seen.contains(slot)).collect();
        Ok(Self { instructions, forward, slots, constants })
    }

    /// The slot of an input or output.
    pub(super) fn slot(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// Brings the constants to a device.
    pub(super) fn constants<A: AutodiffBackend>(
        &self,
        place: &Place<A>,
    ) -> std::result::Result<Vec<(Slot, Value<A>)>, GpuError> {
        let place_of = |(slot, literal): &(Slot, Literal)| {
            place.constant(literal).map(|value| (*slot, value)).map_err(|reason| GpuError::Graph { reason })
        };
        self.constants.iter().map(place_of).collect()
    }

    /// Room for the values of one run, with `given` in place.
    pub(super) fn values<A: AutodiffBackend>(&self, given: &[(Slot, Value<A>)]) -> Values<A> {
        let mut values = Values(std::iter::repeat_with(|| None).take(self.slots.len()).collect());
        for (slot, value) in given {
            values.set(*slot, value.clone());
        }
        values
    }

    /// Runs one part.
    pub(super) fn run<A: AutodiffBackend>(
        &self,
        part: Part,
        values: &mut Values<A>,
        place: &Place<A>,
    ) -> std::result::Result<(), GpuError> {
        let (forward, rest) = self.instructions.split_at(self.forward.min(self.instructions.len()));
        for instruction in if part == Part::Forward { forward } else { rest } {
            let operands: Vec<Option<Value<A>>> = instruction
                .inputs
                .iter()
                .map(|input| input.and_then(|slot| values.get(slot).cloned()))
                .collect();
            for slot in &instruction.last {
                if let Some(value) = values.0.get_mut(*slot) {
                    *value = None;
                }
            }
            let shapes: Vec<Vec<usize>> = operands.iter().flatten().map(Value::shape).collect();
            let value = instruction.operator.run(Operands(operands), place);
            let value = value.map_err(|reason| GpuError::Operator {
                node: instruction.name.clone(),
                operator: instruction.operator_name.clone(),
                shapes,
                reason,
            })?;
            values.set(instruction.output, value);
        }
        Ok(())
    }
}

/// `nodes` with those that lead to `loss` in front, both parts in their old order; and how many they are.
fn loss_first(nodes: Vec<pb::NodeProto>, loss: &str) -> (Vec<pb::NodeProto>, usize) {
    let mut wanted = HashSet::from([loss.to_string()]);
    let mut leads = vec![false; nodes.len()];
    for (node, leads) in nodes.iter().zip(&mut leads).rev() {
        if node.output.iter().any(|output| wanted.contains(output)) {
            *leads = true;
            wanted.extend(node.input.iter().cloned());
        }
    }
    let forward = leads.iter().filter(|leads| **leads).count();
    let marked = nodes.into_iter().zip(leads);
    let (first, rest): (Vec<_>, Vec<_>) = marked.partition(|(_, leads)| *leads);
    (first.into_iter().chain(rest).map(|(node, _)| node).collect(), forward)
}

fn constant(node: &pb::NodeProto) -> Result<Literal> {
    let value = node.attribute.iter().find(|a| a.name == "value").and_then(|a| a.t.as_ref());
    Literal::read(value.ok_or("a constant without a value")?)
}

fn refused(node: &pb::NodeProto, reason: String) -> GpuError {
    let (node, operator) = (node.name.clone(), node.op_type.clone());
    GpuError::Operator { node, operator, shapes: vec![], reason }
}
