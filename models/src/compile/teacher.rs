//! The momentum encoder: the forward pass stamped a second time with weights of its own, which follow
//! the trained ones as an exponential mean (Tarvainen & Valpola 2017; He et al. 2020, equation 2). No
//! gradient reaches it, for it reads no trained weight. What does not depend on trained weights is
//! computed once for both.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::carried::{Carried, Moves};
use crate::graph::Graph;
use crate::objective::{Student, Trained};
use crate::step::{StateRole, StateSpec};
use crate::tensors::Tensors;

/// The teacher's weights.
pub(crate) struct Teacher {
    /// Name of the weight that is followed, and where the teacher's enters.
    weights: Vec<(String, OutletId)>,
    initial: Tensors,
}

impl Teacher {
    /// The teacher of what computes `root` from the encoder's and the head's trained weights, and the
    /// value that the teacher gives where the student gives `root`.
    pub(crate) fn of(
        graph: &mut Graph,
        root: OutletId,
        student: &Student<'_>,
        trained: &Trained,
    ) -> TractResult<(Self, OutletId)> {
        let (teacher, values) = Self::of_inputs(graph, &[root], student, trained, &[])?;
        Ok((teacher, values.first().copied().context("a stamp without its root")?))
    }

    /// The teacher of what computes `roots`, which reads the second of each pair of `inputs` where the student
    /// reads the first; and the values that it gives, in the order of `roots`.
    pub(crate) fn of_inputs(
        graph: &mut Graph,
        roots: &[OutletId],
        student: &Student<'_>,
        trained: &Trained,
        inputs: &[(OutletId, OutletId)],
    ) -> TractResult<(Self, Vec<OutletId>)> {
        let mut teacher = Self { weights: vec![], initial: Tensors::new() };
        let mut replaced: HashMap<OutletId, OutletId> = inputs.iter().copied().collect();
        for (name, weight) in student.weights.iter().chain(&trained.weights) {
            let shape = graph.shape(*weight)?.to_vec();
            let initial = student.initial.get(name).or_else(|| trained.initial.get(name));
            let initial = initial.context("a weight without an initial value")?.clone();
            let copy = graph.source(&copy_name(name), &shape)?;
            replaced.insert(*weight, copy);
            teacher.initial.insert(name.clone(), initial);
            teacher.weights.push((name.clone(), copy));
        }
        let values = graph.stamp(roots, &replaced)?;
        Ok((teacher, values))
    }

    /// Wires `teacher = ema * teacher + (1 - ema) * weight` with the weights `moved` by the optimiser.
    /// The graph gains the scalar input `ema`.
    pub(super) fn follow(
        mut self,
        graph: &mut Graph,
        moved: &HashMap<String, OutletId>,
    ) -> TractResult<Vec<Carried>> {
        graph.enter("teacher");
        let ema = graph.source("ema", &[])?;
        let one = graph.scalar(1.0, 0)?;
        let rest = graph.sub(one, ema)?;
        let mut carried = vec![];
        for (name, now) in self.weights {
            let shape = graph.shape(now)?.to_vec();
            let weight = *moved.get(&name).context("a teacher of an unknown weight")?;
            let keep = graph.lift_rank(ema, shape.len())?;
            let take = graph.lift_rank(rest, shape.len())?;
            let kept = graph.mul(now, keep)?;
            let taken = graph.mul(weight, take)?;
            carried.push(Carried {
                initial: self.initial.remove(&name).context("a teacher without an initial value")?,
                spec: StateSpec { name: copy_name(&name), shape, role: StateRole::Teacher },
                now,
                next: graph.add(kept, taken)?,
                moves: Moves::WithWeights,
            });
        }
        Ok(carried)
    }
}

fn copy_name(weight: &str) -> String {
    format!("{weight}/teacher")
}
