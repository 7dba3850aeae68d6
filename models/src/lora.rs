//! Low-rank adaptation (Hu et al. 2022, section 4.1): a weight `W` stays as it is and a product of two thin
//! matrices is added to it, `W' = W + (alpha / R) B A`, of which only `A` and `B` are trained. `A` is drawn
//! and `B` starts at zero, so that training starts from the encoder as it was.
//!
//! `alpha` is the rank itself, so the factor is one and the state alone says what the weights are: tuning
//! alpha is roughly the same as tuning the learning rate (as that paper notes).
//!
//! It is a rewrite of the encoder's ONNX before it is compiled, and [`merge`] is the way back: an encoder
//! without deltas, that costs what it did.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array2, ArrayD, IxDyn};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tract_onnx::pb;

use crate::architecture::Initial;
use crate::onnx::{self, OnnxError, initializers, proto};
use crate::tensors::Tensors;

/// Why deltas could not be laid on weights, or merged into them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// No float initializer of that name.
    #[error("the encoder has no float weight called `{name}` to lay a low-rank delta on")]
    NoSuchWeight {
        /// The name.
        name: String,
    },
    /// A weight of fewer than two axes, or an empty one.
    #[error("`{name}` has shape {shape:?}; a low-rank delta wants two axes or more. Train it whole")]
    Shape {
        /// The weight.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A rank of zero.
    #[error("the delta on `{name}` has rank 0; give one or more")]
    Rank {
        /// The weight.
        name: String,
    },
    /// A name that the graph uses already.
    #[error("the encoder already has a value called `{name}`; rename it, or train its weight whole")]
    Taken {
        /// The name.
        name: String,
    },
    /// The state holds a delta that does not fit its weight, or half of one.
    #[error(
        "the delta on `{name}` does not fit: weight {weight:?}, B {b:?}, A {a:?}; B must be [out, rank] and A \
         [rank, in]"
    )]
    Delta {
        /// The weight.
        name: String,
        /// Its shape.
        weight: Vec<usize>,
        /// Shape of `B`, empty when it is not there.
        b: Vec<usize>,
        /// Shape of `A`, empty when it is not there.
        a: Vec<usize>,
    },
    /// The encoder is no ONNX that is read, or a weight of the state does not fit it.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

/// Name of a weight's `A`, `[rank, in]`.
pub fn a_name(weight: &str) -> String {
    format!("{weight}.lora_a")
}

/// Name of a weight's `B`, `[out, rank]`.
pub fn b_name(weight: &str) -> String {
    format!("{weight}.lora_b")
}

/// Lays a delta on every `(weight, rank)` of `encoder`: its readers read `<weight>.adapted` instead, computed
/// from `<weight>`, [`a_name`] and [`b_name`]. A weight `[out, in, ...]` is seen as a matrix `[out, in * ...]`
/// and a rank beyond its smaller side is cut to that. `A` is normal with variance `2 / in` by `seed`.
/// Gives the names to train.
///
/// # Errors
/// [`LoraError`]; the encoder is then as it was.
pub fn attach(
    encoder: &mut pb::ModelProto,
    weights: &[(String, usize)],
    seed: u64,
) -> Result<Vec<String>, LoraError> {
    let values = initializers(encoder);
    let taken = names(encoder);
    // In name order, so that the same seed gives the same deltas in whatever order they are asked for.
    let wanted: BTreeMap<&String, usize> = weights.iter().map(|(name, rank)| (name, *rank)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let deltas = wanted
        .into_iter()
        .map(|(name, rank)| {
            let weight = values.get(name).ok_or_else(|| LoraError::NoSuchWeight { name: name.clone() })?;
            Delta::draw(name, weight.shape(), rank, &mut rng)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let made = deltas.iter().flat_map(Delta::names);
    if let Some(name) = made.into_iter().find(|name| taken.contains(name)) {
        return Err(LoraError::Taken { name });
    }
    let graph = encoder.graph.get_or_insert_default();
    for delta in &deltas {
        let read = graph.node.iter_mut().flat_map(|node| &mut node.input);
        read.filter(|input| **input == delta.name).for_each(|input| *input = delta.adapted());
        for output in graph.output.iter_mut().filter(|output| output.name == delta.name) {
            output.name = delta.adapted();
        }
    }
    let nodes = deltas.iter().flat_map(Delta::nodes);
    graph.node = nodes.chain(std::mem::take(&mut graph.node)).collect();
    graph.initializer.extend(deltas.iter().flat_map(Delta::initializers));
    Ok(deltas.iter().flat_map(|delta| [a_name(&delta.name), b_name(&delta.name)]).collect())
}

/// `encoder` with the weights of `state` put in, and its deltas added to what they were laid on: the plain
/// encoder, without [`attach`]'s nodes. What else the state holds is skipped.
///
/// # Errors
/// [`LoraError::Delta`] or [`LoraError::Onnx`] when the state does not fit the encoder.
pub fn merge(encoder: &[u8], state: &Tensors) -> Result<Vec<u8>, LoraError> {
    let model = onnx::read::parse(encoder)?;
    let mut merged = Tensors::new();
    for (name, value) in initializers(&model) {
        let value = state.get(&name).cloned().unwrap_or(value);
        let (a, b) = (state.get(&a_name(&name)), state.get(&b_name(&name)));
        if a.is_some() || b.is_some() {
            let sum = sum(&value, b, a).ok_or_else(|| {
                let shape = |part: Option<&ArrayD<f32>>| part.map(|p| p.shape().to_vec()).unwrap_or_default();
                LoraError::Delta {
                    name: name.clone(),
                    weight: value.shape().into(),
                    b: shape(b),
                    a: shape(a),
                }
            })?;
            merged.insert(name, sum);
        } else if state.contains_key(&name) {
            merged.insert(name, value);
        }
    }
    Ok(onnx::replace_initializers(encoder, &merged)?)
}

/// `weight + reshape(b a)`, `None` where the shapes do not fit.
fn sum(weight: &ArrayD<f32>, b: Option<&ArrayD<f32>>, a: Option<&ArrayD<f32>>) -> Option<ArrayD<f32>> {
    let matrix =
        |part: Option<&ArrayD<f32>>| -> Option<Array2<f32>> { part?.clone().into_dimensionality().ok() };
    let (a, b) = (matrix(a)?, matrix(b)?);
    let rows = *weight.shape().first()?;
    let fits =
        b.nrows() == rows && b.ncols() == a.nrows() && rows.checked_mul(a.ncols()) == Some(weight.len());
    let delta = fits.then(|| b.dot(&a))?;
    let delta = ArrayD::from_shape_vec(weight.raw_dim(), delta.into_iter().collect()).ok()?;
    Some(weight + &delta)
}

/// Every name of the graph.
fn names(model: &pb::ModelProto) -> BTreeSet<String> {
    let Some(graph) = &model.graph else { return BTreeSet::new() };
    let made = graph.node.iter().flat_map(|node| node.output.iter().chain([&node.name]));
    let given = graph.input.iter().map(|i| &i.name).chain(graph.initializer.iter().map(|t| &t.name));
    made.chain(given).cloned().collect()
}

/// The delta on one weight.
struct Delta {
    name: String,
    shape: Vec<usize>,
    a: ArrayD<f32>,
    b: ArrayD<f32>,
}

impl Delta {
    fn draw(name: &str, shape: &[usize], rank: usize, rng: &mut ChaCha8Rng) -> Result<Self, LoraError> {
        let (out, inputs) = match shape {
            [out, rest @ ..] if !rest.is_empty() && !shape.contains(&0) => {
                (*out, rest.iter().product::<usize>())
            }
            _ => return Err(LoraError::Shape { name: name.into(), shape: shape.into() }),
        };
        if rank == 0 {
            return Err(LoraError::Rank { name: name.into() });
        }
        let rank = rank.min(out).min(inputs);
        Ok(Self {
            name: name.into(),
            shape: shape.into(),
            a: Initial::He.draw(&[rank, inputs], rng),
            b: ArrayD::zeros(IxDyn(&[out, rank])),
        })
    }

    fn adapted(&self) -> String {
        format!("{}.adapted", self.name)
    }

    fn product(&self) -> String {
        format!("{}.lora_product", self.name)
    }

    fn delta(&self) -> String {
        format!("{}.lora_delta", self.name)
    }

    fn to_shape(&self) -> String {
        format!("{}.lora_shape", self.name)
    }

    fn names(&self) -> [String; 6] {
        let (a, b) = (a_name(&self.name), b_name(&self.name));
        [a, b, self.product(), self.delta(), self.to_shape(), self.adapted()]
    }

    fn initializers(&self) -> [pb::TensorProto; 3] {
        let shape: Vec<i64> = self.shape.iter().map(|&d| d as i64).collect();
        [
            proto::tensor(&a_name(&self.name), &self.a),
            proto::tensor(&b_name(&self.name), &self.b),
            proto::int_tensor(&self.to_shape(), &shape),
        ]
    }

    fn nodes(&self) -> [pb::NodeProto; 3] {
        let node = |op: &str, inputs: [String; 2], output: String| pb::NodeProto {
            op_type: op.into(),
            name: output.clone(),
            input: inputs.into(),
            output: vec![output],
            ..Default::default()
        };
        [
            node("MatMul", [b_name(&self.name), a_name(&self.name)], self.product()),
            node("Reshape", [self.product(), self.to_shape()], self.delta()),
            node("Add", [self.name.clone(), self.delta()], self.adapted()),
        ]
    }
}
