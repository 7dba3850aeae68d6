//! The probe against scikit-learn, and the choice of its penalty against leaking groups.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use serde::Deserialize;

use super::penalty::LambdaFrom;
use super::probe::{Labelled, Penalty, Probe, Standardiser};
use super::testing::blobs;
use super::{EvaluateError, accuracy};

/// From scikit-learn; see `goldens/evaluate.py`.
#[derive(Deserialize)]
struct Golden {
    train: Vec<Vec<f32>>,
    labels: Vec<u32>,
    test: Vec<Vec<f32>>,
    fits: Vec<Fit>,
}

#[derive(Deserialize)]
struct Fit {
    lambda: f64,
    weights: Vec<Vec<f64>>,
    predictions: Vec<u32>,
}

fn matrix(rows: &[Vec<f32>]) -> Array2<f32> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column])
}

#[test]
fn weights_and_predictions_are_scikit_learns() {
    let golden: Golden = serde_json::from_str(include_str!("../../goldens/probe.json")).unwrap();
    let (train, test) = (matrix(&golden.train), matrix(&golden.test));
    let standardiser = Standardiser::fit(train.view()).unwrap();
    let rows: Vec<usize> = (0..train.nrows()).collect();
    let labelled = Labelled {
        features: train.view(),
        labels: &golden.labels,
        groups: &golden.labels,
        rows: &rows,
        classes: 4,
    };
    for fit in &golden.fits {
        let probe = Probe { penalty: Penalty::Fixed(fit.lambda), max_iterations: 10_000, tolerance: 1e-9 };
        let found = probe.fit(labelled, &standardiser, 0).unwrap();
        assert!(found.converged);
        let largest = fit.weights.iter().flatten().fold(0.0_f64, |a, b| a.max(b.abs()));
        for (found, wanted) in found.weights().iter().zip(fit.weights.iter().flatten()) {
            let off = (found - wanted).abs() / largest;
            assert!(off < 1e-3, "lambda {}: {found}, not {wanted}", fit.lambda);
        }
        assert_eq!(found.predict(test.view()).unwrap(), fit.predictions, "lambda {}", fit.lambda);
    }
}

/// Rows that tell their group far louder than their class.
fn grouped(n: usize, seed: u64) -> (Array2<f32>, Vec<u32>, Vec<u32>) {
    let (mut features, labels) = blobs(n, 4, 2, 2.0, seed);
    let groups: Vec<u32> = (0..n).map(|row| (row / 20) as u32).collect();
    for (mut row, group) in features.rows_mut().into_iter().zip(&groups) {
        row[0] += 3.0 * *group as f32;
    }
    (features, labels, groups)
}

#[test]
fn a_penalty_is_chosen_where_labels_allow_and_said_where_not() {
    let (features, labels, groups) = grouped(200, 1);
    let standardiser = Standardiser::fit(features.view()).unwrap();
    let fit = |rows: &[usize], groups: &[u32], seed| {
        let features = features.view();
        let labelled = Labelled { features, labels: &labels, groups, rows, classes: 2 };
        Probe::default().fit(labelled, &standardiser, seed).unwrap()
    };
    let all: Vec<usize> = (0..200).collect();
    let chosen = fit(&all, &groups, 3);
    assert_eq!(chosen.lambda_from, LambdaFrom::HeldOut);
    assert_eq!(chosen, fit(&all, &groups, 3), "equal seeds, equal probes");

    let few = fit(&all[..8], &groups, 3);
    assert_eq!((few.lambda_from, few.lambda), (LambdaFrom::TooFewLabels, 1.0 / 8.0));
    let one_group = fit(&all, &[0; 200], 3);
    assert_eq!(one_group.lambda_from, LambdaFrom::TooFewLabels);
}

#[test]
fn the_choice_does_not_let_windows_of_one_recording_leak() {
    // Features are noise that is the same within a group, labels are random per group: held out by
    // window, memorising the groups looks perfect; held out by group, it is seen to be worthless, so
    // the strongest penalty should do about as well as any.
    let n = 400;
    let (noise, _) = blobs(n, 30, 1, 1.0, 5);
    let groups: Vec<u32> = (0..n).map(|row| (row / 10) as u32).collect();
    let features = Array2::from_shape_fn((n, 30), |(row, column)| noise[(row / 10 * 10, column)]);
    let labels: Vec<u32> = groups.iter().map(|group| (group * 7 / 3) % 2).collect();
    let rows: Vec<usize> = (0..n).collect();
    let standardiser = Standardiser::fit(features.view()).unwrap();
    let mean_log = |groups: &[u32]| {
        let logs = (0..8).map(|seed| {
            let features = features.view();
            let labelled = Labelled { features, labels: &labels, groups, rows: &rows, classes: 2 };
            Probe::default().fit(labelled, &standardiser, seed).unwrap().lambda.log10()
        });
        logs.sum::<f64>() / 8.0
    };
    let window: Vec<u32> = (0..n as u32).collect();
    let (by_group, by_window) = (mean_log(&groups), mean_log(&window));
    assert!(by_window < by_group - 1.0, "by window 1e{by_window:.1}, by group 1e{by_group:.1}");
}

#[test]
fn classes_without_labels_are_never_predicted() {
    let (features, labels) = blobs(60, 5, 3, 0.3, 1);
    let standardiser = Standardiser::fit(features.view()).unwrap();
    let rows: Vec<usize> = (0..60).filter(|&row| labels[row] != 1).collect();
    let groups = vec![0; 60];
    let labelled =
        Labelled { features: features.view(), labels: &labels, groups: &groups, rows: &rows, classes: 3 };
    let found = Probe::default().fit(labelled, &standardiser, 0).unwrap();
    assert_eq!(found.seen(), [0, 2]);
    let predictions = found.predict(features.view()).unwrap();
    assert!(predictions.iter().all(|class| *class != 1));
    assert!((accuracy(&predictions, &labels).unwrap() - 2.0 / 3.0).abs() < 0.05);

    // A single class is a probe too, if a dull one.
    let single = Labelled { rows: &[0, 3], ..labelled };
    let found = Probe::default().fit(single, &standardiser, 0).unwrap();
    assert_eq!(found.predict(features.view()).unwrap(), vec![labels[0]; 60]);
}

#[test]
fn a_constant_column_is_left_out_and_not_blown_up() {
    let features = array![[1.0_f32, 7.3, 1e6], [2.0, 7.3, 1e6 + 0.0625], [3.0, 7.3, 1e6]];
    let standardiser = Standardiser::fit(features.view()).unwrap();
    let labelled = Labelled {
        features: features.view(),
        labels: &[0, 0, 1],
        groups: &[0, 1, 2],
        rows: &[0, 1, 2],
        classes: 2,
    };
    let found = Probe::default().fit(labelled, &standardiser, 0).unwrap();
    assert!(found.weights()[(0, 1)].abs() > 0.01);
    assert_eq!(found.weights()[(1, 0)], 0.0);
    assert_eq!(found.weights()[(2, 0)], 0.0);
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let (features, labels) = blobs(10, 3, 2, 1.0, 1);
    let groups = [0; 10];
    let standardiser = Standardiser::fit(features.view()).unwrap();
    let base =
        Labelled { features: features.view(), labels: &labels, groups: &groups, rows: &[0, 1], classes: 2 };
    let refused = |labelled, probe: Probe| probe.fit(labelled, &standardiser, 0).unwrap_err();
    let usual = Probe::default();
    assert!(matches!(refused(Labelled { rows: &[], ..base }, usual), EvaluateError::Empty { .. }));
    let beyond = refused(Labelled { rows: &[10], ..base }, usual);
    assert!(matches!(beyond, EvaluateError::TooLarge { found: 10, .. }));
    assert!(matches!(refused(Labelled { classes: 1, ..base }, usual), EvaluateError::Label { .. }));
    let short = refused(Labelled { groups: &groups[1..], ..base }, usual);
    assert!(matches!(short, EvaluateError::Length { .. }));
    for bad in [
        Probe { penalty: Penalty::Fixed(0.0), ..usual },
        Probe { penalty: Penalty::Fixed(f64::NAN), ..usual },
        Probe { tolerance: -1.0, ..usual },
    ] {
        assert!(matches!(refused(base, bad), EvaluateError::Setting { .. }));
    }
    let wide = Array2::zeros((1, 4));
    let found = usual.fit(base, &standardiser, 0).unwrap();
    assert!(matches!(found.predict(wide.view()), Err(EvaluateError::Length { .. })));
    assert!(Standardiser::fit(Array2::zeros((0, 3)).view()).is_err());
}
