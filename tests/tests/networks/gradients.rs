//! The gradient of every weight against PyTorch's in float64, relative to the weight's largest, or, where only
//! products with fixed vectors are kept, relative to its norm. All nets, forms of batch norm and selections
//! lie below 3e-5 here, medians below 1e-5; the third-party MobileNetV2 at 1.1e-3 (1.1e-4), MBV2.

use ndarray::{ArrayD, IxDyn};
use sedge_engine::{Engine, TractStep};
use sedge_models::import::{ImportOptions, Imported, NormForm, import};
use sedge_models::{Tensors, TrainingStep};

use super::*;

/// Gradients of at most so many values are kept whole.
const WHOLE: usize = 128;
const PRODUCTS: u32 = 4;

/// The loss of the first step and the gradient of every trained weight, which momentum begins as, in
/// PyTorch's axes.
pub fn of(encoder: &Imported, step: &TrainingStep, views: &ArrayD<f32>) -> (f32, Tensors) {
    let mut engine = TractStep::new(step).unwrap();
    let metrics = engine.step(&[("views", views.view())], &[]).unwrap();
    let state = engine.state().unwrap();
    let gradients = state.into_iter().filter_map(|(name, value)| {
        let weight = name.strip_suffix("/momentum")?.to_owned();
        let Some(axes) = encoder.sources.get(&weight).map(|s| &s.axes) else { return Some((weight, value)) };
        let mut order = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(i, &axis)| order[axis] = i);
        Some((weight, value.permuted_axes(IxDyn(&order))))
    });
    (metrics["loss"], gradients.collect())
}

/// How far `found` is from `expected`, whole or in its norm and products.
fn error(name: &str, found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f64 {
    let flat: Vec<f64> = found.iter().map(|&v| f64::from(v)).collect();
    let expected: Vec<f64> = expected.iter().map(|&v| f64::from(v)).collect();
    let (values, scale) = if flat.len() <= WHOLE {
        (flat, expected.iter().fold(0.0, |m: f64, v| m.max(v.abs())))
    } else {
        let product = |seed| flat.iter().enumerate().map(|(i, v)| v * noise(i, seed)).sum();
        let norm = flat.iter().map(|v| v * v).sum::<f64>().sqrt();
        (std::iter::once(norm).chain((200..200 + PRODUCTS).map(product)).collect(), expected[0])
    };
    assert_eq!(values.len(), expected.len(), "{name}");
    let worst = values.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    if worst.is_nan() { f64::INFINITY } else { worst / scale.max(f64::MIN_POSITIVE) }
}

/// A gradient below this share of the largest is zero by its nature: what a norm by the batch's statistics takes
/// off again, such as the shift of the norm before it. PyTorch's is rounding in float64, ours in float32.
const ZERO: f32 = 1e-9;
const ROUNDING: f32 = 1e-6;

/// Compares with `<form>/...` of `golden`; gives the errors by weight, the largest last.
pub fn compare(form: &str, (loss, gradients): &(f32, Tensors), golden: &Tensors) -> Vec<(f64, String)> {
    let expected = golden[&format!("{form}/loss")][[0]];
    assert!((loss - expected).abs() < 2e-5 * (1.0 + expected), "{form}: loss {loss}, PyTorch has {expected}");
    let largest = gradients.values().map(magnitude).fold(0.0, f32::max);
    let compared = gradients.iter().map(|(name, found)| {
        let key = format!("{form}/{name}");
        let expected = golden.get(&key).unwrap_or_else(|| panic!("PyTorch has no `{key}`"));
        if magnitude(expected) < ZERO * largest {
            assert!(magnitude(found) < ROUNDING * largest, "`{name}` is zero, not {found}");
            return (0.0, name.clone());
        }
        (error(&key, found, expected), name.clone())
    });
    let mut errors: Vec<(f64, String)> = compared.collect();
    errors.sort_by(|a, b| a.0.total_cmp(&b.0));
    errors
}

pub fn form(norm: NormForm) -> &'static str {
    match norm {
        NormForm::Folded => "folded",
        NormForm::Affine => "affine",
        NormForm::Statistics => "statistics",
    }
}

/// Bounds of the median and the largest error over the weights.
#[derive(Clone, Copy)]
pub struct Limits {
    median: f64,
    largest: f64,
}

/// Single precision, and nothing else.
pub const SMOOTH: Limits = Limits { median: 1e-5, largest: 5e-5 };
/// Single precision, and a value or two on a kink's other side, for which [`super::kinks`] answers. Which ones
/// depends on the order of a processor's sums; on most there are none, and the errors are those of [`SMOOTH`].
pub const KINKED: Limits = Limits { median: 1e-3, largest: 1e-2 };

impl Limits {
    /// Holds `errors`, sorted, against the bounds.
    pub fn check(self, what: &str, errors: &[(f64, String)]) {
        let (median, worst) = (errors[errors.len() / 2].0, errors.last().unwrap());
        println!(
            "{what}: {} weights, largest (median) {:.1e} ({median:.1e}), {}",
            errors.len(),
            worst.0,
            worst.1
        );
        assert!(median < self.median, "{what}: half the weights are off by {median} or more");
        assert!(worst.0 < self.largest, "{what}: {worst:?}");
    }
}

/// Every gradient of `net`, all layers trained and the last two blocks.
fn agree(net: &Net, limits: Limits) {
    let golden = golden(net.golden);
    for &norm in net.norms {
        let encoder = net.import(BATCH, norm);
        let views = pattern(&encoder.input_shape, 0);
        for selection in ["all", "last:2"] {
            let step = step(&encoder, selection, |_| ());
            let errors = compare(form(norm), &of(&encoder, &step, &views), &golden);
            let what = format!("{} {norm:?} {selection}", net.golden);
            let wanted = golden.keys().filter(|k| k.starts_with(form(norm))).count() - 1;
            assert_eq!(errors.len() == wanted, selection == "all", "{what}: {} of {wanted}", errors.len());
            limits.check(&what, &errors);
        }
    }
}

#[test]
fn small_cnn() {
    agree(&CNN, KINKED);
}

#[test]
fn small_cnn_at_96() {
    agree(&CNN96, KINKED);
}

#[test]
fn resnet() {
    agree(&RESNET, KINKED);
}

#[test]
fn windows() {
    agree(&IMU, KINKED);
}

#[test]
fn vision_transformer() {
    agree(&VIT, SMOOTH);
}

#[test]
fn mobilenet_v3() {
    agree(&MOBILENET_V3, KINKED);
}

#[test]
fn efficientnet() {
    agree(&EFFICIENTNET, SMOOTH);
}

#[test]
fn third_party_mobilenet_v2() {
    let Some(path) = sedge_tests::shared("models/mobilenet_v2_imagenet_encoder.onnx") else { return };
    let bytes = std::fs::read(path).unwrap();
    let encoder = import(&bytes, &ImportOptions::new(4, NormForm::Folded)).unwrap();
    let views = pattern(&encoder.input_shape, 0);
    let found = of(&encoder, &step(&encoder, "all", |_| ()), &views);
    let mut golden = golden("mobilenet_v2");
    // What the exporter calls its weights is ours to mend; the interpreter takes the file's names.
    for (name, source) in encoder.sources.iter().filter(|(name, source)| source.original != **name) {
        let value = golden.remove(&format!("folded/{}", source.original)).unwrap();
        golden.insert(format!("folded/{name}"), value);
    }
    let errors = compare("folded", &found, &golden);
    assert_eq!(errors.len(), golden.len() - 1);
    KINKED.check("mobilenet_v2", &errors);
}
