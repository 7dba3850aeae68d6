//! Gradients summed over micro-batches: as many as make a batch move the weights as that batch would, for
//! every objective that allows it; the others say why they do not.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{ADAMW, imu};
use ndarray::{ArrayD, Axis, Slice, concatenate};
use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{Form, fold};
use sedge_models::compile::{CompileError, Recipe, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::Selection;
use sedge_models::{Tensors, TrainingStep};

const HEAD: ProjectionHead = ProjectionHead::new(8, 4);
const SAMPLE: [usize; 2] = [6, 20];
const ROWS: usize = 4;
const MICRO: usize = 3;

/// Without batch statistics, which would differ between a batch and its parts.
fn step(
    objective: Objective,
    optimizer: Optimizer,
    rows: usize,
    accumulate: usize,
) -> Result<TrainingStep, CompileError> {
    let weights = fold(&imu().initial_weights(&SAMPLE, 1).unwrap()).unwrap();
    let encoder = imu().graph(Form::Folded, Batch::Fixed(rows), &SAMPLE, &weights).unwrap();
    let trained = Selection::All.pick(&imu().stages(), weights.keys());
    compile(Recipe {
        optimizer,
        lr: 0.02,
        weight_decay: 0.01,
        clip_norm: Some(0.3),
        reference: Some(0.5),
        accumulate,
        ..Recipe::new(encoder, trained, objective)
    })
}

/// Rows of a whole batch, `kind` telling inputs apart.
fn values(shape: &[usize], kind: usize) -> ArrayD<f32> {
    let shape: Vec<usize> = [ROWS * MICRO].iter().chain(&shape[1..]).copied().collect();
    let mut at = kind * 1000;
    ArrayD::from_shape_simple_fn(shape, || {
        at += 1;
        match kind {
            2 => f32::from(u8::from(at.is_multiple_of(3))),
            _ => (at as f32 * 0.37).sin(),
        }
    })
}

/// Micro-batch `at`: its rows of the first views, then of the second.
fn part(whole: &ArrayD<f32>, at: usize) -> ArrayD<f32> {
    let half = ROWS / 2;
    let views = [0, MICRO * half].map(|view| {
        let from = view + at * half;
        whole.slice_axis(Axis(0), Slice::from(from..from + half))
    });
    concatenate(Axis(0), &views).unwrap()
}

fn distance(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()))
}

fn check(objective: Objective, optimizer: Optimizer) {
    let mut whole = TractStep::new(&step(objective.clone(), optimizer, ROWS * MICRO, 1).unwrap()).unwrap();
    let mut parts = TractStep::new(&step(objective.clone(), optimizer, ROWS, MICRO).unwrap()).unwrap();
    let names: Vec<String> = whole.spec().inputs.iter().map(|input| input.name.clone()).collect();
    let given: Vec<ArrayD<f32>> =
        whole.spec().inputs.iter().enumerate().map(|(kind, input)| values(&input.shape, kind)).collect();
    for round in 0..2 {
        let inputs: Vec<_> = names.iter().zip(&given).map(|(n, v)| (n.as_str(), v.view())).collect();
        whole.step(&inputs, &[]).unwrap();
        let start = parts.state().unwrap();
        for at in 0..MICRO {
            let given: Vec<ArrayD<f32>> = given.iter().map(|v| part(v, at)).collect();
            let inputs: Vec<_> = names.iter().zip(&given).map(|(n, v)| (n.as_str(), v.view())).collect();
            let metrics = parts.step(&inputs, &[]).unwrap();
            let last = at + 1 == MICRO;
            assert_eq!(metrics["applied"], f32::from(u8::from(last)));
            let now = parts.state().unwrap();
            let moved = whole.spec().state.iter().any(|s| now[&s.name] != start[&s.name]);
            assert_eq!(moved, last, "{objective:?}: weights move at the last micro-batch only");
        }
        compare(&objective, round, &whole.state().unwrap(), &parts.state().unwrap());
    }
}

fn compare(objective: &Objective, round: usize, whole: &Tensors, parts: &Tensors) {
    for (name, expected) in whole {
        let mut found = parts[name].clone();
        let mut expected = expected.clone();
        if name == "queue" {
            // The same keys, in another order.
            found = sorted(&found);
            expected = sorted(&expected);
        }
        let error = distance(&found, &expected);
        assert!(error < 1e-6, "{objective:?} round {round} `{name}`: {error}");
    }
    for (name, value) in
        parts.iter().filter(|(name, _)| name.ends_with("/gradient") || *name == "accumulated")
    {
        assert!(value.iter().all(|v| *v == 0.0), "`{name}` is cleared");
    }
}

/// Rows in the order of their first value.
fn sorted(rows: &ArrayD<f32>) -> ArrayD<f32> {
    let mut views: Vec<_> = rows.axis_iter(Axis(0)).collect();
    views.sort_by(|a, b| a[0].total_cmp(&b[0]));
    ndarray::stack(Axis(0), &views).unwrap()
}

#[test]
fn micro_batches_make_the_step_of_their_batch() {
    let objectives = [
        Objective::CrossEntropy { classes: 3 },
        Objective::MaskedReconstruction { decoder: Some(5) },
        Objective::SimSiam { head: HEAD, predictor: 3 },
        Objective::Byol { head: HEAD, predictor: 3, ema: 0.9 },
        Objective::Moco { head: HEAD, temperature: 0.2, queue: 30, ema: 0.9 },
    ];
    for objective in objectives {
        for optimizer in [Optimizer::SGD, ADAMW] {
            check(objective.clone(), optimizer);
        }
    }
}

#[test]
fn a_loss_that_ties_a_batch_together_says_so() {
    let objectives = [
        Objective::NtXent { head: HEAD, temperature: 0.2 },
        Objective::vicreg(HEAD),
        Objective::barlow_twins(HEAD),
    ];
    for objective in objectives {
        let name = objective.name();
        assert!(step(objective.clone(), Optimizer::SGD, 8, 1).is_ok());
        match step(objective, Optimizer::SGD, ROWS, MICRO) {
            Err(error @ CompileError::Coupled { .. }) => {
                let words = error.to_string();
                assert!(words.contains(name) && words.contains("moco"), "{words}");
            }
            other => panic!("{name}: {:?}", other.err()),
        }
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let setting = |objective: Objective, optimizer, rows, accumulate| match step(
        objective, optimizer, rows, accumulate,
    ) {
        Err(CompileError::Setting(setting)) => setting.setting,
        other => panic!("{:?}", other.err()),
    };
    let classes = || Objective::CrossEntropy { classes: 3 };
    assert_eq!(setting(classes(), Optimizer::SGD, ROWS, 0), "accumulate");
    assert_eq!(setting(classes(), Optimizer::SGD, ROWS, 1 << 20), "accumulate");
    assert_eq!(setting(classes(), Optimizer::Sgd { momentum: 1.0 }, ROWS, 1), "momentum");
    assert_eq!(setting(Objective::CrossEntropy { classes: 1 }, Optimizer::SGD, ROWS, 1), "classes");
    let moco = |queue, ema| Objective::Moco { head: HEAD, temperature: 0.2, queue, ema };
    assert_eq!(setting(moco(30, 1.5), Optimizer::SGD, ROWS, 1), "ema");
    assert_eq!(setting(moco(ROWS * MICRO - 1, 0.9), Optimizer::SGD, ROWS, MICRO), "queue");
    assert_eq!(setting(moco(usize::MAX, 0.9), Optimizer::SGD, ROWS, 1), "queue");
    assert_eq!(setting(moco(30, 0.9), Optimizer::SGD, 3, 1), "the encoder's batch");
    let queue =
        Objective::Moco { head: ProjectionHead::new(8, 1 << 14), temperature: 0.2, queue: 1 << 14, ema: 0.9 };
    assert_eq!(setting(queue, Optimizer::SGD, ROWS, 1), "values of the queue");
    let wide = ProjectionHead::new(usize::MAX, 4);
    assert_eq!(setting(Objective::vicreg(wide), Optimizer::SGD, ROWS, 1), "head.hidden");
}
