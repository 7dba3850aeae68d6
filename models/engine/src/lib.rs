//! Runs what `sedge-models` builds, on the CPU, through tract. The host pretrains and the board
//! infers and adapts through this one crate.
//!
//! [`Engine`] is the seam for a second implementation on GPU: state and batch in, state and metrics
//! out, the same graph behind both.

mod encoder;
mod error;
mod graph;
mod kernels;
mod memory;
mod options;
#[cfg(test)]
mod rewrites_tests;
mod rows;
mod trace;
mod tract_step;

use std::collections::BTreeMap;

use ndarray::ArrayViewD;
use sedge_models::{StepSpec, Tensors};

pub use encoder::Encoder;
pub use error::EngineError;
pub use memory::keep_memory;
pub use options::Options;
pub use trace::{Offender, Trace};
pub use tract_step::TractStep;

/// Scalar outputs of one step by name; `loss` is always there.
pub type Metrics = BTreeMap<String, f32>;

/// Runs a training step and keeps its state.
pub trait Engine: Send {
    /// What the step takes and gives.
    fn spec(&self) -> &StepSpec;

    /// One step. `inputs` are the batch inputs of [`StepSpec::inputs`] by name with their exact
    /// shapes; `scalars` override the defaults of [`StepSpec::scalars`].
    ///
    /// The state moves on only when every input and output is finite: a step that fails, or whose
    /// batch, loss or next state holds NaN or infinity, leaves the state as it was and returns an error.
    fn step(
        &mut self,
        inputs: &[(&str, ArrayViewD<'_, f32>)],
        scalars: &[(&str, f32)],
    ) -> Result<Metrics, EngineError>;

    /// A copy of the whole state by name.
    fn state(&self) -> Result<Tensors, EngineError>;

    /// Replaces the state; every tensor of [`StepSpec::state`] must be there with its shape, finite.
    fn set_state(&mut self, state: &Tensors) -> Result<(), EngineError>;
}
