//! Boltzmann machines as a training step, against contrastive divergence written again, plainly, in float64
//! with the same noise: weights, biases and chains after several steps. And a machine so small that its
//! likelihood can be counted out, against that likelihood.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, ArrayD, Axis, Ix1, Ix2, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{Architecture, Form, Nonlinearity, Perceptron};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{Objective, Visible};
use sedge_models::onnx::build::Batch;
use sedge_models::optimizer::Optimizer;
use sedge_models::{Tensors, TrainingStep};

const ROWS: usize = 5;
const SAMPLE: [usize; 2] = [2, 3];
const VALUES: usize = 6;
const STEPS: usize = 3;
const LR: f64 = 0.1;

fn recipe(widths: &[usize], rows: usize, nonlinearity: Nonlinearity, objective: Objective) -> Recipe {
    let net = Perceptron { widths: widths.to_vec(), nonlinearity };
    let architecture = Architecture::Perceptron(net);
    let weights = architecture.initial_weights(&SAMPLE, 3).unwrap();
    let graph = architecture.graph(Form::Training, Batch::Fixed(rows), &SAMPLE, &weights).unwrap();
    let trained: Vec<String> = weights.keys().cloned().collect();
    Recipe {
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        lr: LR as f32,
        ..Recipe::new(graph, trained, objective)
    }
}

fn compiled(widths: &[usize], rows: usize, objective: Objective) -> TrainingStep {
    compile(recipe(widths, rows, Nonlinearity::Sigmoid, objective)).unwrap()
}

/// Uniform numbers, or standard normal ones by Box and Muller.
fn noise(shape: &[usize], normal: bool, rng: &mut ChaCha8Rng) -> ArrayD<f32> {
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        let [a, b] = [0; 2].map(|_| rng.random_range(1e-6..1.0f32));
        if normal { (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos() } else { a }
    })
}

fn logistic(x: Array2<f64>) -> Array2<f64> {
    x.mapv(|v| 1.0 / (1.0 + (-v).exp()))
}

fn below(uniform: &Array2<f64>, probability: &Array2<f64>) -> Array2<f64> {
    ndarray::Zip::from(uniform).and(probability).map_collect(|u, p| f64::from(u8::from(u < p)))
}

fn wide(values: &ArrayD<f32>) -> ArrayD<f64> {
    values.mapv(f64::from)
}

/// One machine.
struct Machine {
    weight: Array2<f64>,
    hidden: Array1<f64>,
    visible: Array1<f64>,
    chain: Option<Array2<f64>>,
    gaussian: bool,
}

impl Machine {
    fn read(state: &Tensors, i: usize, gaussian: bool) -> Self {
        let row = |name: String| wide(&state[&name]).into_dimensionality::<Ix1>().unwrap();
        let matrix = |values: &ArrayD<f32>| wide(values).into_dimensionality::<Ix2>().unwrap();
        Self {
            weight: matrix(&state[&format!("layers.{i}.weight")]),
            hidden: row(format!("layers.{i}.bias")),
            visible: row(format!("head.visible.{i}.bias")),
            chain: state.get(&format!("chain.{i}")).map(matrix),
            gaussian,
        }
    }

    fn up(&self, v: &Array2<f64>) -> Array2<f64> {
        logistic(v.dot(&self.weight.t()) + &self.hidden)
    }

    /// The direction in which contrastive divergence moves weight, hidden and visible bias; moves the chain.
    fn learn(&mut self, data: &Array2<f64>, hidden: &ArrayD<f32>, visible: &ArrayD<f32>) -> [ArrayD<f64>; 3] {
        let slice = |noise: &ArrayD<f32>, at| {
            wide(&noise.index_axis(Axis(0), at).to_owned()).into_dimensionality::<Ix2>().unwrap()
        };
        let mut v = self.chain.clone().unwrap_or_else(|| data.clone());
        for at in 0..STEPS {
            let h = below(&slice(hidden, at), &self.up(&v));
            let mean = h.dot(&self.weight) + &self.visible;
            v = match self.gaussian {
                true => mean + slice(visible, at),
                false => below(&slice(visible, at), &logistic(mean)),
            };
        }
        if let Some(chain) = &mut self.chain {
            chain.assign(&v);
        }
        let (p, q) = (self.up(data), self.up(&v));
        let rows = data.nrows() as f64;
        [
            ((p.t().dot(data) - q.t().dot(&v)) / rows).into_dyn(),
            ((p.sum_axis(Axis(0)) - q.sum_axis(Axis(0))) / rows).into_dyn(),
            ((data.sum_axis(Axis(0)) - v.sum_axis(Axis(0))) / rows).into_dyn(),
        ]
    }
}

/// One step of the graph and of the reference from the same state, several times over.
fn check(persistent: bool, visible: Visible, gates: [f32; 2]) {
    let step = compiled(&[4, 3], ROWS, Objective::Boltzmann { steps: STEPS, persistent, visible });
    let mut engine = TractStep::new(&step).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut state: Tensors = step.initial.clone().into_iter().collect();
    for round in 0..6 {
        let given: BTreeMap<String, ArrayD<f32>> = step
            .spec
            .inputs
            .iter()
            .map(|input| {
                let normal = visible == Visible::Gaussian
                    && (input.name == "views" || input.name == "noise.0.visible");
                let value = match input.name.as_str() {
                    "gates" => Array1::from(gates.to_vec()).into_dyn(),
                    _ => noise(&input.shape, normal, &mut rng),
                };
                (input.name.clone(), value)
            })
            .collect();
        let inputs: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
        engine.step(&inputs, &[]).unwrap();
        let after = engine.state().unwrap();
        let flat = given["views"].to_shape([ROWS, VALUES]).unwrap().to_owned().into_dyn();
        let mut data = wide(&flat).into_dimensionality::<Ix2>().unwrap();
        for i in 0..2 {
            let mut machine = Machine::read(&state, i, i == 0 && visible == Visible::Gaussian);
            let above = machine.up(&data);
            let noise = |side: &str| &given[&format!("noise.{i}.{side}")];
            let directions = machine.learn(&data, noise("hidden"), noise("visible"));
            let names = ["layers.I.weight", "layers.I.bias", "head.visible.I.bias"];
            for (name, direction) in names.iter().zip(directions) {
                let name = name.replace('I', &i.to_string());
                if gates[i] == 0.0 {
                    assert_eq!(after[&name], state[&name], "`{name}` moved behind a closed gate");
                } else {
                    let expected = wide(&state[&name]) + direction * LR;
                    let most = (&wide(&after[&name]) - &expected).iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    assert!(most < 1e-5, "`{name}`: off by {most}");
                }
            }
            let name = format!("chain.{i}");
            match &machine.chain {
                Some(_) if gates[i] == 0.0 => assert_eq!(after[&name], state[&name], "`{name}` moved"),
                Some(chain) => {
                    let off = &wide(&after[&name]) - &chain.clone().into_dyn();
                    let most = off.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    assert!(most < 1e-5, "`{name}` in round {round}: off by {most}");
                }
                None => {}
            }
            data = above;
        }
        state = after.into_iter().collect();
    }
}

#[test]
fn a_step_is_contrastive_divergence() {
    check(false, Visible::Gaussian, [1.0, 1.0]);
    check(false, Visible::Binary, [1.0, 1.0]);
}

#[test]
fn chains_go_on_from_step_to_step() {
    check(true, Visible::Gaussian, [1.0, 1.0]);
    check(true, Visible::Binary, [1.0, 1.0]);
}

#[test]
fn a_layer_behind_a_closed_gate_stays() {
    check(false, Visible::Gaussian, [1.0, 0.0]);
    check(true, Visible::Gaussian, [0.0, 1.0]);
}

/// AdamW's first step moves every weight by the rate, since a gradient over its own magnitude is one; it must be
/// so for a layer that begins to learn long after the optimiser began to count.
#[test]
fn a_layer_that_opens_late_begins_like_the_first() {
    let objective = Objective::Boltzmann { steps: 1, persistent: false, visible: Visible::Gaussian };
    let recipe = recipe(&[4, 3], ROWS, Nonlinearity::Sigmoid, objective);
    let step = compile(Recipe { optimizer: Optimizer::ADAMW, ..recipe }).unwrap();
    let mut engine = TractStep::new(&step).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for at in 0..20 {
        let gates = if at < 10 { [1.0, 0.0] } else { [0.0, 1.0] };
        let before = engine.state().unwrap();
        let given: Vec<(String, ArrayD<f32>)> = step
            .spec
            .inputs
            .iter()
            .map(|input| match input.name.as_str() {
                "gates" => (input.name.clone(), Array1::from(gates.to_vec()).into_dyn()),
                name => (input.name.clone(), noise(&input.shape, name == "views", &mut rng)),
            })
            .collect();
        let inputs: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
        engine.step(&inputs, &[]).unwrap();
        let after = engine.state().unwrap();
        let most = |layer: usize| {
            let name = format!("layers.{layer}.weight");
            (&after[&name] - &before[&name]).iter().fold(0f32, |most, change| most.max(change.abs()))
        };
        if at == 0 || at == 10 {
            let learning = at / 10;
            assert!((f64::from(most(learning)) - LR).abs() < 1e-3 * LR, "{}", most(learning));
            assert_eq!(most(1 - learning), 0.0);
        }
    }
}

/// The four ways to fill two rows of three with stripes, and the two empty and full ones.
const PATTERNS: [[u8; VALUES]; 6] = [
    [0, 0, 0, 0, 0, 0],
    [1, 1, 1, 0, 0, 0],
    [0, 0, 0, 1, 1, 1],
    [1, 0, 0, 1, 0, 0],
    [0, 1, 1, 0, 1, 1],
    [1, 1, 1, 1, 1, 1],
];

/// Mean logarithm of the probability of `data`, by counting out all visible and hidden states.
fn log_likelihood(machine: &Machine, data: &Array2<f64>) -> f64 {
    let hidden = machine.hidden.len();
    let bits =
        |n: usize, width: usize| (0..width).map(|i| f64::from((n >> i & 1) as u8)).collect::<Array1<_>>();
    let weight_of = |v: &Array1<f64>| -> f64 {
        let states = (0..1 << hidden).map(|n| bits(n, hidden));
        let energies = states.map(|h| h.dot(&machine.weight.dot(v)) + h.dot(&machine.hidden));
        energies.map(|minus_energy| (minus_energy + v.dot(&machine.visible)).exp()).sum()
    };
    let partition: f64 = (0..1 << VALUES).map(|n| weight_of(&bits(n, VALUES))).sum();
    let each = data.rows().into_iter().map(|v| (weight_of(&v.to_owned()) / partition).ln());
    each.sum::<f64>() / data.nrows() as f64
}

/// The likelihood of stripes after every two hundred steps.
fn likelihoods(persistent: bool) -> Vec<f64> {
    let rows = 10 * PATTERNS.len();
    let objective = Objective::Boltzmann { steps: 1, persistent, visible: Visible::Binary };
    let step = compiled(&[4], rows, objective);
    let mut engine = TractStep::new(&step).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let data = Array2::from_shape_fn((rows, VALUES), |(row, i)| f32::from(PATTERNS[row % PATTERNS.len()][i]));
    let views = data.to_shape([rows, SAMPLE[0], SAMPLE[1]]).unwrap().to_owned().into_dyn();
    let (gates, data) = (Array1::ones(1).into_dyn(), data.mapv(f64::from));
    let measure = |state: Tensors| log_likelihood(&Machine::read(&state, 0, false), &data);
    let mut found = vec![measure(engine.state().unwrap())];
    for _ in 0..10 {
        for _ in 0..200 {
            let hidden = noise(&[1, rows, 4], false, &mut rng);
            let visible = noise(&[1, rows, VALUES], false, &mut rng);
            let inputs = [
                ("views", views.view()),
                ("gates", gates.view()),
                ("noise.0.hidden", hidden.view()),
                ("noise.0.visible", visible.view()),
            ];
            engine.step(&inputs, &[]).unwrap();
        }
        found.push(measure(engine.state().unwrap()));
    }
    found
}

/// A machine that knows nothing gives each of the 64 states one 64th; one that knows everything gives each of
/// the six patterns a sixth.
#[test]
fn data_become_likelier_than_chance() {
    let (nothing, everything) = (-(64.0f64.ln()), -(6.0f64.ln()));
    for persistent in [false, true] {
        let found = likelihoods(persistent);
        let (begin, end) = (found[0], found[found.len() - 1]);
        assert!((begin - nothing).abs() < 0.5, "{begin}");
        assert!(found.is_sorted(), "persistent {persistent}: {found:?}");
        assert!(end > nothing + 0.6 * (everything - nothing), "persistent {persistent}: {found:?}");
    }
}

#[test]
fn other_encoders_and_no_steps_are_refused() {
    let objective = |steps| Objective::Boltzmann { steps, persistent: false, visible: Visible::Gaussian };
    let said = |recipe| compile(recipe).unwrap_err().to_string();
    let relu = said(recipe(&[4, 3], ROWS, Nonlinearity::Relu, objective(1)));
    assert!(relu.contains("every layer ends in a logistic function"), "{relu}");
    let mut half = recipe(&[4, 3], ROWS, Nonlinearity::Sigmoid, objective(1));
    half.trained.retain(|name| name.starts_with("layers.0"));
    let half = said(half);
    assert!(half.contains("all of it trained"), "{half}");
    let still = said(recipe(&[4, 3], ROWS, Nonlinearity::Sigmoid, objective(0)));
    assert!(still.contains("steps"), "{still}");
}
