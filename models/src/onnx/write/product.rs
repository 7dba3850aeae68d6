//! Einstein products.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::{Writer, proto};

impl Writer<'_> {
    pub(super) fn einsum(
        &mut self,
        op: &EinSum,
        inputs: &[String],
        node: &TypedNode,
        outlet: OutletId,
    ) -> TractResult<String> {
        ensure!(op.q_params.is_none(), "no ONNX form for a quantised product");
        let equation = letters(op)?;
        let (left, right) = equation.split_once("->").context("an equation without an arrow")?;
        let names: Vec<&str> = left.split(',').collect();
        ensure!(names.len() == inputs.len(), "{equation} over {} inputs", inputs.len());
        let shapes = node.inputs.iter().map(|&i| self.shape(i)).collect::<TractResult<Vec<_>>>()?;
        let stretched: Vec<char> = names
            .iter()
            .zip(&shapes)
            .flat_map(|(axes, shape)| axes.chars().zip(shape).filter(|(_, e)| **e != 1).map(|(axis, _)| axis))
            .collect();
        // An axis of extent one that another factor stretches: tract's reader wants equal extents.
        let (mut kept, mut operands) = (vec![], vec![]);
        for ((axes, shape), input) in names.iter().zip(&shapes).zip(inputs) {
            let full =
                axes.chars().zip(shape).filter(|(axis, extent)| **extent != 1 || !stretched.contains(axis));
            let (axes, target): (String, Vec<usize>) = full.unzip();
            operands.push(if target.len() < shape.len() {
                self.reshape(input, &target)
            } else {
                input.clone()
            });
            kept.push(axes);
        }
        let left = kept.join(",");
        // tract may add axes of extent one to the output, which ONNX cannot name.
        let named: String = right.chars().filter(|c| left.contains(*c)).collect();
        let equation = format!("{left}->{named}");
        let y = self.node("Einsum", &operands, vec![proto::string("equation", &equation)]);
        if named.len() == right.len() {
            return Ok(y);
        }
        let shape = self.shape(outlet)?;
        Ok(self.reshape(&y, &shape))
    }
}

/// The equation in letters: tract names axes by any character.
fn letters(op: &EinSum) -> TractResult<String> {
    let letters: HashMap<char, char> = op
        .axes
        .iter_all_axes()
        .enumerate()
        .map(|(i, axis)| (axis.repr, char::from(b'a' + (i as u8).min(25))))
        .collect();
    ensure!(letters.len() <= 26, "a product over {} axes", letters.len());
    Ok(op.axes.to_string().chars().map(|c| letters.get(&c).copied().unwrap_or(c)).collect())
}
