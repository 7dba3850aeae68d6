//! What can keep a subset from being chosen.

use sedge_engine::EngineError;
use sedge_models::compile::CompileError;
use sedge_models::plan::PlanError;

use super::Budget;

/// Failure to choose weights under a budget.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// A limit that is no number above zero.
    #[error("--{option} is {found}; give a number above zero")]
    Limit {
        /// The option.
        option: &'static str,
        /// Its value.
        found: f64,
    },
    /// An encoder with nothing to choose.
    #[error("the encoder has no trainable weights to choose from; train the head alone (`--train head`)")]
    NoWeights,
    /// The step that measures contributions keeps no gradient of a weight.
    #[error("the step keeps no gradient of `{name}`; it must be compiled with SGD and train every weight")]
    NoGradient {
        /// The weight.
        name: String,
    },
    /// Not even the projection head alone fits.
    #[error(
        "nothing fits the budget ({}): the least any step takes is {mb:.1} MB{}; raise the budget, or lower the batch",
        shown(budget),
        if ms.is_finite() { format!(" and {ms:.1} ms") } else { String::new() }
    )]
    NothingFits {
        /// Least planned memory of a candidate, in megabytes.
        mb: f64,
        /// Least time of a candidate that was timed, in milliseconds.
        ms: f64,
        /// The budget.
        budget: Budget,
    },
    /// A step could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A step could not be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step could not be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A budget in words.
pub(super) fn shown(budget: &Budget) -> String {
    let mb = budget.mb.map(|mb| format!("{mb} MB"));
    let ms = budget.ms.map(|ms| format!("{ms} ms"));
    let parts: Vec<String> = mb.into_iter().chain(ms).collect();
    if parts.is_empty() { "no limit".into() } else { parts.join(" and ") }
}
