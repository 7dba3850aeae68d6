//! What could be trained instead, when an operator has no rule.

use std::fmt;

use tract_onnx::prelude::*;

use crate::graph::Graph;

/// How many names a message lists before it only counts them.
const LISTED: usize = 8;

/// The nearest part of a network that can be trained around operators without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrainableCut {
    /// These of the chosen weights lie wholly after every operator without a rule: their gradients
    /// can be taken.
    After {
        /// Names of the weights, in the order they were chosen.
        weights: Vec<String>,
    },
    /// Every chosen weight of the encoder lies before such an operator, so only what is put on top of
    /// the encoder can be trained.
    Head,
}

impl TrainableCut {
    /// Of `weights`, those from which no path leads to one of the nodes `uncovered`. Weights that were
    /// added on top of the given network are not named.
    pub(super) fn find(graph: &Graph, weights: &[OutletId], uncovered: &[usize]) -> Self {
        let before = ancestors(&graph.model, uncovered);
        let free = weights.iter().filter(|w| graph.is_given(w.node) && before.get(w.node) == Some(&false));
        let names: Vec<String> = free.map(|w| graph.model.node(w.node).name.clone()).collect();
        if names.is_empty() { Self::Head } else { Self::After { weights: names } }
    }
}

/// Which nodes lead to one of `nodes`, themselves included.
fn ancestors(model: &TypedModel, nodes: &[usize]) -> Vec<bool> {
    let mut found = vec![false; model.nodes().len()];
    let mut open = nodes.to_vec();
    while let Some(id) = open.pop() {
        let Some(seen) = found.get_mut(id).filter(|seen| !**seen) else { continue };
        *seen = true;
        open.extend(model.node(id).inputs.iter().map(|input| input.node));
    }
    found
}

impl fmt::Display for TrainableCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::After { weights } = self else {
            return f.write_str("no chosen weight of the encoder lies after it; `--train head` needs none");
        };
        write!(f, "train only weights after it: ")?;
        for (i, name) in weights.iter().take(LISTED).enumerate() {
            write!(f, "{}`{name}`", if i == 0 { "" } else { ", " })?;
        }
        match weights.len().saturating_sub(LISTED) {
            0 => f.write_str("; or `--train head`"),
            more => write!(f, " and {more} more; or `--train head`"),
        }
    }
}
