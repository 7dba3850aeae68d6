//! The blocks of an encoder, from input to output, which "the last N blocks" counts. Names tell them where
//! they name layers (`layer2.0.conv1.weight`, `features.3.0.weight`); otherwise the graph is cut at the
//! values through which every path passes, so that a residual block stays whole.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

use super::draft::Draft;
use super::names::is_anonymous;
use super::weights::Found;
use crate::selection::Kind;

/// The blocks that `weights`, in the order of their use, make up, and the block of each weight.
pub(super) fn of(draft: &Draft, weights: &[Found]) -> (Vec<String>, Vec<usize>) {
    let keys = by_names(weights).unwrap_or_else(|| by_graph(&draft.graph, weights));
    let mut blocks: Vec<String> = vec![];
    let mut numbers = Vec::with_capacity(weights.len());
    for key in keys {
        if blocks.last() != Some(&key) {
            blocks.push(key);
        }
        numbers.push(blocks.len().saturating_sub(1));
    }
    (blocks, numbers)
}

/// The block of each weight by its name; `None` when names tell too little, or blocks would be torn.
fn by_names(weights: &[Found]) -> Option<Vec<String>> {
    let told = weights.iter().filter(|w| w.name.contains('.') && !is_anonymous(&w.name)).count();
    if told * 5 < weights.len() * 4 {
        return None;
    }
    let shared = shared_prefix(weights);
    let mut keys: Vec<String> = weights.iter().map(|w| key(&w.name, shared)).collect();
    // What only normalises, shifts or is added belongs to what it follows, or at the start precedes.
    let mut large: HashSet<String> = HashSet::new();
    large.extend(weights.iter().zip(&keys).filter(|(w, _)| is_large(w)).map(|(_, k)| k.clone()));
    for i in 1..keys.len() {
        let before = keys.get(i - 1).cloned();
        if let (Some(key), Some(before)) = (keys.get_mut(i), before)
            && !large.contains(key)
        {
            *key = before;
        }
    }
    for i in (1..keys.len()).rev() {
        let after = keys.get(i).cloned();
        if let (Some(key), Some(after)) = (keys.get_mut(i - 1), after)
            && !large.contains(key)
        {
            *key = after;
        }
    }
    let mut seen: HashSet<&String> = HashSet::new();
    let mut runs = keys.iter().zip(keys.iter().skip(1)).filter(|(a, b)| a != b).map(|(_, b)| b);
    seen.extend(keys.first());
    let is_whole = runs.all(|key| seen.insert(key));
    (is_whole && (seen.len() > 1 || weights.len() < 4)).then_some(keys)
}

fn is_large(weight: &Found) -> bool {
    [Kind::Kernel, Kind::Matrix].contains(&weight.kind)
}

/// How many leading parts all names of layers share.
fn shared_prefix(weights: &[Found]) -> usize {
    let mut parts = weights.iter().map(|w| w.name.split('.').collect::<Vec<_>>());
    let Some(mut shared) = parts.next() else { return 0 };
    shared.pop();
    for parts in parts {
        let same = shared.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        shared.truncate(same);
    }
    shared.len()
}

/// A name up to its first numbered part behind the shared ones; the first part where none is numbered.
fn key(name: &str, shared: usize) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let layers = parts.len().saturating_sub(1);
    let is_number = |part: &str| {
        let number = part.rsplit('_').next().unwrap_or(part);
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let numbered = parts.iter().take(layers).skip(shared).position(|part| is_number(part));
    let end = numbered.map_or(shared + 1, |at| shared + at + 1).min(layers.max(1));
    parts.get(..end).unwrap_or(&parts).join(".")
}

/// The block of each weight by the graph. A value is a cut when, in the order of the nodes, it is the only
/// computed one still to be read once it is made: every path passes it. A block opens at the first weight
/// behind a cut, if the block before has a kernel or matrix; a norm in a chain stays with what it follows.
fn by_graph(graph: &pb::GraphProto, weights: &[Found]) -> Vec<String> {
    let mut unread: HashMap<&str, usize> = HashMap::new();
    for input in graph.node.iter().flat_map(|n| &n.input) {
        *unread.entry(input).or_default() += 1;
    }
    if let Some(output) = graph.output.first() {
        *unread.entry(&output.name).or_default() += 1;
    }
    let kinds: HashMap<&str, bool> = weights.iter().map(|w| (w.name.as_str(), is_large(w))).collect();
    let mut computed: HashSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
    let mut waiting = computed.clone();
    // Weights that pass reshapes first count where the sample meets them.
    let mut carried: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut number: HashMap<&str, usize> = HashMap::new();
    let (mut block, mut is_filled, mut is_cut) = (0_usize, false, false);
    for node in &graph.node {
        let own = node.input.iter().filter_map(|i| kinds.get_key_value(i.as_str()).map(|(name, _)| *name));
        let passed = node.input.iter().filter_map(|i| carried.remove(i.as_str())).flatten();
        let met: Vec<&str> = own.chain(passed).collect();
        for input in &node.input {
            let Some(left) = unread.get_mut(input.as_str()) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                waiting.remove(input.as_str());
            }
        }
        let is_computed = node.input.iter().any(|i| computed.contains(i.as_str()));
        for output in node.output.iter().filter(|o| unread.contains_key(o.as_str())) {
            if is_computed {
                computed.insert(output);
                waiting.insert(output);
            }
        }
        if !is_computed {
            if let Some(output) = node.output.first() {
                carried.insert(output, met);
            }
            continue;
        }
        let has_large = met.iter().any(|name| kinds.get(name).copied().unwrap_or(false));
        let opens = has_large || (!met.is_empty() && waiting.len() > 1);
        if opens && is_cut && is_filled {
            block += 1;
            is_filled = false;
            is_cut = false;
        }
        is_filled |= has_large;
        is_cut = if is_filled || !opens { is_cut || waiting.len() == 1 } else { is_cut };
        for name in met {
            number.entry(name).or_insert(block);
        }
    }
    weights.iter().map(|w| format!("block{}", number.get(w.name.as_str()).copied().unwrap_or(0))).collect()
}
