//! What the host and the board share: architectures and objectives as graphs, the differentiation
//! that turns a forward graph into a training step, the ONNX writer, and the bundle format.
//!
//! This crate builds graphs and runs none; [`sedge-engine`](../sedge_engine/index.html) runs them.

pub mod input;
pub mod onnx;
pub mod step;
pub mod tensors;

pub use input::{InputSpec, InputSpecError, Modality};
pub use step::{InputTensor, StateRole, StateSpec, StepSpec, TrainingStep};
pub use tensors::Tensors;
