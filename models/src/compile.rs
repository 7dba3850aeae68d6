//! The training-step compiler: an encoder in ONNX, the names of the weights to train, an objective
//! and an optimiser go in; one ONNX graph comes out that does forward, loss, backward and update.
//!
//! The encoder is lifted (trained initializers become inputs), decluttered by tract into its small
//! set of core operators, brought to channels last, extended by the objective, differentiated, extended
//! by the optimiser, decluttered again and written.

use std::collections::BTreeSet;

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use crate::autodiff::{self, NoRule};
use crate::contain;
use crate::graph::Graph;
use crate::layout::channels_last;
use crate::limits::{self, LimitError};
use crate::objective::Objective;
use crate::onnx;
use crate::optimizer::{self, Optimizer};
use crate::passes;
use crate::step::{InputTensor, StateRole, StateSpec, StepSpec, TrainingStep, next_name};
use crate::tensors::Tensors;

/// Name of a step's first batch input.
pub const VIEWS: &str = "views";
/// How much of a batch's statistics enters the running ones at each step.
pub const STATISTICS_MOMENTUM: f32 = 0.1;

/// What to compile.
#[derive(Debug)]
pub struct Recipe {
    /// The encoder: one batch input of fixed shape; the first output is the embedding `[batch, dim]`.
    /// Further outputs `<norm>.batch_mean` and `<norm>.batch_var` `[1, c, ...]` are batch statistics.
    pub encoder: pb::ModelProto,
    /// Initializers to train.
    pub trained: Vec<String>,
    /// Initial running statistics, `<norm>.running_mean` and `<norm>.running_var`, where the encoder
    /// has statistics outputs. Missing ones begin at mean 0 and variance 1.
    pub statistics: Tensors,
    /// What to train for.
    pub objective: Objective,
    /// How to move the weights.
    pub optimizer: Optimizer,
    /// Default of the `lr` input.
    pub lr: f32,
    /// Default of the `weight_decay` input.
    pub weight_decay: f32,
    /// Seed of the objective's initial weights.
    pub seed: u64,
}

/// Why a training step could not be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Names that are no float initializer of the encoder.
    #[error("the encoder has no float weights called {names:?}; `sedge inspect` lists its weights")]
    NoSuchWeight {
        /// The names.
        names: Vec<String>,
    },
    /// An operator between the trained weights and the loss has no gradient.
    #[error(transparent)]
    NoRule(#[from] NoRule),
    /// The encoder costs too much, or its cost cannot be bounded.
    #[error("the encoder cannot be made into a training step: {0}")]
    Limit(#[from] LimitError),
    /// tract could not read or rewrite the encoder, or an objective does not fit it.
    #[error("the encoder cannot be made into a training step ({stage}): {reason}")]
    Graph {
        /// What was being done.
        stage: &'static str,
        /// What was said.
        reason: String,
    },
    /// tract panicked, which a malformed model can make it do; the panic was contained.
    #[error(
        "the encoder made the graph library panic ({stage}); the model is malformed or hits a defect in it"
    )]
    Panicked {
        /// What was being done.
        stage: &'static str,
    },
}

/// Compiles `recipe`.
///
/// # Errors
/// See [`CompileError`]; nothing is half-compiled.
pub fn compile(recipe: Recipe) -> Result<TrainingStep, CompileError> {
    let Recipe { mut encoder, trained, statistics, objective, optimizer, lr, weight_decay, seed } = recipe;
    limits::check(&encoder, None)?;
    let names: BTreeSet<String> = trained.into_iter().collect();
    let lifted = onnx::lift(&mut encoder, &names).map_err(|names| CompileError::NoSuchWeight { names })?;
    let forward = contained("reading", || Forward::read(&encoder))?;
    let mut compiler =
        Compiler { graph: Graph::new(forward.model), spec: vec![], metrics: vec![], initial: lifted };
    contained("differentiating", move || {
        let weights: Vec<(String, OutletId)> = names
            .iter()
            .map(|n| Ok((n.clone(), source(&compiler.graph.model, n)?)))
            .collect::<TractResult<_>>()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let input = compiler.graph.shape(forward.input)?.to_vec();
        compiler.graph.model.rename_node(forward.input.node, VIEWS)?;
        let wired = objective.wire(&mut compiler.graph, forward.embedding, &mut rng)?;
        let mut inputs = vec![InputTensor { name: VIEWS.into(), shape: input.clone() }];
        inputs.extend(wired.inputs);
        let mut scalars = vec![("lr".to_string(), lr), ("weight_decay".to_string(), weight_decay)];
        scalars.extend(wired.scalars);
        compiler.metrics.push(("loss".into(), wired.loss));
        compiler.metrics.extend(wired.metrics);
        compiler.initial.extend(wired.initial);
        let weights = [weights, wired.weights].concat();
        compiler.train(wired.loss, &weights, &optimizer)?;
        compiler.track(&forward.statistics, &statistics)?;
        let batch = input.first().copied().unwrap_or(0);
        compiler.finish(StepSpec {
            objective: objective.name().into(),
            optimizer: optimizer.name().into(),
            batch,
            inputs,
            scalars,
            state: vec![],
            metrics: vec![],
        })
    })
}

/// Runs `work`, turning tract's errors and panics into ours.
fn contained<T>(stage: &'static str, work: impl FnOnce() -> TractResult<T>) -> Result<T, CompileError> {
    // The closures' captures are dropped or never read again after a panic.
    match contain::quietly(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => match error.downcast::<NoRule>() {
            Ok(no_rule) => Err(no_rule.into()),
            Err(error) => Err(CompileError::Graph { stage, reason: format!("{error:#}") }),
        },
        Err(_) => Err(CompileError::Panicked { stage }),
    }
}

fn source(model: &TypedModel, name: &str) -> TractResult<OutletId> {
    Ok(OutletId::new(model.node_by_name(name)?.id, 0))
}

/// The encoder as a decluttered, channels-last graph.
struct Forward {
    model: TypedModel,
    input: OutletId,
    embedding: OutletId,
    /// Batch statistics by output name.
    statistics: Vec<(String, OutletId)>,
}

impl Forward {
    fn read(encoder: &pb::ModelProto) -> TractResult<Self> {
        let graph = encoder.graph.as_ref().context("a model without a graph")?;
        let typed = tract_onnx::onnx().model_for_proto_model(encoder)?.into_typed()?;
        let model = channels_last(&typed)?;
        let input_name = &graph.input.first().context("an encoder without an input")?.name;
        let input = source(&model, input_name)?;
        let outputs = model.output_outlets()?.to_vec();
        let embedding = *outputs.first().context("an encoder without an output")?;
        let fact = model.outlet_fact(embedding)?;
        ensure!(
            fact.rank() == 2 && fact.datum_type == f32::datum_type() && fact.shape.is_concrete(),
            "the first output must be a float embedding [batch, dim] of fixed shape, it is {fact:?}"
        );
        limits::check_embedding(&fact.shape.eval_to_usize(&SymbolValues::default())?)?;
        let names = graph.output.iter().map(|o| o.name.clone());
        let statistics = names.zip(outputs).skip(1).collect();
        Ok(Self { model, input, embedding, statistics })
    }
}

struct Compiler {
    graph: Graph,
    spec: Vec<(StateSpec, OutletId)>,
    metrics: Vec<(String, OutletId)>,
    initial: Tensors,
}

impl Compiler {
    fn train(
        &mut self,
        loss: OutletId,
        weights: &[(String, OutletId)],
        optimizer: &Optimizer,
    ) -> TractResult<()> {
        let roots: Vec<OutletId> = self.metrics.iter().map(|(_, o)| *o).collect();
        self.graph.model.select_output_outlets(&roots)?;
        let outlets: Vec<OutletId> = weights.iter().map(|(_, o)| *o).collect();
        let gradients = autodiff::differentiate(&mut self.graph, loss, &outlets)?;
        let parameters: Vec<(String, OutletId, OutletId)> =
            weights.iter().zip(gradients).map(|((name, w), g)| (name.clone(), *w, g)).collect();
        let moved = optimizer::wire(optimizer, &mut self.graph, &parameters)?;
        for ((name, weight), next) in weights.iter().zip(moved.weights) {
            let shape = self.graph.shape(*weight)?.to_vec();
            self.carry(name.clone(), shape, StateRole::Parameter, next);
        }
        for memory in moved.memory {
            self.initial.insert(memory.name.clone(), ArrayD::zeros(IxDyn(&memory.shape)));
            self.carry(memory.name, memory.shape, StateRole::Optimizer, memory.next);
        }
        Ok(())
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
            self.initial.insert(name.clone(), value);
            self.carry(name, vec![channels], StateRole::Statistic, next);
        }
        Ok(())
    }

    fn carry(&mut self, name: String, shape: Vec<usize>, role: StateRole, next: OutletId) {
        self.spec.push((StateSpec { name, shape, role }, next));
    }

    fn finish(mut self, mut spec: StepSpec) -> TractResult<TrainingStep> {
        let outlets = self.metrics.iter().map(|(_, o)| *o).chain(self.spec.iter().map(|(_, o)| *o));
        let outlets: Vec<OutletId> = outlets.collect();
        self.graph.model.select_output_outlets(&outlets)?;
        spec.metrics = self.metrics.into_iter().map(|(name, _)| name).collect();
        spec.state = self.spec.into_iter().map(|(state, _)| state).collect();
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
        Ok(TrainingStep { spec, onnx: proto.encode_to_vec(), initial: self.initial })
    }
}
