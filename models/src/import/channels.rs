//! Encoders that take their samples channels last, as TensorFlow's exporters write them, are given channels
//! first like every other: the transposition that follows the input is taken away. Those further inside
//! stay; the compiler computes channels last anyway and cancels them.

use std::collections::HashMap;

use super::batch::Input;
use super::draft::{Draft, attribute};

/// Lets `input` be channels first when all that reads it is a transposition to channels first.
pub(super) fn first(draft: &mut Draft, input: &mut Input) {
    let mut readers = draft.graph.node.iter().filter(|n| n.input.contains(&input.name));
    let (Some(node), None) = (readers.next(), readers.next()) else { return };
    let rank = input.sample.len() + 1;
    let to_first: Vec<i64> = [0, rank as i64 - 1].into_iter().chain(1..rank as i64 - 1).collect();
    let is_to_first = node.op_type == "Transpose"
        && (3..=5).contains(&rank)
        && attribute(node, "perm").is_some_and(|p| p.ints == to_first);
    let Some(output) = node.output.first().filter(|_| is_to_first).cloned() else { return };
    if draft.graph.output.iter().any(|o| o.name == output) {
        return;
    }
    draft.rename_reads(&HashMap::from([(output.clone(), input.name.clone())]));
    draft.graph.node.retain(|n| n.output.first() != Some(&output));
    input.sample.rotate_right(1);
    let text = format!(
        "`{}` was channels last; the imported encoder takes samples channels first, {:?}",
        input.name, input.sample
    );
    draft.note(text);
}
