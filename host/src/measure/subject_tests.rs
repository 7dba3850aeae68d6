//! Subjects from each kind of file, and random weights against the rule that they are drawn by.
#![allow(clippy::unwrap_used)]

use ndarray::IxDyn;
use sedge_models::architecture::Conv1d;

use super::*;
use crate::data::Samples;

fn trained() -> Trained {
    let architecture =
        Architecture::Conv1d(Conv1d { channels: vec![16, 32], strides: vec![1, 2], kernel: 5 });
    let input = InputSpec::imu(32, 50.0, vec![0.5; 6], vec![2.0; 6]);
    Trained::fresh(&architecture, &input, 3).unwrap()
}

fn windows(n: usize) -> Dataset {
    let values = (0..n * 6 * 32).map(|i| (i % 17) as f32).collect();
    let samples = Samples::Windows { channels: 6, length: 32, rate_hz: 50.0, values };
    Dataset::new(samples, None, vec![0; n], vec![0; n]).unwrap()
}

#[test]
fn an_onnx_file_is_normalised_by_the_data_and_drawn_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.onnx");
    let trained = trained();
    std::fs::write(&path, onnx(&trained, Form::Folded).unwrap()).unwrap();
    let subject = Subject::of_onnx(&path).unwrap();
    assert_eq!((subject.modality(), subject.shape.as_slice()), (Modality::Imu, &[6, 32][..]));
    let data = windows(4);
    let input = subject.input_for(&data);
    assert_eq!((input.shape.as_slice(), input.mean), (&[6, 32][..], data.channel_stats().mean));
    let settings = subject.data_settings(Some("x.csv"));
    assert_eq!((settings.window, settings.rate_hz, settings.image_size), (Some(32), None, None));

    let input = trained.input;
    let random = subject.random(&input, 5).unwrap().unwrap();
    assert!(!random.as_initialised);
    let (old, new) =
        (initializers(&parse(&subject.onnx).unwrap()), initializers(&parse(&random.onnx).unwrap()));
    assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>());
    for (name, value) in &new {
        assert_eq!(*value == old[name], value.ndim() < 2, "{name}");
    }
    assert_eq!(subject.random(&input, 5).unwrap().unwrap().onnx, random.onnx);
    assert_ne!(subject.random(&input, 6).unwrap().unwrap().onnx, random.onnx);
}

#[test]
fn weights_drawn_anew_have_the_variance_of_the_rule() {
    let weights = Tensors::from([
        ("wide".to_owned(), ArrayD::zeros(IxDyn(&[100, 50, 2]))),
        ("bias".to_owned(), ArrayD::zeros(IxDyn(&[100]))),
    ]);
    let drawn = he_normal(weights, 1);
    assert_eq!(drawn.keys().collect::<Vec<_>>(), ["wide"]);
    let wide = &drawn["wide"];
    let variance = wide.iter().map(|v| f64::from(v * v)).sum::<f64>() / wide.len() as f64;
    // Ten thousand draws: the variance is known to some 1.4 %.
    assert!((variance / (2.0 / 100.0) - 1.0).abs() < 0.06, "{variance}");
    assert!(wide.mean().unwrap().abs() < 0.006);
}

#[test]
fn what_is_no_encoder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.onnx");
    let absent = Subject::of_onnx(&path).unwrap_err();
    assert!(matches!(absent, MeasureError::Read { .. }));
    std::fs::write(&path, "hello").unwrap();
    let said = Subject::of_onnx(&path).unwrap_err().to_string();
    assert!(said.contains("text.onnx"), "{said}");
    let said = Subject::of_run(folder.path()).unwrap_err().to_string();
    assert!(said.contains("holds no run"), "{said}");
}
