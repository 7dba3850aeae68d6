//! Layers without batch norm, which look the same in every form.

use super::ArchitectureError;
use super::unit::{Initial, Wiring};
use crate::onnx::build::{GraphBuilder, Value};

impl Wiring<'_> {
    /// The linear layer `<name>.weight` `[out, in]`, `<name>.bias` over the last axis of `x`; its bias begins
    /// at zero.
    pub(super) fn linear(
        &mut self,
        builder: &mut GraphBuilder,
        name: &str,
        x: &Value,
        out: usize,
        initial: Initial,
    ) -> Result<Value, ArchitectureError> {
        let width = x.sample().last().copied().unwrap_or(0);
        let names = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let weight = self.weight(&names[0], &[out, width], initial)?;
        let bias = self.weight(&names[1], &[out], Initial::Constant(0.0))?;
        Ok(builder.linear(x, (&names[0], &weight), (&names[1], &bias)))
    }

    /// The layer norm `<name>.weight`, `<name>.bias` over the last axis of `x`, which begins at identity.
    pub(super) fn layer_norm(
        &mut self,
        builder: &mut GraphBuilder,
        name: &str,
        x: &Value,
        epsilon: f32,
    ) -> Result<Value, ArchitectureError> {
        let width = x.sample().last().copied().unwrap_or(0);
        let names = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let scale = self.weight(&names[0], &[width], Initial::Constant(1.0))?;
        let shift = self.weight(&names[1], &[width], Initial::Constant(0.0))?;
        Ok(builder.layer_norm(x, (&names[0], &scale), (&names[1], &shift), epsilon))
    }
}
