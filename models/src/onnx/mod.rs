//! ONNX in and out. Whatever comes from outside enters through [`read::parse`], which checks it.

mod check;
pub mod error;
pub mod inspect;
pub mod read;
mod wire;

pub use error::OnnxError;
pub use inspect::{OnnxSummary, ValueSummary};

#[cfg(test)]
pub(crate) mod read_tests;
