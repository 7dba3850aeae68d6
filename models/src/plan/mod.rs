//! What a graph costs before it is run: the most memory it holds at once, and its work. Shapes are
//! fixed at export, so both follow from the graph alone: memory by the liveness of every value over
//! the order in which tract evaluates nodes, work by the multiply-adds that each operator states. A
//! board compares the plan with its budget before it loads anything.

mod memory;
mod work;

use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;

use crate::contain;
use crate::fused;
use crate::layout::channels_last;
use crate::limits::{self, LimitError};
use crate::onnx::{self, OnnxError};
use crate::passes;

pub use work::Work;

/// Values named in [`Plan::largest`].
pub const LARGEST: usize = 8;
/// Bytes that the prepared graph itself takes for each node: operator, facts, tables of geometry, name.
/// Measured on the presets, 2 600 to 5 400.
pub const NODE_BYTES: u64 = 3_500;
/// Most bytes that a stated plan may speak of; what is beyond is no plan of a graph that is read.
pub const MAX_BYTES: u64 = 1 << 48;

/// What one run of a graph takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Bytes alive at the worst moment: constants, inputs, the values between them, and the graph
    /// itself at [`NODE_BYTES`] a node. Code, the file and what loading takes are not among them.
    pub peak_bytes: u64,
    /// The node that is evaluated at that moment.
    pub peak_at: String,
    /// Bytes of the constants, packed as the kernels want them.
    pub weights_bytes: u64,
    /// Bytes of the graph's inputs: of a training step its state and its batch.
    pub state_bytes: u64,
    /// Work of one run.
    pub work: Work,
    /// Nodes evaluated.
    pub nodes: usize,
    /// The largest values that nodes make, largest first, at most [`LARGEST`].
    pub largest: Vec<LargeValue>,
}

/// A value and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeValue {
    /// The node that makes it.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Why a graph could not be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file is no ONNX that is read.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// Running it would take too much, or what it takes cannot be bounded.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A shape is not fixed, or tract cannot prepare the graph.
    #[error("the graph cannot be planned: {reason}. Fix its batch, or export it again")]
    Graph {
        /// What was said.
        reason: String,
    },
    /// tract panicked, which a malformed graph can make it do; the panic was contained.
    #[error("the graph made the graph library panic while it was planned; it is malformed")]
    Panicked,
}

impl Plan {
    /// The plan of a graph: `plain`, as decluttered, states the work; `optimised`, as it is run, has the
    /// values that take memory.
    ///
    /// # Errors
    /// When a shape is symbolic or a graph has a loop.
    pub fn of(plain: &TypedModel, optimised: &TypedModel) -> TractResult<Self> {
        let memory = memory::Memory::of(optimised)?;
        Ok(Self {
            peak_bytes: (memory.peak as u64).saturating_add(memory.nodes as u64 * NODE_BYTES),
            peak_at: memory.peak_at,
            weights_bytes: memory.constants as u64,
            state_bytes: memory.inputs as u64,
            work: Work::of(plain)?,
            nodes: memory.nodes,
            largest: memory.largest,
        })
    }

    /// Whether the numbers can be those of a graph: a plan that comes in a file is checked by this.
    pub fn is_sound(&self) -> bool {
        let parts = self.weights_bytes.max(self.state_bytes);
        self.peak_bytes <= MAX_BYTES && parts <= self.peak_bytes && self.largest.len() <= LARGEST
    }

    /// Peak memory in megabytes of a million bytes.
    pub fn peak_mb(&self) -> f64 {
        self.peak_bytes as f64 / 1e6
    }
}

/// The plan of a compiled training step, or of any graph of fixed shapes, from its ONNX bytes.
///
/// # Errors
/// [`PlanError`] when the bytes are no such graph.
pub fn plan(onnx: &[u8]) -> Result<Plan, PlanError> {
    let proto = onnx::read::parse(onnx)?;
    limits::check(&proto, None)?;
    let planned = contain::quietly(|| {
        let typed = fused::read(&proto)?.into_typed()?;
        let plain = channels_last(&typed)?;
        let mut optimised = plain.clone();
        passes::codegen(&mut optimised)?;
        Plan::of(&plain, &optimised)
    });
    planned
        .map_err(|_| PlanError::Panicked)?
        .map_err(|error: TractError| PlanError::Graph { reason: format!("{error:#}") })
}

#[cfg(test)]
mod tests;
