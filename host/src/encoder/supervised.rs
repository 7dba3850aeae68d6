//! The supervised reference: the same architecture trained from scratch on the labels drawn, through
//! the same engine, with the augmentations that pretraining uses. What self-supervision must beat.

use std::sync::Arc;

use ndarray::{Array2, ArrayD};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{Architecture, Form};
use sedge_models::{InputSpec, StateRole, Tensors};

use super::steps::{Trained, onnx, supervised_step};
use super::{EncoderError, embed};
use crate::data::{Augment, Dataset, Loader};

/// Rows of a step.
const BATCH: usize = 64;

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
    /// Steps of 64 samples.
    pub steps: usize,
    /// Learning rate at its highest; it falls along half a cosine.
    pub lr: f32,
}

impl Supervised<'_> {
    /// Trains on the samples `items` of the training data; gives the predicted class of every test
    /// sample.
    ///
    /// # Errors
    /// When the data does not fit the architecture, or training diverges.
    pub fn predict(&self, items: &[usize], seed: u64) -> Result<Vec<u32>, EncoderError> {
        let fresh = Trained::fresh(self.architecture, self.input, seed)?;
        let step = supervised_step(&fresh, self.classes, BATCH, self.lr, 1e-2, seed)?;
        let mut engine = TractStep::new(&step)?;
        self.train(&mut engine, items, seed)?;
        let state = engine.state()?;
        let kept = step.spec.state.iter().filter(|s| s.role != StateRole::Optimizer);
        let weights: Tensors =
            kept.filter_map(|s| Some((s.name.clone(), state.get(&s.name)?.clone()))).collect();
        self.classify(Trained { weights, ..fresh })
    }

    fn train(&self, engine: &mut TractStep, items: &[usize], seed: u64) -> Result<(), EncoderError> {
        let labels = self.train.labels().map_or(&[][..], |labels| &labels.ids);
        let drawn = Arc::new(self.train.subset(&filled(items, seed))?);
        let ids: Vec<u32> =
            filled(items, seed).iter().map(|&i| labels.get(i).copied().unwrap_or(0)).collect();
        // A loader gives two views of each sample, which serve as two samples here.
        let loader = Loader::new(drawn, self.input.clone(), self.augment.clone(), BATCH / 2, seed, 1)?;
        let mut step = 0;
        for epoch in 0.. {
            for batch in loader.epoch(epoch, 0)? {
                if step == self.steps {
                    return Ok(());
                }
                let batch = batch?;
                let targets = self.targets(&batch.indices, &ids);
                let progress = step as f32 / self.steps as f32;
                let lr = self.lr * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos());
                engine.step(&[("views", batch.views.view()), ("targets", targets.view())], &[("lr", lr)])?;
                step += 1;
            }
        }
        Ok(())
    }

    fn targets(&self, indices: &[usize], ids: &[u32]) -> ArrayD<f32> {
        let mut targets = Array2::zeros((BATCH, self.classes));
        for (row, &index) in indices.iter().chain(indices).enumerate() {
            if let Some(target) = targets.get_mut((row, ids[index] as usize)) {
                *target = 1.0;
            }
        }
        targets.into_dyn()
    }

    fn classify(&self, trained: Trained) -> Result<Vec<u32>, EncoderError> {
        let features = embed(&onnx(&trained, Form::Folded)?, self.test, self.input)?;
        let (Some(weight), Some(bias)) =
            (trained.weights.get("classifier.weight"), trained.weights.get("classifier.bias"))
        else {
            return Ok(vec![0; features.nrows()]);
        };
        let predicted = features.outer_iter().map(|row| {
            let logits = weight.outer_iter().zip(bias).map(|(w, b)| w.iter().zip(row).map(|(w, x)| w * x).sum::<f32>() + b);
            let best = logits.enumerate().fold((0, f32::MIN), |best, (i, v)| if v > best.1 { (i, v) } else { best });
            best.0 as u32
        });
        Ok(predicted.collect())
    }
}

/// `items` repeated, in seeded order, until they fill a batch: a few labels make many views.
fn filled(items: &[usize], seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut all = items.to_vec();
    while all.len() < BATCH && !items.is_empty() {
        let at = rng.random_range(0..items.len());
        all.push(items[at]);
    }
    all.shuffle(&mut rng);
    all
}
