//! How a gradient moves a weight. An optimiser is wired after the backward pass, one small formula a
//! weight; what it remembers is state of the step and begins at zero.
//!
//! Weight decay touches matrices and kernels only, never biases or norms (tensors of one axis).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use crate::compile::Setting;
use crate::graph::Graph;

/// Which rule, with the constants that are fixed in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum (Polyak 1964), in the form PyTorch uses:
    /// `m = momentum * m + g + decay * w`, `w = w - lr * m`.
    Sgd {
        /// Momentum, zero to below one.
        momentum: f32,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).
    AdamW {
        /// Decay of the gradient's mean.
        beta1: f32,
        /// Decay of the gradient's square.
        beta2: f32,
        /// Added to the denominator.
        epsilon: f32,
    },
    /// SGD with momentum whose rate for each matrix or kernel is scaled by
    /// `trust * |w| / (|g| + decay * |w|)` (LARS; You et al. 2017, equation 6), for large batches.
    /// Biases and norms (tensors of one axis) move by plain SGD.
    Lars {
        /// Momentum, zero to below one.
        momentum: f32,
        /// Share of a weight's norm that one step of rate one may move it by; 0.001 in the paper.
        trust: f32,
    },
}

impl Optimizer {
    /// SGD with momentum 0.9.
    pub const SGD: Self = Self::Sgd { momentum: 0.9 };
    /// LARS with the constants of the paper.
    pub const LARS: Self = Self::Lars { momentum: 0.9, trust: 1e-3 };
    /// AdamW with the constants everybody uses.
    pub const ADAMW: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

    /// The name stored in a step's specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sgd { .. } => "sgd",
            Self::AdamW { .. } => "adamw",
            Self::Lars { .. } => "lars",
        }
    }

    /// Whether the constants lie where they make sense.
    pub(crate) fn check(&self) -> Result<(), Setting> {
        match *self {
            Self::Sgd { momentum } => Setting::below_one("momentum", momentum),
            Self::AdamW { beta1, beta2, epsilon } => {
                // One minus a beta is divided by.
                Setting::below_one("beta1", beta1)?;
                Setting::below_one("beta2", beta2)?;
                Setting::positive("epsilon", epsilon)
            }
            Self::Lars { momentum, trust } => {
                Setting::below_one("momentum", momentum)?;
                Setting::positive("trust", trust)
            }
        }
    }
}

/// One optimiser tensor: name, shape, and where it enters and leaves.
pub(crate) struct Memory {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) now: OutletId,
    pub(crate) next: OutletId,
}

/// The moved weights, in the order given, and the optimiser's memory.
pub(crate) struct Moved {
    pub(crate) weights: Vec<OutletId>,
    pub(crate) memory: Vec<Memory>,
}

/// Wires the update of every `(name, weight, gradient)`. The graph gains the scalar inputs `lr` and
/// `weight_decay`. A weight of which `pauses` says so does not move at every step: where an optimiser counts
/// steps, it has a count of its own.
pub(crate) fn wire(
    optimizer: &Optimizer,
    graph: &mut Graph,
    parameters: &[(String, OutletId, OutletId)],
    pauses: &dyn Fn(&str) -> bool,
) -> TractResult<Moved> {
    graph.enter("optimizer");
    let mut scalars = Scalars::new(graph)?;
    match *optimizer {
        Optimizer::Sgd { momentum } => sgd(graph, &mut scalars, parameters, momentum, None),
        Optimizer::Lars { momentum, trust } => sgd(graph, &mut scalars, parameters, momentum, Some(trust)),
        Optimizer::AdamW { beta1, beta2, epsilon } => {
            adamw(graph, &mut scalars, parameters, pauses, [beta1, beta2], epsilon)
        }
    }
}

/// Scalar inputs brought to the rank of each weight once.
struct Scalars {
    lr: OutletId,
    decay: OutletId,
    lifted: HashMap<(OutletId, usize), OutletId>,
}

impl Scalars {
    fn new(graph: &mut Graph) -> TractResult<Self> {
        let lr = graph.source("lr", &[])?;
        let decay = graph.source("weight_decay", &[])?;
        Ok(Self { lr, decay, lifted: HashMap::new() })
    }

    fn at(&mut self, graph: &mut Graph, scalar: OutletId, rank: usize) -> TractResult<OutletId> {
        if let Some(&known) = self.lifted.get(&(scalar, rank)) {
            return Ok(known);
        }
        let lifted = graph.lift_rank(scalar, rank)?;
        self.lifted.insert((scalar, rank), lifted);
        Ok(lifted)
    }
}

fn memory(graph: &mut Graph, name: &str, kind: &str, shape: &[usize]) -> TractResult<(String, OutletId)> {
    let name = format!("{name}/{kind}");
    let outlet = graph.source(&name, shape)?;
    Ok((name, outlet))
}

fn sgd(
    graph: &mut Graph,
    scalars: &mut Scalars,
    parameters: &[(String, OutletId, OutletId)],
    momentum: f32,
    trust: Option<f32>,
) -> TractResult<Moved> {
    let mut moved = Moved { weights: vec![], memory: vec![] };
    for (name, weight, gradient) in parameters {
        let shape = graph.shape(*weight)?.to_vec();
        let rank = shape.len();
        let mut gradient = *gradient;
        if rank > 1 {
            let decay = scalars.at(graph, scalars.decay, rank)?;
            let pull = graph.mul(*weight, decay)?;
            gradient = match trust {
                Some(trust) => trusted(graph, scalars, trust, *weight, gradient, pull)?,
                None => graph.add(gradient, pull)?,
            };
        }
        let (memory_name, velocity) = memory(graph, name, "momentum", &shape)?;
        let kept = graph.scale(velocity, momentum)?;
        let next = graph.add(kept, gradient)?;
        let lr = scalars.at(graph, scalars.lr, rank)?;
        let change = graph.mul(next, lr)?;
        moved.weights.push(graph.sub(*weight, change)?);
        moved.memory.push(Memory { name: memory_name, shape, now: velocity, next });
    }
    Ok(moved)
}

/// Keeps the quotient of norms finite where a gradient is zero.
const LARS_EPSILON: f32 = 1e-9;

/// `trust * |w| / (|g| + decay * |w|) * (g + pull)`.
fn trusted(
    graph: &mut Graph,
    scalars: &mut Scalars,
    trust: f32,
    weight: OutletId,
    gradient: OutletId,
    pull: OutletId,
) -> TractResult<OutletId> {
    let rank = graph.rank(weight)?;
    let norm = |graph: &mut Graph, value: OutletId| {
        let norm = graph.norm(&[value])?;
        graph.lift_rank(norm, rank)
    };
    let (weight, slope) = (norm(graph, weight)?, norm(graph, gradient)?);
    let decay = scalars.at(graph, scalars.decay, rank)?;
    let decayed = graph.mul(weight, decay)?;
    let total = graph.add(slope, decayed)?;
    let total = graph.offset(total, LARS_EPSILON)?;
    let ratio = graph.div(weight, total)?;
    let ratio = graph.scale(ratio, trust)?;
    let pulled = graph.add(gradient, pull)?;
    graph.mul(pulled, ratio)
}

/// Steps that AdamW took, and what corrects means that began at zero.
struct Clock {
    memory: Memory,
    /// `lr / (1 - beta1^t)`.
    rate: OutletId,
    /// `sqrt(1 - beta2^t)`.
    second_root: OutletId,
}

impl Clock {
    fn new(graph: &mut Graph, lr: OutletId, name: String, betas: [f32; 2]) -> TractResult<Self> {
        let now = graph.source(&name, &[])?;
        let next = graph.offset(now, 1.0)?;
        // beta^t as exp(t ln beta).
        let correction = |graph: &mut Graph, beta: f32| {
            let exponent = graph.scale(next, beta.ln())?;
            let power = graph.element(math::exp(), exponent)?;
            let one = graph.scalar(1.0, 0)?;
            graph.sub(one, power)
        };
        let (first, second) = (correction(graph, betas[0])?, correction(graph, betas[1])?);
        let second_root = graph.element(math::sqrt(), second)?;
        let rate = graph.div(lr, first)?;
        Ok(Self { memory: Memory { name, shape: vec![], now, next }, rate, second_root })
    }
}

fn adamw(
    graph: &mut Graph,
    scalars: &mut Scalars,
    parameters: &[(String, OutletId, OutletId)],
    pauses: &dyn Fn(&str) -> bool,
    betas: [f32; 2],
    epsilon: f32,
) -> TractResult<Moved> {
    let common = Clock::new(graph, scalars.lr, "adamw/step".into(), betas)?;
    let decay = graph.mul(scalars.lr, scalars.decay)?;
    let one = graph.scalar(1.0, 0)?;
    let keep = graph.sub(one, decay)?;

    let mut moved = Moved { weights: vec![], memory: vec![] };
    for (name, weight, gradient) in parameters {
        let own = pauses(name).then(|| Clock::new(graph, scalars.lr, format!("{name}/step"), betas));
        let own = own.transpose()?;
        let clock = own.as_ref().unwrap_or(&common);
        let shape = graph.shape(*weight)?.to_vec();
        let rank = shape.len();
        let (mean_name, mean) = memory(graph, name, "mean", &shape)?;
        let (square_name, square) = memory(graph, name, "square", &shape)?;
        let (mean_now, square_now) = (mean, square);
        let mean = blend(graph, mean, *gradient, betas[0])?;
        let gradient_square = graph.mul(*gradient, *gradient)?;
        let square = blend(graph, square, gradient_square, betas[1])?;

        let root = graph.element(math::sqrt(), square)?;
        let second_root = scalars.at(graph, clock.second_root, rank)?;
        let deviation = graph.div(root, second_root)?;
        let deviation = graph.offset(deviation, epsilon)?;
        let rate = scalars.at(graph, clock.rate, rank)?;
        let scaled = graph.mul(mean, rate)?;
        let change = graph.div(scaled, deviation)?;
        let mut kept = *weight;
        if rank > 1 {
            let keep = scalars.at(graph, keep, rank)?;
            kept = graph.mul(kept, keep)?;
        }
        moved.weights.push(graph.sub(kept, change)?);
        moved.memory.push(Memory { name: mean_name, shape: shape.clone(), now: mean_now, next: mean });
        moved.memory.push(Memory { name: square_name, shape, now: square_now, next: square });
        moved.memory.extend(own.map(|clock| clock.memory));
    }
    moved.memory.push(common.memory);
    Ok(moved)
}

/// `beta * old + (1 - beta) * new`.
fn blend(graph: &mut Graph, old: OutletId, new: OutletId, beta: f32) -> TractResult<OutletId> {
    let kept = graph.scale(old, beta)?;
    let added = graph.scale(new, 1.0 - beta)?;
    graph.add(kept, added)
}
