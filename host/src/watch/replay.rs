//! A kept step run again, and looked at: what goes in, what comes out, and where the first value that is
//! not finite is made.

use std::fmt;
use std::path::Path;

use ndarray::{ArrayD, ArrayViewD};
use sedge_engine::{EngineError, Options, Trace, TractStep};
use sedge_models::{Tensors, TrainingStep};

use super::WatchError;
use super::capture::{Capture, Moment};

/// State tensors named, largest values first.
const NAMED: usize = 5;

/// The values of a tensor in short.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The tensor.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The least and the greatest finite value; `None` when there is none.
    pub range: Option<[f32; 2]>,
    /// How many are not finite.
    pub bad: usize,
    /// Where the first of those is.
    pub first: Option<Vec<usize>>,
}

/// What came of a step run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Where the step is from.
    pub moment: Moment,
    /// Inputs and scalars that the step was given.
    pub inputs: Vec<Values>,
    /// Scalars that the step was given.
    pub scalars: Vec<(String, f32)>,
    /// The state before it, tensors that are not finite first, then those with the largest values.
    pub state: Vec<Values>,
    /// What the step gave, where it could be run at all: an engine refuses inputs that are not finite.
    pub trace: Option<Trace>,
}

/// Runs the step that the folder `path` holds once more.
///
/// # Errors
/// [`WatchError`] when there is none, when it is damaged, or when the graph fails.
pub fn replay(path: &Path) -> Result<Replayed, WatchError> {
    let Capture { moment, graph, inputs, scalars, state } = Capture::read(path)?;
    let of = |tensors: &Tensors| tensors.iter().map(|(name, array)| values(name, array)).collect();
    let (given, mut before): (Vec<Values>, Vec<Values>) = (of(&inputs), of(&state));
    before.sort_by(|a, b| (b.bad > 0).cmp(&(a.bad > 0)).then(b.size().total_cmp(&a.size())));
    let views: Vec<(&str, ArrayViewD<'_, f32>)> =
        inputs.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let rates: Vec<(&str, f32)> = scalars.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let step = TrainingStep { spec: moment.spec.clone(), onnx: graph, initial: state };
    let run = || TractStep::with_options(&step, Options::parallel())?.trace(&views, &rates);
    let trace = match run() {
        Ok(trace) => Some(trace),
        Err(EngineError::NotFinite { .. }) => None,
        Err(error) => return Err(WatchError::Engine(error)),
    };
    Ok(Replayed { moment, inputs: given, scalars, state: before, trace })
}

fn values(name: &str, array: &ArrayD<f32>) -> Values {
    let mut values =
        Values { name: name.into(), shape: array.shape().into(), range: None, bad: 0, first: None };
    for (place, value) in array.indexed_iter() {
        if value.is_finite() {
            let [low, high] = values.range.unwrap_or([*value; 2]);
            values.range = Some([low.min(*value), high.max(*value)]);
        } else {
            values.bad += 1;
            values.first.get_or_insert_with(|| ndarray::Dimension::slice(&place).to_vec());
        }
    }
    values
}

impl Values {
    /// The largest finite size of a value.
    fn size(&self) -> f32 {
        self.range.map_or(0.0, |[low, high]| low.abs().max(high.abs()))
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {:?}", self.name, self.shape)?;
        match self.range {
            Some([low, high]) => write!(f, " from {low:.4e} to {high:.4e}")?,
            None => write!(f, " without a finite value")?,
        }
        match &self.first {
            Some(first) => write!(f, ", {} values are not finite, the first at {first:?}", self.bad),
            None => Ok(()),
        }
    }
}

impl Replayed {
    /// Whether all that went in and came out is finite.
    pub fn is_finite(&self) -> bool {
        let given = self.inputs.iter().chain(&self.state).all(|values| values.bad == 0);
        let trace = self.trace.as_ref();
        let scalars = self.scalars.iter().all(|(_, value)| value.is_finite());
        given && scalars && trace.is_some_and(|trace| trace.offender.is_none() && !self.skipped())
    }

    /// Whether the step held its state back, or told a metric that is not finite.
    fn skipped(&self) -> bool {
        let told =
            |(name, value): (&String, &f32)| !value.is_finite() || (name == "skipped" && *value != 0.0);
        self.trace.as_ref().is_some_and(|trace| trace.metrics.iter().any(told))
    }

    /// What is the matter, in a sentence.
    pub fn verdict(&self) -> String {
        if let Some(bad) = self.inputs.iter().find(|values| values.bad > 0) {
            return format!("the batch is not finite: {bad}. Look at the data");
        }
        if let Some((name, value)) = self.scalars.iter().find(|(_, value)| !value.is_finite()) {
            return format!("the scalar `{name}` is {value}");
        }
        if let Some(bad) = self.state.iter().find(|values| values.bad > 0) {
            return format!("the state before the step is not finite: {bad}");
        }
        match self.trace.as_ref().and_then(|trace| trace.offender.as_ref()) {
            Some(o) => {
                let given: Vec<String> =
                    o.inputs.iter().map(|[low, high]| format!("{low:.4e} to {high:.4e}")).collect();
                format!(
                    "batch and state are finite; the first values that are not are made by `{}` ({}, {:?}, {} \
                     values) of inputs from {}",
                    o.node,
                    o.operator,
                    o.shape,
                    o.bad,
                    given.join(", from ")
                )
            }
            None if self.skipped() => {
                "every operator is finite, but the sum by which the step guards its state is not: weights are near \
                 the largest float"
                    .into()
            }
            None => "the step is finite here; it was not where it was kept".into(),
        }
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment { position, seed, reason, .. } = &self.moment;
        let (epoch, batch, step) = (position.epoch + 1, position.batch + 1, position.step + 1);
        writeln!(f, "epoch {epoch}, batch {batch} (step {step}), seed {seed}; the run said: {reason}")?;
        writeln!(f, "{}", self.verdict())?;
        for values in &self.inputs {
            writeln!(f, "  input {values}")?;
        }
        for (name, value) in &self.scalars {
            writeln!(f, "  scalar `{name}` {value:.4e}")?;
        }
        for values in self.state.iter().take(NAMED) {
            writeln!(f, "  state {values}")?;
        }
        if self.state.len() > NAMED {
            writeln!(f, "  and {} more state tensors with smaller values", self.state.len() - NAMED)?;
        }
        let Some(trace) = &self.trace else { return Ok(()) };
        for (name, value) in &trace.metrics {
            writeln!(f, "  gave `{name}` {value:.4e}")?;
        }
        if !trace.metrics.contains_key("gradient_norm") {
            writeln!(f, "  the step tells no norm of its gradient, as it does not clip it")?;
        }
        Ok(())
    }
}
