//! What each weight is worth. To first order a step of gradient descent of rate `lr` along one weight's
//! gradient `g` lowers the loss by `lr |g|^2`; the squared norm, mean over batches, is its
//! contribution.

use std::collections::BTreeMap;

use sedge_engine::{Engine, TractStep};
use sedge_models::{Tensors, TrainingStep};

use super::BudgetError;

/// Mean over `batches` of the squared gradient norm of each of `weights`, from a step that trains them
/// all by [`sedge_models::optimizer::Optimizer::SGD`] from its initial state.
///
/// # Errors
/// [`BudgetError::Engine`] when the step cannot be run on a batch or something in it is not finite,
/// [`BudgetError::NoGradient`] when the step was compiled with another optimiser.
pub fn contributions(
    step: &TrainingStep,
    weights: &[String],
    batches: &[Tensors],
) -> Result<BTreeMap<String, f64>, BudgetError> {
    let mut engine = TractStep::new(step)?;
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for batch in batches {
        // Momentum that began at zero is the gradient, and without a rate or decay nothing moves.
        engine.set_state(&step.initial)?;
        let inputs: Vec<_> = batch.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
        engine.step(&inputs, &[("lr", 0.0), ("weight_decay", 0.0)])?;
        let state = engine.state()?;
        for name in weights {
            let gradient = state.get(&format!("{name}/momentum"));
            let gradient = gradient.ok_or_else(|| BudgetError::NoGradient { name: name.clone() })?;
            let square: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
            *sums.entry(name.clone()).or_default() += square / batches.len() as f64;
        }
    }
    Ok(sums)
}
