//! The camera's part: pretrain on drives through many buildings, pack, let several robots adapt, each
//! alone in rooms and light of its own, and measure by how few labels tell the rooms apart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::Array2;
use sedge_boards::sim::{Rig, RigConfig};
use sedge_firmware::output::Happening;
use sedge_firmware::{Collected, DeviceConfig};
use sedge_models::architecture::Form;
use sedge_models::bundle::Bundle;
use sedge_models::{InputSpec, Modality};
use serde::Serialize;

use super::outcome::{Comparison, Device, Pretrained, budgets};
use super::{Plan, QuickstartError, Say, motion::pretrain_and_pack};
use crate::data::{Dataset, LoadOptions, load};
use crate::encoder::{Trained, embed, onnx, raw_features};
use crate::evaluate::{Evaluation, FeatureSet, Interval, Measure, Part, Protocol, Split};
use crate::pretrain::{ArchitectureSetting, Settings, Stop};
use crate::report::Table;

/// Of the image presets the one that trains in minutes.
const ARCHITECTURE: &str = "image-tiny";
/// Names of the representations, best hoped for first.
pub(super) const SETS: [&str; 4] = ["adapted", "pretrained", "random", "raw pixels"];
/// Test frames shown in the embedding map.
const MAPPED: usize = 600;

/// Accuracy of a representation under a measure, over robots.
pub(super) type Cell = (String, Measure, Interval);

/// What the camera's part found.
#[derive(Debug, Serialize)]
pub struct Camera {
    /// The encoder.
    pub pretrained: Pretrained,
    /// Each robot's device.
    pub devices: Vec<Device>,
    /// Each robot's measurements.
    pub evaluations: Vec<Evaluation>,
    /// Accuracy over the robots, by representation and measure.
    pub accuracy: Vec<Cell>,
    /// Adapted against pretrained, pretrained against random, adapted against random.
    pub comparisons: Vec<Comparison>,
    /// Sample frames as `(caption, width, height, rgb)`; on the page only.
    #[serde(skip)]
    pub frames: Vec<(String, u32, u32, Vec<u8>)>,
    /// Test embeddings of the first robot, pretrained and adapted, with their rooms; on the page only.
    #[serde(skip)]
    pub map: Option<Map>,
}

/// Embeddings for the map.
#[derive(Debug)]
pub struct Map {
    /// As shipped, `[n, dim]`.
    pub pretrained: Array2<f32>,
    /// As adapted, `[n, dim]`.
    pub adapted: Array2<f32>,
    /// Room of each.
    pub rooms: Vec<u32>,
    /// Names of the rooms.
    pub names: Vec<String>,
}

pub(super) fn run(plan: &Plan, out: &Path, stop: &Stop, say: Say<'_>) -> Result<Camera, QuickstartError> {
    say("camera: rendering the training drives");
    let data = thinned(&load(plan.training_drives(), &LoadOptions::default())?, plan.keep_every)?;
    let settings = Settings {
        data: crate::pretrain::DataSettings { path: Some(plan.training_drives()), ..Default::default() },
        architecture: Some(ArchitectureSetting::Preset(ARCHITECTURE.into())),
        epochs: Some(plan.camera_epochs),
        batch: Some(64.min(data.len())),
        lr: Some(3e-3),
        temperature: Some(0.2),
        neighbour_ms: Some(Plan::NEIGHBOUR_MS),
        image_augment: Some(Plan::image_views()),
        seed: Some(plan.seed),
        workers: Some(1),
        eval_every: Some(0),
        ..Settings::default()
    };
    let config = settings.resolve(Modality::Image)?;
    let frames = vec![frame("pretraining", &data, data.len() / 3)];
    let (bundle, trained, pretrained) = pretrain_and_pack("camera", config, data, out, stop, say)?;

    let robots = robots(plan, &bundle, &trained, stop, say)?;
    let mut camera = Camera {
        pretrained,
        devices: vec![],
        evaluations: vec![],
        accuracy: vec![],
        comparisons: vec![],
        frames,
        map: None,
    };
    for robot in robots {
        camera.devices.push(robot.device);
        camera.evaluations.push(robot.evaluation);
        camera.frames.extend(robot.frame);
        camera.map = camera.map.or(robot.map);
    }
    summarise(&mut camera);
    Ok(camera)
}

/// Every `keep`-th sample.
fn thinned(data: &Dataset, keep: usize) -> Result<Dataset, QuickstartError> {
    let kept: Vec<usize> = (0..data.len()).step_by(keep.max(1)).collect();
    Ok(data.subset(&kept)?)
}

fn frame(caption: &str, data: &Dataset, index: usize) -> (String, u32, u32, Vec<u8>) {
    let (width, height, rgb) = match data.samples() {
        crate::data::Samples::Images { width, height, pixels }
        | crate::data::Samples::Pairs { width, height, pixels, .. } => {
            let bytes = 3 * width * height;
            (*width as u32, *height as u32, pixels.chunks(bytes).nth(index).unwrap_or(&[]).to_vec())
        }
        crate::data::Samples::Windows { .. } | crate::data::Samples::Texts { .. } => (0, 0, vec![]),
    };
    (caption.into(), width, height, rgb)
}

/// One robot's result.
struct Robot {
    device: Device,
    evaluation: Evaluation,
    frame: Option<(String, u32, u32, Vec<u8>)>,
    map: Option<Map>,
}

/// All robots, two at a time; their results do not depend on the order.
fn robots(
    plan: &Plan,
    bundle: &Bundle,
    trained: &Trained,
    stop: &Stop,
    say: Say<'_>,
) -> Result<Vec<Robot>, QuickstartError> {
    let (next, done) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= plan.robots {
                        return;
                    }
                    let result = robot(plan, number, bundle, trained, stop, say);
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.insert(number, result);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.into_values().collect()
}

fn robot(
    plan: &Plan,
    number: u64,
    bundle: &Bundle,
    trained: &Trained,
    stop: &Stop,
    say: Say<'_>,
) -> Result<Robot, QuickstartError> {
    if stop.requested() {
        return Err(QuickstartError::Stopped);
    }
    say(&format!("camera: robot {} of {} drives and adapts in new rooms", number + 1, plan.robots));
    let drive = plan.new_rooms(number, 1, plan.stream_seconds, &plan.shift);
    let config = DeviceConfig { pairing: Some(Plan::camera_pairing()), ..plan.device(number) };
    let (device, adapted) = rehearse(bundle, &drive, &config, stop)?;

    let probe =
        |drive| load(plan.new_rooms(number, drive, plan.probe_seconds, &plan.shift), &LoadOptions::default());
    let labelled = thinned(&probe(2)?, plan.keep_every)?;
    let test = thinned(&probe(3)?, plan.keep_every)?;
    // Every robot is compared with a random encoder of its own.
    let random = Trained::fresh(&trained.architecture, &trained.input, plan.seed.wrapping_add(1 + number))?;
    let random = onnx(&random, Form::Folded)?;
    let encoders = [adapted.as_slice(), &bundle.encoder, &random];
    let (evaluation, map) = measure(plan, number, encoders, &labelled, &test, &trained.input)?;
    let frame = (number < 3).then(|| frame("new rooms", &test, test.len() / 3));
    Ok(Robot { device, evaluation, frame, map: (number == 0).then_some(map) })
}

/// Runs the device over a drive of the rig; gives what happened and the encoder served at the end.
pub(super) fn rehearse(
    bundle: &Bundle,
    drive: &str,
    config: &DeviceConfig,
    stop: &Stop,
) -> Result<(Device, Vec<u8>), QuickstartError> {
    let rig: RigConfig = drive.parse()?;
    let mut device = sedge_firmware::Device::new(bundle, config)?;
    let mut sink = Collected::default();
    for event in Rig::new(rig)? {
        if stop.requested() {
            return Err(QuickstartError::Stopped);
        }
        device.push(event, &mut sink)?;
    }
    let report = device.finish(&mut sink)?;
    let losses = sink.events.iter().filter_map(|event| match event.what {
        Happening::Adapted { step, loss, .. } => Some((step as f64, f64::from(loss))),
        _ => None,
    });
    let device_result = Device { drive: drive.into(), report, losses: losses.collect() };
    Ok((device_result, device.encoder_onnx().to_vec()))
}

fn measure(
    plan: &Plan,
    number: u64,
    encoders: [&[u8]; 3],
    labelled: &Dataset,
    test: &Dataset,
    input: &InputSpec,
) -> Result<(Evaluation, Map), QuickstartError> {
    let mut sets = vec![];
    for (name, encoder) in SETS.iter().zip(encoders) {
        let (train, test) = (embed(encoder, labelled, input)?, embed(encoder, test, input)?);
        sets.push(FeatureSet { name: (*name).into(), train, test });
    }
    let raw = (raw_features(labelled, input)?, raw_features(test, input)?);
    sets.push(FeatureSet { name: SETS[3].into(), train: raw.0, test: raw.1 });

    let evaluation = protocol(plan, number).run(&split(labelled, test)?, &sets, None, &mut |_| {})?;
    let rows: Vec<usize> = (0..test.len()).step_by(test.len().div_ceil(MAPPED).max(1)).collect();
    let labels = test.labels();
    let map = Map {
        pretrained: sets[1].test.select(ndarray::Axis(0), &rows),
        adapted: sets[0].test.select(ndarray::Axis(0), &rows),
        rooms: labels.map_or(vec![], |l| rows.iter().map(|&i| l.ids[i]).collect()),
        names: labels.map_or(vec![], |l| l.names.clone()),
    };
    Ok((evaluation, map))
}

pub(super) fn protocol(plan: &Plan, number: u64) -> Protocol {
    Protocol {
        seed: plan.seed.wrapping_add(1000 * number),
        draws: plan.draws,
        budgets: budgets(),
        ..Protocol::default()
    }
}

/// Two drives as labelled and test part. Their visits are numbered alike, though they are not the same.
pub(super) fn split(labelled: &Dataset, test: &Dataset) -> Result<Split, QuickstartError> {
    let labels = |data: &Dataset| data.labels().map_or(vec![], |l| l.ids.clone());
    let names = labelled.labels().map_or(vec![], |l| l.names.clone());
    let offset = 1 + labelled.groups().iter().max().copied().unwrap_or(0);
    let groups = test.groups().iter().map(|g| g + offset).collect();
    let train = Part { labels: labels(labelled), groups: labelled.groups().to_vec() };
    Ok(Split::new(names, train, Part { labels: labels(test), groups })?)
}

/// One robot's mean accuracy over its label draws.
fn mean_accuracy(evaluation: &Evaluation, set: &str, measure: Measure) -> Option<f64> {
    let values = &evaluation.get(set, measure)?.accuracy;
    Some(values.iter().sum::<f64>() / values.len().max(1) as f64).filter(|_| !values.is_empty())
}

fn summarise(camera: &mut Camera) {
    camera.accuracy = over_robots(&camera.evaluations, &SETS);
    let Some(first) = camera.evaluations.first() else { return };
    for measure in first.measures() {
        for (better, worse) in [("adapted", "pretrained"), ("pretrained", "random"), ("adapted", "random")] {
            let means = |set| means(&camera.evaluations, set, measure);
            let pair = means(better).zip(means(worse));
            if let Some(difference) = pair.and_then(|(a, b)| Interval::of_differences(&a, &b)) {
                let (better, worse) = (better.into(), worse.into());
                camera.comparisons.push(Comparison { better, worse, measure, difference });
            }
        }
    }
}

/// Each robot's mean accuracy over its label draws; `None` when one has none.
fn means(evaluations: &[Evaluation], set: &str, measure: Measure) -> Option<Vec<f64>> {
    evaluations.iter().map(|e| mean_accuracy(e, set, measure)).collect()
}

/// Accuracy over robots for each of `sets` under each measure.
pub(super) fn over_robots(evaluations: &[Evaluation], sets: &[&str]) -> Vec<Cell> {
    let measures = evaluations.first().map(Evaluation::measures).unwrap_or_default();
    let cells = measures.iter().flat_map(|&measure| sets.iter().map(move |&set| (set, measure)));
    let cells = cells.filter_map(|(set, measure)| {
        let interval = Interval::of(&means(evaluations, set, measure)?)?;
        Some((set.to_string(), measure, interval))
    });
    cells.collect()
}

/// The cells as a table, a column for each of `sets`.
pub(super) fn table(cells: &[Cell], sets: &[&str]) -> Table {
    let title = "Accuracy over robots, % (mean ± 95 % interval)";
    let mut table = Table::new(title, std::iter::once("").chain(sets.iter().copied()));
    for row in cells.chunks(sets.len().max(1)) {
        let measure = row.first().map_or(String::new(), |(_, measure, _)| measure.to_string());
        table.row(std::iter::once(measure).chain(row.iter().map(|(_, _, interval)| interval.percent())));
    }
    table
}

impl Camera {
    /// Mean accuracy over the robots in per cent, a column for each representation.
    pub fn table(&self) -> Table {
        table(&self.accuracy, &SETS)
    }

    /// The measures, in the order made.
    pub(super) fn measures(&self) -> Vec<Measure> {
        self.evaluations.first().map(Evaluation::measures).unwrap_or_default()
    }
}
