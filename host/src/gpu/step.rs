//! A training step run through burn: forward pass and loss by the graph, gradients by burn's own
//! differentiation, and clipping, optimiser and state by the graph again, which takes gradients as inputs
//! ([`sedge_models::compile::open`]). So the two engines share every formula but those of gradients, for which each
//! is the other's oracle. State stays on the device between steps.

use burn_backend::tensor::FloatTensor;
use burn_backend::{AutodiffBackend, read_sync};
use ndarray::{ArrayD, ArrayViewD};
use sedge_engine::{Engine, EngineError, Metrics};
use sedge_models::compile::{SKIPPED, gradient_name};
use sedge_models::step::next_name;
use sedge_models::{StateRole, StepSpec, Tensors, TrainingStep, contain};

use super::program::{Part, Place, Program, Slot, Value, Values};
use super::{Device, GpuError, Precision};

const WHAT: &str = "training step";
const LOSS: &str = "loss";
/// What is not finite when a step's guard held its state back and every metric is finite.
const NEXT_STATE: &str = "the next state";
/// The factor by which the loss is scaled in half precision, so that small gradients do not vanish
/// (Micikevicius et al. 2018, section 3.2). It is halved within a step until nothing overflows, and every step begins
/// with it anew, so that a step stays a pure function.
const LOSS_SCALE: f32 = 32_768.0;

/// A trained weight: where it enters, and where its gradient does.
#[derive(Clone, Debug)]
struct Weight {
    name: String,
    place: usize,
    gradient: Option<Slot>,
}

/// A training step on a device of burn's.
pub(super) struct BurnStep<A: AutodiffBackend> {
    spec: StepSpec,
    device: Device,
    place: Place<A>,
    program: Program,
    constants: Vec<(Slot, Value<A>)>,
    weights: Vec<Weight>,
    state: Vec<Value<A>>,
}

impl<A: AutodiffBackend> BurnStep<A> {
    /// Prepares `step`, which is open at its gradients, and sets its initial state.
    pub(super) fn new(
        step: &TrainingStep,
        device: Device,
        at: A::Device,
        precision: Precision,
    ) -> Result<Self, GpuError> {
        let program = Program::read(&step.onnx, LOSS)?;
        let spec = step.spec.clone();
        let outputs = spec.metrics.iter().cloned().chain(spec.state.iter().map(|s| next_name(&s.name)));
        if let Some(missing) = outputs.into_iter().find(|name| program.slot(name).is_none()) {
            return Err(GpuError::Graph { reason: format!("it has no output `{missing}`") });
        }
        let trained = spec.state.iter().enumerate().filter(|(_, s)| s.role == StateRole::Parameter);
        let weight = |(place, state): (usize, &sedge_models::StateSpec)| Weight {
            name: state.name.clone(),
            place,
            gradient: program.slot(&gradient_name(&state.name)),
        };
        let weights = trained.map(weight).collect();
        let place = Place::new(at, precision);
        let constants = program.constants(&place)?;
        let mut this = Self { spec, device, place, program, constants, weights, state: vec![] };
        this.set_state(&step.initial)?;
        Ok(this)
    }

    /// The values that a step is given, weights among them as `weights`.
    fn given(
        &self,
        inputs: &[(Slot, Value<A>)],
        scalars: &[f32],
        weights: &[(usize, FloatTensor<A>)],
    ) -> Values<A> {
        let mut values = self.program.values(&self.constants);
        for (slot, value) in inputs {
            values.set(*slot, value.clone());
        }
        for ((name, _), value) in self.spec.scalars.iter().zip(scalars) {
            if let Some(slot) = self.program.slot(name) {
                values.set(slot, Value::Float(self.place.filled(*value, &[])));
            }
        }
        for (at, (spec, value)) in self.spec.state.iter().zip(&self.state).enumerate() {
            let Some(slot) = self.program.slot(&spec.name) else { continue };
            let followed = weights.iter().find(|(place, _)| *place == at);
            let value = followed.map_or_else(|| value.clone(), |(_, weight)| Value::Float(weight.clone()));
            values.set(slot, value);
        }
        values
    }

    /// The values after one step with the loss scaled by `scale`.
    fn run(&self, inputs: &[(Slot, Value<A>)], scalars: &[f32], scale: f32) -> Result<Values<A>, GpuError> {
        let mut weights = vec![];
        for weight in &self.weights {
            let Some(Value::Float(value)) = self.state.get(weight.place) else { continue };
            weights.push((weight.place, A::float_set_require_grad(value.clone(), true)));
        }
        let mut values = self.given(inputs, scalars, &weights);
        self.program.run(Part::Forward, &mut values, &self.place)?;
        let loss = self.program.slot(LOSS).and_then(|slot| values.get(slot)).cloned();
        let loss = loss.ok_or_else(|| GpuError::Graph { reason: "it computes no loss".into() })?;
        let loss = loss.float().map_err(|reason| GpuError::Graph { reason })?;
        let mut gradients = A::backward(scaled::<A>(loss, scale));
        for (weight, (_, value)) in self.weights.iter().zip(&weights) {
            let Some(slot) = weight.gradient else { continue };
            let gradient = A::grad_remove(value, &mut gradients);
            let gradient = gradient.ok_or_else(|| GpuError::Unreached { weight: weight.name.clone() })?;
            let gradient = scaled::<A>(A::from_inner(gradient), 1.0 / scale);
            values.set(slot, Value::Float(gradient));
        }
        drop(gradients);
        values.detach();
        self.program.run(Part::Rest, &mut values, &self.place)?;
        Ok(values)
    }

    /// All metrics in one transfer, in the specification's order.
    fn metrics(&self, values: &Values<A>) -> Result<Vec<f32>, GpuError> {
        let mut parts = vec![];
        for name in &self.spec.metrics {
            let value = self.program.slot(name).and_then(|slot| values.get(slot)).cloned();
            let value =
                value.ok_or_else(|| GpuError::Graph { reason: format!("it computes no `{name}`") })?;
            let row = value.reshape(&[1]).and_then(Value::float);
            parts.push(row.map_err(|reason| GpuError::Graph { reason: format!("`{name}`: {reason}") })?);
        }
        self.read(A::float_cat(parts, 0))
    }

    fn read(&self, tensor: FloatTensor<A>) -> Result<Vec<f32>, GpuError> {
        let failed = |reason: String| GpuError::Graph { reason };
        let data = read_sync(A::float_into_data(tensor)).map_err(|e| failed(format!("{e:?}")))?;
        data.into_vec::<f32>().map_err(|e| failed(format!("{e:?}")))
    }

    fn scalars(&self, overrides: &[(&str, f32)]) -> Result<Vec<f32>, EngineError> {
        let mut values: Vec<f32> = self.spec.scalars.iter().map(|(_, default)| *default).collect();
        for (name, given) in overrides {
            let place = self.spec.scalars.iter().position(|(known, _)| known == name);
            let value =
                place.and_then(|place| values.get_mut(place)).ok_or_else(|| EngineError::Unknown {
                    name: (*name).into(),
                    known: names(self.spec.scalars.iter().map(|(n, _)| n.as_str())),
                })?;
            *value = *given;
        }
        Ok(values)
    }

    fn batch(&self, inputs: &[(&str, ArrayViewD<'_, f32>)]) -> Result<Vec<(Slot, Value<A>)>, EngineError> {
        if let Some((name, _)) = inputs.iter().find(|(n, _)| !self.spec.inputs.iter().any(|i| i.name == *n)) {
            let known = names(self.spec.inputs.iter().map(|i| i.name.as_str()));
            return Err(EngineError::Unknown { name: (*name).into(), known });
        }
        let mut values = vec![];
        for wanted in &self.spec.inputs {
            let found = inputs.iter().find(|(name, _)| *name == wanted.name);
            let (_, array) = found.ok_or_else(|| EngineError::Missing {
                name: wanted.name.clone(),
                wanted: wanted.shape.clone(),
            })?;
            let value = self.uploaded(&wanted.name, array, &wanted.shape)?;
            // An input that the graph does not read is asked for all the same.
            values.extend(self.program.slot(&wanted.name).map(|slot| (slot, value)));
        }
        Ok(values)
    }

    fn uploaded(
        &self,
        name: &str,
        array: &ArrayViewD<'_, f32>,
        wanted: &[usize],
    ) -> Result<Value<A>, EngineError> {
        if array.shape() != wanted {
            let (found, wanted) = (array.shape().to_vec(), wanted.to_vec());
            return Err(EngineError::Shape { name: name.into(), found, wanted });
        }
        let values: Vec<f32> = array.iter().copied().collect();
        if !values.iter().all(|v| v.is_finite()) {
            return Err(EngineError::NotFinite { name: name.into() });
        }
        Ok(Value::Float(self.place.floats(values, wanted)))
    }

    /// Runs `work`, in which burn may panic.
    fn contained<T>(&self, work: impl FnOnce() -> Result<T, GpuError>) -> Result<T, EngineError> {
        let outcome = contain::quietly(work).unwrap_or(Err(GpuError::Panicked { device: self.device }));
        outcome.map_err(|error| EngineError::Run { what: WHAT, reason: error.to_string() })
    }
}

/// `x` times `factor`; `x` itself for one.
fn scaled<A: AutodiffBackend>(x: FloatTensor<A>, factor: f32) -> FloatTensor<A> {
    if factor == 1.0 { x } else { A::float_mul_scalar(x, factor.into()) }
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

impl<A: AutodiffBackend> Engine for BurnStep<A> {
    fn spec(&self) -> &StepSpec {
        &self.spec
    }

    fn step(
        &mut self,
        inputs: &[(&str, ArrayViewD<'_, f32>)],
        scalars: &[(&str, f32)],
    ) -> Result<Metrics, EngineError> {
        let scalars = self.scalars(scalars)?;
        let batch = self.batch(inputs)?;
        let mut scale = if self.place.precision == Precision::F16 { LOSS_SCALE } else { 1.0 };
        loop {
            let (values, found) = self.contained(|| {
                let values = self.run(&batch, &scalars, scale)?;
                let found = self.metrics(&values)?;
                Ok((values, found))
            })?;
            let mut metrics: Metrics = self.spec.metrics.iter().cloned().zip(found).collect();
            let held = metrics.remove(SKIPPED).is_some_and(|skipped| skipped != 0.0);
            let broken = metrics.iter().find(|(_, value)| !value.is_finite()).map(|(name, _)| name.clone());
            // A scaled loss overflows before the loss does.
            if (held || broken.is_some()) && scale > 1.0 {
                scale /= 2.0;
                continue;
            }
            if let Some(name) = broken.or_else(|| held.then(|| NEXT_STATE.into())) {
                return Err(EngineError::NotFinite { name });
            }
            let next = self.spec.state.iter().map(|state| {
                let value = self.program.slot(&next_name(&state.name)).and_then(|slot| values.get(slot));
                value.cloned().ok_or_else(|| EngineError::Run {
                    what: WHAT,
                    reason: format!("it computes no next `{}`", state.name),
                })
            });
            self.state = next.collect::<Result<_, _>>()?;
            return Ok(metrics);
        }
    }

    fn state(&self) -> Result<Tensors, EngineError> {
        let named = self.spec.state.iter().zip(&self.state).map(|(spec, value)| {
            let flat = self.contained(|| {
                let tensor = value.clone().float().map_err(|reason| GpuError::Graph { reason })?;
                self.read(tensor)
            })?;
            let array = ArrayD::from_shape_vec(spec.shape.as_slice(), flat);
            let array = array.map_err(|e| EngineError::Run { what: WHAT, reason: e.to_string() })?;
            Ok((spec.name.clone(), array))
        });
        named.collect()
    }

    fn set_state(&mut self, state: &Tensors) -> Result<(), EngineError> {
        let values = self.spec.state.iter().map(|spec| {
            let missing = || EngineError::Missing { name: spec.name.clone(), wanted: spec.shape.clone() };
            let array = state.get(&spec.name).ok_or_else(missing)?;
            self.uploaded(&spec.name, &array.view(), &spec.shape)
        });
        self.state = values.collect::<Result<_, _>>()?;
        Ok(())
    }
}
