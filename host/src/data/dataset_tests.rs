//! Data sets against hand-made arithmetic.

use super::*;

fn images() -> Dataset {
    let pixels = (0..3 * 2 * 2 * 3).map(|i| (i * 7 % 256) as u8).collect();
    let labels = Labels { ids: vec![1, 0, 1], names: vec!["a".into(), "b".into()] };
    Dataset::new(Samples::Images { width: 2, height: 2, pixels }, Some(labels), vec![4, 5, 4], vec![0, 0, 1])
        .unwrap()
}

fn windows() -> Dataset {
    let values = vec![1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 10.0, 10.0];
    let samples = Samples::Windows { channels: 2, length: 2, rate_hz: 50.0, values };
    Dataset::new(samples, None, vec![0, 0], vec![0, 1]).unwrap()
}

#[test]
fn stats_are_means_and_population_deviations() {
    let ChannelStats { mean, std } = windows().channel_stats();
    assert_eq!(mean, [4.0, 10.0]);
    assert!((std[0] - 5.0f32.sqrt()).abs() < 1e-6, "{std:?}");
    assert_eq!(std[1], 1.0, "a channel that never changes divides by one");

    let data = images();
    let Samples::Images { pixels, .. } = data.samples() else { unreachable!() };
    let stats = data.channel_stats();
    for c in 0..3 {
        let channel: Vec<f64> = pixels.iter().skip(c).step_by(3).map(|b| f64::from(*b) / 255.0).collect();
        let mean = channel.iter().sum::<f64>() / channel.len() as f64;
        let variance = channel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channel.len() as f64;
        assert!((f64::from(stats.mean[c]) - mean).abs() < 1e-6);
        assert!((f64::from(stats.std[c]) - variance.sqrt()).abs() < 1e-6);
    }
}

#[test]
fn a_batch_is_channels_first_and_normalised() {
    let data = images();
    let spec = InputSpec::image(2, 2, [0.5, 0.25, 0.0], [0.5, 0.25, 1.0]);
    let batch = data.batch_f32(&[2, 0], &spec).unwrap();
    assert_eq!(batch.shape(), [2, 3, 2, 2]);
    let Samples::Images { pixels, .. } = data.samples() else { unreachable!() };
    for (row, sample) in [2, 0].into_iter().enumerate() {
        for c in 0..3 {
            for pixel in 0..4 {
                let value = f32::from(pixels[sample * 12 + pixel * 3 + c]) / 255.0;
                let wanted = (value - spec.mean[c]) / spec.std[c];
                assert!((batch[[row, c, pixel / 2, pixel % 2]] - wanted).abs() < 1e-5);
            }
        }
    }
    assert_eq!(data.batch_f32(&[1], &data.input_spec(Some(5))).unwrap().shape(), [1, 3, 5, 5]);

    let batch = windows().batch_f32(&[1], &windows().input_spec(None)).unwrap();
    let root = 5.0f32.sqrt();
    let wanted = [1.0 / root, 3.0 / root, 0.0, 0.0];
    assert!(batch.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{batch}");
}

#[test]
fn a_subset_keeps_what_belongs_together() {
    let data = images();
    let subset = data.subset(&[2, 1]).unwrap();
    assert_eq!(subset.labels().unwrap().ids, [1, 0]);
    assert_eq!((subset.groups(), subset.order()), (&[4, 5][..], &[1, 0][..]));
    assert_eq!(
        subset.batch_f32(&[0], &data.input_spec(None)).unwrap(),
        data.batch_f32(&[2], &data.input_spec(None)).unwrap()
    );
    assert!(matches!(data.subset(&[3]), Err(DataError::Index { index: 3, len: 3 })));
    assert!(matches!(data.subset(&[]), Err(DataError::Lengths { .. })));
}

#[test]
fn the_digest_changes_with_samples_labels_and_shape() {
    let data = images();
    assert_eq!(data.digest(), data.clone().digest());
    assert_eq!(data.digest().len(), 64);
    let mut others = vec![data.subset(&[1, 0, 2]).unwrap(), data.subset(&[0, 1]).unwrap()];
    let unlabelled =
        Dataset::new(data.samples().clone(), None, data.groups().to_vec(), data.order().to_vec()).unwrap();
    others.push(unlabelled);
    let Samples::Images { pixels, .. } = data.samples().clone() else { unreachable!() };
    let flat = Samples::Images { width: 4, height: 1, pixels };
    others.push(Dataset::new(flat, data.labels().cloned(), vec![0; 3], vec![0; 3]).unwrap());
    assert!(others.iter().all(|other| other.digest() != data.digest()));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let image = |bytes: usize| Samples::Images { width: 2, height: 1, pixels: vec![0; bytes] };
    let cases = [
        ("pixels", image(7), None, 1),
        ("pixels", image(0), None, 0),
        ("values", Samples::Windows { channels: 0, length: 4, rate_hz: 1.0, values: vec![0.0; 4] }, None, 1),
        ("groups", image(12), None, 1),
        ("labels", image(12), Some(vec![0]), 2),
        ("class names", image(12), Some(vec![0, 7]), 2),
    ];
    for (named, samples, ids, n) in cases {
        let labels = ids.map(|ids| Labels { ids, names: vec!["only".into()] });
        match Dataset::new(samples, labels, vec![0; n], vec![0; n]) {
            Err(DataError::Lengths { what, .. }) => assert_eq!(what, named),
            other => panic!("{named}: {other:?}"),
        }
    }
}

#[test]
fn data_that_does_not_fit_the_input_is_refused() {
    let spec = windows().input_spec(None);
    let cases = [
        windows().batch_f32(&[0], &InputSpec { rate_hz: 100.0, ..spec.clone() }),
        windows().batch_f32(&[0], &InputSpec { shape: vec![2, 3], ..spec.clone() }),
        images().batch_f32(&[0], &spec),
    ];
    for refused in cases {
        assert!(matches!(refused, Err(DataError::Mismatch { .. })), "{refused:?}");
    }
    let broken = windows().batch_f32(&[0], &InputSpec { std: vec![0.0, 1.0], ..spec.clone() });
    assert!(matches!(broken, Err(DataError::Spec(_))));
    assert!(matches!(windows().batch_f32(&[2], &spec), Err(DataError::Index { .. })));
}
