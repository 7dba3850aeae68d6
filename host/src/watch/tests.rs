//! Steps that are not finite, for every method, and what is shown of real and of written runs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write;
use std::sync::Arc;

use sedge_engine::{Engine, EngineError, TractStep};
use sedge_models::Modality;

use super::record::Status;
use super::testing::{Net, config, data, written};
use super::*;
use crate::data::{Loader, Sampler};
use crate::encoder::pretraining_step;
use crate::pretrain::{
    Method, Outcome, Position, Pretext, PretrainConfig, PretrainError, Pretraining, Progress, RunDirectory,
    Setup, Stop,
};

/// Of every method a step from the start, which is finite, and one after a step that was far too large.
#[test]
fn every_method_keeps_a_step_that_is_not_finite_and_replay_finds_where() {
    // They want pairs of samples, and a teacher's file.
    let alone = |method: &Method| !matches!(method, Method::CrossModal | Method::Distil);
    for modality in [Modality::Image, Modality::Imu, Modality::Text] {
        // Those that images have too are the same step on either.
        let once = |method: &Method| modality == Modality::Image || method.check(Modality::Image).is_err();
        for method in Method::fitting(modality).filter(once).filter(alone) {
            let what = format!("{} on {modality}", method.name());
            let (step, pretext, config) = step_of(method, modality);
            let data = data(modality);
            let input = data.input_spec(None);
            let loader =
                Loader::new(data, input, config.augment.clone().into(), config.batch, config.seed, 1)
                    .unwrap();
            let loader = loader.with_sampler(pretext.clone() as Arc<dyn Sampler>).unwrap();
            let batch = loader.epoch(0, 0).unwrap().next().unwrap().unwrap();
            let (inputs, mut scalars) = (batch.given(), pretext.scalars(0.0));
            scalars.push(("lr", 1e30));
            let mut engine = TractStep::new(&step).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("nan");
            let keep = |engine: &TractStep, scalars: &[(&str, f32)]| {
                let given = Given { inputs: &inputs, scalars };
                let about = (Position { epoch: 1, batch: 2, step: 5 }, 7, "`loss` is not finite".into());
                let capture = Capture::of(engine, &step.onnx, given, about).unwrap();
                capture.write(&path, &config).unwrap();
                assert_eq!(Capture::read(&path).unwrap().state, engine.state().unwrap(), "{what}");
                replay(&path).unwrap()
            };
            let mut slow = scalars.clone();
            slow.last_mut().unwrap().1 = 1e-3;
            let replayed = keep(&engine, &slow);
            assert!(
                replayed.is_finite() && replayed.trace.as_ref().unwrap().offender.is_none(),
                "{what}: {replayed}"
            );
            assert_eq!(
                replayed.trace.unwrap().metrics["loss"],
                engine.step(&inputs, &slow).unwrap()["loss"],
                "{what}"
            );
            // From weights of 1e30 no loss is finite.
            let error = (0..3).find_map(|_| engine.step(&inputs, &scalars).err());
            assert!(matches!(error, Some(EngineError::NotFinite { .. })), "{what}: {error:?}");
            let replayed = keep(&engine, &scalars);
            assert!(!replayed.is_finite(), "{what}: {replayed}");
            let said = replayed.to_string();
            let offender = replayed.trace.unwrap().offender.unwrap_or_else(|| panic!("{what}: {said}"));
            assert!(
                offender.bad > 0 && offender.inputs.iter().flatten().all(|v| v.is_finite()),
                "{what}: {said}"
            );
            assert!(said.contains("epoch 2, batch 3 (step 6), seed 7"), "{what}: {said}");
            assert!(said.contains(&format!("made by `{}`", offender.node)), "{what}: {said}");
        }
    }
}

/// The training step of a method on a net that it can train.
fn step_of(
    method: Method,
    modality: Modality,
) -> (sedge_models::TrainingStep, Arc<dyn Pretext>, PretrainConfig) {
    for net in [Net::Convolutional, Net::Attentive, Net::Logistic] {
        let config = config(method, modality, net);
        let input = data(modality).input_spec(None);
        let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
        let Ok(pretext) = method.pretext(setup) else { continue };
        let pretext: Arc<dyn Pretext> = Arc::from(pretext);
        let step = pretraining_step(&config, &input, &*pretext).unwrap();
        return (step, pretext, config);
    }
    panic!("{} trains none of the nets", method.name());
}

fn trained(
    config: &PretrainConfig,
    modality: Modality,
    run: &RunDirectory,
) -> Result<Outcome, PretrainError> {
    Pretraining::prepare(data(modality), config)?.run(run, &mut Progress::silent(), &Stop::new())
}

#[test]
fn a_run_that_diverges_says_how_its_step_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(Method::Rotation, Modality::Image, Net::Convolutional);
    config.lr = 1e30;
    let run = RunDirectory::create(&folder.path().join("run"), &config).unwrap();
    let error = trained(&config, Modality::Image, &run).unwrap_err();
    let PretrainError::Diverged { capture: Some(path), .. } = &error else { panic!("{error}") };
    assert_eq!(*path, run.capture_path());
    let said = error.to_string();
    assert!(said.contains(&format!("sedge replay {}", path.display())), "{said}");
    assert!(path.join("config.toml").is_file());
    let replayed = replay(path).unwrap();
    assert!(replayed.verdict().contains("made by"), "{replayed}");
    assert_eq!(replayed.moment.seed, config.seed);
    let record = Record::read(run.path()).unwrap();
    assert_eq!(record.status, Status::NotFinite);
    let html = page(&record, None).unwrap().to_html();
    assert!(html.contains("sedge replay"), "{html}");
    // A damaged step is told from a sound one.
    let tensors = path.join("tensors.safetensors");
    let mut bytes = std::fs::read(&tensors).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&tensors, bytes).unwrap();
    let said = replay(path).unwrap_err().to_string();
    assert!(said.contains("another digest"), "{said}");
    let said = replay(folder.path()).unwrap_err().to_string();
    assert!(said.contains("holds no step"), "{said}");
}

#[test]
fn a_run_is_measured_between_epochs_and_reported_at_its_end() {
    for (method, modality, picture) in
        [(Method::Rotation, Modality::Image, "data:image/png"), (Method::Cpc, Modality::Imu, "<polyline")]
    {
        let folder = tempfile::tempdir().unwrap();
        let config = config(method, modality, Net::Convolutional);
        let run = RunDirectory::create(&folder.path().join("run"), &config).unwrap();
        let Outcome::Finished(summary) = trained(&config, modality, &run).unwrap() else { panic!() };
        assert!(summary.knn.is_some() && summary.linear.is_some() && summary.gauges.is_some(), "{summary:?}");
        assert!(summary.cost.as_ref().is_some_and(|cost| cost.kwh > 0.0 && !cost.sources.is_empty()));
        let record = Record::read(run.path()).unwrap();
        assert_eq!((record.status, record.epochs.len()), (Status::Finished, 2));
        for epoch in &record.epochs {
            assert!(epoch.measures.knn.is_some() && epoch.measures.gauges.unwrap().alignment.is_some());
        }
        assert_eq!(record.measures().knn, summary.knn);
        let html = std::fs::read_to_string(run.report_path()).unwrap();
        for part in [
            "Loss",
            "Map of embeddings",
            "Nearest neighbours",
            "linear probe",
            "an estimate",
            "seed",
            picture,
        ] {
            // Where sensors are read nothing is an estimate.
            let measured = summary.cost.as_ref().unwrap().is_measured();
            assert!(html.contains(part) || (measured && part == "an estimate"), "{part}");
        }
        assert!(
            html.contains(&summary.digests.data) && html.contains("&lt;busy&gt;") && !html.contains("<busy>")
        );
        for outside in ["http://", "https://", "<script", "src=\"/"] {
            let inside = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!inside.contains(outside), "{outside}");
        }
    }
}

#[test]
fn a_written_run_is_read_as_far_as_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let run = written(folder.path());
    let mut log = std::fs::OpenOptions::new().append(true).open(run.log_path()).unwrap();
    log.write_all(b"{\"kind\":\"later\",\"x\":1}\n\xff\n{\"kind\":\"step\",\"epo").unwrap();
    let record = Record::read(run.path()).unwrap();
    assert_eq!((record.steps.len(), record.epochs.len(), record.warnings.len()), (4, 2, 1));
    assert!(matches!(record.status, Status::Going(_)));
    assert_eq!(record.standing_warnings().len(), 1);
    let cost = record.cost().unwrap();
    assert!((cost.kwh - 1e-3).abs() < 1e-12 && (cost.measured_share - 0.75).abs() < 1e-9, "{cost:?}");
    let html = page(&record, None).unwrap().to_html();
    for part in
        ["it &lt;diverges&gt;", "75 % measured, the rest an estimate", "energy, an estimate", "accuracy"]
    {
        assert!(html.contains(part), "{part}");
    }
    let mut single = Record::read(run.path()).unwrap();
    single.config.epochs = 1;
    for (status, words) in [
        (Status::Finished, "Its one epoch is done."),
        (Status::NotFinite, "after 2 of 1 epoch at"),
        (Status::Going(std::time::Duration::ZERO), "2 of 1 epoch is done."),
    ] {
        single.status = status;
        assert!(page(&single, None).unwrap().to_html().contains(words), "{words}");
    }
    // A run that has only begun has a page as well.
    std::fs::write(run.log_path(), b"").unwrap();
    page(&Record::read(run.path()).unwrap(), None).unwrap();
}
