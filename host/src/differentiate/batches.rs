//! Batches of a person's own data, by which contributions are measured.

use std::sync::Arc;

use sedge_models::compile::VIEWS;
use sedge_models::{InputSpec, Tensors};

use super::{DifferentiateError, Loss};
use crate::budget::NOISE_BATCHES;
use crate::data::{Augment, Dataset, Loader};

/// A few batches of augmented pairs of `data`, `rows` to a batch. Losses that want more than pairs of views
/// get none, and are measured on noise.
///
/// # Errors
/// When the data does not fit `input`, or holds too few samples.
pub fn batches(
    loss: Loss,
    data: Arc<Dataset>,
    input: &InputSpec,
    rows: usize,
    seed: u64,
) -> Result<Vec<Tensors>, DifferentiateError> {
    if matches!(loss, Loss::MaskedReconstruction | Loss::CrossEntropy) {
        return Ok(vec![]);
    }
    let augment = Augment::default_for(input.modality);
    let loader = Loader::new(data, input.clone(), augment, rows / 2, seed, 1)?;
    let views = loader.epoch(0, 0)?.take(NOISE_BATCHES);
    let named = |views| Tensors::from([(VIEWS.to_owned(), views)]);
    views.map(|batch| Ok(batch?.into_views().map(named).unwrap_or_default())).collect()
}
