//! A training step run by tract.

use ndarray::ArrayViewD;
use sedge_models::{StepSpec, Tensors, TrainingStep};

use crate::{Engine, EngineError, Metrics};

/// A training step on the CPU.
pub struct TractStep {
    spec: StepSpec,
}

impl TractStep {
    /// Prepares `step` and sets its initial state.
    pub fn new(_step: &TrainingStep) -> Result<Self, EngineError> {
        todo!()
    }
}

impl Engine for TractStep {
    fn spec(&self) -> &StepSpec {
        &self.spec
    }
    fn step(
        &mut self,
        _inputs: &[(&str, ArrayViewD<'_, f32>)],
        _scalars: &[(&str, f32)],
    ) -> Result<Metrics, EngineError> {
        todo!()
    }
    fn state(&self) -> Result<Tensors, EngineError> {
        todo!()
    }
    fn set_state(&mut self, _state: &Tensors) -> Result<(), EngineError> {
        todo!()
    }
}
