//! What the host and the board share: architectures and objectives as graphs, the differentiation
//! that turns a forward graph into a training step, the ONNX writer, and the bundle format.
//!
//! This crate builds graphs and runs none; [`sedge-engine`](../sedge_engine/index.html) runs them.

pub mod architecture;
pub(crate) mod autodiff;
pub mod bundle;
pub mod compile;
pub mod contain;
pub mod fused;
pub(crate) mod graph;
pub mod import;
pub mod input;
pub mod layout;
pub mod limits;
pub mod lora;
pub mod objective;
pub mod onnx;
pub mod optimizer;
pub mod passes;
pub mod plan;
pub mod selection;
pub mod step;
pub mod tensors;
pub mod text;
pub mod weights;

pub use input::{InputSpec, InputSpecError, Modality};
pub use step::{InputTensor, StateRole, StateSpec, StepSpec, TrainingStep};
pub use tensors::Tensors;
