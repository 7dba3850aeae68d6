#![allow(clippy::unwrap_used)]
use ndarray::ArrayD;
use sedge_models::architecture::{Architecture, Conv1d, Form, fold};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::Objective;
use sedge_models::onnx::build::Batch;
use sedge_models::selection::describe_stages;

use super::*;

const BATCH: usize = 8;
const SAMPLE: [usize; 2] = [3, 16];

/// Three layers of six weights.
struct Net {
    architecture: Architecture,
    tensors: Tensors,
    weights: Vec<Weight>,
    blocks: Vec<String>,
}

impl Net {
    fn tiny() -> Self {
        let net = Conv1d { channels: vec![16, 8, 4], strides: vec![1, 2, 2], kernel: 3 };
        let architecture = Architecture::Conv1d(net);
        let tensors = fold(&architecture.initial_weights(&SAMPLE, 3).unwrap()).unwrap();
        let named = tensors.iter().map(|(name, w)| (name.as_str(), w.shape()));
        let (weights, blocks) = describe_stages(&architecture.stages(), named);
        Self { architecture, tensors, weights, blocks }
    }

    fn compile(&self, trained: &[String], optimizer: Optimizer) -> Result<TrainingStep, CompileError> {
        let encoder =
            self.architecture.graph(Form::Folded, Batch::Fixed(BATCH), &SAMPLE, &self.tensors).unwrap();
        let objective = Objective::CrossEntropy { classes: 2 };
        compile(Recipe {
            optimizer,
            lr: 0.1,
            weight_decay: 0.01,
            seed: 5,
            ..Recipe::new(encoder, trained.to_vec(), objective)
        })
    }

    fn ask<T>(&self, budget: Budget, batches: &[Tensors], ask: impl FnOnce(&Question<'_>) -> T) -> T {
        let compile = |trained: &[String], optimizer| self.compile(trained, optimizer);
        ask(&Question {
            weights: &self.weights,
            blocks: &self.blocks,
            compile: &compile,
            optimizer: Optimizer::SGD,
            batches,
            budget,
            seed: 7,
        })
    }

    fn trade_off(&self, budget: Budget) -> Result<TradeOff, BudgetError> {
        self.ask(budget, &[], |question| trade_off(question, &mut |_| {}))
    }

    fn names(&self) -> Vec<String> {
        self.weights.iter().map(|w| w.name.clone()).collect()
    }
}

/// Largest weights first, central differences of the loss give the same squared norms.
#[test]
fn contributions_are_squared_gradient_norms() {
    let net = Net::tiny();
    let names = net.names();
    let step = net.compile(&names, Optimizer::SGD).unwrap();
    let batches = noise(&step.spec, 2, 1);
    let found = contributions(&step, &names, &batches).unwrap();
    let mut engine = TractStep::new(&step).unwrap();
    let mut loss = |state: &Tensors, batch: &Tensors| {
        engine.set_state(state).unwrap();
        let inputs: Vec<_> = batch.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
        f64::from(engine.step(&inputs, &[("lr", 0.0)]).unwrap()["loss"])
    };
    for name in &names {
        let mut expected = 0.0;
        for batch in &batches {
            for at in 0..step.initial[name].len() {
                let nudged = |by: f32| {
                    let mut state = step.initial.clone();
                    *state.get_mut(name).unwrap().iter_mut().nth(at).unwrap() += by;
                    state
                };
                let slope = (loss(&nudged(3e-3), batch) - loss(&nudged(-3e-3), batch)) / 6e-3;
                expected += slope * slope / batches.len() as f64;
            }
        }
        // Single precision and the rectifier's kinks leave a few per cent of a norm.
        assert!(
            (found[name] - expected).abs() < 0.05 * expected + 1e-4,
            "{name}: {} vs {expected}",
            found[name]
        );
    }
}

/// Every subset of the six weights, compiled and planned: nothing that fits is worth more than the choice.
#[test]
fn the_choice_is_the_best_of_all_subsets_that_fit() {
    let net = Net::tiny();
    let free = net.trade_off(Budget::default()).unwrap();
    let whole = free.chosen().unwrap();
    assert_eq!(whole.selection, Selection::All, "without a limit everything is trained");
    let least = free.rows[0].planned_mb;
    assert_eq!(free.rows[0].words, "head");
    let names = net.names();
    let subsets: Vec<(f64, f64)> = (0..1usize << names.len())
        .map(|bits| {
            let subset: Vec<String> = names
                .iter()
                .enumerate()
                .filter(|(i, _)| bits >> i & 1 == 1)
                .map(|(_, n)| n.clone())
                .collect();
            let planned = plan(&net.compile(&subset, Optimizer::SGD).unwrap().onnx).unwrap().peak_mb();
            (planned, subset.iter().map(|name| free.contributions[name]).sum())
        })
        .collect();
    for share in [0.2, 0.6] {
        let limit = least + share * (whole.planned_mb - least);
        let found = net.trade_off(Budget { mb: Some(limit), ms: None }).unwrap();
        let chosen = found.chosen().unwrap();
        assert!(chosen.fits && chosen.planned_mb <= limit);
        for row in &found.rows {
            assert_eq!(row.fits, row.planned_mb <= limit, "{}", row.words);
            assert!(!row.fits || row.contribution <= chosen.contribution, "{}", row.words);
        }
        let fitting = subsets.iter().filter(|(planned, _)| *planned <= limit);
        let best = fitting.map(|(_, worth)| *worth).fold(0.0, f64::max);
        assert!(
            chosen.contribution >= best - 1e-12,
            "at {limit} MB {} is worth {}, of {best} that fit",
            chosen.words,
            chosen.contribution
        );
        // The selection picks what was measured.
        let mut picked = chosen.selection.choose(&net.weights, &net.blocks).unwrap().trained;
        picked.sort();
        assert_eq!(picked, chosen.weights);
    }
}

#[test]
fn data_is_used_where_it_is_given_and_noise_is_named() {
    let net = Net::tiny();
    let noisy = net.trade_off(Budget::default()).unwrap();
    assert!(noisy.noise && noisy.table().to_string().contains("noise, not data"));
    let spec = net.compile(&[], Optimizer::SGD).unwrap().spec;
    let data = noise(&spec, 3, 99);
    let found = net.ask(Budget::default(), &data, |question| {
        let mut seen = 0;
        let found = trade_off(question, &mut |_| seen += 1).unwrap();
        assert_eq!(seen, found.rows.len());
        found
    });
    assert!(!found.noise && found.batches == 3);
    assert_ne!(found.contributions, noisy.contributions);
    let again = net.trade_off(Budget::default()).unwrap();
    assert_eq!(again.contributions, noisy.contributions, "same seed, same noise");
}

#[test]
fn a_budget_that_nothing_fits_says_what_would() {
    let net = Net::tiny();
    let error = net.trade_off(Budget { mb: Some(1e-3), ms: None }).unwrap_err();
    assert!(matches!(error, BudgetError::NothingFits { .. }), "{error}");
    assert!(error.to_string().contains("0.001 MB"), "{error}");
    let error = net.trade_off(Budget { mb: None, ms: Some(1e-9) }).unwrap_err();
    assert!(matches!(error, BudgetError::NothingFits { ms, .. } if ms > 0.0), "{error}");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = net.trade_off(Budget { mb: Some(bad), ms: None });
        assert!(matches!(refused, Err(BudgetError::Limit { option: "budget-mb", .. })));
    }
    let wrong = Tensors::from([("views".to_string(), ArrayD::zeros(vec![1, 2, 3]))]);
    let refused = net.ask(Budget::default(), &[wrong], |question| trade_off(question, &mut |_| {}));
    assert!(matches!(refused, Err(BudgetError::Engine(_))));
}

#[test]
fn the_trade_off_is_drawn() {
    let net = Net::tiny();
    let free = net.trade_off(Budget::default()).unwrap();
    let limit = (free.rows[0].planned_mb + free.chosen().unwrap().planned_mb) / 2.0;
    let found = net.trade_off(Budget { mb: Some(limit), ms: Some(1e6) }).unwrap();
    let table = found.table().to_string();
    assert!(table.contains("biases of last:1") && table.contains("chosen: --train '"), "{table}");
    assert_eq!(table.lines().filter(|line| line.ends_with('*')).count(), 1, "{table}");
    for against in [Against::Memory, Against::Time] {
        let svg = found.figure(against).unwrap();
        assert!(svg.as_str().contains("chosen") && svg.as_str().contains("budget"));
        assert_eq!(svg.as_str().contains("does not fit"), against == Against::Memory);
    }
}
