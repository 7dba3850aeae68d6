//! What networks over sequences of tokens are made of: linear layers, layer norms, attention, tables.
//!
//! A sequence is `[tokens, features]` beside the batch axis, which stays in front.

use std::f32::consts::FRAC_1_SQRT_2;

use ndarray::ArrayD;
use tract_onnx::pb::tensor_proto::DataType;

use super::{GraphBuilder, Value, proto};

impl GraphBuilder {
    /// `x weight^T + bias` over the last axis, `weight` `[out, in]` and `bias` `[out]`: a linear layer with
    /// its weights as PyTorch keeps them.
    pub fn linear(&mut self, x: &Value, weight: (&str, &ArrayD<f32>), bias: (&str, &ArrayD<f32>)) -> Value {
        let out = weight.1.shape().first().copied().unwrap_or(0);
        let mut sample = x.sample.clone();
        if let Some(last) = sample.last_mut() {
            *last = out;
        }
        let stored = self.initializer(weight.0, weight.1);
        let attributes = vec![proto::ints("perm", vec![1, 0])];
        let turned = self.node("Transpose", weight.0, vec![stored], attributes, vec![]);
        let y = self.node("MatMul", weight.0, vec![x.name.clone(), turned.name], vec![], sample.clone());
        let bias_name = self.initializer(bias.0, bias.1);
        self.node("Add", bias.0, vec![y.name, bias_name], vec![], sample)
    }

    /// Layer norm over the last axis (Ba et al. 2016), then times `scale` plus `shift`, both `[features]`.
    pub fn layer_norm(
        &mut self,
        x: &Value,
        scale: (&str, &ArrayD<f32>),
        shift: (&str, &ArrayD<f32>),
        epsilon: f32,
    ) -> Value {
        let inputs =
            vec![x.name.clone(), self.initializer(scale.0, scale.1), self.initializer(shift.0, shift.1)];
        let attributes = vec![proto::int("axis", -1), proto::float("epsilon", epsilon)];
        self.node("LayerNormalization", scale.0, inputs, attributes, x.sample.clone())
    }

    /// The Gaussian error linear unit `x (1 + erf(x / sqrt 2)) / 2` (Hendrycks & Gimpel 2016).
    pub fn gelu(&mut self, label: &str, x: &Value) -> Value {
        // The chain that opset 17 has in place of an operator.
        let scaled = self.with_number("Mul", label, x, FRAC_1_SQRT_2);
        let error = self.node("Erf", label, vec![scaled.name], vec![], x.sample.clone());
        let gate = self.with_number("Add", label, &error, 1.0);
        let half = self.with_number("Mul", label, x, 0.5);
        self.binary("Mul", label, &half, &gate)
    }

    /// The logistic function `1 / (1 + exp(-x))`.
    pub fn sigmoid(&mut self, label: &str, x: &Value) -> Value {
        self.node("Sigmoid", label, vec![x.name.clone()], vec![], x.sample.clone())
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, label: &str, x: &Value) -> Value {
        let attributes = vec![proto::int("axis", -1)];
        self.node("Softmax", label, vec![x.name.clone()], attributes, x.sample.clone())
    }

    /// Matrix product over the last two axes: `[..., rows, k]` by `[..., k, columns]`.
    pub fn product(&mut self, label: &str, a: &Value, b: &Value) -> Value {
        let mut sample = a.sample.clone();
        if let (Some(last), Some(&columns)) = (sample.last_mut(), b.sample.last()) {
            *last = columns;
        }
        self.node("MatMul", label, vec![a.name.clone(), b.name.clone()], vec![], sample)
    }

    /// `x * factor`.
    pub fn scale(&mut self, label: &str, x: &Value, factor: f32) -> Value {
        self.with_number("Mul", label, x, factor)
    }

    /// `x` plus the constant `value`, the initializer `name`, which stretches to the shape of `x`.
    pub fn add_constant(&mut self, name: &str, x: &Value, value: &ArrayD<f32>) -> Value {
        let constant = self.initializer(name, value);
        self.node("Add", name, vec![x.name.clone(), constant], vec![], x.sample.clone())
    }

    /// The axes of a sample in the order `axes`, counted without the batch.
    pub fn transpose(&mut self, label: &str, x: &Value, axes: &[usize]) -> Value {
        let permutation = std::iter::once(0).chain(axes.iter().map(|&axis| axis as i64 + 1)).collect();
        let sample = axes.iter().filter_map(|&axis| x.sample.get(axis).copied()).collect();
        let attributes = vec![proto::ints("perm", permutation)];
        self.node("Transpose", label, vec![x.name.clone()], attributes, sample)
    }

    /// The features of `x` `[tokens, features]` in three equal parts.
    pub fn thirds(&mut self, label: &str, x: &Value) -> [Value; 3] {
        let width = x.sample.last().copied().unwrap_or(0) / 3;
        let mut sample = x.sample.clone();
        if let Some(last) = sample.last_mut() {
            *last = width;
        }
        [0, 1, 2].map(|part| {
            let [start, end, axis] =
                [part * width, (part + 1) * width, sample.len()].map(|v| self.int_constant(&[v as i64]));
            self.node("Slice", label, vec![x.name.clone(), start, end, axis], vec![], sample.clone())
        })
    }

    /// The mean over the tokens: `[tokens, features]` to `[features]`.
    pub fn mean_of_tokens(&mut self, label: &str, x: &Value) -> Value {
        let attributes = vec![proto::ints("axes", vec![1]), proto::int("keepdims", 0)];
        let sample = x.sample.iter().skip(1).copied().collect();
        self.node("ReduceMean", label, vec![x.name.clone()], attributes, sample)
    }

    /// The rows of `table` `[rows, features]` that the whole numbers `x` `[tokens]`, given as floats, name.
    pub fn look_up(&mut self, x: &Value, table: (&str, &ArrayD<f32>)) -> Value {
        let attributes = vec![proto::int("to", i64::from(DataType::Int64 as i32))];
        let index = self.node("Cast", table.0, vec![x.name.clone()], attributes, x.sample.clone());
        let width = table.1.shape().last().copied().unwrap_or(0);
        let sample = x.sample.iter().copied().chain([width]).collect();
        let stored = self.initializer(table.0, table.1);
        self.node("Gather", table.0, vec![stored, index.name], vec![proto::int("axis", 0)], sample)
    }

    /// [`Self::look_up`] as a product of one-hot rows with the table, which a gradient can follow whatever
    /// rows are named.
    pub fn look_up_by_product(&mut self, x: &Value, table: (&str, &ArrayD<f32>)) -> Value {
        let rows = table.1.shape().first().copied().unwrap_or(0);
        let ramp = ndarray::Array1::from_iter((0..rows).map(|row| row as f32)).into_dyn();
        let ramp_name = self.fresh("ramp");
        let ramp = self.initializer(&ramp_name, &ramp);
        let column: Vec<usize> = x.sample.iter().copied().chain([1]).collect();
        let column = self.reshape(table.0, x, &column);
        let sample: Vec<usize> = x.sample.iter().copied().chain([rows]).collect();
        let equal = self.node("Equal", table.0, vec![column.name, ramp], vec![], sample.clone());
        let attributes = vec![proto::int("to", i64::from(DataType::Float as i32))];
        let one_hot = self.node("Cast", table.0, vec![equal.name], attributes, sample);
        let stored = self.initializer(table.0, table.1);
        let stored = Value { name: stored, sample: table.1.shape().to_vec() };
        self.product(table.0, &one_hot, &stored)
    }

    /// `op` of `x` and a number.
    fn with_number(&mut self, op: &str, label: &str, x: &Value, number: f32) -> Value {
        let number = self.constant(number);
        self.node(op, label, vec![x.name.clone(), number], vec![], x.sample.clone())
    }
}
