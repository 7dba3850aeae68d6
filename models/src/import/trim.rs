//! What training does not want: initializers listed as inputs, dropout, copies, outputs that nobody asked
//! for, and the training outputs of batch norms.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

use super::ImportError;
use super::draft::{Draft, label};
use crate::onnx::proto;

/// Endings of the outputs that are batch statistics.
const STATISTICS: [&str; 2] = [".batch_mean", ".batch_var"];

/// Refuses control flow; makes `output`, or the first, the only output besides batch statistics.
pub(super) fn outputs(draft: &mut Draft, output: Option<&str>) -> Result<(), ImportError> {
    let holds_graph = |n: &&pb::NodeProto| n.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
    if let Some(node) = draft.graph.node.iter().find(holds_graph) {
        return Err(ImportError::ControlFlow { node: label(node), operator: node.op_type.clone() });
    }
    let known: Vec<String> = draft.graph.output.iter().map(|o| o.name.clone()).collect();
    let made = |name: &str| draft.graph.node.iter().any(|n| n.output.iter().any(|o| o == name));
    let chosen = match output {
        Some(name) if made(name) => name.to_string(),
        Some(name) => return Err(ImportError::Output { name: name.into(), known }),
        None => match known.iter().find(|name| !is_statistic(name)) {
            Some(first) => first.clone(),
            None => return Err(ImportError::Output { name: "embedding".into(), known }),
        },
    };
    let left_out = known.iter().filter(|n| **n != chosen && !is_statistic(n)).cloned().collect::<Vec<_>>();
    if !left_out.is_empty() {
        draft.note(format!("the embedding is `{chosen}`; the outputs {left_out:?} were left out"));
    }
    let mut kept = vec![proto::value_info(&chosen, &[])];
    kept.extend(draft.graph.output.drain(..).filter(|o| o.name != chosen && is_statistic(&o.name)));
    draft.graph.output = kept;
    draft.graph.value_info.clear();
    Ok(())
}

fn is_statistic(name: &str) -> bool {
    STATISTICS.iter().any(|ending| name.ends_with(ending))
}

/// Takes initializers out of the list of inputs.
pub(super) fn inputs(draft: &mut Draft) {
    let before = draft.graph.input.len();
    let stored: HashSet<String> = draft.graph.initializer.iter().map(|t| t.name.clone()).collect();
    draft.graph.input.retain(|i| !stored.contains(&i.name));
    let listed = before - draft.graph.input.len();
    if listed > 0 {
        draft.note(format!("{listed} initializers were also listed as inputs; they are weights now"));
    }
}

/// Removes dropout and copies, and turns batch norms to inference.
pub(super) fn passages(draft: &mut Draft) {
    let outputs: HashSet<String> = draft.graph.output.iter().map(|o| o.name.clone()).collect();
    let mut same: HashMap<String, String> = HashMap::new();
    let (mut dropped, mut training) = (0, 0);
    for node in &mut draft.graph.node {
        for input in &mut node.input {
            if let Some(source) = same.get(input) {
                input.clone_from(source);
            }
        }
        match node.op_type.as_str() {
            "Dropout" | "Identity" => {
                dropped += usize::from(node.op_type == "Dropout");
                let (Some(x), Some(y)) = (node.input.first().cloned(), node.output.first().cloned()) else {
                    continue;
                };
                node.op_type = "Identity".into();
                node.input.truncate(1);
                node.output.truncate(1);
                node.attribute.clear();
                // A graph output keeps its copy, and so its name.
                if !outputs.contains(&y) {
                    same.insert(y, x);
                }
            }
            "BatchNormalization" => {
                for mode in node.attribute.iter_mut().filter(|a| a.name == "training_mode" && a.i != 0) {
                    mode.i = 0;
                    training += 1;
                }
                node.output.truncate(1);
            }
            _ => {}
        }
    }
    if dropped > 0 {
        draft.note(format!("{dropped} dropout layers were removed"));
    }
    if training > 0 {
        draft.note(format!("{training} batch norms were in training mode; their stored statistics are used"));
    }
    draft.sweep();
}
