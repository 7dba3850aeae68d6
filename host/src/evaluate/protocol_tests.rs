//! The protocol on made-up embeddings whose answer is known.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, s};

use super::testing::blobs;
use super::{
    Budget, EvaluateError, Evaluation, FeatureSet, LabelDraw, Measure, Part, Progress, Protocol, Reference,
    Split,
};

const CLASSES: usize = 4;

/// 200 training items of 20 groups and 80 test items of 8 others.
fn split() -> Split {
    let part = |items: usize, first_group: usize| Part {
        labels: (0..items).map(|item| (item % CLASSES) as u32).collect(),
        groups: (0..items).map(|item| (first_group + item / 10) as u32).collect(),
    };
    let classes = ["brick", "tile", "wood", "carpet"].map(str::to_owned).to_vec();
    Split::new(classes, part(200, 0), part(80, 100)).unwrap()
}

fn set(name: &str, spread: f32) -> FeatureSet {
    let (all, _) = blobs(280, 6, CLASSES, spread, 7);
    FeatureSet {
        name: name.to_owned(),
        train: all.slice(s![..200, ..]).to_owned(),
        test: all.slice(s![200.., ..]).to_owned(),
    }
}

fn run(protocol: &Protocol) -> Evaluation {
    let truth = split().test().labels.clone();
    let mut supervised = |draw: &LabelDraw| {
        // Right for as many test items as labels were seen, then always class 0.
        let seen = draw.items.len();
        Ok(truth.iter().enumerate().map(|(i, &label)| if i < seen { label } else { 0 }).collect())
    };
    let reference =
        Reference { name: "supervised".to_owned(), train: &mut supervised, runs_on_all_labels: 2 };
    let sets = [set("encoder", 0.5), set("random-init", 4.0)];
    protocol.run(&split(), &sets, Some(reference), &mut |_| {}).unwrap()
}

#[test]
fn every_representation_is_put_the_same_questions() {
    let found = run(&Protocol::default());
    assert_eq!(found.sets(), ["encoder", "random-init", "supervised"]);
    assert_eq!(found.measures().len(), 1 + Budget::USUAL.len());
    assert_eq!(found.seeds, [0, 1, 2, 3, 4]);
    assert_eq!((found.train_groups, found.test_groups), (20, 8));

    let mean = |set, measure| found.get(set, measure).unwrap().accuracy_interval.unwrap().mean;
    for measure in [Measure::Knn, Measure::Labels(Budget::All), Measure::Labels(Budget::PerClass(5))] {
        assert!(mean("encoder", measure) > 0.9, "{measure}: {}", mean("encoder", measure));
    }
    assert!(mean("random-init", Measure::Labels(Budget::All)) < 0.7);
    // 40 right of 80, and a quarter of the rest by always saying class 0.
    let supervised = found.get("supervised", Measure::Labels(Budget::PerClass(10))).unwrap();
    assert_eq!(supervised.accuracy, [0.625; 5]);
    assert_eq!(supervised.labels, 40);
    assert_eq!(found.get("supervised", Measure::Labels(Budget::All)).unwrap().accuracy.len(), 2);
    assert_eq!(found.get("supervised", Measure::Knn), None);
}

#[test]
fn a_draw_too_small_is_reported_and_not_measured() {
    let found = run(&Protocol::default());
    // 1 % of 200 labels is 2, of 4 classes.
    let cell = found.get("encoder", Measure::Labels(Budget::Share(0.01))).unwrap();
    assert!(cell.accuracy.is_empty() && cell.accuracy_interval.is_none());
    let said = "2 labels do not give each of the 4 classes one";
    assert!(cell.note.as_deref().unwrap().contains(said));
    assert!(found.to_text().contains(said), "{}", found.to_text());
}

#[test]
fn differences_are_paired_by_draw() {
    let found = run(&Protocol::default());
    let measure = Measure::Labels(Budget::PerClass(1));
    let values = |set| found.get(set, measure).unwrap().accuracy.clone();
    let (ours, theirs) = (values("encoder"), values("random-init"));
    let wanted: f64 = ours.iter().zip(&theirs).map(|(a, b)| a - b).sum::<f64>() / 5.0;
    let comparison =
        found.comparisons.iter().find(|c| c.measure == measure && c.against == "random-init").unwrap();
    assert_eq!(comparison.set, "encoder");
    assert!((comparison.difference.mean - wanted).abs() < 1e-12);
    assert!(comparison.difference.half_width.is_some());

    // The probe on all labels is fitted once, the reference was trained twice.
    let all = Measure::Labels(Budget::All);
    let against = |c: &&super::Comparison| c.measure == all && c.against == "supervised";
    assert_eq!(found.comparisons.iter().find(against).unwrap().difference.n, 2);
}

#[test]
fn equal_seeds_give_equal_evaluations_and_survive_json() {
    let found = run(&Protocol::default());
    assert_eq!(found, run(&Protocol::default()));
    let again: Evaluation = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    assert_eq!(found, again);
    assert_ne!(found, run(&Protocol { seed: 50, ..Protocol::default() }));
}

#[test]
fn pooling_joins_the_values_of_like_runs() {
    let (a, b) = (run(&Protocol::default()), run(&Protocol { seed: 50, ..Protocol::default() }));
    let pooled = Evaluation::pool(&[a.clone(), b.clone()]).unwrap();
    let knn = pooled.get("encoder", Measure::Knn).unwrap();
    assert_eq!(knn.accuracy_interval.unwrap().n, 2);
    let measure = Measure::Labels(Budget::PerClass(5));
    let values = |e: &Evaluation| e.get("encoder", measure).unwrap().accuracy.clone();
    assert_eq!(values(&pooled), [values(&a), values(&b)].concat());
    let difference = pooled.comparisons.iter().find(|c| c.measure == measure).unwrap().difference;
    assert_eq!(difference.n, 10);

    let mut unlike = b;
    unlike.classes[0] = "stone".to_owned();
    assert!(matches!(Evaluation::pool(&[a, unlike]), Err(EvaluateError::Unlike { .. })));
    assert!(matches!(Evaluation::pool(&[]), Err(EvaluateError::Empty { .. })));
}

#[test]
fn the_chart_shows_the_table() {
    let found = run(&Protocol::default());
    let chart = found.accuracy_chart();
    // All but the draw that was too small to make.
    assert_eq!(chart.groups.len(), found.measures().len() - 1);
    let bar = chart.series[0].bars[0].unwrap();
    let knn = found.get("encoder", Measure::Knn).unwrap();
    assert!((bar.value - 100.0 * knn.accuracy[0]).abs() < 1e-9);
    // The classes are equally common.
    assert!((chart.guide.as_ref().unwrap().1 - 25.0).abs() < 1e-9);
    assert!(chart.draw().is_ok());
}

#[test]
fn progress_counts_to_its_total() {
    let mut seen: Vec<(usize, usize)> = Vec::new();
    let mut note = |p: Progress<'_>| seen.push((p.done, p.total));
    let protocol = Protocol { draws: 2, ..Protocol::default() };
    protocol.run(&split(), &[set("encoder", 1.0)], None, &mut note).unwrap();
    // Nearest neighbours, all labels, and two draws of five budgets, one of them too small to make.
    assert_eq!(seen.first(), Some(&(0, 12)));
    assert_eq!(seen.last(), Some(&(11, 12)));
    assert_eq!(seen.len(), 11, "{seen:?}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let quiet = &mut |_: Progress<'_>| {};
    let protocol = Protocol::default();
    assert!(matches!(protocol.run(&split(), &[], None, quiet), Err(EvaluateError::Empty { .. })));
    let mut short = set("encoder", 1.0);
    short.test = short.test.slice(s![1.., ..]).to_owned();
    assert!(matches!(protocol.run(&split(), &[short], None, quiet), Err(EvaluateError::Length { .. })));
    let mut wide = set("encoder", 1.0);
    wide.test = Array2::zeros((80, 7));
    let error = protocol.run(&split(), &[wide], None, quiet).unwrap_err().to_string();
    assert!(error.contains("encoder, test features"), "{error}");
    for bad in [
        Protocol { draws: 0, ..Protocol::default() },
        Protocol { draws: usize::MAX, ..Protocol::default() },
        Protocol { budgets: vec![Budget::Share(f64::NAN)], ..Protocol::default() },
        Protocol { budgets: vec![Budget::PerClass(0)], ..Protocol::default() },
    ] {
        assert!(bad.run(&split(), &[set("encoder", 1.0)], None, quiet).is_err());
    }
}

#[test]
fn a_failing_reference_is_named_with_its_draw() {
    let mut failing = |_: &LabelDraw| Err("the loss is NaN".into());
    let reference = Reference { name: "supervised".to_owned(), train: &mut failing, runs_on_all_labels: 0 };
    let error = Protocol { seed: 9, ..Protocol::default() }
        .run(&split(), &[set("encoder", 1.0)], Some(reference), &mut |_| {})
        .unwrap_err();
    let said = error.to_string();
    assert!(said.contains("1 label per class, seed 9") && said.contains("the loss is NaN"), "{said}");

    let mut short = |_: &LabelDraw| Ok(vec![0; 3]);
    let reference = Reference { name: "supervised".to_owned(), train: &mut short, runs_on_all_labels: 0 };
    let error = Protocol::default().run(&split(), &[set("encoder", 1.0)], Some(reference), &mut |_| {});
    assert!(matches!(error, Err(EvaluateError::Length { found: 3, wanted: 80, .. })));
}
