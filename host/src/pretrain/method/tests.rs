//! Every method on a data set of a few samples: what it draws is what its step takes, its masks are as many
//! as asked for, and its loss falls within seconds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{Architecture, Block, Conv1d, InvertedResidual, Transformer};

use super::*;
use crate::data::{Augment, Batch, Dataset, Loader, Samples};
use crate::encoder::pretraining_step;
use crate::pretrain::settings::{DataSettings, Settings};

const SAMPLES: usize = 16;

fn images() -> (Arc<Dataset>, Architecture) {
    let pixels = (0..SAMPLES * 16 * 16 * 3).map(|i| (i / 48 * 5 % 251) as u8).collect();
    let samples = Samples::Images { width: 16, height: 16, pixels };
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    let blocks = vec![block(6, 2), block(6, 1)];
    let net = InvertedResidual { stem: 8, stem_stride: 2, blocks, last: 16 };
    (data(samples), Architecture::InvertedResidual(net))
}

fn windows() -> (Arc<Dataset>, Architecture) {
    let values = (0..SAMPLES * 6 * 32).map(|i| (i as f32 * 0.37).sin() + (i % 7) as f32).collect();
    let samples = Samples::Windows { channels: 6, length: 32, rate_hz: 50.0, values };
    let net = Conv1d { channels: vec![8, 16], strides: vec![2, 2], kernel: 5 };
    (data(samples), Architecture::Conv1d(net))
}

/// A small transformer over the patches of images or windows.
fn attentive((data, _): &(Arc<Dataset>, Architecture)) -> (Arc<Dataset>, Architecture) {
    let net = Transformer { patch: 4, dim: 16, depth: 1, heads: 2, mlp_ratio: 2, causal: false };
    (Arc::clone(data), Architecture::Transformer(net))
}

fn data(samples: Samples) -> Arc<Dataset> {
    let order = (0..SAMPLES as u64).map(|i| i * 640_000_000).collect();
    Arc::new(Dataset::new(samples, None, vec![0; SAMPLES], order).unwrap())
}

fn config(method: Method, (data, architecture): &(Arc<Dataset>, Architecture)) -> PretrainConfig {
    let settings = Settings {
        data: DataSettings { path: Some("data".into()), ..DataSettings::default() },
        method: Some(method),
        ..Settings::default()
    };
    let mut config = settings.resolve(data.modality()).unwrap();
    (config.architecture, config.batch, config.lr) = (architecture.clone(), 8, 3e-3);
    config
}

/// The first batch and the losses of some epochs.
fn trained(method: Method, of: &(Arc<Dataset>, Architecture)) -> (Batch, Vec<f32>) {
    let (data, architecture) = of;
    let (config, input) = (config(method, of), data.input_spec(None));
    let setup = Setup { architecture, input: &input, config: &config };
    let pretext: Arc<dyn Pretext> = Arc::from(method.pretext(setup).unwrap());
    let mut engine = TractStep::new(&pretraining_step(&config, &input, &*pretext).unwrap()).unwrap();
    let augment = Augment::none_for(data.modality());
    let loader = Loader::new(data.clone(), input, augment, config.batch, 0, 1).unwrap();
    let loader = loader.with_sampler(pretext as Arc<dyn Sampler>).unwrap();
    let mut losses = vec![];
    for epoch in 0..20 {
        for batch in loader.epoch(epoch, 0).unwrap() {
            losses.push(engine.step(&batch.unwrap().given(), &[]).unwrap()["loss"]);
        }
    }
    (loader.epoch(0, 0).unwrap().next().unwrap().unwrap(), losses)
}

#[test]
fn losses_fall() {
    let (images, windows) = (images(), windows());
    let (patches, spans) = (attentive(&images), attentive(&windows));
    let runs = [
        (Method::Mae, &patches),
        (Method::Mae, &spans),
        (Method::Rotation, &images),
        (Method::Masked, &images),
        (Method::Masked, &windows),
        (Method::Denoising, &images),
        (Method::Denoising, &windows),
        (Method::Cpc, &windows),
    ];
    for (method, of) in runs {
        let (_, losses) = trained(method, of);
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        let (begin, end) = (mean(&losses[..4]), mean(&losses[losses.len() - 4..]));
        assert!(end < 0.95 * begin, "{} on {}: {begin} to {end}", method.name(), of.0.modality());
    }
}

#[test]
fn a_mask_hides_whole_patches_as_many_as_asked_for() {
    for (of, patches, hidden) in [(images(), 16, 10), (windows(), 8, 5)] {
        let (batch, _) = trained(Method::Masked, &of);
        let given: BTreeMap<_, _> = batch.given().into_iter().collect();
        let (views, targets, mask) = (&given["views"], &given["targets"], &given["mask"]);
        for ((v, t), m) in views.iter().zip(targets).zip(mask) {
            assert_eq!(*v, if *m == 1.0 { 0.0 } else { *t });
        }
        for sample in mask.outer_iter() {
            assert_eq!(sample.sum() as usize * patches, sample.len() * hidden);
        }
        let first = mask.outer_iter().next().unwrap();
        assert!(mask.outer_iter().any(|other| other != first), "samples share one mask");
    }
}

#[test]
fn an_autoencoder_keeps_a_quarter_of_the_patches_each_once() {
    let (batch, _) = trained(Method::Mae, &attentive(&images()));
    let given: BTreeMap<_, _> = batch.given().into_iter().collect();
    let keep = &given["keep"];
    assert_eq!(keep.shape(), [8, 4, 16]);
    for sample in keep.outer_iter() {
        assert!(sample.outer_iter().all(|row| row.sum() == 1.0));
        assert!(sample.sum_axis(ndarray::Axis(0)).iter().all(|times| [0.0, 1.0].contains(times)));
    }
    let convolutional = config(Method::Mae, &images());
    let input = images().0.input_spec(None);
    let setup = Setup { architecture: &convolutional.architecture, input: &input, config: &convolutional };
    let said = Method::Mae.pretext(setup).unwrap_err().to_string();
    assert!(said.contains("vit-tiny"), "{said}");
}

#[test]
fn a_method_for_other_data_is_refused_with_those_that_fit() {
    let said = Method::Cpc.check(Modality::Image).unwrap_err().to_string();
    assert!(said.contains("rotation") && said.contains("masked") && !said.contains("cpc,"), "{said}");
    let said = Method::Rotation.check(Modality::Imu).unwrap_err().to_string();
    assert!(said.contains("cpc"), "{said}");
}
