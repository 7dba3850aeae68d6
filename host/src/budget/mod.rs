//! Which weights to train within a memory and a time. What a weight is worth is measured, not guessed: its
//! contribution is the decrease of the loss that a small step along it promises. What a subset costs
//! is measured too, on the compiled step, since the memory of a backward pass depends on the
//! earliest trained layer and so costs do not add up. Of the subsets tried, the one of the largest
//! contribution that fits is chosen. In the spirit of the sparse update of Lin et al. 2022 (On-Device
//! Training Under 256KB Memory, section 3.2) and of TinyTrain (Kwon et al. 2024, section 3.2).

mod candidates;
mod contribution;
mod error;
mod noise;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use sedge_engine::{Engine, TractStep};
use sedge_models::compile::CompileError;
use sedge_models::optimizer::Optimizer;
use sedge_models::plan::plan;
use sedge_models::selection::{Pattern, Selection, Weight};
use sedge_models::{Tensors, TrainingStep};

pub use contribution::contributions;
pub use error::BudgetError;
pub use noise::noise;
pub use show::Against;

use candidates::Subset;

/// Batches of noise where no data is given.
pub const NOISE_BATCHES: usize = 4;
/// Most batches measured; more add time and hardly precision.
pub const MAX_BATCHES: usize = 64;
/// Steps timed for a candidate, after one that warms up; the median counts.
const TIMED_STEPS: usize = 3;
/// Weights tried one by one on top of a subset, those of the largest contribution first.
const MAX_ADDITIONS: usize = 16;

/// What a step may take. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Planned peak memory in megabytes of a million bytes.
    pub mb: Option<f64>,
    /// Time of a step in milliseconds, on the machine that measures.
    pub ms: Option<f64>,
}

/// Compiles the step that trains these weights of the encoder by this optimiser.
pub type Compile<'a> = dyn Fn(&[String], Optimizer) -> Result<TrainingStep, CompileError> + 'a;

/// What is to be chosen, and from what.
pub struct Question<'a> {
    /// The encoder's weights.
    pub weights: &'a [Weight],
    /// Its blocks, from input to output.
    pub blocks: &'a [String],
    /// How a step is compiled.
    pub compile: &'a Compile<'a>,
    /// The optimiser of the step to be used.
    pub optimizer: Optimizer,
    /// Batch inputs of the step by name, a few batches, at most [`MAX_BATCHES`] of which are used. None:
    /// seeded noise, which tells costs exactly and contributions roughly.
    pub batches: &'a [Tensors],
    /// What a step may take.
    pub budget: Budget,
    /// Seed of the noise.
    pub seed: u64,
}

/// A subset of the weights, what it is worth and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The subset in words.
    pub words: String,
    /// The selection that picks it.
    pub selection: Selection,
    /// The weights trained beside the projection head.
    pub weights: Vec<String>,
    /// Sum of their contributions.
    pub contribution: f64,
    /// Planned peak memory of its step in megabytes.
    pub planned_mb: f64,
    /// Median time of its step in milliseconds; measured only where the memory fits.
    pub ms: Option<f64>,
    /// Whether it fits the budget.
    pub fits: bool,
    /// Whether it is the one chosen.
    pub chosen: bool,
}

/// Everything tried, by rising memory.
#[derive(Clone, Debug, PartialEq)]
pub struct TradeOff {
    /// The candidates; exactly one is chosen.
    pub rows: Vec<Candidate>,
    /// Contribution of each weight by name: the squared norm of its gradient, mean over the batches.
    pub contributions: BTreeMap<String, f64>,
    /// What a step may take.
    pub budget: Budget,
    /// Batches measured.
    pub batches: usize,
    /// Whether they were noise.
    pub noise: bool,
}

impl TradeOff {
    /// The candidate chosen.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.rows.iter().find(|row| row.chosen)
    }
}

/// Measures contributions and costs and chooses. `seen` is told of every candidate as it is measured.
///
/// # Errors
/// [`BudgetError`]: a limit that is no number above zero, an encoder without weights, a step that cannot be
/// compiled or run, or a budget that not even the projection head alone fits.
pub fn trade_off(question: &Question<'_>, seen: &mut dyn FnMut(&Candidate)) -> Result<TradeOff, BudgetError> {
    question.budget.check()?;
    let trainable: Vec<&Weight> = candidates::trainable(question.weights);
    if trainable.is_empty() {
        return Err(BudgetError::NoWeights);
    }
    let all: Vec<String> = trainable.iter().map(|w| w.name.clone()).collect();
    let step = (question.compile)(&all, Optimizer::SGD)?;
    let made;
    let batches = if question.batches.is_empty() {
        made = noise(&step.spec, NOISE_BATCHES, question.seed);
        made.as_slice()
    } else {
        question.batches.get(..MAX_BATCHES).unwrap_or(question.batches)
    };
    let contributions = contributions(&step, &all, batches)?;
    drop(step);
    // There is a batch: either some were given or noise was made.
    let batch = batches.first().ok_or(BudgetError::NoWeights)?;
    let mut search = Search { question, contributions, batch, rows: vec![], tried: BTreeSet::new(), seen };
    search.run(&trainable)?;
    search.finish(batches.len())
}

impl Budget {
    fn check(&self) -> Result<(), BudgetError> {
        for (option, value) in [("budget-mb", self.mb), ("budget-ms", self.ms)] {
            if let Some(found) = value.filter(|v| !v.is_finite() || *v <= 0.0) {
                return Err(BudgetError::Limit { option, found });
            }
        }
        Ok(())
    }

    fn holds(&self, planned_mb: f64, ms: Option<f64>) -> bool {
        let memory = self.mb.is_none_or(|limit| planned_mb <= limit);
        memory && ms.is_some_and(|ms| self.ms.is_none_or(|limit| ms <= limit))
    }
}

/// A search under way.
struct Search<'q, 's> {
    question: &'q Question<'q>,
    contributions: BTreeMap<String, f64>,
    batch: &'q Tensors,
    rows: Vec<Candidate>,
    tried: BTreeSet<BTreeSet<String>>,
    seen: &'s mut dyn FnMut(&Candidate),
}

impl Search<'_, '_> {
    /// Blocks from the end by kind, then single weights on top of the head and of the best so far.
    fn run(&mut self, trainable: &[&Weight]) -> Result<(), BudgetError> {
        for subset in candidates::structured(trainable, self.question.blocks) {
            self.measure(subset)?;
        }
        let mut order: Vec<&str> = trainable.iter().map(|w| w.name.as_str()).collect();
        order.sort_by(|a, b| self.worth(b).total_cmp(&self.worth(a)));
        if let Some(best) = self.best().map(|row| row.weights.clone()) {
            self.add_greedily(best, &order)?;
            self.add_greedily(vec![], &order)?;
        }
        Ok(())
    }

    fn worth(&self, name: &str) -> f64 {
        self.contributions.get(name).copied().unwrap_or(0.0)
    }

    /// The best of those that fit; of equals the one that takes less memory.
    fn best(&self) -> Option<&Candidate> {
        let fitting = self.rows.iter().filter(|row| row.fits);
        fitting.max_by(|a, b| {
            let worth = a.contribution.total_cmp(&b.contribution);
            worth.then_with(|| b.planned_mb.total_cmp(&a.planned_mb))
        })
    }

    /// Keeps adding the weight of the largest contribution that still fits.
    fn add_greedily(&mut self, mut base: Vec<String>, order: &[&str]) -> Result<(), BudgetError> {
        let missing: Vec<&str> =
            order.iter().copied().filter(|name| !base.iter().any(|b| b == name)).collect();
        for name in missing.into_iter().take(MAX_ADDITIONS) {
            if self.measure(Subset::adding(name, &base))? == Some(true) {
                base.push(name.into());
            }
        }
        Ok(())
    }

    /// Compiles, plans and, where the memory fits, times a subset; whether it fits. `None` for one that was
    /// tried before.
    fn measure(&mut self, subset: Subset) -> Result<Option<bool>, BudgetError> {
        if !self.tried.insert(subset.weights.clone()) {
            return Ok(None);
        }
        let weights: Vec<String> = subset.weights.iter().cloned().collect();
        let step = (self.question.compile)(&weights, self.question.optimizer)?;
        let planned_mb = plan(&step.onnx)?.peak_mb();
        let affordable = self.question.budget.mb.is_none_or(|limit| planned_mb <= limit);
        let ms = if affordable { Some(time(&step, self.batch)?) } else { None };
        let candidate = Candidate {
            contribution: weights.iter().fold(0.0, |sum, name| sum + self.worth(name)),
            selection: subset.selection.unwrap_or_else(|| by_name(&weights)),
            words: subset.words,
            weights,
            planned_mb,
            ms,
            fits: self.question.budget.holds(planned_mb, ms),
            chosen: false,
        };
        (self.seen)(&candidate);
        let fits = candidate.fits;
        self.rows.push(candidate);
        Ok(Some(fits))
    }

    fn finish(mut self, batches: usize) -> Result<TradeOff, BudgetError> {
        let budget = self.question.budget;
        let Some(chosen) = self.best().map(|row| row.weights.clone()) else {
            let least = |of: &dyn Fn(&Candidate) -> Option<f64>| {
                self.rows.iter().filter_map(of).min_by(f64::total_cmp).unwrap_or(f64::NAN)
            };
            let (mb, ms) = (least(&|row| Some(row.planned_mb)), least(&|row| row.ms));
            return Err(BudgetError::NothingFits { mb, ms, budget });
        };
        for row in &mut self.rows {
            row.chosen = row.weights == chosen;
        }
        self.rows.sort_by(|a, b| {
            a.planned_mb.total_cmp(&b.planned_mb).then_with(|| a.contribution.total_cmp(&b.contribution))
        });
        let noise = self.question.batches.is_empty();
        Ok(TradeOff { rows: self.rows, contributions: self.contributions, budget, batches, noise })
    }
}

/// The selection of these weights by their names; without any, the head.
fn by_name(weights: &[String]) -> Selection {
    let patterns: Vec<Pattern> = weights.iter().filter_map(|name| Pattern::of_name(name)).collect();
    if patterns.is_empty() { Selection::Head } else { Selection::Names(patterns) }
}

/// Median time of a step that changes nothing, in milliseconds.
fn time(step: &TrainingStep, batch: &Tensors) -> Result<f64, BudgetError> {
    let mut engine = TractStep::new(step)?;
    let inputs: Vec<_> = batch.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    engine.step(&inputs, &[("lr", 0.0)])?;
    let mut times = Vec::with_capacity(TIMED_STEPS);
    for _ in 0..TIMED_STEPS {
        let start = Instant::now();
        engine.step(&inputs, &[("lr", 0.0)])?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    // In range: a constant number of steps, at least one.
    Ok(times[TIMED_STEPS / 2])
}
