//! Every loss and its gradients on random small heads, against the losses written again, plainly, in
//! float64, and central differences of those.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayD, Axis, Ix2, IxDyn, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;

use super::{Objective, ProjectionHead, Student};
use crate::autodiff::differentiate;
use crate::fused::tests::expanded;
use crate::graph::Graph;
use crate::tensors::Tensors;

const EMBEDDING: &str = "embedding";
const TEMPERATURE: f64 = 0.4;
const STEP: f64 = 1e-6;

type Values = BTreeMap<String, ArrayD<f64>>;

fn matrix(values: &Values, name: &str) -> Array2<f64> {
    values[name].clone().into_dimensionality::<Ix2>().unwrap()
}

/// `suffix` is empty or that of the teacher.
fn linear(values: &Values, name: &str, suffix: &str, x: &Array2<f64>) -> Array2<f64> {
    let bias = &values[&format!("{name}.bias{suffix}")];
    x.dot(&matrix(values, &format!("{name}.weight{suffix}")).t())
        + bias.view().into_dimensionality::<ndarray::Ix1>().unwrap()
}

fn layers(values: &Values, name: &str, suffix: &str, x: &Array2<f64>) -> Array2<f64> {
    let hidden = linear(values, &format!("{name}.0"), suffix, x).mapv(|v| v.max(0.0));
    linear(values, &format!("{name}.2"), suffix, &hidden)
}

/// One linear layer or two.
fn stack(values: &Values, name: &str, layers_in_it: usize, x: &Array2<f64>) -> Array2<f64> {
    if layers_in_it == 1 { linear(values, &format!("{name}.0"), "", x) } else { layers(values, name, "", x) }
}

fn head(values: &Values, suffix: &str) -> Array2<f64> {
    layers(values, "head", suffix, &matrix(values, &format!("{EMBEDDING}{suffix}")))
}

fn unit(mut rows: Array2<f64>) -> Array2<f64> {
    for mut row in rows.rows_mut() {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    rows
}

fn swapped(rows: &Array2<f64>) -> Array2<f64> {
    let half = rows.nrows() / 2;
    ndarray::concatenate![Axis(0), rows.slice(s![half.., ..]), rows.slice(s![..half, ..])]
}

fn centred_halves(z: &Array2<f64>) -> [Array2<f64>; 2] {
    let half = z.nrows() / 2;
    [s![..half, ..], s![half.., ..]].map(|part| {
        let part = z.slice(part);
        &part - &part.mean_axis(Axis(0)).unwrap()
    })
}

/// Minus the logarithm of the share of `exp(own)` in itself and the `others`.
fn surprise(own: f64, others: impl Iterator<Item = f64>) -> f64 {
    (own.exp() + others.map(f64::exp).sum::<f64>()).ln() - own
}

/// The loss of the weights `moved`, where what gets no gradient is computed from `fixed`.
fn loss(objective: &Objective, moved: &Values, fixed: &Values) -> f64 {
    let rows = moved[EMBEDDING].shape()[0];
    let mean = |each: &dyn Fn(usize) -> f64| (0..rows).map(each).sum::<f64>() / rows as f64;
    match objective {
        Objective::NtXent { .. } => {
            let z = unit(head(moved, ""));
            let logits = z.dot(&z.t()) / TEMPERATURE;
            mean(&|i| {
                let own = (i + rows / 2) % rows;
                let others = (0..rows).filter(|j| *j != i && *j != own).map(|j| logits[[i, j]]);
                surprise(logits[[i, own]], others)
            })
        }
        Objective::Moco { .. } => {
            let (z, keys) = (unit(head(moved, "")), swapped(&unit(head(fixed, "/teacher"))));
            let negatives = z.dot(&matrix(fixed, "queue").t()) / TEMPERATURE;
            mean(&|i| {
                let own = z.row(i).dot(&keys.row(i)) / TEMPERATURE;
                surprise(own, negatives.row(i).iter().copied())
            })
        }
        Objective::VicReg { invariance, variance, covariance, .. } => {
            vicreg(&head(moved, ""), [invariance, variance, covariance].map(|w| f64::from(*w)))
        }
        Objective::BarlowTwins { redundancy, .. } => barlow_twins(&head(moved, ""), f64::from(*redundancy)),
        Objective::SimSiam { .. } => {
            let predicted = unit(layers(moved, "head.predictor", "", &head(moved, "")));
            let target = swapped(&unit(head(fixed, "")));
            -mean(&|i| predicted.row(i).dot(&target.row(i)))
        }
        Objective::Byol { .. } => {
            let predicted = unit(layers(moved, "head.predictor", "", &head(moved, "")));
            let target = swapped(&unit(head(fixed, "/teacher")));
            2.0 * mean(&|i| (&predicted.row(i) - &target.row(i)).mapv(|v| v * v).sum())
        }
        Objective::MocoV3 { .. } => {
            let queries = unit(layers(moved, "head.predictor", "", &head(moved, "")));
            let keys = swapped(&unit(head(fixed, "/teacher")));
            let logits = queries.dot(&keys.t()) / TEMPERATURE;
            let half = rows / 2;
            // Both directions, each twice the temperature times a mean over half the rows.
            4.0 * TEMPERATURE
                * mean(&|i| {
                    let view = i / half * half;
                    let others = (view..view + half).filter(|j| *j != i).map(|j| logits[[i, j]]);
                    surprise(logits[[i, i]], others)
                })
        }
        Objective::Data2Vec { beta, .. } => data2vec(moved, fixed, f64::from(*beta)),
        Objective::MaskedReconstruction { decoder } => {
            let embedding = matrix(moved, EMBEDDING);
            let rebuilt = match decoder {
                Some(_) => layers(moved, "head.decoder", "", &embedding),
                None => linear(moved, "head.decoder", "", &embedding),
            };
            let (targets, mask) = (matrix(fixed, "targets"), matrix(fixed, "mask"));
            let errors = (rebuilt - targets).mapv(|v| v * v) * &mask;
            mean(&|i| errors.row(i).sum() / mask.row(i).sum().max(1.0))
        }
        Objective::Boltzmann { .. } => {
            panic!("its loss holds what it samples fixed: it has tests of its own")
        }
        Objective::PairPrediction { .. } => {
            let z = matrix(moved, EMBEDDING);
            let (first, second) = (z.slice(s![..rows / 2, ..]), z.slice(s![rows / 2.., ..]));
            let (size, product) = ((&second - &first).mapv(f64::abs), &first * &second);
            let both = ndarray::concatenate![Axis(1), first, second, size, product];
            let likelihood = layers(moved, "head.pair", "", &both).mapv(|l| 1.0 / (1.0 + (-l).exp()));
            let targets = matrix(fixed, "targets");
            let each = likelihood.iter().zip(&targets).map(|(p, t)| t * p.ln() + (1.0 - t) * (1.0 - p).ln());
            -each.sum::<f64>() / (rows / 2) as f64
        }
        Objective::Distillation { head } => {
            let predicted = unit(stack(moved, "head", head.layers, &matrix(moved, EMBEDDING)));
            let taught = unit(matrix(fixed, "taught"));
            mean(&|i| (&predicted.row(i) - &taught.row(i)).mapv(|v| v * v).sum() / 2.0)
        }
        Objective::CrossModal { head, .. } => {
            let embedding = matrix(moved, EMBEDDING);
            let second = &embedding * &matrix(fixed, "views");
            let first = unit(stack(moved, "head", head.layers, &embedding));
            let second = unit(stack(moved, "head.second", head.layers, &second));
            let logits = first.dot(&second.t()) / TEMPERATURE;
            mean(&|i| {
                let others = || (0..rows).filter(|j| *j != i);
                let to_second = surprise(logits[[i, i]], others().map(|j| logits[[i, j]]));
                let to_first = surprise(logits[[i, i]], others().map(|j| logits[[j, i]]));
                (to_second + to_first) / 2.0
            })
        }
        Objective::CrossEntropy { .. } => {
            let logits = linear(moved, "classifier", "", &matrix(moved, EMBEDDING));
            let targets = matrix(fixed, "targets");
            mean(&|i| {
                let total = logits.row(i).mapv(f64::exp).sum().ln();
                targets.row(i).dot(&logits.row(i).mapv(|v| total - v))
            })
        }
        other => panic!("{} reads tokens and is held against PyTorch", other.name()),
    }
}

/// The tokens of [`two_places`]: sample by sample, a product and a sum.
fn places(values: &Values, suffix: &str, input: &str) -> [Array2<f64>; 2] {
    let (e, x) = (matrix(values, &format!("{EMBEDDING}{suffix}")), matrix(values, input));
    [&e * &x, e + x]
}

fn data2vec(moved: &Values, fixed: &Values, beta: f64) -> f64 {
    let normal = |mut rows: Array2<f64>| {
        for mut row in rows.rows_mut() {
            let mean = row.mean().unwrap();
            row -= mean;
            let deviation = (row.mapv(|v| v * v).mean().unwrap() + 1e-5).sqrt();
            row /= deviation;
        }
        rows
    };
    let taught = places(fixed, "/teacher", "whole");
    let mask = &fixed["mask"];
    let rows = mask.shape()[0];
    let mut errors = vec![0.0; rows];
    for (at, tokens) in places(moved, "", "views").into_iter().enumerate() {
        let predicted = linear(moved, "head.predictor", "", &tokens);
        let square = taught[at].mapv(|v| v * v);
        let target = (normal(taught[at].clone()) + normal(&taught[at] + &square)) / 2.0;
        let error = (predicted - target)
            .mapv(|d| if d.abs() <= beta { d * d / (2.0 * beta) } else { d.abs() - beta / 2.0 });
        for (i, row) in error.rows().into_iter().enumerate() {
            errors[i] += row.mean().unwrap() * mask[[i, at, 0]];
        }
    }
    let each = errors.iter().enumerate().map(|(i, e)| e / (mask[[i, 0, 0]] + mask[[i, 1, 0]]).max(1.0));
    each.sum::<f64>() / rows as f64
}

/// Features of an encoder of two tokens and three layers, of which the last two are taught.
fn two_places(graph: &mut Graph, embedding: OutletId, views: OutletId) -> Vec<(String, OutletId)> {
    let shape = graph.shape(embedding).unwrap();
    let product = graph.mul(embedding, views).unwrap();
    let sum = graph.add(embedding, views).unwrap();
    let both = [product, sum].map(|place| graph.reshape(place, &[shape[0], 1, shape[1]]).unwrap());
    let tokens = graph.concat(1, &both).unwrap();
    let square = graph.mul(tokens, tokens).unwrap();
    let top = graph.add(tokens, square).unwrap();
    let named = [
        ("tokens", tokens),
        ("layers.2", top),
        ("layers.0", square),
        ("layers.1", tokens),
        ("second.embedding", product),
    ];
    named.map(|(name, outlet)| (name.to_string(), outlet)).to_vec()
}

fn vicreg(z: &Array2<f64>, [invariance, variance, covariance]: [f64; 3]) -> f64 {
    let (pairs, features) = (z.nrows() / 2, z.ncols());
    let difference = &z.slice(s![..pairs, ..]) - &z.slice(s![pairs.., ..]);
    let mut loss = invariance * difference.mapv(|v| v * v).mean().unwrap();
    for view in centred_halves(z) {
        let covariances = view.t().dot(&view) / (pairs as f64 - 1.0);
        for i in 0..features {
            let deviation = (covariances[[i, i]] + 1e-4).sqrt();
            loss += variance * (1.0 - deviation).max(0.0) / features as f64;
            for j in (0..features).filter(|j| *j != i) {
                loss += covariance * covariances[[i, j]].powi(2) / features as f64;
            }
        }
    }
    loss
}

fn barlow_twins(z: &Array2<f64>, redundancy: f64) -> f64 {
    let [a, b] = centred_halves(z);
    let mut loss = 0.0;
    for (i, first) in a.columns().into_iter().enumerate() {
        for (j, second) in b.columns().into_iter().enumerate() {
            let correlation = first.dot(&second) / (first.dot(&first) * second.dot(&second)).sqrt();
            loss += if i == j { (1.0 - correlation).powi(2) } else { redundancy * correlation.powi(2) };
        }
    }
    loss
}

/// A loss with the embedding as the encoder's only weight, and its gradients by weight.
struct Case {
    model: TypedModel,
    weights: Vec<String>,
    values: Values,
}

fn case(objective: &Objective, rows: usize, width: usize, seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = [rows, width];
    let mut graph = Graph::new(TypedModel::default());
    let embedding = graph.source(EMBEDDING, &shape).unwrap();
    let encoder = [(EMBEDDING.to_string(), embedding)];
    let initial = Tensors::from([(EMBEDDING.to_string(), ArrayD::zeros(IxDyn(&shape)))]);
    let input = graph.source("views", &shape).unwrap();
    let features = two_places(&mut graph, embedding, input);
    let student = Student {
        embedding,
        features: &features,
        inputs: &[],
        input,
        views: &shape,
        weights: &encoder,
        initial: &initial,
        accumulate: 1,
    };
    let wired = objective.wire(&mut graph, &student, &mut rng).unwrap();
    graph.model.select_output_outlets(&[wired.loss]).unwrap();
    let trained = [encoder.as_slice(), &wired.weights].concat();
    let outlets: Vec<OutletId> = trained.iter().map(|(_, o)| *o).collect();
    let gradients = differentiate(&mut graph, wired.loss, &outlets).unwrap();
    graph.model.select_output_outlets(&[vec![wired.loss], gradients].concat()).unwrap();
    let mut values = Values::new();
    for input in graph.model.input_outlets().unwrap() {
        let name = graph.model.node(input.node).name.clone();
        let shape = graph.shape(*input).unwrap();
        let value = ArrayD::from_shape_simple_fn(IxDyn(&shape), || match name.as_str() {
            "mask" => f64::from(u8::from(rng.random_range(0..3) == 0)),
            // Exact in both precisions, so that both see the same number.
            _ => f64::from(rng.random_range(-1.0..1.0f32)),
        });
        values.insert(name, value);
    }
    if let Some(temperature) = values.get_mut("temperature") {
        temperature.fill(TEMPERATURE);
    }
    if let Objective::CrossEntropy { classes } = objective {
        let targets = values.get_mut("targets").unwrap();
        targets.indexed_iter_mut().for_each(|(at, v)| *v = f64::from(u8::from(at[1] == at[0] % classes)));
    }
    Case { model: graph.model, weights: trained.into_iter().map(|(name, _)| name).collect(), values }
}

impl Case {
    /// The loss, and the gradient of every weight.
    fn run(&self) -> (f64, Values) {
        let plan = expanded(&self.model).into_optimized().unwrap().into_runnable().unwrap();
        let inputs = self.model.input_outlets().unwrap().iter().map(|input| {
            let value = self.values[&self.model.node(input.node).name].mapv(|v| v as f32);
            Tensor::from_shape(value.shape(), value.as_slice().unwrap()).unwrap().into_tvalue()
        });
        let outputs = plan.run(inputs.collect()).unwrap();
        let mut arrays = outputs.iter().map(|output| {
            let view = output.try_as_plain_ram().unwrap();
            let values = view.as_slice::<f32>().unwrap().iter().map(|v| f64::from(*v)).collect();
            ArrayD::from_shape_vec(IxDyn(output.shape()), values).unwrap()
        });
        let loss = arrays.next().unwrap().sum();
        (loss, self.weights.iter().cloned().zip(arrays).collect())
    }
}

fn check(objective: &Objective, rows: usize, width: usize, seed: u64) {
    let case = case(objective, rows, width, seed);
    let (found, gradients) = case.run();
    let expected = loss(objective, &case.values, &case.values);
    assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{objective:?}: {found}, {expected}");
    for (name, gradient) in gradients {
        let scale = gradient.iter().fold(1.0f64, |most, v| most.max(v.abs()));
        for (at, found) in gradient.iter().enumerate() {
            let at_side = |side: f64| {
                let mut moved = case.values.clone();
                *moved.get_mut(&name).unwrap().iter_mut().nth(at).unwrap() += side * STEP;
                loss(objective, &moved, &case.values)
            };
            let expected = (at_side(1.0) - at_side(-1.0)) / (2.0 * STEP);
            assert!(
                (found - expected).abs() < 1e-4 * scale,
                "{objective:?} `{name}`[{at}]: {found}, differences {expected}"
            );
        }
    }
}

#[test]
fn losses_and_their_gradients() {
    for seed in 0..8u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let [pairs, width, out] = [0; 3].map(|_| rng.random_range(3..6));
        let hidden = rng.random_range(4..8);
        let (head, predictor) = (ProjectionHead::new(hidden, out), hidden);
        for objective in [
            Objective::NtXent { head, temperature: 0.4 },
            Objective::Moco { head, temperature: 0.4, queue: 11, ema: 0.9 },
            Objective::vicreg(head),
            Objective::BarlowTwins { head, redundancy: 0.1 },
            Objective::SimSiam { head, predictor },
            Objective::Byol { head, predictor, ema: 0.9 },
            Objective::MocoV3 { head, predictor, temperature: 0.4, ema: 0.9 },
            Objective::Data2Vec { layers: 2, beta: 0.5, ema: 0.9 },
            Objective::MaskedReconstruction { decoder: None },
            Objective::MaskedReconstruction { decoder: Some(hidden) },
            Objective::PairPrediction { hidden },
            Objective::CrossModal { head, temperature: 0.4 },
            Objective::CrossModal { head: ProjectionHead::linear(out), temperature: 0.4 },
            Objective::Distillation { head },
            Objective::Distillation { head: ProjectionHead::linear(out) },
            Objective::CrossEntropy { classes: out },
        ] {
            check(&objective, 2 * pairs, width, seed);
        }
    }
}

#[test]
fn a_head_of_old_is_read_and_written_as_it_was() {
    let old = r#"{"hidden":8,"out":4}"#;
    let head: ProjectionHead = serde_json::from_str(old).unwrap();
    assert_eq!(head, ProjectionHead::new(8, 4));
    assert_eq!(serde_json::to_string(&head).unwrap(), old);
    let normalised = ProjectionHead::normalised(8, 4, 3, super::HeadNorm::All);
    let written = serde_json::to_string(&normalised).unwrap();
    assert_eq!(serde_json::from_str::<ProjectionHead>(&written).unwrap(), normalised);
}
