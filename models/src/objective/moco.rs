//! InfoNCE against a queue of keys (MoCo; He et al. 2020, equation 1 and algorithm 1; with the
//! projection head of MoCo v2, Chen et al. 2020b): of a sample's own key and all keys in the queue,
//! find its own. A momentum encoder makes the keys; it follows the weights after each step.
//!
//! Both views run through both encoders anyway, so each is a query for the other's key, as in MoCo v3
//! (Chen et al. 2021). The queue needs no pointer: new keys are put in front, the oldest fall off the
//! end. Micro-batches of one batch see the same queue; their keys wait in `queue/pending` until the
//! batch is whole, so that summing micro-batches changes nothing.

use ndarray::{ArrayD, Axis, IxDyn};
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::{Trained, check_values};
use super::rows::{mean_rows, paired_rows, partners, row_products, unit_rows};
use super::{ProjectionHead, Student, Wired};
use crate::architecture::Initial;
use crate::compile::{Carried, Moves, Setting, Teacher};
use crate::graph::Graph;
use crate::step::{StateRole, StateSpec};

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    head: &ProjectionHead,
    (temperature, ema): (f32, f32),
    length: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let rows = paired_rows(graph, student.embedding, 1)?;
    let whole = rows * student.accumulate;
    if length < whole {
        return Err(TractError::new(Setting {
            setting: "queue".into(),
            found: length.to_string(),
            wanted: format!("at least the {whole} keys of one whole batch"),
        }));
    }
    check_values("values of the queue", &[length, head.out])?;
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, student.embedding, rng)?;
    let (teacher, taught) = Teacher::of(graph, z, student, &trained)?;
    let query = unit_rows(graph, z)?;
    let keys = unit_rows(graph, taught)?;

    let queue = graph.source("queue", &[length, head.out])?;
    let tau = graph.source("temperature", &[])?;
    let tau = graph.lift_rank(tau, 2)?;
    let sharpness = graph.element(math::recip(), tau)?;
    // Cosines are at most one; relative to that bound no exponential overflows.
    let logits = |graph: &mut Graph, cosine: OutletId| {
        let below_bound = graph.offset(cosine, -1.0)?;
        graph.mul(below_bound, sharpness)
    };
    let own = partners(graph, keys)?;
    let positive = row_products(graph, query, own)?;
    let positive = logits(graph, positive)?;
    let negative = graph.einsum("ik,jk->ij", query, queue)?;
    let negative = logits(graph, negative)?;
    let likelihood = graph.element(math::exp(), negative)?;
    let others = graph.sum(likelihood, &[1])?;
    let likelihood = graph.element(math::exp(), positive)?;
    let total = graph.add(likelihood, others)?;
    let log_total = graph.element(math::ln(), total)?;
    let each = graph.sub(log_total, positive)?;
    let loss = mean_rows(graph, each)?;
    Ok(Wired {
        scalars: vec![("temperature".into(), temperature), ("ema".into(), ema)],
        teacher: Some(teacher),
        carried: enqueue(graph, keys, queue, student.accumulate, rng)?,
        ..Wired::new(loss, trained)
    })
}

/// The queue, and the keys that wait for it where micro-batches are summed.
fn enqueue(
    graph: &mut Graph,
    keys: OutletId,
    queue: OutletId,
    accumulate: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<Vec<Carried>> {
    let shape = graph.shape(queue)?.to_vec();
    let (length, width) = (shape[0], shape[1]);
    let waiting = graph.shape(keys)?[0] * (accumulate - 1);
    let mut carried = vec![];
    let mut newest = vec![keys];
    if waiting > 0 {
        let shape = vec![waiting, width];
        let now = graph.source("queue/pending", &shape)?;
        let all = graph.concat(0, &[keys, now])?;
        carried.push(Carried {
            initial: ArrayD::zeros(IxDyn(&shape)),
            spec: StateSpec { name: "queue/pending".into(), shape, role: StateRole::Queue },
            now,
            next: graph.slice(all, 0, 0, waiting)?,
            moves: Moves::EachStep,
        });
        newest.push(now);
    }
    newest.push(queue);
    let all = graph.concat(0, &newest)?;
    carried.push(Carried {
        initial: directions(length, width, rng),
        spec: StateSpec { name: "queue".into(), shape, role: StateRole::Queue },
        now: queue,
        next: graph.slice(all, 0, 0, length)?,
        moves: Moves::WithWeights,
    });
    Ok(carried)
}

/// Random rows of length one, as the queue of the paper's code begins.
fn directions(rows: usize, width: usize, rng: &mut ChaCha8Rng) -> ArrayD<f32> {
    let mut drawn = Initial::He.draw(&[rows, width], rng);
    for mut row in drawn.axis_iter_mut(Axis(0)) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        row.mapv_inplace(|v| v / length);
    }
    drawn
}
