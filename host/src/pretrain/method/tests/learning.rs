//! Whether encoders learn what nobody told them, measured on samples that they never saw. Losses alone do not
//! say: one that compares views falls too where all embeddings shrink to one.

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_augment::normal_pair;
use sedge_engine::Metrics;
use sedge_models::Tensors;
use sedge_models::architecture::{Form, Nonlinearity, Perceptron};

use super::*;
use crate::data::Labels;
use crate::encoder::{Trained, embed, onnx};
use crate::evaluate::Knn;

const LENGTH: usize = 32;
const CHANNELS: usize = 6;

/// Windows of one stream, one after the other, each with the number of its class.
fn labelled(windows: Vec<f32>, classes: &[u32], names: &[&str]) -> Dataset {
    let samples = Samples::Windows { channels: CHANNELS, length: LENGTH, rate_hz: 50.0, values: windows };
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let labels = Labels { ids: classes.to_vec(), names };
    let order = (0..classes.len() as u64).map(|i| i * 640_000_000).collect();
    Dataset::new(samples, Some(labels), vec![0; classes.len()], order).unwrap()
}

/// Swings at three speeds, wide and narrow, from anywhere in their course, about any axes.
pub(super) fn swings(count: usize, seed: u64) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let classes: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
    let mut values = vec![];
    for class in &classes {
        let speed = [0.35, 0.5, 0.7][*class as usize];
        let size = rng.random_range(0.2..1.8f32);
        let phase = rng.random_range(0.0..std::f32::consts::TAU);
        for _ in 0..CHANNELS {
            let (axis, lag) = (size * rng.random_range(-1.0..1.0f32), rng.random_range(-0.5..0.5));
            let noise = std::iter::repeat_with(|| rng.random_range(-0.4..0.4f32)).take(LENGTH);
            values.extend(noise.enumerate().map(|(t, n)| axis * (speed * t as f32 + phase + lag).sin() + n));
        }
    }
    labelled(values, &classes, &["slow", "steady", "fast"])
}

/// Four gestures, always the same but for their size, in noise as large as they are.
fn gestures(count: usize, seed: u64) -> Dataset {
    let classes: Vec<u32> = (0..count as u32).map(|i| i % 4).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let gestures: Vec<Vec<f32>> = (0..4)
        .map(|gesture| {
            let channel = |_| (normal_pair(&mut rng)[0], rng.random_range(0.0..std::f32::consts::TAU));
            let channels: Vec<(f32, f32)> = (0..CHANNELS).map(channel).collect();
            let speed = [0.2, 0.35, 0.5, 0.7][gesture];
            let wave = |(size, phase)| (0..LENGTH).map(move |t| size * f32::sin(speed * t as f32 + phase));
            channels.into_iter().flat_map(wave).collect()
        })
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = vec![];
    for class in &classes {
        let size = rng.random_range(0.5..1.5f32);
        values.extend(gestures[*class as usize].iter().map(|v| size * v + normal_pair(&mut rng)[0]));
    }
    labelled(values, &classes, &["wave", "knock", "turn", "push"])
}

/// An encoder before and after training.
struct Learned {
    states: [Tensors; 2],
    metrics: Vec<Metrics>,
    input: InputSpec,
    architecture: Architecture,
}

impl Learned {
    fn new(method: Method, data: &Arc<Dataset>, architecture: Architecture, epochs: u32, rate: f32) -> Self {
        let settings = Settings {
            data: DataSettings { path: Some("swings".into()), ..DataSettings::default() },
            method: Some(method),
            batch: Some(24),
            epochs: Some(epochs),
            ..Settings::default()
        };
        let mut config = settings.resolve(Modality::Imu).unwrap();
        config.architecture = architecture.clone();
        if method == Method::Mocov2 {
            config.pretext.insert("queue".into(), 96.into());
        }
        let input = data.input_spec(None);
        let setup = Setup { architecture: &architecture, input: &input, config: &config };
        let pretext: Arc<dyn Pretext> = Arc::from(method.pretext(setup).unwrap());
        let mut engine = TractStep::new(&pretraining_step(&config, &input, &*pretext).unwrap()).unwrap();
        let augment = config.augment.clone().into();
        let loader = Loader::new(Arc::clone(data), input.clone(), augment, config.batch, 0, 1).unwrap();
        let loader = loader.with_sampler(Arc::clone(&pretext) as Arc<dyn Sampler>).unwrap();
        let (before, mut metrics) = (engine.state().unwrap(), vec![]);
        for epoch in 0..u64::from(epochs) {
            for batch in loader.epoch(epoch, 0).unwrap() {
                let mut scalars = pretext.scalars(epoch as f64 / f64::from(epochs));
                scalars.push(("lr", rate));
                metrics.push(engine.step(&batch.unwrap().given(), &scalars).unwrap());
            }
        }
        Self { states: [before, engine.state().unwrap()], metrics, input, architecture }
    }

    fn encoder(&self, state: &Tensors) -> Vec<u8> {
        let (architecture, input) = (self.architecture.clone(), self.input.clone());
        onnx(&Trained { architecture, input, weights: state.clone() }, Form::Folded).unwrap()
    }

    /// Share of the samples of `asked` whose neighbours in `known` are of their class, before and after.
    fn accuracies(&self, known: &Dataset, asked: &Dataset) -> [f64; 2] {
        self.states.each_ref().map(|state| {
            let encoder = self.encoder(state);
            let [a, b] = [known, asked].map(|data| embed(&encoder, data, &self.input).unwrap());
            let classes = known.labels().unwrap().names.len();
            let [known, asked] = [known, asked].map(|data| data.labels().unwrap().ids.clone());
            let knn = Knn { k: 10, temperature: 0.1 };
            knn.accuracy(a.view(), &known, b.view(), &asked, classes).unwrap()
        })
    }

    /// How far apart, after training, two views of a sample are, by how far apart views of different samples are:
    /// means of one less the cosine.
    fn misalignment(&self, data: &Arc<Dataset>) -> f64 {
        let augment = Augment::default_for(data.modality());
        let n = data.len();
        let loader = Loader::new(Arc::clone(data), self.input.clone(), augment, n, 9, 1).unwrap();
        let views = loader.epoch(0, 0).unwrap().next().unwrap().unwrap().into_views().unwrap();
        let mut encoder = sedge_engine::Encoder::new(&self.encoder(&self.states[1]), 2 * n).unwrap();
        let mut rows: Array2<f32> = encoder.embed(views.view()).unwrap();
        for mut row in rows.rows_mut() {
            let length = row.dot(&row).sqrt();
            row /= length;
        }
        let cosines = rows.dot(&rows.t());
        let apart = |i: usize, j: usize| 1.0 - f64::from(cosines[[i, n + j]]);
        let own = (0..n).map(|i| apart(i, i)).sum::<f64>() / n as f64;
        let others = (0..n).flat_map(|i| (0..n).filter(move |j| *j != i).map(move |j| (i, j)));
        own / (others.map(|(i, j)| apart(i, j)).sum::<f64>() / (n * (n - 1)) as f64)
    }
}

/// Against the same encoder with the same statistics of the same batches, but weights that stay: what norms
/// alone bring is none of a method's.
#[test]
fn views_of_a_sample_draw_together_and_samples_apart() {
    let [data, unseen] = [1, 2].map(|seed| Arc::new(swings(120, seed)));
    let net = Architecture::Conv1d(Conv1d { channels: vec![16, 32], strides: vec![2, 2], kernel: 5 });
    let learned = |method, rate| Learned::new(method, &data, net.clone(), 20, rate).misalignment(&unseen);
    let untrained = learned(Method::Simclr, 0.0);
    let methods = [Method::Simclr, Method::Mocov2, Method::Mocov3, Method::Byol, Method::Simsiam];
    let found = methods.map(|method| (method.name(), learned(method, 3e-3)));
    assert!(found.iter().all(|(_, misalignment)| *misalignment < 0.85 * untrained), "{untrained}, {found:?}");
}

#[test]
fn boltzmann_machines_rebuild_samples_and_tell_them_apart() {
    let (data, unseen) = (Arc::new(gestures(120, 1)), gestures(120, 2));
    let net = Perceptron { widths: vec![16, 12], nonlinearity: Nonlinearity::Sigmoid };
    let learned = Learned::new(Method::Rbm, &data, Architecture::Perceptron(net), 60, 3e-3);
    let steps = learned.metrics.len();
    let errors = |layer: usize, at: std::ops::Range<usize>| {
        let name = format!("reconstruction.{layer}");
        let few = learned.metrics[at].iter().map(|metrics| metrics[&name]);
        few.sum::<f32>() / 5.0
    };
    // Each layer learns for half of the steps.
    for layer in [0, 1] {
        let (begin, end) = (layer * steps / 2, (layer + 1) * steps / 2);
        let (before, after) = (errors(layer, begin..begin + 5), errors(layer, end - 5..end));
        assert!(after < 0.95 * before, "layer {layer}: {before} to {after}");
    }
    let [before, after] = learned.accuracies(&data, &unseen);
    assert!(after > before + 0.2, "{before} to {after}");
}
