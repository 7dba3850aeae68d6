//! Whether the parts of a bundle fit each other. The same checks run before packing and after
//! unpacking: what cannot be read must not be written.

use std::collections::HashSet;

use super::error::BundleError;
use super::reference;
use super::{Bundle, ENCODER, MAX_REFERENCES, MAX_STATE_TENSORS, MAX_STATE_VALUES, Manifest, STEP, WEIGHTS};
use crate::onnx::inspect::{ValueSummary, inspect};
use crate::onnx::read::parse;
use crate::step::{StateRole, StepSpec, next_name};
use crate::tensors::first_non_finite;

/// Largest batch of a training step.
const MAX_BATCH: usize = 4096;
/// Largest embedding.
const MAX_EMBEDDING: usize = 1 << 16;
/// Longest bundle name in bytes.
const MAX_NAME: usize = 200;

impl Manifest {
    /// Whether the manifest agrees with itself. Runs before anything is reserved by its numbers.
    pub(super) fn check(&self) -> Result<(), BundleError> {
        let name_fits = !self.name.is_empty() && self.name.len() <= MAX_NAME;
        if !name_fits || self.name.chars().any(char::is_control) {
            return field("name", format!("{:?}", self.name), "one line of 1 to 200 bytes");
        }
        self.input.check()?;
        if !(1..=MAX_EMBEDDING).contains(&self.embedding_dim) {
            return field("embedding_dim", self.embedding_dim, "1 to 65536");
        }
        check_step(&self.training)?;
        let defaults = &self.adaptation;
        let positive = |value: f32| value.is_finite() && value > 0.0;
        if !positive(defaults.lr) {
            return field("adaptation.lr", defaults.lr, "above zero");
        }
        if !positive(defaults.temperature) {
            return field("adaptation.temperature", defaults.temperature, "above zero");
        }
        if !defaults.weight_decay.is_finite() || defaults.weight_decay < 0.0 {
            return field("adaptation.weight_decay", defaults.weight_decay, "zero or more");
        }
        if defaults.batch != self.training.batch {
            let wanted = format!("{}, as training.batch", self.training.batch);
            return field("adaptation.batch", defaults.batch, &wanted);
        }
        if let Some(plan) = self.plan.as_ref().filter(|plan| !plan.is_sound()) {
            return field("plan.peak_bytes", plan.peak_bytes, "that of a graph, and no less than its parts");
        }
        self.check_views()
    }

    /// The first batch input holds `batch` samples.
    fn check_views(&self) -> Result<(), BundleError> {
        let Some(views) = self.training.inputs.first() else {
            return field("training.inputs", "empty", "at least the views");
        };
        let wanted: Vec<usize> = [self.training.batch].into_iter().chain(self.input.shape.clone()).collect();
        if views.shape != wanted {
            let (what, found) = (format!("`{}` of the training step", views.name), views.shape.clone());
            return Err(BundleError::Shape { what, found, wanted, by: "training.batch and input.shape" });
        }
        Ok(())
    }
}

fn field<T>(field: &str, found: impl ToString, wanted: &str) -> Result<T, BundleError> {
    let found = found.to_string();
    Err(BundleError::Field { field: field.into(), found, wanted: wanted.into() })
}

fn check_step(step: &StepSpec) -> Result<(), BundleError> {
    if !(1..=MAX_BATCH).contains(&step.batch) {
        return field("training.batch", step.batch, "1 to 4096");
    }
    let tensors = step.inputs.len() + step.scalars.len() + step.state.len() + step.metrics.len();
    if tensors > MAX_STATE_TENSORS {
        return field("training", format!("of {tensors} tensors"), &format!("at most {MAX_STATE_TENSORS}"));
    }
    if step.state_of(StateRole::Parameter).next().is_none() {
        return field("training.state", "without a parameter", "at least one parameter");
    }
    if step.metrics.first().is_none_or(|name| name != "loss") {
        return field("training.metrics", format!("{:?}", step.metrics), "a list that begins with loss");
    }
    let mut names = HashSet::with_capacity(tensors);
    let inputs = step.inputs.iter().map(|i| &i.name);
    let scalars = step.scalars.iter().map(|(name, _)| name);
    let state = step.state.iter().map(|s| &s.name);
    for name in inputs.chain(scalars).chain(state) {
        if !names.insert(name) {
            return Err(BundleError::DuplicateName { name: name.clone() });
        }
    }
    if let Some((name, value)) = step.scalars.iter().find(|(_, value)| !value.is_finite()) {
        return field(&format!("training.scalars.{name}"), value, "finite");
    }
    check_values(step)
}

/// State and inputs within [`MAX_STATE_VALUES`], taken together.
fn check_values(step: &StepSpec) -> Result<(), BundleError> {
    let shapes = step.state.iter().map(|s| &s.shape).chain(step.inputs.iter().map(|i| &i.shape));
    let mut total = 0usize;
    for shape in shapes {
        let values = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
        total = values.and_then(|n| total.checked_add(n)).unwrap_or(usize::MAX);
        if total > MAX_STATE_VALUES {
            let wanted = format!("at most {MAX_STATE_VALUES} values in all");
            return field("training.state", format!("too large at shape {shape:?}"), &wanted);
        }
    }
    Ok(())
}

impl Bundle {
    /// Whether all parts agree.
    pub(super) fn check(&self) -> Result<(), BundleError> {
        self.manifest.check()?;
        if self.step.spec != self.manifest.training {
            return field("training", "another specification than the step's", "the same");
        }
        self.check_initial()?;
        self.check_reference()?;
        self.check_encoder()?;
        self.check_step_graph()
    }

    fn check_initial(&self) -> Result<(), BundleError> {
        let initial = &self.step.initial;
        for state in &self.manifest.training.state {
            let name = state.name.clone();
            let Some(array) = initial.get(&name) else {
                return Err(BundleError::MissingTensor { part: WEIGHTS, name });
            };
            if array.shape() != state.shape {
                let (what, found) = (format!("`{name}` in `{WEIGHTS}`"), array.shape().to_vec());
                return Err(BundleError::Shape {
                    what,
                    found,
                    wanted: state.shape.clone(),
                    by: "training.state",
                });
            }
            if state.role == StateRole::Optimizer && array.iter().any(|v| *v != 0.0) {
                return Err(BundleError::OptimizerState { name });
            }
        }
        let known: HashSet<&String> = self.manifest.training.state.iter().map(|s| &s.name).collect();
        if let Some(name) = initial.keys().find(|name| !known.contains(name)) {
            return Err(BundleError::UnknownTensor { part: WEIGHTS, name: name.clone() });
        }
        match first_non_finite(initial) {
            Some(name) => Err(BundleError::NotFinite { part: WEIGHTS, name: name.into() }),
            None => Ok(()),
        }
    }

    fn check_reference(&self) -> Result<(), BundleError> {
        let (inputs, embeddings) = (&self.reference.inputs, &self.reference.embeddings);
        let n = embeddings.nrows();
        if !(1..=MAX_REFERENCES).contains(&n) {
            return field("the number of reference inputs", n, &format!("1 to {MAX_REFERENCES}"));
        }
        let by = "input.shape and embedding_dim";
        let wanted: Vec<usize> = [n].into_iter().chain(self.manifest.input.shape.clone()).collect();
        if inputs.shape() != wanted {
            let (what, found) = ("the reference inputs".into(), inputs.shape().to_vec());
            return Err(BundleError::Shape { what, found, wanted, by });
        }
        if embeddings.ncols() != self.manifest.embedding_dim {
            let (what, found) = ("the reference embeddings".into(), embeddings.shape().to_vec());
            return Err(BundleError::Shape { what, found, wanted: vec![n, self.manifest.embedding_dim], by });
        }
        for (name, finite) in [
            ("inputs", inputs.iter().all(|v| v.is_finite())),
            ("embeddings", embeddings.iter().all(|v| v.is_finite())),
        ] {
            if !finite {
                return Err(BundleError::NotFinite { part: reference::PART, name: name.into() });
            }
        }
        Ok(())
    }

    fn check_encoder(&self) -> Result<(), BundleError> {
        let fault = |reason: String| Err(BundleError::Graph { part: ENCODER, reason });
        let model = parse(&self.encoder).map_err(|source| BundleError::Onnx { part: ENCODER, source })?;
        let summary = inspect(&model);
        let ([input], [output]) = (summary.inputs.as_slice(), summary.outputs.as_slice()) else {
            let (inputs, outputs) = (summary.inputs.len(), summary.outputs.len());
            return fault(format!(
                "it has {inputs} inputs and {outputs} outputs; an encoder has one of each"
            ));
        };
        let sample = &self.manifest.input.shape;
        if let Some(reason) = mismatch(input, None, sample) {
            return fault(reason);
        }
        mismatch(output, None, &[self.manifest.embedding_dim]).map_or(Ok(()), fault)
    }

    fn check_step_graph(&self) -> Result<(), BundleError> {
        let fault = |reason: String| Err(BundleError::Graph { part: STEP, reason });
        let model = parse(&self.step.onnx).map_err(|source| BundleError::Onnx { part: STEP, source })?;
        let summary = inspect(&model);
        let spec = &self.step.spec;
        let inputs = spec.inputs.iter().map(|i| (i.name.clone(), Some(i.shape.as_slice())));
        let scalars = spec.scalars.iter().map(|(name, _)| (name.clone(), None));
        let state = spec.state.iter().map(|s| (s.name.clone(), Some(s.shape.as_slice())));
        let wanted: Vec<_> = inputs.chain(scalars).chain(state).collect();
        if let Some(reason) = compare("input", &wanted, &summary.inputs) {
            return fault(reason);
        }
        let names: HashSet<&String> = wanted.iter().map(|(name, _)| name).collect();
        if let Some(extra) = summary.inputs.iter().find(|i| !names.contains(&i.name)) {
            return fault(format!("it takes an input `{}` that `training` does not name", extra.name));
        }
        let metrics = spec.metrics.iter().map(|name| (name.clone(), None));
        let next = spec.state.iter().map(|s| (next_name(&s.name), Some(s.shape.as_slice())));
        let wanted: Vec<_> = metrics.chain(next).collect();
        compare("output", &wanted, &summary.outputs).map_or(Ok(()), fault)
    }
}

/// The first wanted value that the graph lacks or has in another shape, in words.
fn compare(what: &str, wanted: &[(String, Option<&[usize]>)], found: &[ValueSummary]) -> Option<String> {
    let found: std::collections::HashMap<&str, &ValueSummary> =
        found.iter().map(|value| (value.name.as_str(), value)).collect();
    wanted.iter().find_map(|(name, shape)| match (found.get(name.as_str()), shape) {
        (None, _) => Some(format!("it has no {what} `{name}`")),
        (Some(value), Some([first, rest @ ..])) => mismatch(value, Some(*first), rest),
        (Some(_), _) => None,
    })
}

/// Compares a float value's stated dimensions with `[first, ...rest]`, in words where they differ.
/// A dimension that is a symbol or not stated fits everything, and so does a `first` of `None`.
fn mismatch(value: &ValueSummary, first: Option<usize>, rest: &[usize]) -> Option<String> {
    let name = &value.name;
    if value.data_type != "float" {
        return Some(format!("`{name}` is of type {}; float is wanted", value.data_type));
    }
    let shape = value.shape.as_ref()?;
    let wanted = [first].into_iter().chain(rest.iter().copied().map(Some));
    let differs = |(found, wanted): (&String, Option<usize>)| matches!((found.parse::<usize>(), wanted), (Ok(found), Some(wanted)) if found != wanted);
    if shape.len() != rest.len() + 1 || shape.iter().zip(wanted).any(differs) {
        let first = first.map_or("batch".to_string(), |n| n.to_string());
        let wanted: Vec<String> = [first].into_iter().chain(rest.iter().map(ToString::to_string)).collect();
        return Some(format!("`{name}` has shape [{}]; [{}] is wanted", shape.join(", "), wanted.join(", ")));
    }
    None
}
