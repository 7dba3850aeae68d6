//! Runs that are small enough for tests: one that was only written, and data for real ones.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use sedge_models::Modality;
use sedge_models::architecture::{
    Architecture, Block, Conv1d, InvertedResidual, Nonlinearity, Perceptron, Transformer,
};

use super::{About, Line, Measures, State, Warning};
use crate::data::{Dataset, Labels, Samples};
use crate::evaluate::Gauges;
use crate::pretrain::{DataSettings, Method, PretrainConfig, RunDirectory, Settings};

/// Samples of the data.
pub(super) const SAMPLES: usize = 24;
/// Lines of the log that [`written`] writes.
pub(super) const LINES: usize = 4 + 2 + 1;

/// Two classes of samples; each image is a group of its own, six windows in a row are one.
pub(super) fn data(modality: Modality) -> Arc<Dataset> {
    let samples = match modality {
        Modality::Image => {
            let pixel = |i: usize| {
                let (sample, place) = (i / 768, i % 768);
                ((sample % 2) * 120 + sample * 3 + place * place / 97 % 60) as u8
            };
            Samples::Images { width: 16, height: 16, pixels: (0..SAMPLES * 768).map(pixel).collect() }
        }
        Modality::Imu => {
            let value = |i: usize| {
                let (sample, place) = (i / 192, i % 192);
                (place as f32 * if sample % 2 == 0 { 0.1 } else { 0.9 } + sample as f32).sin()
            };
            let values = (0..SAMPLES * 192).map(value).collect();
            Samples::Windows { channels: 6, length: 32, rate_hz: 50.0, values }
        }
        Modality::Text => {
            let token = |i: usize| b"abc"[(i + i / 32) % (2 + i / 32 % 2)].into();
            Samples::Texts { length: 32, tokens: (0..SAMPLES * 32).map(token).collect() }
        }
    };
    let ids = (0..SAMPLES as u32).map(|i| i % 2).collect();
    let labels = Labels { ids, names: vec!["calm".into(), "<busy>".into()] };
    let apart = if modality == Modality::Text { 1 } else { 640_000_000 };
    let order = (0..SAMPLES as u64).map(|i| i * apart).collect();
    let groups = (0..SAMPLES as u32).map(|i| if modality == Modality::Image { i } else { i / 6 }).collect();
    Arc::new(Dataset::new(samples, Some(labels), groups, order).unwrap())
}

/// Kinds of nets that methods want.
#[derive(Clone, Copy, Debug)]
pub(super) enum Net {
    Convolutional,
    Attentive,
    Logistic,
}

/// A run of `method` on [`data`], by a small net.
pub(super) fn config(method: Method, modality: Modality, net: Net) -> PretrainConfig {
    let settings = Settings {
        data: DataSettings { path: Some("data".into()), ..DataSettings::default() },
        method: Some(method),
        epochs: Some(2),
        batch: Some(8),
        eval_every: Some(1),
        warmup_epochs: Some(0.0),
        workers: Some(1),
        ..Settings::default()
    };
    let mut config = settings.resolve(modality).unwrap();
    config.architecture = match (net, modality) {
        (Net::Logistic, _) => {
            Architecture::Perceptron(Perceptron { widths: vec![16, 8], nonlinearity: Nonlinearity::Sigmoid })
        }
        (Net::Attentive, _) | (_, Modality::Text) => {
            let (patch, causal) =
                if modality == Modality::Text { (1, method == Method::NextToken) } else { (4, false) };
            Architecture::Transformer(Transformer {
                patch,
                dim: 16,
                depth: 1,
                heads: 2,
                mlp_ratio: 2,
                causal,
            })
        }
        (Net::Convolutional, Modality::Image) => {
            let block = |channels, stride| Block { channels, stride, expand: 2 };
            let blocks = vec![block(6, 2), block(6, 1)];
            Architecture::InvertedResidual(InvertedResidual { stem: 8, stem_stride: 2, blocks, last: 16 })
        }
        (Net::Convolutional, Modality::Imu) => {
            Architecture::Conv1d(Conv1d { channels: vec![8, 16], strides: vec![2, 2], kernel: 5 })
        }
    };
    config
}

/// A run in `folder` that never ran: its configuration, and the log of two epochs and a warning.
pub(super) fn written(folder: &Path) -> RunDirectory {
    let config = config(Method::Simclr, Modality::Image, Net::Convolutional);
    let run = RunDirectory::create(&folder.join("run"), &config).unwrap();
    let mut log = std::fs::File::create(run.log_path()).unwrap();
    let mut line = |line: &Line| writeln!(log, "{}", serde_json::to_string(line).unwrap()).unwrap();
    for epoch in 1..=2u32 {
        for batch in 1..=2usize {
            let step = u64::from(epoch - 1) * 2 + batch as u64;
            let metrics = [("loss".to_string(), 1.0 / step as f32), ("accuracy".to_string(), 0.25)].into();
            line(&Line::Step { epoch, batch, step, lr: 1e-3, metrics });
        }
        let gauges = Gauges {
            rows: 24,
            columns: 16,
            relative_std: 0.9,
            effective_rank: 9.0,
            uniformity: -2.0,
            alignment: Some(0.2),
        };
        line(&Line::Epoch {
            epoch,
            step: u64::from(epoch) * 2,
            loss: 0.5,
            measures: Measures { knn: Some(0.75), linear: Some(0.5), gauges: Some(gauges) },
            seconds: 3.0,
            samples_per_second: 8.0,
            watt_hours: 0.5 * f64::from(epoch),
            watt_hours_estimated: 0.25,
        });
    }
    let warning = Warning { about: About::Loss, state: State::Bad, words: "it <diverges>".into() };
    line(&Line::Warning { epoch: 2, step: 4, warning });
    run
}
