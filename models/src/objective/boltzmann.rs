//! Restricted Boltzmann machines, stacked greedily into the encoder (Hinton 2002; Hinton, Osindero & Teh
//! 2006; Hinton 2010). Layer `i` of a perceptron of logistic units is the hidden side of machine `i`: its
//! weight `W` and bias `c` are the machine's, and `head.visible.<i>.bias` `b` is added for the visible side.
//!
//! The free energy of a visible vector (Hinton 2010, section 16.1), with binary visible units, and with
//! Gaussian ones of deviation one (section 13.2), is
//!
//! ```text
//! F(v) = -b.v - sum_j ln(1 + exp(c_j + W_j.v))     F(v) = |v - b|^2 / 2 - sum_j ln(1 + exp(c_j + W_j.v))
//! ```
//!
//! A layer's loss is the mean of `F(v0)` over the batch less that of `F(vk)`, with `vk` what `k` steps of
//! Gibbs sampling made of `v0`, held fixed. Since the derivative of `F` by `W_ji` is `-p(h_j | v) v_i`, the
//! gradient is `<p_j v_i>_k - <p_j v_i>_0`: descending it is contrastive divergence, CD-k (Hinton 2010,
//! equation 9, hidden units of the last step as probabilities, section 3.1). With `persistent` the chains
//! go on where the last step left them, `chain.<i>`, whatever the data are (Tieleman 2008).
//!
//! The steps are unrolled, and their randomness comes in: a unit is on where its probability exceeds the
//! uniform number given for it. Each machine learns from what the one below makes of the batch
//! (probabilities, no gradient goes down). `gates` `[layers]` multiplies the layers' losses; where it is
//! zero the layer's weights, what the optimiser remembers of them, and its chains stay as they are.

use ndarray::{ArrayD, IxDyn};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::sigmoid;

use super::head::{Trained, check_values};
use super::rows::{mean_rows, row_products};
use super::{Student, Wired};
use crate::architecture::Initial;
use crate::compile::{Carried, Moves, Setting};
use crate::graph::Graph;
use crate::step::{InputTensor, StateRole, StateSpec};

/// Most Gibbs steps that a training step unrolls.
pub const MAX_GIBBS_STEPS: usize = 128;

/// What the visible units of the first machine are. Those above are binary, as the hidden units below are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visible {
    /// Real numbers of deviation about one, such as normalised pixels and sensor values.
    #[default]
    Gaussian,
    /// From zero to one: bits, or probabilities.
    Binary,
}

/// How the negatives are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling {
    /// Gibbs steps.
    pub(super) steps: usize,
    pub(super) persistent: bool,
    pub(super) visible: Visible,
}

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    sampling: Sampling,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let rows = graph.shape(student.embedding)?[0];
    let values: usize = student.views.iter().skip(1).product();
    let layers = layers(graph, student, values)?;
    let gates = graph.source("gates", &[layers.len()])?;
    let mut inputs = vec![InputTensor { name: "gates".into(), shape: vec![layers.len()] }];
    let (mut trained, mut carried, mut gated, mut metrics) = (Trained::default(), vec![], vec![], vec![]);
    let mut losses = vec![];
    let mut data = graph.reshape(student.input, &[rows, values])?;
    for (i, layer) in layers.iter().enumerate() {
        let visible = if i == 0 { sampling.visible } else { Visible::Binary };
        let machine = Machine::new(graph, &mut trained, layer, (i, visible), rng)?;
        let raised = machine.hidden_input(graph, data)?;
        let active = graph.element(sigmoid(), raised)?;
        let active = graph.detach(active);
        let gate = graph.slice(gates, 0, i, i + 1)?;
        let noise = Noise::new(graph, &mut inputs, i, [rows, layer.hidden, layer.visible], sampling.steps)?;

        let (begin, chain) = if sampling.persistent {
            let chain = graph.source(&chain_name(i), &[rows, layer.visible])?;
            (machine.hidden(graph, chain)?, Some(chain))
        } else {
            (active, None)
        };
        let negative = machine.gibbs(graph, begin, &noise)?;
        if let Some(now) = chain {
            let shape = [rows, layer.visible];
            carried.push(Carried {
                initial: machine.beginnings(&shape, rng),
                spec: StateSpec { name: chain_name(i), shape: shape.into(), role: StateRole::Chain },
                now,
                next: negative,
                moves: Moves::EachOpenStep(gate),
            });
        }
        let positive = machine.free_energy(graph, data, raised)?;
        let raised = machine.hidden_input(graph, negative)?;
        let negative = machine.free_energy(graph, negative, raised)?;
        let gap = graph.sub(positive, negative)?;

        metrics.push((format!("reconstruction.{i}"), machine.reconstruction(graph, data, active)?));
        metrics.push((format!("free_energy_gap.{i}"), gap));
        gated.extend([&layer.weight, &layer.bias].map(|(name, _)| (name.clone(), gate)));
        gated.push((visible_bias(i), gate));
        let gate = graph.lift_rank(gate, 2)?;
        losses.push(graph.mul(gap, gate)?);
        data = active;
    }
    let losses = graph.concat(1, &losses)?;
    let loss = graph.sum(losses, &[1])?;
    Ok(Wired { inputs, metrics, carried, gated, ..Wired::new(loss, trained) })
}

fn chain_name(i: usize) -> String {
    format!("chain.{i}")
}

fn visible_bias(i: usize) -> String {
    format!("head.visible.{i}.bias")
}

/// One layer of the encoder: its parts by name, and its width on both sides.
struct Layer {
    weight: (String, OutletId),
    bias: (String, OutletId),
    visible: usize,
    hidden: usize,
}

/// The encoder's layers from the input up, each fitting the one below.
fn layers(graph: &Graph, student: &Student<'_>, values: usize) -> TractResult<Vec<Layer>> {
    let find = |name: String| student.weights.iter().find(|(known, _)| *known == name).cloned();
    let mut layers: Vec<Layer> = vec![];
    let mut width = values;
    for i in 0..student.weights.len() {
        let (weight, bias) = (find(format!("layers.{i}.weight")), find(format!("layers.{i}.bias")));
        let (Some(weight), Some(bias)) = (weight, bias) else { break };
        let (matrix, row) = (graph.shape(weight.1)?, graph.shape(bias.1)?);
        let hidden = row.first().copied().unwrap_or(0);
        if *matrix != [hidden, width] || *row != [hidden] {
            return Err(refused(
                format!("the encoder's weight `{}`", weight.0),
                format!("{matrix:?} with a bias {row:?}"),
                format!("[hidden, {width}] with a bias [hidden], as wide as what comes from below"),
            ));
        }
        layers.push(Layer { weight, bias, visible: width, hidden });
        width = hidden;
    }
    let logistic = sigmoids(graph, student.embedding);
    if layers.is_empty() || 2 * layers.len() != student.weights.len() || logistic != layers.len() {
        return Err(refused(
            "the encoder".into(),
            format!(
                "a network of {} layers `layers.<i>` among {} trained weights, with {logistic} logistic functions",
                layers.len(),
                student.weights.len()
            ),
            "a perceptron whose every layer ends in a logistic function (sigmoid), all of it trained".into(),
        ));
    }
    Ok(layers)
}

fn refused(setting: String, found: String, wanted: String) -> TractError {
    TractError::new(Setting { setting, found, wanted })
}

/// How many logistic functions lead to `root`.
fn sigmoids(graph: &Graph, root: OutletId) -> usize {
    let (mut open, mut met, mut count) = (vec![root.node], std::collections::HashSet::new(), 0);
    while let Some(id) = open.pop() {
        if met.insert(id) {
            let node = graph.model.node(id);
            let logistic = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.name() == "Sigmoid");
            count += usize::from(logistic);
            open.extend(node.inputs.iter().map(|input| input.node));
        }
    }
    count
}

/// What a machine's Gibbs steps are drawn with, one slice a step.
struct Noise {
    /// Uniform in 0..1, `[steps, rows, hidden]`.
    hidden: OutletId,
    /// `[steps, rows, visible]`: uniform for binary units, standard normal for Gaussian ones.
    visible: OutletId,
    steps: usize,
}

impl Noise {
    fn new(
        graph: &mut Graph,
        inputs: &mut Vec<InputTensor>,
        i: usize,
        [rows, hidden, visible]: [usize; 3],
        steps: usize,
    ) -> TractResult<Self> {
        let mut input = |graph: &mut Graph, side: &str, width| {
            let (name, shape) = (format!("noise.{i}.{side}"), vec![steps, rows, width]);
            check_values(&format!("values of `{name}`"), &shape)?;
            let outlet = graph.source(&name, &shape)?;
            inputs.push(InputTensor { name, shape });
            TractResult::Ok(outlet)
        };
        let (hidden, visible) = (input(graph, "hidden", hidden)?, input(graph, "visible", visible)?);
        Ok(Self { hidden, visible, steps })
    }

    /// The rows of `noise` for Gibbs step `at`.
    fn at(graph: &mut Graph, noise: OutletId, at: usize) -> TractResult<OutletId> {
        let shape = graph.shape(noise)?;
        let slice = graph.slice(noise, 0, at, at + 1)?;
        graph.reshape(slice, &shape[1..])
    }
}

/// One restricted Boltzmann machine.
struct Machine {
    /// `[hidden, visible]`.
    weight: OutletId,
    /// `[1, hidden]`.
    hidden_bias: OutletId,
    /// `[1, visible]`.
    visible_bias: OutletId,
    visible: Visible,
}

impl Machine {
    fn new(
        graph: &mut Graph,
        trained: &mut Trained,
        layer: &Layer,
        (i, visible): (usize, Visible),
        rng: &mut ChaCha8Rng,
    ) -> TractResult<Self> {
        let zero = Initial::Constant(0.0);
        let visible_bias = trained.weight(graph, visible_bias(i), &[layer.visible], zero, rng)?;
        Ok(Self {
            weight: layer.weight.1,
            hidden_bias: graph.lift_rank(layer.bias.1, 2)?,
            visible_bias: graph.lift_rank(visible_bias, 2)?,
            visible,
        })
    }

    /// `W v + c`, `[rows, hidden]`.
    fn hidden_input(&self, graph: &mut Graph, visible: OutletId) -> TractResult<OutletId> {
        let product = graph.einsum("ni,ji->nj", visible, self.weight)?;
        graph.add(product, self.hidden_bias)
    }

    /// `p(h | v)`.
    fn hidden(&self, graph: &mut Graph, visible: OutletId) -> TractResult<OutletId> {
        let input = self.hidden_input(graph, visible)?;
        graph.element(sigmoid(), input)
    }

    /// The mean of `v` given `h`.
    fn visible(&self, graph: &mut Graph, hidden: OutletId) -> TractResult<OutletId> {
        let product = graph.einsum("nj,ji->ni", hidden, self.weight)?;
        let input = graph.add(product, self.visible_bias)?;
        match self.visible {
            Visible::Gaussian => Ok(input),
            Visible::Binary => graph.element(sigmoid(), input),
        }
    }

    /// Gibbs sampling from hidden units that are on with probability `hidden`; gives the visible units of
    /// the last step, which no gradient enters.
    fn gibbs(&self, graph: &mut Graph, mut hidden: OutletId, noise: &Noise) -> TractResult<OutletId> {
        let mut visible = self.draw_visible(graph, hidden, noise, 0)?;
        for at in 1..noise.steps {
            hidden = self.hidden(graph, visible)?;
            visible = self.draw_visible(graph, hidden, noise, at)?;
        }
        Ok(graph.detach(visible))
    }

    /// Hidden units drawn by their probabilities, and visible units by those.
    fn draw_visible(
        &self,
        graph: &mut Graph,
        hidden: OutletId,
        noise: &Noise,
        at: usize,
    ) -> TractResult<OutletId> {
        let given = Noise::at(graph, noise.hidden, at)?;
        let on = draw(graph, hidden, given)?;
        let mean = self.visible(graph, on)?;
        let given = Noise::at(graph, noise.visible, at)?;
        match self.visible {
            Visible::Gaussian => graph.add(mean, given),
            Visible::Binary => draw(graph, mean, given),
        }
    }

    /// Mean over the rows of `F(v)`, `[1, 1]`; `raised` is [`Machine::hidden_input`] of `v`.
    fn free_energy(&self, graph: &mut Graph, visible: OutletId, raised: OutletId) -> TractResult<OutletId> {
        let own = match self.visible {
            Visible::Gaussian => {
                let off = graph.sub(visible, self.visible_bias)?;
                let square = row_products(graph, off, off)?;
                graph.scale(square, 0.5)?
            }
            Visible::Binary => {
                let product = row_products(graph, visible, self.visible_bias)?;
                graph.scale(product, -1.0)?
            }
        };
        let soft = softplus(graph, raised)?;
        let soft = graph.sum(soft, &[1])?;
        let each = graph.sub(own, soft)?;
        mean_rows(graph, each)
    }

    /// Mean squared difference of the data from what their hidden probabilities give back, `[1, 1]`.
    fn reconstruction(&self, graph: &mut Graph, data: OutletId, hidden: OutletId) -> TractResult<OutletId> {
        let width = graph.shape(data)?[1];
        let rebuilt = self.visible(graph, hidden)?;
        let error = graph.sub(rebuilt, data)?;
        let square = row_products(graph, error, error)?;
        let mean = mean_rows(graph, square)?;
        graph.scale(mean, 1.0 / width as f32)
    }

    /// Where chains begin: at the machine without weights, near enough.
    fn beginnings(&self, shape: &[usize; 2], rng: &mut ChaCha8Rng) -> ArrayD<f32> {
        match self.visible {
            // Drawn with variance 2 / width.
            Visible::Gaussian => Initial::He.draw(shape, rng) * (shape[1] as f32 / 2.0).sqrt(),
            Visible::Binary => {
                ArrayD::from_shape_simple_fn(IxDyn(shape), || f32::from(u8::from(rng.random_bool(0.5))))
            }
        }
    }
}

/// One where `uniform` lies below `probability`, else zero. By arithmetic, which engines fuse: the
/// difference of two floats has the right sign, and the smallest one above zero is steep enough.
fn draw(graph: &mut Graph, probability: OutletId, uniform: OutletId) -> TractResult<OutletId> {
    let above = graph.sub(probability, uniform)?;
    graph.step(above)
}

/// `ln(1 + exp(x))` as `x/2 + |x|/2 + ln(1 + exp(-|x|))`: no exponential overflows, and the slope at zero,
/// where many units begin, is one half.
fn softplus(graph: &mut Graph, x: OutletId) -> TractResult<OutletId> {
    let size = graph.element(math::abs(), x)?;
    let above = graph.add(x, size)?;
    let above = graph.scale(above, 0.5)?;
    let down = graph.scale(size, -1.0)?;
    let small = graph.element(math::exp(), down)?;
    let small = graph.offset(small, 1.0)?;
    let small = graph.element(math::ln(), small)?;
    graph.add(above, small)
}
