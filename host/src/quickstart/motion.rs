//! The IMU's part: pretrain on windows of the same drives, pack, run the device over one stream of a new
//! robot, and measure on several others by how few labels tell the floors apart.

use std::path::Path;
use std::sync::Arc;

use sedge_models::Modality;
use sedge_models::architecture::Form;
use sedge_models::bundle::{Bundle, MadeBy};
use sedge_models::selection::Selection;
use serde::Serialize;

use super::camera::{Cell, over_robots, protocol, rehearse, split, table};
use super::outcome::{Device, Pretrained};
use super::{Plan, QuickstartError, Say};
use crate::data::{Dataset, LoadOptions, load};
use crate::encoder::{Trained, embed, onnx, raw_features};
use crate::evaluate::{Evaluation, FeatureSet};
use crate::export::{ExportOptions, pack};
use crate::pretrain::{
    ArchitectureSetting, DataSettings, Outcome, PretrainConfig, Pretraining, Progress, RunDirectory,
    Settings, Stop,
};
use crate::report::Table;

/// Names of the representations.
const SETS: [&str; 3] = ["pretrained", "random", "raw windows"];
/// What changes for the new robots.
const DRIFT: &str = "bias-drift";

/// What the IMU's part found.
#[derive(Debug, Serialize)]
pub struct Motion {
    /// The encoder.
    pub pretrained: Pretrained,
    /// The device on a new robot's stream.
    pub device: Device,
    /// Floors told apart by few labels, for each robot.
    pub evaluations: Vec<Evaluation>,
    /// Accuracy over the robots, by representation and measure.
    pub accuracy: Vec<Cell>,
}

fn windows() -> LoadOptions {
    LoadOptions { modality: Some(Modality::Imu), ..LoadOptions::default() }
}

pub(super) fn run(plan: &Plan, out: &Path, stop: &Stop, say: Say<'_>) -> Result<Motion, QuickstartError> {
    let data = load(plan.training_drives(), &windows())?;
    let settings = Settings {
        data: DataSettings {
            path: Some(plan.training_drives()),
            modality: Some(Modality::Imu),
            ..DataSettings::default()
        },
        architecture: Some(ArchitectureSetting::Preset("imu-small".into())),
        epochs: Some(plan.imu_epochs),
        batch: Some(64.min(data.len())),
        lr: Some(2e-3),
        temperature: Some(0.2),
        neighbour_ms: Some(Plan::NEIGHBOUR_MS),
        seed: Some(plan.seed),
        workers: Some(1),
        eval_every: Some(0),
        ..Settings::default()
    };
    let config = settings.resolve(Modality::Imu)?;
    let (bundle, trained, pretrained) = pretrain_and_pack("imu", config, data, out, stop, say)?;

    say("imu: the device adapts on a new robot's stream");
    let drive = |robot, number| plan.new_rooms(robot, number, plan.probe_seconds, DRIFT);
    let (device, _) = rehearse(&bundle, &drive(plan.robots, 1), &plan.device(plan.robots), stop)?;
    let mut evaluations = vec![];
    for robot in 0..plan.robots {
        let (labelled, test) = (load(drive(robot, 2), &windows())?, load(drive(robot, 3), &windows())?);
        let random =
            Trained::fresh(&trained.architecture, &trained.input, plan.seed.wrapping_add(1 + robot))?;
        let random = onnx(&random, Form::Folded)?;
        let mut sets = vec![];
        for (name, encoder) in SETS.iter().zip([&bundle.encoder, &random]) {
            let (train, test) =
                (embed(encoder, &labelled, &trained.input)?, embed(encoder, &test, &trained.input)?);
            sets.push(FeatureSet { name: (*name).into(), train, test });
        }
        let (train, held) = (raw_features(&labelled, &trained.input)?, raw_features(&test, &trained.input)?);
        sets.push(FeatureSet { name: SETS[2].into(), train, test: held });
        evaluations.push(protocol(plan, robot).run(&split(&labelled, &test)?, &sets, None, &mut |_| {})?);
    }
    let accuracy = over_robots(&evaluations, &SETS);
    Ok(Motion { pretrained, device, evaluations, accuracy })
}

impl Motion {
    /// Mean accuracy over the robots in per cent, a column for each representation.
    pub fn table(&self) -> Table {
        table(&self.accuracy, &SETS)
    }
}

/// Pretrains in `out/NAME` and packs `out/NAME.sedge`.
pub(super) fn pretrain_and_pack(
    name: &str,
    config: PretrainConfig,
    data: Dataset,
    out: &Path,
    stop: &Stop,
    say: Say<'_>,
) -> Result<(Bundle, Trained, Pretrained), QuickstartError> {
    let kind = if name == "imu" { "windows" } else { "frames" };
    say(&format!("{name}: pretraining on {} {kind}, no labels", data.len()));
    let data = Arc::new(data);
    let run = RunDirectory::create(&out.join(name), &config)?;
    let pretraining = Pretraining::prepare(Arc::clone(&data), &config)?;
    let summary = match pretraining.run(&run, &mut Progress::silent(), stop)? {
        Outcome::Finished(summary) => summary,
        Outcome::Interrupted(_) => return Err(QuickstartError::Stopped),
    };
    let Some(checkpoint) = run.checkpoint()? else { return Err(QuickstartError::Stopped) };
    let trained = Trained {
        architecture: config.architecture.clone(),
        input: checkpoint.header.input,
        weights: checkpoint.state,
    };
    let options = ExportOptions {
        name: format!("quickstart {name}"),
        train: Selection::Last(2),
        batch: 64,
        lr: 0.03,
        temperature: 0.2,
        weight_decay: 1e-4,
        made_by: MadeBy {
            version: env!("CARGO_PKG_VERSION").into(),
            command: format!("sedge quickstart --seed {}", config.seed),
            config: config.to_toml()?,
            seed: config.seed,
            data_digest: checkpoint.header.digests.data,
            method: "simclr".into(),
            epochs: summary.epochs,
        },
    };
    let (bundle, parity) = pack(&trained, &data, &options)?;
    let path = out.join(format!("{name}.sedge"));
    bundle.write(&path)?;
    say(&format!("{name}: packed {}, parity {:.1e}", path.display(), parity.relative));
    let pretrained = Pretrained {
        samples: data.len(),
        parameters: summary.parameters,
        steps: summary.steps,
        seconds: summary.seconds,
        losses: losses(&run),
        parity,
        bundle_bytes: bundle.to_bytes()?.len() as u64,
        bundle_digest: bundle.digest()?,
        trains: bundle.manifest.adaptation.trains.clone(),
    };
    Ok((bundle, trained, pretrained))
}

/// The losses in the run's log; a line that is not one is passed over, for the log only illustrates.
fn losses(run: &RunDirectory) -> Vec<(f64, f64)> {
    let text = std::fs::read_to_string(run.log_path()).unwrap_or_default();
    let steps = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["kind"] == "step").then(|| Some((line["step"].as_f64()?, line["loss"].as_f64()?)))?
    });
    steps.collect()
}
