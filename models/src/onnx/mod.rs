//! ONNX in and out. Whatever comes from outside enters through [`read::parse`], which checks it.

pub mod build;
mod check;
mod edit;
pub mod error;
pub mod inspect;
mod join;
pub(crate) mod proto;
pub mod read;
mod wire;
pub(crate) mod write;

pub(crate) use check::{default_opset, model as check_written, place};
pub(crate) use edit::lift;
pub use edit::{initializers, replace_initializers};
/// The messages of ONNX files.
pub use tract_onnx::pb;

pub use error::OnnxError;
pub use inspect::{OnnxSummary, ValueSummary};
pub use join::join;

#[cfg(test)]
pub(crate) mod read_tests;
