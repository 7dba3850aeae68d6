//! The supervised reference: the same architecture trained from scratch on the labels drawn, through
//! the same engine, with the augmentations that pretraining uses. What self-supervision must beat.

use std::sync::Arc;

use ndarray::{Array2, ArrayD};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Engine, Options, TractStep};
use sedge_models::architecture::{Architecture, ArchitectureError, Form};
use sedge_models::{InputSpec, StateRole, Tensors};

use super::steps::{Trained, onnx, supervised_step};
use super::{EncoderError, embed};
use crate::data::{Augment, Dataset, Loader};

/// Rows of a step: two views of half as many samples.
const BATCH: usize = 64;
/// Weight decay of AdamW.
const WEIGHT_DECAY: f32 = 1e-2;

/// How the reference is trained.
pub struct Supervised<'a> {
    /// The architecture in question.
    pub architecture: &'a Architecture,
    /// What it reads.
    pub input: &'a InputSpec,
    /// Labelled data to draw from.
    pub train: &'a Dataset,
    /// Data to predict.
    pub test: &'a Dataset,
    /// Augmentations.
    pub augment: Augment,
    /// Number of classes.
    pub classes: usize,
    /// Steps, each on two views of 32 samples.
    pub steps: usize,
    /// Learning rate at its highest; it falls along half a cosine.
    pub lr: f32,
}

impl Supervised<'_> {
    /// Trains on the samples `items` of the training data; gives the predicted class of every test
    /// sample. The same items and seed give the same classes.
    ///
    /// # Errors
    /// [`EncoderError::Unlabelled`], when the data does not fit the architecture, or when training
    /// diverges.
    pub fn predict(&self, items: &[usize], seed: u64) -> Result<Vec<u32>, EncoderError> {
        let fresh = Trained::fresh(self.architecture, self.input, seed)?;
        let step = supervised_step(&fresh, self.classes, BATCH, self.lr, WEIGHT_DECAY, seed)?;
        let mut engine = TractStep::with_options(&step, Options::parallel())?;
        self.train(&mut engine, items, seed)?;
        let state = engine.state()?;
        let kept = step.spec.state.iter().filter(|s| s.role != StateRole::Optimizer);
        let weights: Tensors =
            kept.filter_map(|s| Some((s.name.clone(), state.get(&s.name)?.clone()))).collect();
        self.classify(&Trained { weights, ..fresh })
    }

    fn train(&self, engine: &mut TractStep, items: &[usize], seed: u64) -> Result<(), EncoderError> {
        let drawn = Arc::new(self.train.subset(&filled(items, seed))?);
        let labels = drawn.labels().ok_or(EncoderError::Unlabelled)?.ids.clone();
        // At least one whole batch is there, so every epoch takes a step.
        let loader = Loader::new(drawn, self.input.clone(), self.augment.clone(), BATCH / 2, seed, 1)?;
        let mut step = 0;
        for epoch in 0.. {
            for batch in loader.epoch(epoch, 0)? {
                if step == self.steps {
                    return Ok(());
                }
                let batch = batch?;
                let targets = self.targets(batch.indices.iter().map(|&index| labels[index]));
                let lr = self.lr * half_cosine(step as f32 / self.steps as f32);
                let mut inputs = batch.given();
                inputs.push(("targets", targets.view()));
                engine.step(&inputs, &[("lr", lr)])?;
                step += 1;
            }
        }
        Ok(())
    }

    /// One row a view that is one at its class, `[64, classes]`: all first views, then all second.
    fn targets(&self, classes: impl Iterator<Item = u32> + Clone) -> ArrayD<f32> {
        let mut targets = Array2::zeros((BATCH, self.classes));
        for (mut row, class) in targets.outer_iter_mut().zip(classes.clone().chain(classes)) {
            if let Some(target) = row.get_mut(class as usize) {
                *target = 1.0;
            }
        }
        targets.into_dyn()
    }

    fn classify(&self, trained: &Trained) -> Result<Vec<u32>, EncoderError> {
        let dim = trained.architecture.embedding_dim();
        let weight = matrix(trained, "classifier.weight", self.classes, dim)?;
        let bias = matrix(trained, "classifier.bias", 1, self.classes)?;
        let features = embed(&onnx(trained, Form::Folded)?, self.test, self.input)?;
        let logits = features.dot(&weight.t()) + bias;
        let best = |row: ndarray::ArrayView1<'_, f32>| {
            let first = (0, f32::NEG_INFINITY);
            row.iter().enumerate().fold(first, |best, (i, v)| if *v > best.1 { (i, *v) } else { best }).0
        };
        Ok(logits.outer_iter().map(|row| best(row) as u32).collect())
    }
}

fn half_cosine(progress: f32) -> f32 {
    0.5 * (1.0 + (std::f32::consts::PI * progress).cos())
}

/// The weight `name` as a matrix.
fn matrix(trained: &Trained, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, EncoderError> {
    let found = trained.weights.get(name);
    let values = found.map(|value| value.iter().copied().collect()).unwrap_or_default();
    Array2::from_shape_vec((rows, columns), values).map_err(|_| {
        let (found, wanted) = (found.map(|value| value.shape().to_vec()), vec![rows, columns]);
        ArchitectureError::Weight { name: name.into(), found, wanted }.into()
    })
}

/// `items` in seeded order, some repeated until they fill a batch: a few labels make many views.
fn filled(items: &[usize], seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut all = items.to_vec();
    while all.len() < BATCH / 2 && !items.is_empty() {
        all.push(items[rng.random_range(0..items.len())]);
    }
    all.shuffle(&mut rng);
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::{Labels, Samples};
    use sedge_augment::WindowAugment;
    use sedge_models::architecture::Conv1d;

    /// Windows of a sine each, with a period of its class: 16, 8 or 4 rows.
    fn sines(n: usize, phase: f32, labelled: bool) -> Dataset {
        let value = |i: usize, t: usize| {
            let period = 16.0 / (1 << (i % 3)) as f32;
            (std::f32::consts::TAU * t as f32 / period + phase * i as f32).sin()
        };
        let values = (0..n).flat_map(|i| (0..32).map(move |t| value(i, t))).collect();
        let samples = Samples::Windows { channels: 1, length: 32, rate_hz: 50.0, values };
        let names = ["slow", "middle", "fast"].map(str::to_owned).into();
        let labels = labelled.then(|| Labels { ids: (0..n as u32).map(|i| i % 3).collect(), names });
        Dataset::new(samples, labels, (0..n as u32).collect(), vec![0; n]).unwrap()
    }

    fn right(train: &Dataset, items: &[usize], steps: usize, seed: u64) -> Result<Vec<u32>, EncoderError> {
        let architecture =
            Architecture::Conv1d(Conv1d { channels: vec![8, 16], strides: vec![1, 2], kernel: 5 });
        let test = sines(30, 0.37, true);
        let supervised = Supervised {
            architecture: &architecture,
            input: &train.input_spec(None),
            train,
            test: &test,
            augment: Augment::Window(WindowAugment { jitter: 0.05, ..WindowAugment::none() }),
            classes: 3,
            steps,
            lr: 1e-2,
        };
        supervised.predict(items, seed)
    }

    #[test]
    fn learns_three_pitches_from_a_few_labels_the_same_each_time() {
        let train = sines(60, 0.7, true);
        let items: Vec<usize> = (0..12).collect();
        let predicted = right(&train, &items, 60, 1).unwrap();
        let correct = predicted.iter().enumerate().filter(|(i, p)| **p == (i % 3) as u32).count();
        assert!(correct >= 27, "{correct} of 30");
        assert_eq!(right(&train, &items, 60, 1).unwrap(), predicted);
        // Without a step there is nothing to tell the classes by.
        let untrained = right(&train, &items, 0, 1).unwrap();
        let correct = untrained.iter().enumerate().filter(|(i, p)| **p == (i % 3) as u32).count();
        assert!(correct < 24, "{correct} of 30");
    }

    #[test]
    fn knows_only_the_classes_drawn() {
        let train = sines(60, 0.7, true);
        let slow: Vec<usize> = (0..60).step_by(3).collect();
        assert_eq!(right(&train, &slow, 30, 1).unwrap(), [0; 30]);
    }

    #[test]
    fn labels_are_needed_and_items_must_be_there() {
        let error = right(&sines(60, 0.7, false), &[0, 1, 2], 1, 1).unwrap_err();
        assert!(matches!(error, EncoderError::Unlabelled), "{error}");
        let train = sines(60, 0.7, true);
        assert!(matches!(right(&train, &[60], 1, 1), Err(EncoderError::Data(_))));
        assert!(matches!(right(&train, &[], 1, 1), Err(EncoderError::Data(_))));
    }
}
