//! The training-step compiler: an encoder in ONNX, the names of the weights to train, an objective
//! and an optimiser go in; one ONNX graph comes out that does forward, loss, backward and update.
//!
//! The encoder is lifted (trained initializers become inputs), decluttered by tract into its small
//! set of core operators, brought to channels last, extended by the objective, differentiated, extended
//! by what happens to gradients, by the optimiser and by the guard, decluttered again and written.

mod carried;
mod forward;
mod gradients;
mod guard;
mod recipe;
mod reference;
mod setting;
mod teacher;

use std::collections::{BTreeSet, HashMap};

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

pub use recipe::{CompileError, MAX_MICRO_BATCHES, Recipe};
pub use setting::Setting;

pub(crate) use carried::{Carried, Moves};
pub(crate) use teacher::Teacher;

use crate::autodiff::{self, NoRule};
use crate::contain;
use crate::graph::Graph;
use crate::limits;
use crate::objective::Student;
use crate::onnx;
use crate::optimizer;
use crate::passes;
use crate::step::{InputTensor, StateRole, StateSpec, StepSpec, TrainingStep, next_name};
use crate::tensors::Tensors;
use forward::{Forward, source};

/// Name of a step's first batch input.
pub const VIEWS: &str = "views";
/// Prefix of a second encoder that is trained beside the first (see [`crate::onnx::join`]): its input is called
/// so, and its embedding and weights `second.` and their names.
pub const SECOND: &str = "second";
/// How much of a batch's statistics enters the running ones at each step.
pub const STATISTICS_MOMENTUM: f32 = 0.1;
/// Output that says whether a step left the state alone because something was not finite.
pub const SKIPPED: &str = "skipped";
/// Output that says whether a step that sums micro-batches moved the weights.
pub const APPLIED: &str = "applied";

/// Compiles `recipe`.
///
/// # Errors
/// See [`CompileError`]; nothing is half-compiled.
pub fn compile(recipe: Recipe) -> Result<TrainingStep, CompileError> {
    build(recipe, Gradients::Wired)
}

/// Compiles `recipe` all but its backward pass, for an engine that differentiates by itself: the gradient of
/// the output `loss` by each weight that is trained is an input, called as [`gradient_name`] says, of the weight's
/// shape. Clipping, optimiser and state are as in [`compile`], and so is the specification, which does not
/// list these inputs. Values through which no gradient passes go through
/// [`StopGradient`](crate::fused::Call::StopGradient).
///
/// # Errors
/// See [`CompileError`]. That each operator can be differentiated is for the engine to say.
pub fn open(recipe: Recipe) -> Result<TrainingStep, CompileError> {
    build(recipe, Gradients::Given)
}

/// The input of an [`open`] step by which the gradient of `weight` comes in.
pub fn gradient_name(weight: &str) -> String {
    format!("{weight}.gradient")
}

/// Where gradients come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gradients {
    /// From nodes of the step.
    Wired,
    /// From outside.
    Given,
}

fn build(mut recipe: Recipe, source_of_gradients: Gradients) -> Result<TrainingStep, CompileError> {
    recipe.check()?;
    limits::check(&recipe.encoder, None)?;
    let others = forward::other_inputs(&recipe.encoder);
    let names: BTreeSet<String> = std::mem::take(&mut recipe.trained).into_iter().collect();
    let lifted =
        onnx::lift(&mut recipe.encoder, &names).map_err(|names| CompileError::NoSuchWeight { names })?;
    let forward = contained("reading", || Forward::read(&recipe.encoder, &others))?;
    contained("differentiating", move || {
        let source = |n: &String| Ok((n.clone(), source(&forward.model, n)?));
        let weights: Vec<_> = names.iter().map(source).collect::<TractResult<_>>()?;
        let mut graph = Graph::new(forward.model);
        graph.model.rename_node(forward.input.node, VIEWS)?;
        let views = graph.shape(forward.input)?.to_vec();
        let (carried, metrics, scalars) = (vec![], vec![], vec![]);
        let compiler =
            Compiler { graph, gradients: source_of_gradients, carried, metrics, scalars, applies: None };
        let encoder = Encoder {
            embedding: forward.embedding,
            features: forward.features,
            inputs: forward.others,
            weights,
            initial: lifted,
            views,
        };
        compiler.compile(&recipe, encoder, &forward.statistics)
    })
}

/// Runs `work`, turning tract's errors and panics into ours.
fn contained<T>(stage: &'static str, work: impl FnOnce() -> TractResult<T>) -> Result<T, CompileError> {
    // The closures' captures are dropped or never read again after a panic.
    match contain::quietly(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.downcast::<NoRule>() {
            Ok(no_rule) => no_rule.into(),
            Err(error) => match error.downcast::<Setting>() {
                Ok(setting) => setting.into(),
                Err(error) => CompileError::Graph { stage, reason: format!("{error:#}") },
            },
        }),
        Err(_) => Err(CompileError::Panicked { stage }),
    }
}

/// The encoder within the graph.
struct Encoder {
    embedding: OutletId,
    /// Outputs beside the embedding and the batch statistics.
    features: Vec<(String, OutletId)>,
    /// Inputs beside the views.
    inputs: Vec<(String, OutletId)>,
    weights: Vec<(String, OutletId)>,
    initial: Tensors,
    /// Shape of the views.
    views: Vec<usize>,
}

/// When the weight called `name` moves.
fn with_weight(gated: &[(String, OutletId)], name: &str) -> Moves {
    let gate = gated.iter().find(|(weight, _)| weight == name);
    gate.map_or(Moves::WithWeights, |(_, gate)| Moves::WithOpenWeights(*gate))
}

struct Compiler {
    graph: Graph,
    gradients: Gradients,
    carried: Vec<Carried>,
    metrics: Vec<(String, OutletId)>,
    scalars: Vec<(String, f32)>,
    /// Where micro-batches are summed: one at the last of a batch.
    applies: Option<OutletId>,
}

impl Compiler {
    fn compile(
        mut self,
        recipe: &Recipe,
        encoder: Encoder,
        statistics: &[(String, OutletId)],
    ) -> TractResult<TrainingStep> {
        self.scalars = vec![("lr".into(), recipe.lr), ("weight_decay".into(), recipe.weight_decay)];
        let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
        let student = Student {
            embedding: encoder.embedding,
            features: &encoder.features,
            inputs: &encoder.inputs,
            input: source(&self.graph.model, VIEWS)?,
            views: &encoder.views,
            weights: &encoder.weights,
            initial: &encoder.initial,
            accumulate: recipe.accumulate,
        };
        let wired = recipe.objective.wire(&mut self.graph, &student, &mut rng)?;
        self.scalars.extend(wired.scalars);
        self.metrics.push(("loss".into(), wired.loss));
        self.metrics.extend(wired.metrics);
        let loss = self.pull(recipe, wired.loss, &encoder)?;

        let weights = [encoder.weights.as_slice(), &wired.weights].concat();
        let initial: Tensors = encoder.initial.into_iter().chain(wired.initial).collect();
        let moved = self.train(recipe, loss, &weights, initial, &wired.gated)?;
        self.track(statistics, &recipe.statistics)?;
        if let Some(teacher) = wired.teacher {
            self.carried.extend(teacher.follow(&mut self.graph, &moved)?);
        }
        self.carried.extend(wired.carried);

        let mut inputs = vec![InputTensor { name: VIEWS.into(), shape: encoder.views.clone() }];
        for (name, outlet) in &encoder.inputs {
            inputs.push(InputTensor { name: name.clone(), shape: self.graph.shape(*outlet)?.to_vec() });
        }
        inputs.extend(wired.inputs);
        self.finish(StepSpec {
            objective: recipe.objective.name().into(),
            optimizer: recipe.optimizer.name().into(),
            batch: encoder.views.first().copied().unwrap_or(0),
            inputs,
            scalars: vec![],
            state: vec![],
            metrics: vec![],
        })
    }

    /// Adds the pull towards the frozen encoder to the loss, where the recipe asks for one.
    fn pull(&mut self, recipe: &Recipe, loss: OutletId, encoder: &Encoder) -> TractResult<OutletId> {
        let Some(weight) = recipe.reference else { return Ok(loss) };
        let distance =
            reference::distance(&mut self.graph, encoder.embedding, &encoder.weights, &encoder.initial)?;
        let pulled = reference::pull(&mut self.graph, loss, distance)?;
        self.scalars.push(("reference_weight".into(), weight));
        self.metrics.push(("reference_distance".into(), distance));
        if let Some((_, shown)) = self.metrics.first_mut() {
            *shown = pulled;
        }
        Ok(pulled)
    }

    /// Wires gradients, what is done to them, and the optimiser; gives the moved weights by name.
    fn train(
        &mut self,
        recipe: &Recipe,
        loss: OutletId,
        weights: &[(String, OutletId)],
        mut initial: Tensors,
        gated: &[(String, OutletId)],
    ) -> TractResult<HashMap<String, OutletId>> {
        let roots: Vec<OutletId> = self.metrics.iter().map(|(_, o)| *o).collect();
        self.graph.model.select_output_outlets(&roots)?;
        let gradients = self.gradients(loss, weights)?;
        let mut parameters: Vec<gradients::Parameter> =
            weights.iter().zip(gradients).map(|((name, w), g)| (name.clone(), *w, g)).collect();
        let mut sums = vec![];
        if recipe.accumulate > 1 {
            let accumulation = gradients::accumulate(&mut self.graph, &mut parameters, recipe.accumulate)?;
            self.applies = Some(accumulation.applies);
            self.metrics.push((APPLIED.into(), accumulation.applies));
            sums = accumulation.carried;
        }
        if let Some(norm) = recipe.clip_norm {
            let before = gradients::clip(&mut self.graph, &mut parameters)?;
            self.scalars.push(("clip_norm".into(), norm));
            self.metrics.push(("gradient_norm".into(), before));
        }
        let moved = optimizer::wire(&recipe.optimizer, &mut self.graph, &parameters, &|weight| {
            matches!(with_weight(gated, weight), Moves::WithOpenWeights(_))
        })?;
        for ((name, now), next) in weights.iter().zip(&moved.weights) {
            let shape = self.graph.shape(*now)?.to_vec();
            let initial = initial.remove(name).context("a weight without an initial value")?;
            let spec = StateSpec { name: name.clone(), shape, role: StateRole::Parameter };
            let moves = with_weight(gated, name);
            self.carried.push(Carried { spec, initial, now: *now, next: *next, moves });
        }
        for memory in moved.memory {
            let initial = ArrayD::zeros(IxDyn(&memory.shape));
            // A memory is called after its weight: `<weight>/<kind>`.
            let moves = with_weight(gated, memory.name.rsplit_once('/').map_or("", |(weight, _)| weight));
            let spec = StateSpec { name: memory.name, shape: memory.shape, role: StateRole::Optimizer };
            let (now, next) = (memory.now, memory.next);
            self.carried.push(Carried { spec, initial, now, next, moves });
        }
        self.carried.extend(sums);
        Ok(weights.iter().map(|(name, _)| name.clone()).zip(moved.weights).collect())
    }

    /// The gradients of `loss` by `weights`, in their order.
    fn gradients(&mut self, loss: OutletId, weights: &[(String, OutletId)]) -> TractResult<Vec<OutletId>> {
        let outlets: Vec<OutletId> = weights.iter().map(|(_, o)| *o).collect();
        if self.gradients == Gradients::Wired {
            return autodiff::differentiate(&mut self.graph, loss, &outlets);
        }
        self.graph.state_detached()?;
        let given = weights.iter().map(|(name, weight)| {
            let shape = self.graph.shape(*weight)?.to_vec();
            self.graph.source(&gradient_name(name), &shape)
        });
        given.collect()
    }

    /// Running statistics: an exponential mean of the batches' statistics.
    fn track(&mut self, outputs: &[(String, OutletId)], initial: &Tensors) -> TractResult<()> {
        self.graph.enter("statistics");
        for (output, batch) in outputs {
            let (norm, kind) =
                output.rsplit_once(".batch_").context("an output that is no batch statistic")?;
            let name = format!("{norm}.running_{kind}");
            let channels: usize = self.graph.shape(*batch)?.iter().product();
            let row = self.graph.reshape(*batch, &[channels])?;
            let running = self.graph.source(&name, &[channels])?;
            let kept = self.graph.scale(running, 1.0 - STATISTICS_MOMENTUM)?;
            let added = self.graph.scale(row, STATISTICS_MOMENTUM)?;
            let next = self.graph.add(kept, added)?;
            let begin = if kind == "var" { 1.0 } else { 0.0 };
            let value =
                initial.get(&name).cloned().unwrap_or_else(|| ArrayD::from_elem(IxDyn(&[channels]), begin));
            let spec = StateSpec { name, shape: vec![channels], role: StateRole::Statistic };
            self.carried.push(Carried { spec, initial: value, now: running, next, moves: Moves::EachStep });
        }
        Ok(())
    }

    fn finish(mut self, mut spec: StepSpec) -> TractResult<TrainingStep> {
        let mut watched: Vec<OutletId> = self.metrics.iter().map(|(_, o)| *o).collect();
        for (name, _) in &self.scalars {
            watched.push(source(&self.graph.model, name)?);
        }
        let guarded = guard::guard(&mut self.graph, &watched, &self.carried, self.applies)?;
        self.metrics.push((SKIPPED.into(), guarded.skipped));
        let mut outlets: Vec<OutletId> = self.metrics.iter().map(|(_, o)| *o).collect();
        outlets.extend(guarded.next);
        self.graph.model.select_output_outlets(&outlets)?;
        spec.scalars = self.scalars;
        spec.metrics = self.metrics.into_iter().map(|(name, _)| name).collect();
        let initial = self.carried.iter().map(|c| (c.spec.name.clone(), c.initial.clone())).collect();
        spec.state = self.carried.into_iter().map(|carried| carried.spec).collect();
        let states = spec.state.iter().map(|s| next_name(&s.name));
        let names: Vec<String> = spec.metrics.iter().cloned().chain(states).collect();
        let mut model = self.graph.model;
        model.properties.clear();
        model.compact()?;
        passes::declutter(&mut model)?;
        let proto = onnx::write::write(&model, "training_step", &names)?;
        // Names that clash, or a step that costs too much, are told here and not where it is to run.
        onnx::check_written(&proto)?;
        limits::check(&proto, None)?;
        Ok(TrainingStep { spec, onnx: proto.encode_to_vec(), initial })
    }
}
