//! Einstein products.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::{Writer, proto};

impl Writer<'_> {
    pub(super) fn einsum(&mut self, op: &EinSum, inputs: &[String], outlet: OutletId) -> TractResult<String> {
        // tract names axes by any character; ONNX wants letters.
        let letters: HashMap<char, char> = op
            .axes
            .iter_all_axes()
            .enumerate()
            .map(|(i, axis)| (axis.repr, char::from(b'a' + (i as u8).min(25))))
            .collect();
        ensure!(letters.len() <= 26, "a product over {} axes", letters.len());
        let equation: String =
            op.axes.to_string().chars().map(|c| letters.get(&c).copied().unwrap_or(c)).collect();
        let (left, right) = equation.split_once("->").context("an equation without an arrow")?;
        // tract may add axes of extent one to the output, which ONNX cannot name.
        let kept: String = right.chars().filter(|c| left.contains(*c)).collect();
        let y = self.node("Einsum", inputs, vec![proto::string("equation", &format!("{left}->{kept}"))]);
        if kept.len() == right.len() {
            return Ok(y);
        }
        let shape = self.shape(outlet)?;
        Ok(self.reshape(&y, &shape))
    }
}
