//! One prepared graph: loaded once, optimised by tract, run many times. Both the encoder and the
//! training step sit on it. tract's panics on malformed models are contained here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::{ArrayD, ArrayViewD, IxDyn};
use sedge_models::fused::{inline_where, layer_norms, read};
use sedge_models::plan::Plan;
use sedge_models::{contain, layout, limits, onnx, passes};
use tract_onnx::prelude::*;
use tract_onnx::tract_core;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::infer::Factoid;

use crate::{EngineError, Offender, Options, kernels, rows};

pub(crate) type Result<T> = std::result::Result<T, EngineError>;

/// A graph ready to run.
pub(crate) struct Graph {
    what: &'static str,
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    pub(crate) inputs: Vec<(String, Vec<usize>)>,
    pub(crate) outputs: Vec<Vec<usize>>,
    /// Memory and work of a run, or why they are not known.
    pub(crate) cost: std::result::Result<Plan, String>,
}

impl Graph {
    /// Loads `bytes`; a symbolic leading dimension of the first input becomes `batch`.
    pub(crate) fn load(
        what: &'static str,
        bytes: &[u8],
        batch: Option<usize>,
        options: Options,
    ) -> Result<Self> {
        let threads = options.pool(what)?;
        let mut proto =
            onnx::read::parse(bytes).map_err(|e| EngineError::Load { what, reason: e.to_string() })?;
        limits::check(&proto, batch).map_err(|e| EngineError::Load { what, reason: e.to_string() })?;
        let prepared = contained(|| {
            inline_where(&mut proto, |call| !(options.kernels && kernels::has_kernel(call)))?;
            limits::check(&proto, batch)?;
            let mut model = read(&proto)?;
            if let Some(batch) = batch {
                fix_batch(&mut model, batch)?;
            }
            let mut model = layout::channels_last(&model.into_typed()?)?;
            // Operators state their work; kernels that take their place do not.
            let stated = model.clone();
            if options.kernels {
                layer_norms(&mut model)?;
                kernels::bind(&mut model, &threads)?;
            }
            let shape = |o: &OutletId| -> TractResult<Vec<usize>> {
                let fact = model.outlet_fact(*o)?;
                ensure!(fact.datum_type == f32::datum_type(), "`{}` is not float", model.node(o.node).name);
                let shape = fact.shape.as_concrete();
                Ok(shape.with_context(|| format!("a symbolic shape {:?}", fact.shape))?.to_vec())
            };
            let inputs: Vec<(String, Vec<usize>)> = model
                .input_outlets()?
                .iter()
                .map(|o| Ok((model.node(o.node).name.clone(), shape(o)?)))
                .collect::<TractResult<_>>()?;
            let outputs: Vec<Vec<usize>> =
                model.output_outlets()?.iter().map(shape).collect::<TractResult<_>>()?;
            let mut optimised = rows::widen(&model)?;
            passes::codegen(&mut optimised)?;
            let mut cost = Plan::of(&stated, &optimised).map_err(|e| format!("{e:#}"));
            if let Ok(plan) = &mut cost {
                let packed = kernels::packed_bytes(&model);
                plan.weights_bytes = plan.weights_bytes.saturating_add(packed);
                plan.peak_bytes = plan.peak_bytes.saturating_add(packed);
            }
            let plan = optimised.into_runnable()?;
            let state = plan.spawn()?;
            Ok(Self { what, plan, state, inputs, outputs, cost })
        });
        prepared.map_err(|reason| EngineError::Load { what, reason })
    }

    /// [`Graph::run`], with what each operator took.
    pub(crate) fn profile(&mut self, inputs: TVec<TValue>) -> Result<Vec<(String, Duration)>> {
        let mut times: BTreeMap<String, Duration> = BTreeMap::new();
        let state = &mut self.state;
        let result = contained(|| {
            state.run_plan_with_eval(inputs, |context, state, node, inputs| {
                let begin = Instant::now();
                let outputs = tract_core::plan::eval(context, state, node, inputs);
                *times.entry(node.op.name().into_owned()).or_default() += begin.elapsed();
                outputs
            })
        });
        result.map_err(|reason| EngineError::Run { what: self.what, reason })?;
        Ok(times.into_iter().collect())
    }

    /// [`Graph::run`], with the first operator that made something that is not finite of inputs that are.
    pub(crate) fn trace(&mut self, inputs: TVec<TValue>) -> Result<(TVec<TValue>, Option<Offender>)> {
        let (what, mut offender) = (self.what, None);
        let state = &mut self.state;
        let result = contained(|| {
            state.run_plan_with_eval(inputs, |context, state, node, inputs| {
                let before = if offender.is_none() { inputs.clone() } else { tvec!() };
                let outputs = tract_core::plan::eval(context, state, node, inputs)?;
                if offender.is_none() && !before.iter().any(|value| bad(what, value) > 0) {
                    let made = outputs.iter().map(|value| (value, bad(what, value)));
                    offender = made
                        .filter(|(_, bad)| *bad > 0)
                        .map(|(value, bad)| Offender {
                            node: node.name.clone(),
                            operator: node.op.name().into_owned(),
                            shape: value.shape().to_vec(),
                            bad,
                            inputs: before.iter().filter_map(|value| ends(what, value)).collect(),
                        })
                        .next();
                }
                TractResult::Ok(outputs)
            })
        });
        let outputs = result.map_err(|reason| EngineError::Run { what: self.what, reason })?;
        Ok((outputs, offender))
    }

    /// Runs the graph over `inputs`, in the order of [`Graph::inputs`].
    pub(crate) fn run(&mut self, inputs: TVec<TValue>) -> Result<TVec<TValue>> {
        let state = &mut self.state;
        let result = contained(|| state.run(inputs));
        result.map_err(|reason| {
            // A state that failed half-way may hold leftovers of the failed run.
            if let Ok(fresh) = self.plan.spawn() {
                self.state = fresh;
            }
            EngineError::Run { what: self.what, reason }
        })
    }
}

/// Values that are not finite; none in what is no float.
fn bad(what: &'static str, value: &TValue) -> usize {
    floats(what, value).map_or(0, |floats| floats.values().iter().filter(|v| !v.is_finite()).count())
}

/// The least and the greatest value, of floats.
fn ends(what: &'static str, value: &TValue) -> Option<[f32; 2]> {
    let floats = floats(what, value).ok()?;
    let first = *floats.values().first()?;
    Some(floats.values().iter().fold([first; 2], |[low, high], v| [low.min(*v), high.max(*v)]))
}

fn contained<T>(work: impl FnOnce() -> TractResult<T>) -> std::result::Result<T, String> {
    // Whatever a panic leaves behind is dropped or replaced by the callers.
    match contain::quietly(work) {
        Ok(result) => result.map_err(|e| format!("{e:#}")),
        Err(_) => Err("the graph library panicked; the model is malformed or hits a defect in it".into()),
    }
}

fn fix_batch(model: &mut InferenceModel, batch: usize) -> TractResult<()> {
    let mut fact = model.input_fact(0)?.clone();
    let leading = fact.shape.dim(0).context("the input has no axes")?;
    let is_fixed = leading.concretize().is_some_and(|d| d.to_usize().is_ok());
    if !is_fixed {
        fact.shape.set_dim(0, batch.to_dim());
        model.set_input_fact(0, fact)?;
        // What the file says of its outputs still speaks of the symbol.
        for slot in 0..model.output_outlets()?.len() {
            model.set_output_fact(slot, InferenceFact::default())?;
        }
    }
    Ok(())
}

/// Refuses an input that holds NaN or infinity. It need not show in any output: the larger of zero and NaN
/// is zero.
pub(crate) fn finite(name: &str, array: &ArrayViewD<'_, f32>) -> Result<()> {
    if array.iter().all(|v| v.is_finite()) {
        Ok(())
    } else {
        Err(EngineError::NotFinite { name: name.into() })
    }
}

/// Copies an array into a tract value, in row-major order.
pub(crate) fn value(array: ArrayViewD<'_, f32>) -> TractResult<TValue> {
    let tensor = match array.as_slice() {
        Some(values) => Tensor::from_shape(array.shape(), values)?,
        None => Tensor::from_shape(array.shape(), &array.iter().copied().collect::<Vec<_>>())?,
    };
    Ok(tensor.into_tvalue())
}

/// The values of a float tensor.
pub(crate) fn floats<'t>(what: &'static str, tensor: &'t TValue) -> Result<PlainFloats<'t>> {
    let failed = |e: TractError| EngineError::Run { what, reason: format!("{e:#}") };
    let view = tensor.try_as_plain_ram().map_err(failed)?;
    view.as_slice::<f32>().map_err(failed)?;
    Ok(PlainFloats { view, shape: tensor.shape() })
}

/// Borrowed float values, checked to be such.
pub(crate) struct PlainFloats<'t> {
    view: tract_onnx::tract_core::internal::PlainView<'t>,
    shape: &'t [usize],
}

impl PlainFloats<'_> {
    pub(crate) fn values(&self) -> &[f32] {
        // Checked when made.
        self.view.as_slice::<f32>().unwrap_or(&[])
    }

    pub(crate) fn array(&self) -> ArrayD<f32> {
        let values = self.values().to_vec();
        ArrayD::from_shape_vec(IxDyn(self.shape), values).unwrap_or_else(|_| ArrayD::zeros(IxDyn(self.shape)))
    }
}
