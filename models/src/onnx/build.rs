//! Writing ONNX by hand: a small builder that names values, tracks their shapes, and knows just the
//! operators that the architectures are made of. Architectures are authored here, in the same form
//! in which a stranger's encoder arrives, so both take one road into the compiler.
//!
//! The leading axis of the graph's inputs may be symbolic ([`Batch::Symbolic`]); every operator here
//! keeps it in front and never bakes it into a constant.

mod tokens;

use ndarray::ArrayD;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::proto;
use crate::fused::{BatchNorm, Call, Clip, Functions};

/// ONNX operator set that everything here is written in.
pub const OPSET: i64 = 17;
/// ONNX file format version that goes with [`OPSET`].
const IR_VERSION: i64 = 8;
/// Name of the symbolic batch dimension.
pub const BATCH_SYMBOL: &str = "batch";

/// The leading dimension of a graph's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Any number of samples, decided by whoever runs the graph.
    Symbolic,
    /// This many samples.
    Fixed(usize),
}

/// A value of the graph under construction: its name and its shape without the batch axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    name: String,
    sample: Vec<usize>,
}

impl Value {
    /// Shape of one sample: `[channels, ...]` for feature maps, `[features]` for vectors.
    pub fn sample(&self) -> &[usize] {
        &self.sample
    }

    fn channels(&self) -> usize {
        self.sample.first().copied().unwrap_or(0)
    }
}

/// Geometry of a convolution with square kernels and symmetric padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Kernel extent along every spatial axis.
    pub kernel: usize,
    /// Stride along every spatial axis.
    pub stride: usize,
    /// Zero padding on both sides of every spatial axis.
    pub padding: usize,
    /// Channel groups.
    pub groups: usize,
}

impl ConvGeometry {
    /// A convolution that keeps the extent at stride one (odd kernels).
    pub fn same(kernel: usize, stride: usize, groups: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2, groups }
    }

    /// A convolution over patches of this extent, which neither overlap nor leave anything between them.
    pub fn patches(extent: usize) -> Self {
        Self { kernel: extent, stride: extent, padding: 0, groups: 1 }
    }

    fn extent(&self, input: usize) -> usize {
        (input + 2 * self.padding).saturating_sub(self.kernel) / self.stride.max(1) + 1
    }
}

/// A graph under construction.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: pb::GraphProto,
    batch: Batch,
    next: usize,
    functions: Functions,
}

impl GraphBuilder {
    /// An empty graph called `name`.
    pub fn new(name: &str, batch: Batch) -> Self {
        let graph = pb::GraphProto { name: name.into(), ..Default::default() };
        Self { graph, batch, next: 0, functions: Functions::default() }
    }

    /// Adds the graph input `name`, one sample of which has shape `sample`.
    pub fn input(&mut self, name: &str, sample: &[usize]) -> Value {
        let info = self.batched_info(name, sample);
        self.graph.input.push(info);
        Value { name: name.into(), sample: sample.into() }
    }

    /// Adds `weight` as the initializer `name`.
    pub fn initializer(&mut self, name: &str, weight: &ArrayD<f32>) -> String {
        self.graph.initializer.push(proto::tensor(name, weight));
        name.into()
    }

    /// Convolution of `x` `[c, ...]` with the initializer `weight` `[out, c / groups, k...]` and an
    /// optional `bias` `[out]`.
    pub fn conv(
        &mut self,
        x: &Value,
        weight: (&str, &ArrayD<f32>),
        bias: Option<(&str, &ArrayD<f32>)>,
        geometry: ConvGeometry,
    ) -> Value {
        let spatial = x.sample.len().saturating_sub(1);
        let ints = |v: usize| vec![v as i64; spatial];
        let attributes = vec![
            proto::ints("kernel_shape", ints(geometry.kernel)),
            proto::ints("strides", ints(geometry.stride)),
            proto::ints("pads", vec![geometry.padding as i64; 2 * spatial]),
            proto::int("group", geometry.groups as i64),
        ];
        let out = weight.1.shape().first().copied().unwrap_or(0);
        let mut inputs = vec![x.name.clone(), self.initializer(weight.0, weight.1)];
        if let Some((name, value)) = bias {
            inputs.push(self.initializer(name, value));
        }
        let mut sample = vec![out];
        sample.extend(x.sample.iter().skip(1).map(|&d| geometry.extent(d)));
        self.node("Conv", weight.0, inputs, attributes, sample)
    }

    /// Batch normalisation with stored statistics, `scale`, `shift`, `mean`, `variance` all `[c]`.
    pub fn batch_norm(&mut self, x: &Value, parts: [(&str, &ArrayD<f32>); 4], epsilon: f32) -> Value {
        let mut inputs = vec![x.name.clone()];
        for (name, value) in parts {
            inputs.push(self.initializer(name, value));
        }
        let attributes = vec![proto::float("epsilon", epsilon)];
        self.node("BatchNormalization", parts[0].0, inputs, attributes, x.sample.clone())
    }

    /// `min(max(x, low), high)`; a rectifier when `high` is `None`.
    pub fn clip(&mut self, label: &str, x: &Value, low: f32, high: Option<f32>) -> Value {
        let sample = x.sample.clone();
        match high {
            None if low == 0.0 => self.node("Relu", label, vec![x.name.clone()], vec![], sample),
            _ => {
                let mut inputs = vec![x.name.clone(), self.constant(low)];
                inputs.extend(high.map(|high| self.constant(high)));
                self.node("Clip", label, inputs, vec![], sample)
            }
        }
    }

    /// Element-wise sum of two values of one shape.
    pub fn add(&mut self, label: &str, a: &Value, b: &Value) -> Value {
        self.node("Add", label, vec![a.name.clone(), b.name.clone()], vec![], a.sample.clone())
    }

    /// Mean over every axis but batch and channel: `[c, ...]` to `[c]`.
    pub fn global_average(&mut self, label: &str, x: &Value) -> Value {
        let channels = x.channels();
        let mut pooled = vec![channels];
        pooled.resize(x.sample.len(), 1);
        let y = self.node("GlobalAveragePool", label, vec![x.name.clone()], vec![], pooled);
        let flat = vec![proto::int("axis", 1)];
        self.node("Flatten", &format!("{label}.flatten"), vec![y.name], flat, vec![channels])
    }

    /// The positions of a map in raster order: `[c, ...]` to `[positions, c]`.
    pub fn positions(&mut self, label: &str, x: &Value) -> Value {
        let rank = x.sample.len() as i64 + 1;
        let permutation: Vec<i64> = std::iter::once(0).chain(2..rank).chain([1]).collect();
        let mut sample: Vec<usize> = x.sample.iter().skip(1).copied().collect();
        let count = sample.iter().product();
        sample.push(x.channels());
        let attributes = vec![proto::ints("perm", permutation)];
        let y = self.node("Transpose", label, vec![x.name.clone()], attributes, sample);
        self.reshape(label, &y, &[count, x.channels()])
    }

    /// The same values as samples of shape `sample`.
    pub fn reshape(&mut self, label: &str, x: &Value, sample: &[usize]) -> Value {
        if x.sample == sample {
            return x.clone();
        }
        // Zero keeps the batch, whatever it is.
        let shape: Vec<i64> = std::iter::once(0).chain(sample.iter().map(|&d| d as i64)).collect();
        let target = self.int_constant(&shape);
        self.node("Reshape", label, vec![x.name.clone(), target], vec![], sample.into())
    }

    /// Batch normalisation by the statistics of this very batch, clipped. Gives the value and, as
    /// `[1, c, 1...]`, mean and variance of each channel; the latter unbiased, as PyTorch keeps it, while
    /// the value is normalised by the biased one.
    ///
    /// Written as a fused call, so that the engine takes few passes over the feature map.
    ///
    /// # Errors
    /// When the batch is symbolic: a call is written for one shape.
    pub(crate) fn batch_norm_by_batch(
        &mut self,
        x: &Value,
        scale: (&str, &ArrayD<f32>),
        shift: (&str, &ArrayD<f32>),
        epsilon: f32,
        clip: Clip,
    ) -> TractResult<(Value, Value, Value)> {
        let Batch::Fixed(batch) = self.batch else { bail!("batch statistics want a batch of fixed size") };
        let label = scale.0;
        let shape = [&[batch], x.sample.as_slice()].concat();
        let norm = BatchNorm { shape, axis: 1, epsilon, clip };
        let count = norm.count() as f32;
        let inputs =
            vec![x.name.clone(), self.initializer(scale.0, scale.1), self.initializer(shift.0, shift.1)];
        let outputs: Vec<String> =
            ["y", "mean", "variance"].iter().map(|tag| self.fresh(&format!("{label}/{tag}"))).collect();
        let [y, mean, variance] = [0, 1, 2].map(|i| outputs[i].clone());
        let node = self.functions.node(&Call::BatchNorm(norm), y.clone(), inputs, outputs)?;
        self.graph.node.push(node);

        let y = Value { name: y, sample: x.sample.clone() };
        let mean = self.column(x, mean);
        let variance = self.column(x, variance);
        let correction = self.constant(count / (count - 1.0).max(1.0));
        let correction = Value { name: correction, sample: variance.sample.clone() };
        let unbiased = self.binary("Mul", &format!("{label}.unbiased"), &variance, &correction);
        Ok((y, mean, unbiased))
    }

    /// The row `name` `[c]` as `[1, c, 1...]`, for maps like `x`.
    fn column(&mut self, x: &Value, name: String) -> Value {
        let mut sample = vec![x.channels()];
        sample.resize(x.sample.len(), 1);
        let shape: Vec<i64> = std::iter::once(1).chain(sample.iter().map(|&d| d as i64)).collect();
        let target = self.int_constant(&shape);
        let label = format!("{name}.column");
        self.node("Reshape", &label, vec![name, target], vec![], sample)
    }

    /// Makes `value` the graph output `name`. `batched` tells whether its leading axis is the batch;
    /// otherwise that axis has extent one.
    pub fn output(&mut self, name: &str, value: &Value, batched: bool) {
        self.graph.node.push(pb::NodeProto {
            name: format!("{name}/output"),
            op_type: "Identity".into(),
            input: vec![value.name.clone()],
            output: vec![name.into()],
            ..Default::default()
        });
        let info = if batched {
            self.batched_info(name, &value.sample)
        } else {
            let mut shape = vec![1];
            shape.extend(&value.sample);
            proto::value_info(name, &shape)
        };
        self.graph.output.push(info);
    }

    /// The finished model.
    pub fn finish(self) -> pb::ModelProto {
        let mut model = proto::model(self.graph, OPSET, IR_VERSION);
        self.functions.add_to(&mut model);
        model
    }

    fn binary(&mut self, op: &str, label: &str, a: &Value, b: &Value) -> Value {
        self.node(op, label, vec![a.name.clone(), b.name.clone()], vec![], a.sample.clone())
    }

    fn constant(&mut self, value: f32) -> String {
        let name = self.fresh("constant");
        self.initializer(&name, &ndarray::arr0(value).into_dyn())
    }

    fn int_constant(&mut self, values: &[i64]) -> String {
        let name = self.fresh("shape");
        self.graph.initializer.push(proto::int_tensor(&name, values));
        name
    }

    fn fresh(&mut self, stem: &str) -> String {
        self.next += 1;
        format!("{stem}_{}", self.next)
    }

    fn node(
        &mut self,
        op: &str,
        label: &str,
        inputs: Vec<String>,
        attributes: Vec<pb::AttributeProto>,
        sample: Vec<usize>,
    ) -> Value {
        self.next += 1;
        let output = format!("{label}/{op}_{}", self.next);
        self.graph.node.push(pb::NodeProto {
            name: output.clone(),
            op_type: op.into(),
            input: inputs,
            output: vec![output.clone()],
            attribute: attributes,
            ..Default::default()
        });
        Value { name: output, sample }
    }

    fn batched_info(&self, name: &str, sample: &[usize]) -> pb::ValueInfoProto {
        match self.batch {
            Batch::Fixed(n) => {
                let mut shape = vec![n];
                shape.extend(sample);
                proto::value_info(name, &shape)
            }
            Batch::Symbolic => proto::symbolic_value_info(name, BATCH_SYMBOL, sample),
        }
    }
}
