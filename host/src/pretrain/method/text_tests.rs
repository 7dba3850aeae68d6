//! The methods for texts: what they draw, and that what they teach is more than how often each byte occurs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayD, Axis};
use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{Architecture, Transformer};
use sedge_models::text::{MASK, PAD, SEPARATOR};

use super::*;
use crate::data::{Augment, Dataset, Inputs, LoadOptions, Loader, load, written};
use crate::encoder::pretraining_step;
use crate::pretrain::settings::{DataSettings, Settings};

const LENGTH: usize = 48;
const BATCH: usize = 32;

/// What a step is given, by name.
type Given = BTreeMap<String, ArrayD<f32>>;

fn logs(runs: Range<usize>) -> Arc<Dataset> {
    let options = LoadOptions { length: LENGTH, ..LoadOptions::default() };
    let data = load("sim-logs:runs=24,lines=40,seed=1", &options).unwrap();
    let groups: Vec<u32> = runs.map(|run| run as u32).collect();
    Arc::new(data.of_groups(&groups).unwrap())
}

fn config(method: Method, pretext: &str) -> PretrainConfig {
    let causal = method == Method::NextToken;
    let net = Transformer { patch: 1, dim: 32, depth: 2, heads: 2, mlp_ratio: 2, causal };
    let settings = Settings {
        data: DataSettings { path: Some("sim-logs".into()), ..DataSettings::default() },
        method: Some(method),
        batch: Some(BATCH),
        pretext: Some(pretext.parse().unwrap()),
        ..Settings::default()
    };
    PretrainConfig {
        architecture: Architecture::Transformer(net),
        ..settings.resolve(Modality::Text).unwrap()
    }
}

fn pretext(config: &PretrainConfig, data: &Dataset) -> Result<Arc<dyn Pretext>, ConfigError> {
    let input = data.input_spec(None);
    let setup = Setup { architecture: &config.architecture, input: &input, config };
    config.method.pretext(setup).map(Arc::from)
}

fn loader(config: &PretrainConfig, data: &Arc<Dataset>) -> Loader {
    let augment = Augment::from(config.augment.clone());
    let loader = Loader::new(Arc::clone(data), data.input_spec(None), augment, BATCH, 5, 1).unwrap();
    loader.with_sampler(pretext(config, data).unwrap() as Arc<dyn Sampler>).unwrap()
}

/// What the step is given in one epoch, with the samples it was made of.
fn drawn(config: &PretrainConfig, data: &Arc<Dataset>, epoch: u64) -> Vec<(Given, Vec<usize>)> {
    let batches = loader(config, data).epoch(epoch, 0).unwrap().map(Result::unwrap);
    let named = |inputs: Inputs| inputs.into_iter().collect();
    batches.map(|batch| (named(batch.inputs), batch.indices)).collect()
}

/// Mean loss on `held` before and after some epochs on `train`.
fn losses(config: &PretrainConfig, train: &Arc<Dataset>, held: &Arc<Dataset>, epochs: u64) -> [f64; 2] {
    let method = pretext(config, train).unwrap();
    let step = pretraining_step(config, &train.input_spec(None), &*method).unwrap();
    let mut engine = TractStep::new(&step).unwrap();
    let mut run = |data: &Arc<Dataset>, epoch: u64, lr: f32| -> f64 {
        let batches = loader(config, data).epoch(epoch, 0).unwrap();
        // With a learning rate of zero a step measures and leaves the weights as they are.
        let losses: Vec<f64> = batches
            .map(|batch| f64::from(engine.step(&batch.unwrap().given(), &[("lr", lr)]).unwrap()["loss"]))
            .collect();
        losses.iter().sum::<f64>() / losses.len() as f64
    };
    let before = run(held, 0, 0.0);
    (0..epochs).for_each(|epoch| {
        run(train, epoch, 3e-3);
    });
    [before, run(held, 0, 0.0)]
}

/// Entropy in nats of the tokens that are to be told of `data`: what the best guess that sees no neighbour loses.
fn unigram_entropy(config: &PretrainConfig, data: &Arc<Dataset>) -> f64 {
    let mut counts = BTreeMap::<u32, f64>::new();
    for (given, _) in drawn(config, data, 0) {
        for (target, mask) in given["targets"].iter().zip(&given["mask"]) {
            *counts.entry(*target as u32).or_default() += f64::from(*mask);
        }
    }
    let total: f64 = counts.values().sum();
    counts.values().filter(|count| **count > 0.0).map(|count| -count / total * (count / total).ln()).sum()
}

#[test]
fn hidden_and_next_bytes_are_told_better_than_by_how_often_they_occur() {
    let (train, held) = (logs(0..18), logs(18..24));
    for (method, epochs) in [(Method::NextToken, 8), (Method::MaskedTokens, 14)] {
        let config = config(method, "");
        let entropy = unigram_entropy(&config, &held);
        let [before, after] = losses(&config, &train, &held, epochs);
        assert!(before > entropy, "{}: {before} before, entropy {entropy}", method.name());
        assert!(after < 0.95 * entropy, "{}: {after} after {before}, entropy {entropy}", method.name());
    }
}

#[test]
fn two_lines_are_told_to_follow_each_other() {
    let (train, held) = (logs(0..18), logs(18..24));
    let config = config(Method::NextSentence, "");
    let [before, after] = losses(&config, &train, &held, 20);
    assert!(before > 0.6 && after < 0.6, "{before} to {after}");
}

#[test]
fn every_next_byte_and_the_end_are_targets() {
    let data = logs(0..4);
    let mut ends = 0;
    for (given, indices) in drawn(&config(Method::NextToken, ""), &data, 0) {
        for (row, &index) in indices.iter().enumerate() {
            let text = written(data.text(index).unwrap());
            let [view, target, mask] =
                ["views", "targets", "mask"].map(|name| given[name].index_axis(Axis(0), row).to_owned());
            for (place, token) in text.iter().enumerate() {
                assert_eq!(view[[place]], f32::from(*token));
                let next = text.get(place + 1).copied().unwrap_or(PAD);
                if place + 1 < LENGTH {
                    assert_eq!((target[[place]], mask[[place]]), (f32::from(next), 1.0));
                    ends += usize::from(next == PAD);
                }
            }
            assert_eq!(mask.sum() as usize, text.len().min(LENGTH - 1));
            assert_eq!(
                mask.iter().zip(&view).filter(|(m, v)| **m == 1.0 && **v == f32::from(PAD)).count(),
                0
            );
        }
    }
    assert!(ends > 0);
}

#[test]
fn bytes_are_hidden_replaced_and_left_in_the_shares_of_the_paper() {
    let data = logs(0..18);
    let config = config(Method::MaskedTokens, "");
    let (mut told, mut hidden, mut replaced) = (0.0, 0.0, 0.0);
    for (given, indices) in drawn(&config, &data, 0) {
        for (row, &index) in indices.iter().enumerate() {
            let text = written(data.text(index).unwrap());
            let [view, target, mask] =
                ["views", "targets", "mask"].map(|name| given[name].index_axis(Axis(0), row).to_owned());
            assert!(target.iter().zip(data.text(index).unwrap()).all(|(t, token)| *t == f32::from(*token)));
            assert_eq!(mask.sum(), (text.len() as f32 * 0.15).round().max(1.0));
            for ((view, target), mask) in view.iter().zip(&target).zip(&mask) {
                assert!(*mask == 1.0 || view == target);
                assert!(*mask == 0.0 || *target < 256.0, "padding is not to be told");
                told += mask;
                hidden += f32::from(u8::from(*view == f32::from(MASK)));
                replaced += f32::from(u8::from(view != target && *view < 256.0));
            }
        }
    }
    // About 3800 are told; five deviations of a share of 0.8 are 0.033, of 0.1 0.025 (one in 256 replaced by itself).
    assert!(
        (hidden / told - 0.8f32).abs() < 0.033 && (replaced / told - 0.1f32).abs() < 0.026,
        "{hidden} {replaced} {told}"
    );
    assert_eq!(drawn(&config, &data, 0), drawn(&config, &data, 0));
    assert_ne!(drawn(&config, &data, 0)[0].0["mask"], drawn(&config, &data, 1)[0].0["mask"]);
    let spans = self::config(Method::MaskedTokens, "span=4,hidden=1.0,replaced=0.0");
    let (mut runs, mut told) = (0, 0);
    for (given, _) in drawn(&spans, &data, 0) {
        for mask in given["mask"].outer_iter() {
            let mask: Vec<bool> = mask.iter().map(|m| *m == 1.0).collect();
            told += mask.iter().filter(|m| **m).count();
            runs += (0..LENGTH).filter(|&i| mask[i] && (i == 0 || !mask[i - 1])).count();
        }
    }
    assert!(told as f64 / runs as f64 > 2.5, "{told} in {runs} runs");
}

#[test]
fn pairs_follow_in_half_of_the_cases_and_only_where_the_data_says_so() {
    let data = logs(0..10);
    let line = |tokens: &[f32]| {
        (0..data.len())
            .filter(|&i| {
                let text = written(data.text(i).unwrap());
                text.len() <= tokens.len() && text.iter().zip(tokens).all(|(a, b)| f32::from(*a) == *b)
            })
            .collect::<Vec<usize>>()
    };
    let (mut following, mut all) = (0, 0);
    for (given, indices) in drawn(&config(Method::NextSentence, ""), &data, 0) {
        for row in 0..indices.len() {
            let of =
                |row: usize| given["views"].index_axis(Axis(0), row).iter().copied().collect::<Vec<f32>>();
            let [a, b] = [of(row), of(row + indices.len())].map(|tokens| line(&tokens));
            let follows =
                a.iter().any(|a| b.iter().any(|b| *b == a + 1 && data.groups()[*a] == data.groups()[*b]));
            assert_eq!(given["targets"][[row, 0]] == 1.0, follows);
            (following, all) = (following + usize::from(follows), all + 1);
        }
    }
    // 384 pairs: five deviations of a fair draw are 49.
    assert!(all == 384 && (143..=241).contains(&following), "{following} of {all}");
    let both = config(Method::MaskedTokens, "next_sentence=true");
    for (given, _) in drawn(&both, &data, 0) {
        assert!(
            given["targets"].outer_iter().all(|text| text
                .iter()
                .filter(|t| **t == f32::from(SEPARATOR))
                .count()
                == 1)
        );
        assert_eq!(given["follows"].shape(), [BATCH, 1]);
    }
    let [before, after] = losses(&both, &logs(0..18), &data, 2);
    assert!(after < before, "{before} to {after}");
}

#[test]
fn lines_without_order_have_no_next() {
    let data = logs(0..10);
    let alone: Vec<u32> = (0..data.len() as u32).collect();
    let data = Dataset::new(data.samples().clone(), None, alone, vec![0; data.len()]).unwrap();
    let config = config(Method::NextSentence, "");
    let input = data.input_spec(None);
    let loader =
        Loader::new(Arc::new(data.clone()), input, Augment::none_for(Modality::Text), BATCH, 0, 1).unwrap();
    let refused = loader.with_sampler(pretext(&config, &data).unwrap() as Arc<dyn Sampler>);
    let said = refused.err().map(|e| e.to_string()).unwrap();
    assert!(said.contains("none follows") && said.contains("group"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let data = logs(0..1);
    let with = |method: Method, causal: bool, settings: &str| {
        let mut config = config(method, settings);
        let net = Transformer { patch: 1, dim: 32, depth: 1, heads: 2, mlp_ratio: 2, causal };
        config.architecture = Architecture::Transformer(net);
        pretext(&config, &data).err().map(|e| e.to_string()).unwrap_or_default()
    };
    for (method, causal, settings, wanted) in [
        (Method::NextToken, false, "", "text-small-causal"),
        (Method::MaskedTokens, true, "", "not causal"),
        (Method::MaskedTokens, false, "mask_ratio=1.0", "mask_ratio"),
        (Method::MaskedTokens, false, "hidden=0.8,replaced=0.3", "at most 1"),
        (Method::MaskedTokens, false, "span=0", "pretext.span"),
    ] {
        let said = with(method, causal, settings);
        assert!(said.contains(wanted), "{said}");
    }
    let said = Method::Rotation.check(Modality::Text).unwrap_err().to_string();
    assert!(said.contains("masked-tokens, next-token, next-sentence") && said.contains("simclr"), "{said}");
    assert!(Method::NextToken.check(Modality::Imu).is_err());
}

/// Methods for every modality on texts: views differ where they should, and the loss falls.
#[test]
fn universal_methods_work_on_texts() {
    let (train, held) = (logs(0..12), logs(18..24));
    for method in [Method::Simclr, Method::Vicreg, Method::Data2Vec] {
        let config = config(method, "");
        let [before, after] = losses(&config, &train, &held, 4);
        assert!(after < before, "{}: {before} to {after}", method.name());
    }
    let (given, _) = drawn(&config(Method::Data2Vec, ""), &train, 0).remove(0);
    for ((view, whole), mask) in given["views"].iter().zip(&given["whole"]).zip(&given["mask"]) {
        assert_eq!(*view, if *mask == 1.0 { f32::from(MASK) } else { *whole });
    }
    let (given, _) = drawn(&config(Method::Simclr, ""), &train, 0).remove(0);
    let views: Vec<_> = given["views"].outer_iter().collect();
    assert!((0..BATCH).all(|i| views[i] != views[i + BATCH]));
}
