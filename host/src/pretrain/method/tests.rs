//! Every method on a data set of a few samples: what it draws is what its step takes, its masks are as many
//! as asked for, and its loss falls within seconds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{ArrayViewD, Axis};
use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{Architecture, Block, Conv1d, InvertedResidual, Transformer};

use super::*;
use crate::data::{Augment, Batch, Dataset, Loader, Samples};
use crate::encoder::pretraining_step;
use crate::pretrain::settings::{DataSettings, Settings};

mod learning;

const SAMPLES: usize = 16;
const EPOCHS: u64 = 20;

fn images() -> (Arc<Dataset>, Architecture) {
    let pixels = (0..SAMPLES * 16 * 16 * 3).map(|i| (i / 48 * 5 % 251) as u8).collect();
    let samples = Samples::Images { width: 16, height: 16, pixels };
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    let blocks = vec![block(6, 2), block(6, 1)];
    let net = InvertedResidual { stem: 8, stem_stride: 2, blocks, last: 16 };
    (data(samples), Architecture::InvertedResidual(net))
}

/// Swings under gravity, by which a sensor's axes are told.
fn windows() -> (Arc<Dataset>, Architecture) {
    let Samples::Windows { channels, length, rate_hz, mut values } =
        learning::swings(SAMPLES, 3).samples().clone()
    else {
        panic!("swings are windows");
    };
    for sample in values.chunks_exact_mut(channels * length) {
        sample[2 * length..3 * length].iter_mut().for_each(|v| *v += 2.0);
    }
    let net = Conv1d { channels: vec![8, 16], strides: vec![2, 2], kernel: 5 };
    (data(Samples::Windows { channels, length, rate_hz, values }), Architecture::Conv1d(net))
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
    if method == Method::Mocov2 {
        // No longer than a batch has keys: while a longer one fills, the loss rises.
        config.pretext.insert("queue".into(), 16.into());
        config.pretext.insert("ema".into(), 0.9.into());
    }
    config
}

/// The first batch and the losses of some epochs.
fn trained(method: Method, of: &(Arc<Dataset>, Architecture)) -> (Batch, Vec<f32>) {
    let (data, architecture) = of;
    let (config, input) = (config(method, of), data.input_spec(None));
    let setup = Setup { architecture, input: &input, config: &config };
    let pretext: Arc<dyn Pretext> = Arc::from(method.pretext(setup).unwrap());
    let mut engine = TractStep::new(&pretraining_step(&config, &input, &*pretext).unwrap()).unwrap();
    let augment = match data.modality() {
        Modality::Image => Augment::Image(method.image_augment()),
        Modality::Imu => Augment::Window(method.window_augment()),
        Modality::Text => Augment::Text(method.text_augment()),
    };
    let loader = Loader::new(data.clone(), input, augment, config.batch, 0, 1).unwrap();
    let loader = loader.with_sampler(pretext.clone() as Arc<dyn Sampler>).unwrap();
    let mut losses = vec![];
    for epoch in 0..EPOCHS {
        for batch in loader.epoch(epoch, 0).unwrap() {
            let mut scalars = pretext.scalars(epoch as f64 / EPOCHS as f64);
            scalars.push(("lr", 3e-3));
            losses.push(engine.step(&batch.unwrap().given(), &scalars).unwrap()["loss"]);
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
        (Method::Simclr, &windows),
        (Method::Mocov3, &windows),
        (Method::Simsiam, &windows),
        (Method::Byol, &windows),
        (Method::Vicreg, &windows),
        (Method::BarlowTwins, &windows),
        (Method::NextSegment, &windows),
        (Method::FrameRotation, &windows),
        (Method::Data2Vec, &images),
        (Method::Data2Vec, &windows),
    ];
    // Without MoCo, whose loss rises from its first, random keys, and Boltzmann machines, whose loss is none that
    // should fall: what they learn is measured by itself.
    let mut stayed = vec![];
    for (method, of) in runs {
        let (_, losses) = trained(method, of);
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        let (begin, end) = (mean(&losses[..4]), mean(&losses[losses.len() - 4..]));
        if end.is_nan() || end >= begin - 0.05 * begin.abs() {
            stayed.push(format!("{} on {}: {begin} to {end}", method.name(), of.0.modality()));
        }
    }
    assert!(stayed.is_empty(), "{stayed:#?}");
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
fn a_teacher_sees_whole_what_a_student_sees_with_blocks_painted_over() {
    for (of, grid, hidden) in [(images(), vec![4, 4], 10), (windows(), vec![8], 5)] {
        let (batch, _) = trained(Method::Data2Vec, &of);
        let given: BTreeMap<_, _> = batch.given().into_iter().collect();
        let (views, whole, mask) = (&given["views"], &given["whole"], &given["mask"]);
        for ((view, whole), mask) in views.outer_iter().zip(whole.outer_iter()).zip(mask.outer_iter()) {
            assert_eq!(mask.sum() as usize, hidden);
            for (at, value) in view.indexed_iter() {
                // Every cell is 4 values wide along each axis.
                let token = grid.iter().enumerate().fold(0, |token, (axis, n)| token * n + at[axis + 1] / 4);
                assert_eq!(*value, if mask[[token, 0]] == 1.0 { 0.0 } else { whole[&at] });
            }
        }
        let first = mask.outer_iter().next().unwrap();
        assert!(mask.outer_iter().any(|other| other != first), "samples share one mask");
    }
}

/// A grid of two by two leaves blocks no choice: tokens are then hidden one by one.
#[test]
fn on_a_small_grid_every_token_may_be_the_one_that_is_seen() {
    let (data, net) = images();
    let net = match net {
        Architecture::InvertedResidual(net) => InvertedResidual { stem_stride: 4, ..net },
        other => panic!("{other:?}"),
    };
    let (batch, _) = trained(Method::Data2Vec, &(data, Architecture::InvertedResidual(net)));
    let given: BTreeMap<_, _> = batch.given().into_iter().collect();
    let mask = &given["mask"];
    assert_eq!(mask.shape(), [8, 4, 1]);
    let seen = mask.outer_iter().map(|sample| sample.iter().position(|hidden| *hidden == 0.0).unwrap());
    assert!(seen.collect::<std::collections::BTreeSet<_>>().len() > 1);
}

#[test]
fn segments_follow_only_where_the_data_says_so() {
    // Windows overlap by half, in two streams, with a gap in the second one.
    let of = windows();
    let order: Vec<u64> =
        (0..SAMPLES as u64).map(|i| i * 320_000_000 + if i > 11 { 60_000_000_000 } else { 0 }).collect();
    let groups = (0..SAMPLES as u32).map(|i| i / 8).collect();
    let data = Dataset::new(of.0.samples().clone(), None, groups, order).unwrap();
    let of = (Arc::new(data), of.1);
    let (config, input) = (config(Method::NextSegment, &of), of.0.input_spec(None));
    let setup = Setup { architecture: &of.1, input: &input, config: &config };
    let pretext: Arc<dyn Pretext> = Arc::from(Method::NextSegment.pretext(setup).unwrap());
    let augment = Augment::none_for(Modality::Imu);
    let loader = Loader::new(of.0.clone(), input.clone(), augment, 8, 0, 1)
        .unwrap()
        .with_sampler(pretext as Arc<dyn Sampler>)
        .unwrap();
    let all = of.0.batch_f32(&(0..SAMPLES).collect::<Vec<_>>(), &input).unwrap();
    let number = |view: ArrayViewD<'_, f32>| all.outer_iter().position(|window| window == view).unwrap();
    let (mut following, mut swapped, mut elsewhere) = (0, 0, 0);
    for batch in (0..40).flat_map(|epoch| loader.epoch(epoch, 0).unwrap()) {
        let batch = batch.unwrap();
        let given: BTreeMap<_, _> = batch.given().into_iter().collect();
        for (row, target) in given["targets"].iter().enumerate() {
            let [a, b] = [row, row + 8].map(|row| number(given["views"].index_axis(Axis(0), row)));
            let follows = |a: usize, b: usize| b == a + 2 && a / 8 == b / 8 && (a > 11) == (b > 11);
            assert_eq!(*target == 1.0, follows(a, b), "{a} and {b}");
            match (*target == 1.0, follows(b, a)) {
                (true, _) => following += 1,
                (_, true) => swapped += 1,
                _ => elsewhere += 1,
            }
        }
    }
    // Of 640 pairs: five deviations of a fair draw are 63 about a half and 55 about a quarter.
    assert!((257..=383).contains(&following), "{following} follow");
    assert!((105..=215).contains(&swapped) && (105..=215).contains(&elsewhere), "{swapped}, {elsewhere}");
}

#[test]
fn windows_of_which_none_follows_another_are_refused() {
    let of = windows();
    let data =
        Dataset::new(of.0.samples().clone(), None, (0..SAMPLES as u32).collect(), vec![0; SAMPLES]).unwrap();
    let of = (Arc::new(data), of.1);
    let (config, input) = (config(Method::NextSegment, &of), of.0.input_spec(None));
    let setup = Setup { architecture: &of.1, input: &input, config: &config };
    let pretext: Arc<dyn Pretext> = Arc::from(Method::NextSegment.pretext(setup).unwrap());
    let loader = Loader::new(of.0.clone(), input, Augment::none_for(Modality::Imu), 8, 0, 1).unwrap();
    let said = match loader.with_sampler(pretext as Arc<dyn Sampler>) {
        Ok(loader) => loader.epoch(0, 0).unwrap().next().unwrap().unwrap_err().to_string(),
        Err(refused) => refused.to_string(),
    };
    assert!(said.contains("none follows") && said.contains("stride"), "{said}");
}

#[test]
fn a_method_for_other_data_is_refused_with_those_that_fit() {
    let said = Method::Cpc.check(Modality::Image).unwrap_err().to_string();
    assert!(said.contains("rotation") && said.contains("masked") && !said.contains("cpc,"), "{said}");
    let said = Method::Rotation.check(Modality::Imu).unwrap_err().to_string();
    assert!(said.contains("cpc"), "{said}");
}

#[test]
fn a_teachers_momentum_rises_to_one() {
    for (progress, expected) in [(0.0, 0.99), (0.5, 0.995), (1.0, 1.0)] {
        assert!((momentum(0.99, progress) - expected).abs() < 1e-12);
    }
    let windows = windows();
    let (config, input) = (config(Method::Byol, &windows), windows.0.input_spec(None));
    let setup = Setup { architecture: &windows.1, input: &input, config: &config };
    let byol = Method::Byol.pretext(setup).unwrap();
    assert_eq!(byol.scalars(1.0), [("ema", 1.0)]);
}
