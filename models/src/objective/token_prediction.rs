//! Predicting tokens of a text: the cross entropy of a linear layer on each of the encoder's tokens, where
//! `mask` `[batch, n]` is one. `targets` `[batch, n]` holds numbers of tokens, as floats.
//!
//! Which task it is depends on what is given. Where the encoder sees all of a text in which some tokens were
//! replaced, and these are the targets, it is the masked language model of BERT (Devlin et al. 2019, section
//! 3.1). Where the encoder is causal and every target is the next token, it is the language model of GPT
//! (Radford et al. 2018, equation 1).
//!
//! With `next_sentence`, a text is two segments, and a second layer tells from the embedding whether the
//! second follows the first: the input `follows` `[batch, 1]` is one where it does, and its binary cross
//! entropy is added (Devlin et al. 2019, task 2).
//!
//! The layer has weights of its own; those papers tie it to the embedding of tokens, which saves memory where
//! there are thousands of them. Bytes are few, and an encoder from elsewhere does not say which weight that is.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::{Trained, check_values};
use super::pair_prediction::binary_cross_entropy;
use super::rows::{hits, surprise};
use super::{Student, Wired};
use crate::graph::Graph;
use crate::step::InputTensor;

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    vocabulary: usize,
    next_sentence: bool,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let (tokens, [rows, count, width]) = student.tokens(graph)?;
    check_values("scores of all tokens", &[rows, count, vocabulary])?;
    let mut trained = Trained::default();
    let flat = graph.reshape(tokens, &[rows * count, width])?;
    let logits = trained.linear(graph, "head.token", flat, vocabulary, rng)?;
    let mut inputs = vec![];
    let mut input = |graph: &mut Graph, name: &str, shape: &[usize]| {
        inputs.push(InputTensor { name: name.into(), shape: shape.into() });
        graph.source(name, shape)
    };
    let targets = input(graph, "targets", &[rows, count])?;
    let mask = input(graph, "mask", &[rows, count])?;
    let targets = graph.reshape(targets, &[rows * count, 1])?;
    let mask = graph.reshape(mask, &[rows * count, 1])?;
    let targets = one_hot(graph, targets, vocabulary)?;
    let each = surprise(graph, logits, targets)?;
    let mut loss = masked_mean(graph, each, mask)?;
    let right = hits(graph, logits, targets)?;
    let mut metrics = vec![("accuracy".to_string(), masked_mean(graph, right, mask)?)];
    if next_sentence {
        let logit = trained.linear(graph, "head.follows", student.embedding, 1, rng)?;
        let follows = input(graph, "follows", &[rows, 1])?;
        let (term, right) = binary_cross_entropy(graph, logit, follows)?;
        loss = graph.add(loss, term)?;
        metrics.push(("next_sentence_accuracy".into(), right));
    }
    Ok(Wired { inputs, metrics, ..Wired::new(loss, trained) })
}

/// `[rows, classes]`, one where the whole number in `[rows, 1]` says. Plain arithmetic, which every engine
/// has: one less the distance, where that is below one.
fn one_hot(graph: &mut Graph, numbers: OutletId, classes: usize) -> TractResult<OutletId> {
    let ramp: Vec<f32> = (0..classes).map(|class| class as f32).collect();
    let ramp = graph.constant(Tensor::from_shape(&[1, classes], &ramp)?)?;
    let difference = graph.sub(numbers, ramp)?;
    let distance = graph.element(math::abs(), difference)?;
    let one = graph.scalar(1.0, 2)?;
    let distance = graph.binary(math::min(), distance, one)?;
    graph.sub(one, distance)
}

/// The mean of `[rows, 1]` over the rows where `mask` is one, `[1, 1]`.
fn masked_mean(graph: &mut Graph, each: OutletId, mask: OutletId) -> TractResult<OutletId> {
    let masked = graph.mul(each, mask)?;
    let total = graph.sum(masked, &[0])?;
    let count = graph.sum(mask, &[0])?;
    let one = graph.scalar(1.0, 2)?;
    let count = graph.binary(math::max(), count, one)?;
    graph.div(total, count)
}
