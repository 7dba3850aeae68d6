//! The same step graphs in ONNX Runtime, which shares no code with the engine: every output of a step from
//! empty and of one from full optimiser memory.

use ndarray::arr0;
use sedge_engine::{Engine, TractStep};
use sedge_models::compile::SKIPPED;
use sedge_models::import::NormForm;
use sedge_models::step::next_name;

use super::oracle::{ORACLE, onnxruntime};
use super::*;

/// Both are single precision. Where a network has kinks, a value may fall on one's other side (`kinks`).
const SMOOTH: f32 = 1e-3;
const KINKED: f32 = 2e-2;
const ZERO_OF_LARGEST: f32 = 1e-3;

/// How far `found` is from `expected` in units of `scale`.
fn error(found: &ArrayD<f32>, expected: &ArrayD<f32>, scale: f32) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    magnitude(&(found - expected)) / scale.max(f32::MIN_POSITIVE)
}

fn agree(net: &Net, norm: NormForm, limit: f32) {
    let Some(python) = &*ORACLE else { return };
    let name = format!("{} {norm:?}", net.golden);
    let encoder = net.import(BATCH, norm);
    let step = step(&encoder, "all", |_| ());
    let mut engine = TractStep::new(&step).unwrap();
    for at in 0..2 {
        let before = engine.state().unwrap();
        let views = pattern(&encoder.input_shape, at);
        let scalars = step.spec.scalars.iter().map(|(name, value)| (name.clone(), arr0(*value).into_dyn()));
        let mut inputs: Tensors = before.clone().into_iter().chain(scalars).collect();
        inputs.insert("views".into(), views.clone());
        let mut expected = onnxruntime(python, &step.onnx, &inputs);
        assert_eq!(expected.remove(SKIPPED).unwrap().sum(), 0.0);
        // A gradient that is zero by its nature is rounding in both: `ZERO_OF_LARGEST` of the largest momentum.
        let momenta = expected.iter().filter(|(name, _)| name.ends_with("/momentum.next"));
        let rounding = ZERO_OF_LARGEST * momenta.map(|(_, value)| magnitude(value)).fold(0.0, f32::max);
        for (metric, found) in engine.step(&[("views", views.view())], &[]).unwrap() {
            let expected = expected.remove(&metric).unwrap().sum();
            assert!(
                (found - expected).abs() < limit * expected.abs(),
                "{name} {metric}: {found}, {expected}"
            );
        }
        for (state, found) in engine.state().unwrap() {
            let expected = expected.remove(&next_name(&state)).unwrap();
            // A weight is held to what it moved by, everything else to its own size.
            let moved = magnitude(&(&expected - &before[&state]));
            let scale = if state.contains("running_") { magnitude(&expected) } else { moved.max(rounding) };
            let error = error(&found, &expected, scale);
            assert!(error < limit, "{name} step {at} `{state}`: relative error {error}");
        }
        assert!(expected.is_empty(), "{name}: outputs that the specification does not name: {expected:?}");
    }
}

#[test]
fn convolutions() {
    agree(&CNN, NormForm::Statistics, KINKED);
    agree(&CNN96, NormForm::Folded, KINKED);
    agree(&RESNET, NormForm::Statistics, KINKED);
    agree(&MOBILENET_V3, NormForm::Affine, KINKED);
    agree(&EFFICIENTNET, NormForm::Statistics, SMOOTH);
}

#[test]
fn windows() {
    agree(&IMU, NormForm::Statistics, KINKED);
    agree(&IMU, NormForm::Folded, KINKED);
}

#[test]
fn vision_transformer() {
    agree(&VIT, NormForm::Affine, SMOOTH);
}
