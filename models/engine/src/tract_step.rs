//! A training step run by tract. State stays in tract's own tensors between steps, so that nothing is
//! copied but the batch.

use std::time::Duration;

use ndarray::ArrayViewD;
use sedge_models::compile::SKIPPED;
use sedge_models::plan::Plan;
use sedge_models::{StepSpec, Tensors, TrainingStep};
use tract_onnx::prelude::*;

use crate::graph::{Graph, Result, finite, floats, value};
use crate::{Engine, EngineError, Metrics, Options, Trace};

const WHAT: &str = "training step";
/// What is not finite when a step's guard held its state back and every metric is finite.
const NEXT_STATE: &str = "the next state";

/// Where an input of the graph comes from.
#[derive(Clone, Copy, Debug)]
enum Feed {
    /// Batch input by its place in the specification.
    Input(usize),
    /// Scalar by its place.
    Scalar(usize),
    /// State by its place.
    State(usize),
}

/// A training step on the CPU.
pub struct TractStep {
    spec: StepSpec,
    plan: Plan,
    graph: Graph,
    feeds: Vec<Feed>,
    state: Vec<TValue>,
}

impl TractStep {
    /// Prepares `step` and sets its initial state.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the graph cannot be prepared or does not do what the specification
    /// says; [`EngineError::Missing`], [`EngineError::Shape`] or [`EngineError::NotFinite`] when the
    /// initial state does not fit.
    pub fn new(step: &TrainingStep) -> Result<Self> {
        Self::with_options(step, Options::default())
    }

    /// [`TractStep::new`], run as `options` say.
    ///
    /// # Errors
    /// As [`TractStep::new`], and when the threads cannot be had.
    pub fn with_options(step: &TrainingStep, options: Options) -> Result<Self> {
        let graph = Graph::load(WHAT, &step.onnx, None, options)?;
        let plan = graph.cost.clone().map_err(|reason| EngineError::Load { what: WHAT, reason })?;
        let spec = step.spec.clone();
        let feeds = graph.inputs.iter().map(|input| feed(&spec, input)).collect::<Result<Vec<_>>>()?;
        let wanted = spec.inputs.len() + spec.scalars.len() + spec.state.len();
        let outputs = spec.metrics.len() + spec.state.len();
        if feeds.len() > wanted || graph.outputs.len() != outputs {
            let reason = format!(
                "it has {} inputs and {} outputs, its specification speaks of {wanted} and {outputs}",
                feeds.len(),
                graph.outputs.len()
            );
            return Err(EngineError::Load { what: WHAT, reason });
        }
        let states = graph.outputs.iter().skip(spec.metrics.len());
        for (output, state) in states.zip(&spec.state) {
            same_shape(&state.name, output, &state.shape)?;
        }
        let mut this = Self { spec, plan, graph, feeds, state: vec![] };
        this.set_state(&step.initial)?;
        Ok(this)
    }

    /// Memory and work of one step, of the graph as it is run here.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs one step, forgets its results, and tells how long the operators of each kind took.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub fn profile(
        &mut self,
        inputs: &[(&str, ArrayViewD<'_, f32>)],
        scalars: &[(&str, f32)],
    ) -> Result<Vec<(String, Duration)>> {
        let values = self.values(inputs, scalars)?;
        self.graph.profile(values)
    }

    /// Runs one step as it is, whatever comes out, and leaves the state as it was: for looking at a step
    /// that [`Engine::step`] refuses.
    ///
    /// # Errors
    /// As [`Engine::step`], but not when what comes out is not finite.
    pub fn trace(
        &mut self,
        inputs: &[(&str, ArrayViewD<'_, f32>)],
        scalars: &[(&str, f32)],
    ) -> Result<Trace> {
        let values = self.values(inputs, scalars)?;
        let (outputs, offender) = self.graph.trace(values)?;
        let mut metrics = Metrics::new();
        for (name, output) in self.spec.metrics.iter().zip(&outputs) {
            metrics.insert(name.clone(), floats(WHAT, output)?.values().first().copied().unwrap_or(f32::NAN));
        }
        Ok(Trace { metrics, offender })
    }

    /// What the graph takes, in its order.
    fn values(
        &self,
        inputs: &[(&str, ArrayViewD<'_, f32>)],
        scalars: &[(&str, f32)],
    ) -> Result<TVec<TValue>> {
        let scalars = self.scalars(scalars)?;
        let batch = self.batch(inputs)?;
        let values = self.feeds.iter().map(|feed| match *feed {
            Feed::Input(i) => batch[i].clone(),
            Feed::Scalar(i) => tensor0(scalars[i]).into_tvalue(),
            Feed::State(i) => self.state[i].clone(),
        });
        Ok(values.collect())
    }

    fn scalars(&self, overrides: &[(&str, f32)]) -> Result<Vec<f32>> {
        let known = |name: &str| self.spec.scalars.iter().position(|(n, _)| n == name);
        let mut values: Vec<f32> = self.spec.scalars.iter().map(|(_, default)| *default).collect();
        for (name, given) in overrides {
            let place = known(name).ok_or_else(|| EngineError::Unknown {
                name: (*name).into(),
                known: self.spec.scalars.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", "),
            })?;
            values[place] = *given;
        }
        Ok(values)
    }

    fn batch(&self, inputs: &[(&str, ArrayViewD<'_, f32>)]) -> Result<Vec<TValue>> {
        if let Some((name, _)) = inputs.iter().find(|(n, _)| !self.spec.inputs.iter().any(|i| i.name == *n)) {
            let known = self.spec.inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(EngineError::Unknown { name: (*name).into(), known });
        }
        let values = self.spec.inputs.iter().map(|wanted| {
            let found = inputs.iter().find(|(name, _)| *name == wanted.name);
            let (_, array) = found.ok_or_else(|| EngineError::Missing {
                name: wanted.name.clone(),
                wanted: wanted.shape.clone(),
            })?;
            same_shape(&wanted.name, array.shape(), &wanted.shape)?;
            finite(&wanted.name, array)?;
            tract_value(array.view())
        });
        values.collect()
    }
}

fn feed(spec: &StepSpec, (name, shape): &(String, Vec<usize>)) -> Result<Feed> {
    if let Some(i) = spec.inputs.iter().position(|input| input.name == *name) {
        same_shape(name, shape, &spec.inputs[i].shape)?;
        return Ok(Feed::Input(i));
    }
    if let Some(i) = spec.scalars.iter().position(|(scalar, _)| scalar == name) {
        same_shape(name, shape, &[])?;
        return Ok(Feed::Scalar(i));
    }
    if let Some(i) = spec.state.iter().position(|state| state.name == *name) {
        same_shape(name, shape, &spec.state[i].shape)?;
        return Ok(Feed::State(i));
    }
    Err(EngineError::Load { what: WHAT, reason: format!("its specification knows no input `{name}`") })
}

fn same_shape(name: &str, found: &[usize], wanted: &[usize]) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(EngineError::Shape { name: name.into(), found: found.into(), wanted: wanted.into() })
}

fn tract_value(array: ArrayViewD<'_, f32>) -> Result<TValue> {
    value(array).map_err(|e| EngineError::Run { what: WHAT, reason: format!("{e:#}") })
}

impl Engine for TractStep {
    fn spec(&self) -> &StepSpec {
        &self.spec
    }

    fn step(&mut self, inputs: &[(&str, ArrayViewD<'_, f32>)], scalars: &[(&str, f32)]) -> Result<Metrics> {
        let outputs = self.graph.run(self.values(inputs, scalars)?)?;
        let mut metrics = Metrics::new();
        for (name, output) in self.spec.metrics.iter().zip(&outputs) {
            let value = floats(WHAT, output)?.values().first().copied().unwrap_or(f32::NAN);
            if !value.is_finite() {
                return Err(EngineError::NotFinite { name: name.clone() });
            }
            metrics.insert(name.clone(), value);
        }
        // A step of ours guards itself; one from elsewhere may not, so the state is looked at as well.
        if metrics.remove(SKIPPED).is_some_and(|skipped| skipped != 0.0) {
            return Err(EngineError::NotFinite { name: NEXT_STATE.into() });
        }
        let next = &outputs[self.spec.metrics.len()..];
        for (state, output) in self.spec.state.iter().zip(next) {
            if floats(WHAT, output)?.values().iter().any(|v| !v.is_finite()) {
                return Err(EngineError::NotFinite { name: state.name.clone() });
            }
        }
        self.state = next.to_vec();
        Ok(metrics)
    }

    fn state(&self) -> Result<Tensors> {
        let named = self.spec.state.iter().zip(&self.state);
        named.map(|(spec, value)| Ok((spec.name.clone(), floats(WHAT, value)?.array()))).collect()
    }

    fn set_state(&mut self, state: &Tensors) -> Result<()> {
        let values = self.spec.state.iter().map(|spec| {
            let missing = || EngineError::Missing { name: spec.name.clone(), wanted: spec.shape.clone() };
            let array = state.get(&spec.name).ok_or_else(missing)?;
            same_shape(&spec.name, array.shape(), &spec.shape)?;
            finite(&spec.name, &array.view())?;
            tract_value(array.view())
        });
        self.state = values.collect::<Result<_>>()?;
        Ok(())
    }
}
