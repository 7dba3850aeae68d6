//! The unit every encoder here is made of: convolution, batch norm, rectifier. This file alone knows
//! how a unit looks in each [`Form`], how its weights are drawn, and how batch norm folds away.

use ndarray::{ArrayD, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ArchitectureError, Form};
use crate::fused::Clip;
use crate::onnx::build::{ConvGeometry, GraphBuilder, Value};
use crate::tensors::Tensors;

/// Added to a variance before its root, as PyTorch does by default.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;

/// What follows the batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing: the linear bottleneck.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

enum Weights<'a> {
    Reading(&'a Tensors),
    Drawing(Box<ChaCha8Rng>, Tensors),
}

/// Carries the weights while a graph is wired: read from a set, or drawn as they are asked for.
pub(crate) struct Wiring<'a> {
    weights: Weights<'a>,
    pub(crate) form: Form,
    statistics: Vec<(String, Value)>,
}

impl<'a> Wiring<'a> {
    pub(crate) fn reading(weights: &'a Tensors) -> Self {
        Self { weights: Weights::Reading(weights), form: Form::Inference, statistics: vec![] }
    }

    pub(crate) fn drawing(seed: u64) -> Self {
        let rng = Box::new(ChaCha8Rng::seed_from_u64(seed));
        Self { weights: Weights::Drawing(rng, Tensors::new()), form: Form::Inference, statistics: vec![] }
    }

    pub(crate) fn into_weights(self) -> Tensors {
        match self.weights {
            Weights::Reading(weights) => weights.clone(),
            Weights::Drawing(_, weights) => weights,
        }
    }

    /// Makes the batch statistics met so far outputs of the graph.
    pub(crate) fn emit_statistics(&mut self, builder: &mut GraphBuilder) {
        for (name, value) in self.statistics.drain(..) {
            builder.output(&name, &value, false);
        }
    }

    /// One unit called `name`: `<name>.conv`, `<name>.bn`, activation.
    pub(crate) fn unit(
        &mut self,
        builder: &mut GraphBuilder,
        name: &str,
        x: &Value,
        out: usize,
        geometry: ConvGeometry,
        activation: Activation,
    ) -> Result<Value, ArchitectureError> {
        let channels = x.sample().first().copied().unwrap_or(0);
        let mut kernel = vec![out, channels / geometry.groups];
        kernel.resize(x.sample().len() + 1, geometry.kernel);
        let weight_name = format!("{name}.conv.weight");
        let weight = self.weight(&weight_name, &kernel, Initial::He)?;
        let y = if self.form == Form::Folded {
            let bias_name = format!("{name}.conv.bias");
            let bias = self.weight(&bias_name, &[out], Initial::Constant(0.0))?;
            builder.conv(x, (&weight_name, &weight), Some((&bias_name, &bias)), geometry)
        } else {
            let y = builder.conv(x, (&weight_name, &weight), None, geometry);
            if self.form == Form::Training {
                return self.batch_norm_by_batch(builder, name, &y, activation);
            }
            self.batch_norm(builder, name, &y, out)?
        };
        Ok(match activation {
            Activation::None => y,
            Activation::Relu => builder.clip(&format!("{name}.relu"), &y, 0.0, None),
            Activation::Relu6 => builder.clip(&format!("{name}.relu6"), &y, 0.0, Some(6.0)),
        })
    }

    /// Batch norm by batch statistics, which are kept for [`Self::emit_statistics`], and activation in one.
    fn batch_norm_by_batch(
        &mut self,
        builder: &mut GraphBuilder,
        name: &str,
        x: &Value,
        activation: Activation,
    ) -> Result<Value, ArchitectureError> {
        let channels = x.sample().first().copied().unwrap_or(0);
        let names = ["weight", "bias"].map(|part| format!("{name}.bn.{part}"));
        let scale = self.weight(&names[0], &[channels], Initial::Constant(1.0))?;
        let shift = self.weight(&names[1], &[channels], Initial::Constant(0.0))?;
        let clip = match activation {
            Activation::None => Clip::default(),
            Activation::Relu => Clip { low: Some(0.0), high: None },
            Activation::Relu6 => Clip { low: Some(0.0), high: Some(6.0) },
        };
        let (scale, shift) = ((names[0].as_str(), &scale), (names[1].as_str(), &shift));
        let (y, mean, variance) = builder
            .batch_norm_by_batch(x, scale, shift, BATCH_NORM_EPSILON, clip)
            .map_err(|e| ArchitectureError::Training { name: name.into(), reason: format!("{e:#}") })?;
        self.statistics.push((format!("{name}.bn.batch_mean"), mean));
        self.statistics.push((format!("{name}.bn.batch_var"), variance));
        Ok(y)
    }

    fn batch_norm(
        &mut self,
        builder: &mut GraphBuilder,
        name: &str,
        x: &Value,
        channels: usize,
    ) -> Result<Value, ArchitectureError> {
        let names = ["weight", "bias", "running_mean", "running_var"].map(|part| format!("{name}.bn.{part}"));
        let scale = self.weight(&names[0], &[channels], Initial::Constant(1.0))?;
        let shift = self.weight(&names[1], &[channels], Initial::Constant(0.0))?;
        let mean = self.weight(&names[2], &[channels], Initial::Constant(0.0))?;
        let variance = self.weight(&names[3], &[channels], Initial::Constant(1.0))?;
        let parts = [
            (names[0].as_str(), &scale),
            (names[1].as_str(), &shift),
            (names[2].as_str(), &mean),
            (names[3].as_str(), &variance),
        ];
        Ok(builder.batch_norm(x, parts, BATCH_NORM_EPSILON))
    }

    /// The weight called `name`, read or drawn.
    pub(super) fn weight(
        &mut self,
        name: &str,
        shape: &[usize],
        initial: Initial,
    ) -> Result<ArrayD<f32>, ArchitectureError> {
        match &mut self.weights {
            Weights::Reading(weights) => match weights.get(name) {
                Some(weight) if weight.shape() == shape => Ok(weight.clone()),
                other => Err(ArchitectureError::Weight {
                    name: name.into(),
                    found: other.map(|w| w.shape().to_vec()),
                    wanted: shape.into(),
                }),
            },
            Weights::Drawing(rng, weights) => {
                let weight = initial.draw(shape, rng);
                weights.insert(name.into(), weight.clone());
                Ok(weight)
            }
        }
    }
}

/// How a weight begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Initial {
    /// Normal with variance `2 / fan-in` (He et al. 2015, equation 10).
    He,
    /// Uniform with variance `2 / (fan-in + fan-out)` (Glorot & Bengio 2010, equation 16).
    Glorot,
    /// Normal with variance one.
    Normal,
    /// The same value everywhere.
    Constant(f32),
}

impl Initial {
    pub(crate) fn draw(self, shape: &[usize], rng: &mut ChaCha8Rng) -> ArrayD<f32> {
        match self {
            Self::Constant(value) => ArrayD::from_elem(IxDyn(shape), value),
            Self::Normal => ArrayD::from_shape_simple_fn(IxDyn(shape), || standard_normal(rng) as f32),
            Self::Glorot => {
                let fan_in: usize = shape.iter().skip(1).product();
                let fan_out = shape.first().copied().unwrap_or(0);
                let bound = (6.0 / (fan_in + fan_out).max(1) as f64).sqrt();
                let mut draw = || bound * (2.0 * rng.random::<f64>() - 1.0);
                ArrayD::from_shape_simple_fn(IxDyn(shape), || draw() as f32)
            }
            Self::He => {
                let fan_in: usize = shape.iter().skip(1).product();
                let std = (2.0 / fan_in.max(1) as f64).sqrt();
                ArrayD::from_shape_simple_fn(IxDyn(shape), || (std * standard_normal(rng)) as f32)
            }
        }
    }
}

/// A standard normal value by Box and Muller (1958).
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius: f64 = 1.0 - rng.random::<f64>();
    let angle: f64 = std::f64::consts::TAU * rng.random::<f64>();
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

/// Weights with every batch norm folded into the convolution before it: `<unit>.conv.weight` is
/// scaled, `<unit>.conv.bias` appears, `<unit>.bn.*` is gone. What is no unit stays as it is.
pub fn fold(weights: &Tensors) -> Result<Tensors, ArchitectureError> {
    let mut folded = Tensors::new();
    for (name, value) in weights {
        if name.contains(".bn.") {
            continue;
        }
        let Some(unit) = name.strip_suffix(".conv.weight") else {
            folded.insert(name.clone(), value.clone());
            continue;
        };
        let out = value.shape().first().copied().unwrap_or(0);
        let part = |part: &str| {
            let name = format!("{unit}.bn.{part}");
            match weights.get(&name) {
                Some(w) if w.shape() == [out] => Ok(w.iter().copied().collect::<Vec<f32>>()),
                other => Err(ArchitectureError::Weight {
                    name,
                    found: other.map(|w| w.shape().to_vec()),
                    wanted: vec![out],
                }),
            }
        };
        let (scale, shift) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        let mut weight = value.clone();
        let mut bias = ArrayD::zeros(IxDyn(&[out]));
        for (c, mut kernel) in weight.outer_iter_mut().enumerate() {
            // In f64, so that folding adds no error of its own to the parity check.
            let slope = f64::from(scale[c]) / (f64::from(variance[c]) + f64::from(BATCH_NORM_EPSILON)).sqrt();
            kernel.mapv_inplace(|w| (f64::from(w) * slope) as f32);
            bias[[c]] = (f64::from(shift[c]) - f64::from(mean[c]) * slope) as f32;
        }
        folded.insert(name.clone(), weight);
        folded.insert(format!("{unit}.conv.bias"), bias);
    }
    Ok(folded)
}
