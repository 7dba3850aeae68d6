//! Why a graph cannot run on a device, in words that say how to mend it.

use sedge_engine::EngineError;

use super::Device;

/// Failure to start on a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// A text that names no device.
    #[error("`{found}` is no device; devices are cpu, cuda, cuda:1 and so on (to 255), wgpu and burn-cpu")]
    Name {
        /// The text.
        found: String,
    },
    /// A text that names no precision.
    #[error("`{found}` is no precision; precisions are f32, bf16 and f16")]
    PrecisionName {
        /// The text.
        found: String,
    },
    /// The build lacks the engine.
    #[error("this build has no engine for `{device}`; build Sedge with `--features {feature}`")]
    NotBuilt {
        /// The device asked for.
        device: Device,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// The device cannot be used with what is installed.
    #[error("`{device}` cannot be used: {missing}")]
    Missing {
        /// The device asked for.
        device: Device,
        /// What is missing, and how to get it.
        missing: String,
    },
    /// There is no device of that index.
    #[error("there is no `{device}`: {found} such devices were found, counted from 0")]
    Index {
        /// The device asked for.
        device: Device,
        /// How many there are.
        found: usize,
    },
    /// The device cannot compute in a precision.
    #[error("`{device}` cannot compute in {precision}; use f32")]
    Precision {
        /// The device asked for.
        device: Device,
        /// The precision asked for.
        precision: super::Precision,
    },
    /// The device failed while it was being started.
    #[error("`{device}` failed to start: its library panicked; look for a driver older than the library")]
    Start {
        /// The device asked for.
        device: Device,
    },
    /// The graph has something that this engine does not run.
    #[error("node `{node}` ({operator} of {shapes:?}) cannot be run through burn: {reason}; run it on `cpu`")]
    Operator {
        /// The node by name.
        node: String,
        /// Its operator.
        operator: String,
        /// Shapes of its operands, where they are known.
        shapes: Vec<Vec<usize>>,
        /// What is the matter.
        reason: String,
    },
    /// The graph cannot be read.
    #[error("the graph of the training step cannot be read: {reason}")]
    Graph {
        /// What was said.
        reason: String,
    },
    /// A weight that the loss does not depend on.
    #[error("the weight `{weight}` does not reach the loss; leave it out of what is trained")]
    Unreached {
        /// The weight by name.
        weight: String,
    },
    /// burn panicked; the panic was contained.
    #[error(
        "burn failed while running the training step on `{device}`, with less memory perhaps than it takes"
    )]
    Panicked {
        /// The device.
        device: Device,
    },
    /// The graph cannot be read, or does not fit its specification or its state.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
