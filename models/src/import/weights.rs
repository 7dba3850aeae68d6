//! The weights of a file, each with a reader of its own, a name that is known again, and the way back.
//!
//! PyTorch's exporters store equal arrays once, whether or not the layers share them: fresh norms, or two
//! layers that begin equal, would be trained as one. So every reader gets its own copy, unless the caller
//! says that what is stored once is meant to be one. Arrays that pass through a transposition before they
//! are used are stored transposed.

use std::collections::{BTreeMap, HashMap, HashSet};

use ndarray::ArrayD;
use tract_onnx::pb;

use super::draft::{Draft, attribute, constant, made};
use super::roles::{Role, Roles, Stored};
use super::{ImportError, floats, names, naming};
use crate::onnx::proto;
use crate::selection::Kind;

/// Most values of all copies made for layers that share a stored array.
const MAX_UNSHARED: usize = 1 << 26;

/// An input of a node of the original file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    /// First named output of the node.
    pub(super) node: String,
    /// Which input.
    pub(super) input: usize,
}

/// Where an imported array came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The inputs that read it in the original.
    pub(super) slots: Vec<Slot>,
    /// Imported axis `i` is axis `permutation[i]` of the original.
    pub(super) permutation: Vec<usize>,
}

/// A weight found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) original: String,
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    pub(super) axes: Vec<usize>,
}

/// A stored array under one of its names.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) root: String,
    /// The initializer, constant or copy that was read, before any transposition.
    pub(super) name: String,
    permutation: Option<Vec<usize>>,
    head: Option<Slot>,
}

/// What becomes a weight: which array, read where.
pub(super) struct Plan {
    pub(super) known: Known,
    pub(super) role: Role,
    /// Inputs of the original that read it.
    slots: Vec<Slot>,
    /// Node and input that use it, after any transposition.
    pub(super) reads: Vec<(usize, usize)>,
}

/// Gives every weight of `draft` its own initializer. Returns the weights in the order of their use, and
/// where each array, running statistics included, came from.
pub(super) fn find(
    draft: &mut Draft,
    keep_tied: bool,
) -> Result<(Vec<Found>, BTreeMap<String, Origin>), ImportError> {
    let known = stored(&draft.graph);
    let plans = plan(draft, &known, keep_tied);
    note_sharing(draft, &plans, keep_tied);
    let bases = naming::bases(&draft.graph, &plans);
    let arrays = copies(draft, &plans)?;
    // Free for now; the weights' own names become free when the file's arrays are gone.
    let reading: Vec<String> = plans.iter().map(|_| draft.fresh("weight")).collect();
    for (plan, name) in plans.iter().zip(&reading) {
        for &(node, slot) in &plan.reads {
            if let Some(input) = draft.graph.node.get_mut(node).and_then(|n| n.input.get_mut(slot)) {
                input.clone_from(name);
            }
        }
    }
    let products = products(&draft.graph, &plans);
    draft.sweep();
    draft.forget_names();
    let (mut weights, mut origins, mut renamed) = (vec![], BTreeMap::new(), HashMap::new());
    for (((plan, values), base), (reading, is_product)) in
        plans.iter().zip(arrays).zip(bases).zip(reading.into_iter().zip(products))
    {
        let name = draft.fresh_part(&base);
        let rank = values.ndim();
        let permutation = plan.known.permutation.clone().unwrap_or_else(|| (0..rank).collect());
        if let Role::Weight(kind) = plan.role {
            // An exporter that renames a linear layer's weight has transposed it.
            let is_transposed = is_product
                && rank == 2
                && plan.known.permutation.is_none()
                && names::is_anonymous(&plan.known.root);
            let axes = if is_transposed { vec![1, 0] } else { permutation.clone() };
            let (original, shape) = (plan.known.root.clone(), values.shape().to_vec());
            weights.push(Found { name: name.clone(), original, kind, shape, axes });
        }
        draft.graph.initializer.push(proto::tensor(&name, &values));
        origins.insert(name.clone(), Origin { slots: plan.slots.clone(), permutation });
        renamed.insert(reading, name);
    }
    draft.rename_reads(&renamed);
    Ok((weights, origins))
}

/// Every name under which a float array is known: initializers, constants, copies and transpositions.
fn stored(graph: &pb::GraphProto) -> HashMap<String, Known> {
    let mut known: HashMap<String, Known> = HashMap::new();
    let root =
        |name: &String| Known { root: name.clone(), name: name.clone(), permutation: None, head: None };
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for tensor in graph.initializer.iter().filter(|t| floats::is_float(t.data_type)) {
        known.insert(tensor.name.clone(), root(&tensor.name));
        ranks.insert(tensor.name.clone(), tensor.dims.len());
    }
    for node in &graph.node {
        let Some(output) = node.output.first().filter(|o| !o.is_empty()) else { continue };
        if let Some(tensor) = constant(node).filter(|t| floats::is_float(t.data_type)) {
            known.insert(output.clone(), root(output));
            ranks.insert(output.clone(), tensor.dims.len());
            continue;
        }
        let Some(from) = node.input.first().and_then(|i| known.get(i)).cloned() else { continue };
        if node.op_type == "Identity" {
            known.insert(output.clone(), Known { name: output.clone(), ..from });
        } else if node.op_type == "Transpose" {
            let rank = ranks.get(&from.root).copied().unwrap_or(0);
            let Some(permutation) = permutation(node, rank) else { continue };
            let before = from.permutation.unwrap_or_else(|| (0..rank).collect());
            let composed = permutation.iter().filter_map(|&axis| before.get(axis).copied()).collect();
            let head = from.head.unwrap_or_else(|| Slot { node: made(node), input: 0 });
            let moved =
                Known { root: from.root, name: from.name, permutation: Some(composed), head: Some(head) };
            known.insert(output.clone(), moved);
        }
    }
    known
}

/// The permutation of a `Transpose` of that rank, when it is one.
fn permutation(node: &pb::NodeProto, rank: usize) -> Option<Vec<usize>> {
    let Some(perm) = attribute(node, "perm") else { return Some((0..rank).rev().collect()) };
    let axes: Vec<usize> =
        perm.ints.iter().map(|&a| usize::try_from(a).ok()).collect::<Option<Vec<usize>>>()?;
    let distinct: HashSet<usize> = axes.iter().copied().filter(|&a| a < rank).collect();
    (axes.len() == rank && distinct.len() == rank).then_some(axes)
}

fn plan(draft: &Draft, known: &HashMap<String, Known>, keep_tied: bool) -> Vec<Plan> {
    let graph = &draft.graph;
    let (makers, readers) = (draft.makers(), draft.readers());
    let roles = Roles { graph, makers: &makers, readers: &readers };
    let stored: HashMap<&String, &pb::TensorProto> = graph.initializer.iter().map(|t| (&t.name, t)).collect();
    let has_initializers = graph.initializer.iter().any(|t| floats::is_float(t.data_type));
    let mut plans: Vec<Plan> = vec![];
    let mut groups: HashMap<String, usize> = HashMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        for (slot, input) in node.input.iter().enumerate() {
            let Some(constant_read) = known.get(input) else { continue };
            if node.output.first().is_some_and(|o| known.contains_key(o)) {
                continue;
            }
            let root = &constant_read.root;
            let tensor = stored.get(root).copied();
            let node_tensor = || makers.get(root).and_then(|&i| graph.node.get(i)).and_then(constant);
            let Some(source) = tensor.or_else(node_tensor) else { continue };
            let shape = floats::shape(source);
            let seen = Stored { shape: &shape, is_incidental: tensor.is_none() && has_initializers };
            let Some(role) = roles.role(&seen, at, slot) else { continue };
            let key = match (&constant_read.head, keep_tied) {
                (Some(_), _) => input.clone(),
                (None, true) => root.clone(),
                (None, false) => format!("{at}\n{slot}"),
            };
            let read = Slot { node: made(node), input: slot };
            let slot_of_origin = constant_read.head.clone().unwrap_or(read);
            let index = *groups.entry(key).or_insert_with(|| {
                plans.push(Plan { known: constant_read.clone(), role, slots: vec![], reads: vec![] });
                plans.len() - 1
            });
            if let Some(plan) = plans.get_mut(index) {
                plan.reads.push((at, slot));
                // Readers behind one transposition have one origin; all others differ.
                if plan.slots.last() != Some(&slot_of_origin) {
                    plan.slots.push(slot_of_origin);
                }
            }
        }
    }
    plans
}

fn note_sharing(draft: &mut Draft, plans: &[Plan], keep_tied: bool) {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for plan in plans {
        let readers = if keep_tied { plan.reads.len() } else { 1 };
        *count.entry(&plan.known.root).or_default() += readers;
    }
    let shared: Vec<&str> = count.into_iter().filter(|(_, n)| *n > 1).map(|(name, _)| name).collect();
    let Some(first) = shared.first() else { return };
    let what = if keep_tied { "stay tied" } else { "were given to each reader as its own" };
    let text =
        format!("{} arrays that the file stores once and reads often {what} (`{first}`)", shared.len());
    draft.note(text);
}

/// Which plans are the right operand of a matrix product.
fn products(graph: &pb::GraphProto, plans: &[Plan]) -> Vec<bool> {
    let is_product = |plan: &Plan| {
        let read = plan.reads.first().and_then(|&(node, slot)| Some((graph.node.get(node)?, slot)));
        read.is_some_and(|(node, slot)| node.op_type == "MatMul" && slot == 1)
    };
    plans.iter().map(is_product).collect()
}

/// The values of each plan, in the order of axes in which they are read.
fn copies(draft: &Draft, plans: &[Plan]) -> Result<Vec<ArrayD<f32>>, ImportError> {
    let graph = &draft.graph;
    let constants = graph.node.iter().filter_map(|n| Some((n.output.first()?, constant(n)?)));
    let stored: HashMap<&String, &pb::TensorProto> =
        graph.initializer.iter().map(|t| (&t.name, t)).chain(constants).collect();
    let mut seen = HashSet::new();
    let mut extra = 0_usize;
    let mut arrays = Vec::with_capacity(plans.len());
    for plan in plans {
        let values = stored.get(&plan.known.root).and_then(|t| floats::array(t)).unwrap_or_default();
        if !seen.insert(&plan.known.root) {
            extra += values.len();
            if extra > MAX_UNSHARED {
                return Err(ImportError::Unshared { limit: MAX_UNSHARED });
            }
        }
        arrays.push(match &plan.known.permutation {
            Some(axes) => values.permuted_axes(axes.clone()).as_standard_layout().into_owned(),
            None => values,
        });
    }
    Ok(arrays)
}
