//! Which frames are drawn, told from frames of one shade each.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use ndarray::Array1;

use super::*;
use crate::data::{Augment, LoadOptions, Loader, Samples, load};
use crate::pretrain::{DataSettings, Method, PretextSettings, PretrainConfig, Settings as Said};

const SIDE: usize = 16;

/// Frames whose shade is their number, at these times.
fn frames(order: Vec<u64>) -> Arc<Dataset> {
    let pixels = (0..order.len()).flat_map(|i| vec![4 * i as u8; SIDE * SIDE * 3]).collect();
    let samples = Samples::Images { width: SIDE, height: SIDE, pixels };
    Arc::new(Dataset::new(samples, None, (0..order.len() as u32).collect(), order).unwrap())
}

fn config(pretext: &str) -> PretrainConfig {
    let said = Said {
        data: DataSettings { path: Some("frames".into()), ..DataSettings::default() },
        method: Some(Method::TemporalContrast),
        pretext: Some(pretext.parse::<PretextSettings>().unwrap()),
        ..Said::default()
    };
    said.resolve(Modality::Image).unwrap()
}

fn loader(data: &Arc<Dataset>, pretext: &str) -> Result<Loader, DataError> {
    let (config, input) = (config(pretext), data.input_spec(None));
    let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
    let method: Arc<dyn Sampler> = Arc::from(config.method.pretext(setup).unwrap() as Box<dyn Sampler>);
    let augment = Augment::none_for(Modality::Image);
    Loader::new(Arc::clone(data), input, augment, 8, 1, 1).unwrap().with_sampler(method)
}

/// Every pair of a frame and its other that a hundred epochs draw.
fn drawn(data: &Arc<Dataset>, pretext: &str) -> BTreeSet<(usize, usize)> {
    let loader = loader(data, pretext).unwrap();
    let input = data.input_spec(None);
    let shades = data.batch_f32(&(0..data.len()).collect::<Vec<_>>(), &input).unwrap();
    let shades: Array1<f32> = shades.outer_iter().map(|frame| frame.mean().unwrap()).collect();
    let number = |shade: f32| shades.iter().position(|known| (known - shade).abs() < 1e-4).unwrap();
    let mut pairs = BTreeSet::new();
    for batch in (0..100).flat_map(|epoch| loader.epoch(epoch, 0).unwrap()) {
        let batch = batch.unwrap();
        let indices = batch.indices.clone();
        let views = batch.into_views().unwrap();
        let seen: Vec<usize> = views.outer_iter().map(|view| number(view.mean().unwrap())).collect();
        assert_eq!(seen[..8], indices[..]);
        pairs.extend(seen[..8].iter().copied().zip(seen[8..].iter().copied()));
    }
    pairs
}

/// All pairs of different frames that `fits`.
fn all(frames: usize, fits: impl Fn(usize, usize) -> bool) -> BTreeSet<(usize, usize)> {
    let pairs = (0..frames).flat_map(|a| (0..frames).map(move |b| (a, b)));
    pairs.filter(|(a, b)| a != b && fits(*a, *b)).collect()
}

#[test]
fn the_other_frame_is_near_in_the_same_sequence() {
    // Two drives of sixteen frames at 20 Hz; in the second one a frame is lost, and later a second.
    let late = |i: u64| if i > 25 { 1000 } else { 0 } + if i > 20 { 50 } else { 0 };
    let at = |i: u64| 1_000_000 * (50 * (i % 16) + if i >= 16 { late(i) } else { 0 });
    let order: Vec<u64> = (0..32).map(at).collect();
    let near = |frames: u64| {
        let order = order.clone();
        move |a: usize, b: usize| a / 16 == b / 16 && order[a].abs_diff(order[b]) <= frames * 50_000_000
    };
    let data = frames(order.clone());
    assert_eq!(drawn(&data, "frames=2"), all(32, near(2)));
    assert_eq!(drawn(&data, "frames=1,seconds=0.15"), all(32, near(3)));
}

#[test]
fn without_a_clock_frames_are_counted() {
    // Three folders, each far from the others, the last one of a single frame, which has only itself.
    let order: Vec<u64> = (0..24).map(|i| (((i + 1) / 12) << 32) + i).collect();
    let folder = |i: usize| (i + 1) / 12;
    let mut wanted = all(24, |a, b| folder(a) == folder(b) && a.abs_diff(b) <= 3);
    wanted.insert((23, 23));
    assert_eq!(drawn(&frames(order.clone()), "frames=3"), wanted);
    let said = loader(&frames(order), "seconds=1").unwrap_err().to_string();
    assert!(said.contains("without a clock"), "{said}");
    let strewn = frames((0..16).map(|i| i * 1000).collect());
    assert!(loader(&strewn, "frames=1").is_ok());
    let same = frames(vec![5; 16]);
    let said = loader(&same, "").unwrap_err().to_string();
    assert!(said.contains("none has another"), "{said}");
}

#[test]
fn settings_out_of_range_are_named() {
    for (pretext, field) in [("frames=0", "pretext.frames"), ("seconds=0", "pretext.seconds")] {
        let config = config(pretext);
        let input = frames(vec![0, 1]).input_spec(None);
        let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
        let said = config.method.pretext(setup).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(field), "{said}");
    }
}

#[test]
fn simulated_drives_are_sequences() {
    let options = LoadOptions { image_size: Some(8), ..LoadOptions::default() };
    let data = Arc::new(load("sim:drive=1-2,building=1-2,seconds=2,rooms=2", &options).unwrap());
    let order = data.order();
    let starts = order.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(starts, 1);
    let batch = loader(&data, "seconds=0.3").unwrap().epoch(0, 0).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.into_views().unwrap().shape(), [16, 3, 8, 8]);
}
