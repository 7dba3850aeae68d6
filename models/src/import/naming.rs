//! Names for the weights found: the file's own where it has kept them, else the layer's, told by the name
//! of the node, of the bias added to a product, or of the other parts of a norm.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

use super::draft::label;
use super::names::{is_anonymous, layer, scope};
use super::roles::Role;
use super::weights::Plan;
use crate::selection::Kind;

/// A name for each of `plans`, not yet made unique.
pub(super) fn bases(graph: &pb::GraphProto, plans: &[Plan]) -> Vec<String> {
    let norms = norms(graph, plans);
    let biased = biased(graph, plans);
    let base = |plan: &Plan| {
        let Some(&(at, _)) = plan.reads.first() else { return plan.known.name.clone() };
        if let Some(norm) = norms.get(&at) {
            return format!("{norm}.{}", part(plan.role));
        }
        if !is_anonymous(&plan.known.name) {
            return kept(&plan.known.name, plan.role);
        }
        if let Some(layer) = biased.get(&at) {
            return format!("{layer}.{}", part(plan.role));
        }
        let node = graph.node.get(at);
        match node.and_then(|n| scope(&n.name)) {
            Some(layer) => format!("{layer}.{}", part(plan.role)),
            // Without a dot: it names no layer.
            None => {
                let operator = node.map_or("", |n| n.op_type.as_str()).to_ascii_lowercase();
                format!("{operator}_{at}_{}", part(plan.role))
            }
        }
    };
    plans.iter().map(base).collect()
}

/// The file's own name. A bias that an exporter made by folding a norm, it calls after the layer's weight.
fn kept(name: &str, role: Role) -> String {
    match name.strip_suffix(".weight_bias") {
        Some(layer) if role == Role::Weight(Kind::Bias) => format!("{layer}.bias"),
        _ => name.to_owned(),
    }
}

/// The last part of a weight's name, as PyTorch has it.
fn part(role: Role) -> &'static str {
    match role {
        Role::Weight(Kind::Bias | Kind::NormShift) => "bias",
        Role::Weight(Kind::Embedding) => "embedding",
        Role::Weight(_) => "weight",
        Role::Mean => "running_mean",
        Role::Variance => "running_var",
    }
}

/// The layer of each norm by its node: that of the first of its arrays whose layer no other norm has,
/// because equal arrays are stored under the name of one layer only.
fn norms(graph: &pb::GraphProto, plans: &[Plan]) -> HashMap<usize, String> {
    let mut candidates: HashMap<usize, Vec<&str>> = HashMap::new();
    let mut order = vec![];
    for plan in plans {
        let Some(&(at, _)) = plan.reads.first() else { continue };
        let is_norm =
            |n: &pb::NodeProto| ["BatchNormalization", "LayerNormalization"].contains(&n.op_type.as_str());
        if graph.node.get(at).is_some_and(is_norm) {
            let names = candidates.entry(at).or_insert_with(|| {
                order.push(at);
                vec![]
            });
            names.extend(layer(&plan.known.name));
        }
    }
    let mut used: HashSet<String> = HashSet::new();
    let mut norms = HashMap::new();
    for at in order {
        let own = candidates.get(&at).into_iter().flatten().find(|name| !used.contains(**name));
        let node = graph.node.get(at);
        let scoped = || node.and_then(|n| scope(&n.name)).filter(|name| !used.contains(name));
        let numbered = || format!("norm_{at}");
        let name = own.map(|name| (*name).to_string()).or_else(scoped).unwrap_or_else(numbered);
        used.insert(name.clone());
        norms.insert(at, name);
    }
    norms
}

/// The layer of each product whose bias has a name, by node.
fn biased(graph: &pb::GraphProto, plans: &[Plan]) -> HashMap<usize, String> {
    let makers: HashMap<&String, usize> =
        graph.node.iter().enumerate().flat_map(|(i, n)| n.output.first().map(|o| (o, i))).collect();
    let mut layers = HashMap::new();
    for plan in plans.iter().filter(|p| p.role == Role::Weight(Kind::Bias)) {
        let (Some(layer), Some(&(at, slot))) = (layer(&plan.known.name), plan.reads.first()) else {
            continue;
        };
        let Some(node) = graph.node.get(at) else { continue };
        // A convolution has its bias as an input, a product has it added.
        let product = if node.op_type == "Add" {
            let other = 1_usize.checked_sub(slot).and_then(|o| node.input.get(o));
            other.and_then(|o| makers.get(o)).copied()
        } else {
            Some(at)
        };
        if let Some(product) = product {
            layers.entry(product).or_insert_with(|| layer.to_string());
        }
    }
    // A scope in the node's own name says it better, unless it only says part of it.
    layers.retain(|&at, layer| {
        let own = graph.node.get(at).and_then(|n| scope(&label(n)));
        own.is_none_or(|own| layer.starts_with(&own))
    });
    layers
}
