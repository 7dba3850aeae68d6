//! Whole runs: a source through a bundle into a folder, cut and resumed, and through every fault.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Place, count, image_bundle, imu_bundle, lines, low_rank_bundle, quick};
use sedge_augment::ImageAugment;
use sedge_core::Verdict;
use sedge_engine::TractStep;
use sedge_firmware::output::Happening;
use sedge_firmware::run::run;
use sedge_firmware::{
    CHECKPOINT_FILE, CheckpointError, Collected, Device, DeviceConfig, DeviceError, OutputError, Pace,
    Resume, RunConfig, RunError, Source, SourceOptions,
};
use sedge_models::bundle::Bundle;
use sedge_readings::{Event, Frame, ImuSample, NoData, Timestamp};

const DRIVE: &str = "sim:rooms=2,seconds=16,building=3";

#[test]
fn a_drive_is_embedded_adapted_to_and_accounted_for() {
    let place = Place::new(image_bundle());
    let config = RunConfig { json: Some(place.path("copy.json")), ..place.config(DRIVE, "out") };
    let summary = run(&config).unwrap();
    assert!(summary.balances() && summary.ended, "{summary:#?}");
    assert_eq!((summary.report.frames.offered, summary.report.imu.offered), (320, 1_600));
    assert_eq!((summary.report.frames.waiting, summary.report.imu.waiting), (0, 0));
    assert!(summary.report.frames.used > 300, "{:?}", summary.report.frames);
    let progress = summary.report.adaptation.progress;
    assert!(progress.steps >= 20 && progress.evaluations >= 4, "{progress:?}");
    let held_out = summary.report.adaptation.held_out.unwrap();
    assert_eq!(held_out.pairs, summary.report.adaptation.held_out_pairs);
    assert!(held_out.served.loss.is_finite() && held_out.origin.loss.is_finite(), "{held_out:?}");
    assert!(summary.report.timing.frame.p50_ms > 0.0 && summary.report.timing.step.count == progress.steps);
    #[cfg(target_os = "linux")]
    assert!(summary.peak_rss_bytes.unwrap() > 1 << 20);

    let out = place.path("out");
    let embeddings = lines(&out.join("embeddings.jsonl"));
    assert_eq!(embeddings.len() as u64, summary.report.frames.used);
    assert_eq!(embeddings[0]["embedding"].as_array().unwrap().len(), 12);
    assert!(embeddings[100]["motion"]["samples"].as_u64().unwrap() >= 4);
    let events = lines(&out.join("events.jsonl"));
    assert_eq!(count(&events, "adapted") as u64, progress.steps);
    assert_eq!(count(&events, "judged") as u64, progress.evaluations);
    assert_eq!((count(&events, "started"), count(&events, "ended")), (1, 1));
    let mcap = std::fs::read(out.join("stream.mcap")).unwrap();
    let messages = mcap::MessageStream::new(&mcap).unwrap().map(|message| message.unwrap());
    assert_eq!(messages.count(), embeddings.len() + events.len());
    assert_eq!(
        std::fs::read(place.path("copy.json")).unwrap(),
        std::fs::read(out.join("summary.json")).unwrap()
    );
}

#[test]
fn the_same_seed_gives_the_same_results_and_another_seed_others() {
    let place = Place::new(image_bundle());
    let results = |out: &str, seed| {
        let mut config = place.config(DRIVE, out);
        config.device.seed = seed;
        run(&config).unwrap();
        let read = |name: &str| std::fs::read_to_string(place.path(out).join(name)).unwrap();
        (read("embeddings.jsonl"), read("events.jsonl"))
    };
    let first = results("a", 1);
    assert!(first == results("b", 1), "equal seeds must give equal bytes");
    assert!(first.1 != results("c", 2).1);
}

/// Results without the lines that say where sessions began and ended.
fn results(out: &Path) -> (String, Vec<String>) {
    let events = std::fs::read_to_string(out.join("events.jsonl")).unwrap();
    let session =
        |line: &&str| !line.contains("\"event\":\"started\"") && !line.contains("\"event\":\"ended\"");
    let events = events.lines().filter(session).map(str::to_owned).collect();
    (std::fs::read_to_string(out.join("embeddings.jsonl")).unwrap(), events)
}

#[test]
fn a_run_cut_in_three_equals_one_that_was_not() {
    let place = Place::new(image_bundle());
    let whole = run(&place.config(DRIVE, "whole")).unwrap();
    for seconds in [6.0, 11.3] {
        let config = RunConfig { seconds: Some(seconds), ..place.config(DRIVE, "cut") };
        let summary = run(&config).unwrap();
        assert!(!summary.ended && summary.balances(), "{summary:#?}");
    }
    let last = run(&RunConfig { resume: Resume::Required, ..place.config(DRIVE, "cut") }).unwrap();
    assert_eq!((last.sessions, last.events), (3, whole.events));
    assert_eq!((&last.report.frames, &last.report.imu), (&whole.report.frames, &whole.report.imu));
    assert_eq!(last.report.adaptation, whole.report.adaptation);
    assert!(results(&place.path("cut")) == results(&place.path("whole")), "a cut must not show");
    // Nothing is left; another run changes no result.
    run(&place.config(DRIVE, "cut")).unwrap();
    assert!(results(&place.path("cut")) == results(&place.path("whole")));
}

#[test]
fn a_killed_run_consumes_every_event_once() {
    let place = Place::new(image_bundle());
    let out = place.path("out");
    run(&RunConfig { seconds: Some(8.0), ..place.config(DRIVE, "out") }).unwrap();
    // What a session killed after its checkpoint leaves: whole lines, and half of one.
    let append = |name: &str, text: &str| {
        let path = out.join(name);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, before + text).unwrap();
    };
    append("embeddings.jsonl", "{\"t_ns\":1,\"index\":999,\"embedding\":[]}\n{\"t_ns\":1,\"ind");
    append("events.jsonl", "{\"t_ns\":1,\"event\":\"adap");
    run(&place.config(DRIVE, "out")).unwrap();
    let indices: Vec<u64> =
        lines(&out.join("embeddings.jsonl")).iter().map(|line| line["index"].as_u64().unwrap()).collect();
    let distinct: BTreeSet<_> = indices.iter().collect();
    assert_eq!(distinct.len(), indices.len());
    assert!(indices.is_sorted() && *indices.last().unwrap() < 320);
}

#[test]
fn a_checkpoint_without_samples_goes_on_with_new_pairs() {
    let place = Place::new(image_bundle());
    let small = |seconds| RunConfig { seconds, checkpoint_sample_bytes: 1_000, ..place.config(DRIVE, "out") };
    let before = run(&small(Some(8.0))).unwrap();
    assert!(before.report.adaptation.training_pairs > 8);
    let after = run(&small(None)).unwrap();
    assert!(after.balances() && after.report.frames.offered == 320);
    assert!(after.report.adaptation.progress.steps > before.report.adaptation.progress.steps);
    assert!(after.report.adaptation.weights >= before.report.adaptation.weights);
}

#[test]
fn what_does_not_belong_to_a_checkpoint_is_named() {
    let place = Place::new(image_bundle());
    let short = RunConfig { seconds: Some(2.0), ..place.config(DRIVE, "out") };
    assert!(matches!(
        run(&RunConfig { resume: Resume::Required, ..short.clone() }),
        Err(RunError::Checkpoint(CheckpointError::Missing { .. }))
    ));
    run(&short).unwrap();
    let mut other = short.clone();
    other.device.duty = 0.1;
    let error = run(&other).unwrap_err().to_string();
    assert!(error.contains("`duty`") && error.contains("--fresh"), "{error}");
    let other = RunConfig { source: "sim:rooms=3,seconds=16".into(), ..short.clone() };
    assert!(matches!(run(&other), Err(RunError::Checkpoint(CheckpointError::OtherSource { .. }))));
    let mut bundle = image_bundle().clone();
    bundle.manifest.name = "another".into();
    bundle.write(&place.path("other.sedge")).unwrap();
    let other = RunConfig { bundle: place.path("other.sedge"), ..short.clone() };
    assert!(matches!(run(&other), Err(RunError::Checkpoint(CheckpointError::OtherBundle { .. }))));
    let fresh = run(&RunConfig { resume: Resume::Fresh, ..other }).unwrap();
    assert_eq!((fresh.sessions, fresh.events), (1, 2 * 120));
}

#[test]
fn a_damaged_checkpoint_is_refused_with_the_way_out() {
    let place = Place::new(image_bundle());
    let config = RunConfig { seconds: Some(3.0), ..place.config(DRIVE, "out") };
    run(&config).unwrap();
    let path = place.path("out").join(CHECKPOINT_FILE);
    let good = std::fs::read(&path).unwrap();
    let mut cases =
        vec![vec![], good[..40].to_vec(), good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat()];
    for at in [0, 9, 60, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        cases.push(bad);
    }
    for (i, bad) in cases.into_iter().enumerate() {
        std::fs::write(&path, bad).unwrap();
        let error = run(&config).unwrap_err();
        assert!(matches!(error, RunError::Checkpoint(CheckpointError::Damaged { .. })), "case {i}: {error}");
        assert!(error.to_string().contains("--fresh"), "{error}");
    }
    std::fs::write(&path, good).unwrap();
    run(&config).unwrap();
}

#[test]
fn a_full_disk_stops_the_run_and_keeps_the_checkpoint() {
    let place = Place::new(image_bundle());
    let config = place.config(DRIVE, "out");
    run(&RunConfig { seconds: Some(3.0), ..config.clone() }).unwrap();
    let out = place.path("out");
    let kept = std::fs::read(out.join(CHECKPOINT_FILE)).unwrap();
    let limited = RunConfig { max_output_bytes: 30_000, ..config.clone() };
    assert!(matches!(run(&limited), Err(RunError::Device(DeviceError::Output(OutputError::Full { .. })))));
    assert!(std::fs::read(out.join(CHECKPOINT_FILE)).unwrap() == kept);
    assert!(run(&config).unwrap().balances(), "with room again the run goes on");
}

#[test]
#[cfg(target_os = "linux")]
fn a_device_that_is_full_is_a_clear_error() {
    let place = Place::new(image_bundle());
    let out = place.path("out");
    std::fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink("/dev/full", out.join("embeddings.jsonl")).unwrap();
    let error = run(&place.config(DRIVE, "out")).unwrap_err().to_string();
    assert!(error.contains("embeddings.jsonl") && error.contains("disk is full"), "{error}");
    assert!(!out.join(CHECKPOINT_FILE).exists() && !out.join("summary.json").exists());
}

#[test]
fn places_that_cannot_be_used_are_named() {
    let place = Place::new(image_bundle());
    std::fs::write(place.path("file"), "").unwrap();
    let error = run(&place.config(DRIVE, "file")).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
    let error = run(&place.config("missing.mcap", "out")).unwrap_err().to_string();
    assert!(error.contains("missing.mcap"), "{error}");
    let missing = RunConfig { bundle: place.path("nothing.sedge"), ..place.config(DRIVE, "out") };
    assert!(matches!(run(&missing), Err(RunError::Bundle(_))));
    assert!(!place.path("out").exists(), "nothing is made before the inputs are known to be good");
    // A folder in use by another run.
    std::fs::create_dir(place.path("busy")).unwrap();
    let lock = std::fs::File::create(place.path("busy").join("lock")).unwrap();
    lock.lock().unwrap();
    let error = run(&place.config(DRIVE, "busy")).unwrap_err();
    assert!(matches!(error, RunError::Output(OutputError::InUse { .. })), "{error}");
}

#[test]
fn a_damaged_bundle_never_runs() {
    let place = Place::new(image_bundle());
    let path = place.path("bundle.sedge");
    let good = std::fs::read(&path).unwrap();
    for cut in [0, 100, good.len() / 2, good.len() - 600] {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(matches!(run(&place.config(DRIVE, "out")), Err(RunError::Bundle(_))), "cut at {cut}");
    }
}

#[test]
fn an_encoder_that_does_something_else_fails_its_self_test() {
    let mut bundle: Bundle = image_bundle().clone();
    bundle.reference.embeddings[[1, 0]] += 0.05;
    let error = Device::new(&bundle, &DeviceConfig::default()).err().unwrap();
    assert!(matches!(error, DeviceError::SelfTest { index: 1, .. }), "{error}");
}

#[test]
fn without_adaptation_the_shipped_weights_serve() {
    let place = Place::new(image_bundle());
    let mut config = place.config("sim:rooms=2,seconds=10", "out");
    config.device.adapt = false;
    let summary = run(&config).unwrap();
    assert_eq!((summary.report.adaptation.progress.steps, summary.report.adaptation.weights), (0, 0));
    assert!(summary.balances() && summary.report.frames.used > 180);
}

#[test]
fn a_drive_in_windows_leaves_the_frames_unused() {
    let place = Place::new(imu_bundle());
    let summary = run(&place.config("sim:rooms=2,seconds=30", "out")).unwrap();
    assert!(summary.balances(), "{summary:#?}");
    assert_eq!(summary.report.frames.dropped.get("unused"), Some(&600));
    assert!(summary.report.windows.used > 150, "{:?}", summary.report.windows);
    assert!(summary.report.adaptation.progress.steps > 10, "{:?}", summary.report.adaptation);
    // Cut and resumed, the windows are the same.
    run(&RunConfig { seconds: Some(13.37), ..place.config("sim:rooms=2,seconds=30", "cut") }).unwrap();
    run(&place.config("sim:rooms=2,seconds=30", "cut")).unwrap();
    assert!(results(&place.path("cut")) == results(&place.path("out")));
}

#[test]
fn series_and_folders_are_sources_too() {
    let place = Place::new(imu_bundle());
    let rows: String =
        (0..400).map(|i| format!("{},0,9.8,0,{},0\n", (i % 7) as f32 * 0.1, (i % 5) as f32 * 0.1)).collect();
    std::fs::write(place.path("walk.csv"), format!("ax,ay,az,gx,gy,gz\n{rows}")).unwrap();
    let source = place.path("walk.csv").to_string_lossy().into_owned();
    let error = run(&place.config(&source, "out")).unwrap_err().to_string();
    assert!(error.contains("--rate"), "{error}");
    let options = SourceOptions { rate_hz: Some(100.0), accel_in_g: false };
    let summary = run(&RunConfig { source_options: options, ..place.config(&source, "out") }).unwrap();
    // Windows of 32 every 16 of 400 samples.
    assert_eq!((summary.report.imu.offered, summary.report.windows.used), (400, (400 - 32) / 16 + 1));
    assert!(summary.balances() && summary.ended);
}

#[test]
fn at_the_pace_of_a_clock_inference_goes_on_beside_the_steps() {
    let place = Place::new(image_bundle());
    let mut config = place.config("sim:rooms=2,seconds=5", "out");
    config.device.pace = Pace::Realtime;
    config.device.min_pairs = 8;
    config.device.step_ms = 5;
    config.device.evaluation_ms = 20;
    let start = std::time::Instant::now();
    let summary = run(&config).unwrap();
    assert!(summary.balances() && summary.ended, "{summary:#?}");
    assert!(start.elapsed().as_secs_f64() >= 4.9, "five seconds take five seconds");
    assert!(summary.report.adaptation.progress.steps > 0, "{:?}", summary.report.adaptation);
    assert!(summary.report.adaptation.spent_s <= 0.5 * summary.stream_s + 2.0);
    let events = lines(&place.path("out").join("events.jsonl"));
    assert!(events.iter().any(|event| event["took_ms"].as_f64().is_some_and(|ms| ms > 0.0)));
}

#[test]
fn a_drone_flight_is_accounted_for_to_the_last_message() {
    let shared = std::env::var_os("SEDGE_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let flight = shared.join("data/streams/gopro_karma.mcap");
    if !flight.exists() {
        println!("skipped: no shared data; set SEDGE_SHARED");
        return;
    }
    let place = Place::new(image_bundle());
    let summary = run(&place.config(&flight.to_string_lossy(), "out")).unwrap();
    assert!(summary.balances() && summary.ended, "{summary:#?}");
    assert_eq!(summary.report.frames.offered, 362);
    let messages: u64 = summary.source_account.topics.iter().map(|topic| topic.messages).sum();
    assert_eq!(messages, summary.events);
    assert_eq!((summary.report.frames.used, summary.report.frames.waiting), (362, 0));
}

/// A device that is pushed events by hand.
fn device(bundle: &Bundle) -> (Device, Collected) {
    (Device::new(bundle, &quick()).unwrap(), Collected::default())
}

#[test]
fn faults_in_the_stream_are_counted_and_survived() {
    let (mut device, mut sink) = device(image_bundle());
    let source = Source::parse("sim:rooms=2,seconds=12").unwrap();
    let stream = source.open(&SourceOptions::default(), 0.0).unwrap();
    let mut pushed = [0u64; 2];
    for (i, event) in stream.enumerate() {
        let mut event = event.unwrap();
        let at = event.at();
        match &mut event {
            Event::Frame(reading) => {
                pushed[0] += 1;
                match i % 31 {
                    0 => reading.value = Err(NoData::Corrupt),
                    1 => reading.at = Timestamp::from_nanos(at.nanos() / 2),
                    2 => reading.value = Ok(Frame::new(1, 1, vec![0; 3]).unwrap()),
                    3 => reading.value = Ok(Frame::new(20_000, 1, vec![0; 60_000]).unwrap()),
                    _ => {}
                }
            }
            Event::Imu(reading) => {
                pushed[1] += 1;
                match i % 29 {
                    0 => reading.value = Ok(ImuSample::from_channels([f32::NAN; 6])),
                    1 => reading.at = Timestamp::from_nanos(at.nanos() / 2),
                    2 => reading.value = Err(NoData::Bus),
                    _ => {}
                }
            }
        }
        device.push(event, &mut sink).unwrap();
    }
    let report = device.finish(&mut sink).unwrap();
    assert!(report.adaptation.progress.steps > 5, "{report:?}");
    assert!(sink.embeddings.len() > 150);
    assert!(sink.embeddings.iter().all(|(_, _, embedding)| embedding.iter().all(|v| v.is_finite())));
    let (frames, imu) = (&report.frames, &report.imu);
    assert!(report.balances() && frames.waiting + imu.waiting == 0, "{report:?}");
    assert_eq!([frames.offered, imu.offered], pushed);
    for reason in ["corrupt", "backwards", "wrong_shape"] {
        assert!(frames.dropped.contains_key(reason), "{reason}: {frames:?}");
    }
    for reason in ["not_finite", "backwards", "bus"] {
        assert!(imu.dropped.contains_key(reason), "{reason}: {imu:?}");
    }
}

#[test]
fn what_is_served_is_what_was_accepted() {
    serves_what_was_accepted(image_bundle());
}

#[test]
fn low_rank_deltas_are_merged_into_what_is_served() {
    let bundle = low_rank_bundle();
    assert!(bundle.step.initial.contains_key("last.conv.weight.lora_a"));
    serves_what_was_accepted(bundle);
}

fn serves_what_was_accepted(bundle: &Bundle) {
    // Neighbours as they are: what a random encoder learns soonest is to tell places apart.
    let mut config = DeviceConfig { image_views: ImageAugment::none(), lr: Some(0.02), ..quick() };
    config.guard.z = 0.5;
    let (mut device, mut sink) = (Device::new(bundle, &config).unwrap(), Collected::default());
    let stream = Source::parse("sim:rooms=2,seconds=24,building=3")
        .unwrap()
        .open(&SourceOptions::default(), 0.0)
        .unwrap();
    for event in stream {
        device.push(event.unwrap(), &mut sink).unwrap();
    }
    device.finish(&mut sink).unwrap();
    let changes = sink.events.iter().filter_map(|event| match &event.what {
        Happening::Judged { verdict: Verdict::Accept, .. } => Some(true),
        Happening::Judged { verdict: Verdict::Restore(_), .. } => Some(false),
        _ => None,
    });
    let changes: Vec<bool> = changes.collect();
    assert!(changes.contains(&true), "nothing was accepted in {:?}", device.now());
    assert_eq!(changes.len() as u64, device.served());
    let names: Vec<&String> = device.weights().keys().collect();
    assert!(!names.is_empty() && names.iter().all(|name| !name.starts_with("head.")), "{names:?}");
    let initial = &bundle.step.initial;
    let adapted = device.weights().iter().any(|(name, weight)| initial[name] != *weight);
    assert_eq!(adapted, changes.ends_with(&[true]), "after a restoration the shipped weights serve");
    // The encoder as a file embeds the last frame as the device did.
    let replaced = sedge_models::lora::merge(&bundle.encoder, device.weights()).unwrap();
    assert_eq!(adapted, replaced != bundle.encoder);
    assert_eq!(replaced, device.encoder_onnx());
}

#[test]
fn a_step_beyond_the_memory_is_refused_whether_the_bundle_states_its_plan_or_not() {
    let mut bundle = image_bundle().clone();
    let small = DeviceConfig { step_bytes: 100_000, ..quick() };
    let refused = |bundle: &Bundle| match Device::new(bundle, &small).map(|_| ()) {
        Err(DeviceError::Memory { planned, budget: 100_000, .. }) => planned,
        other => panic!("{other:?}"),
    };
    let planned = refused(&bundle);
    assert!(planned > 100_000);
    bundle.manifest.plan = Some(TractStep::new(&bundle.step).unwrap().plan().clone());
    assert_eq!(refused(&bundle), planned, "the file's plan is the engine's");
    let large = DeviceConfig { step_bytes: 2 * planned, ..quick() };
    assert!(Device::new(&bundle, &large).is_ok());
    assert!(Device::new(&bundle, &DeviceConfig { adapt: false, ..small }).is_ok());
    bundle.manifest.plan.as_mut().unwrap().peak_bytes = 1 << 40;
    let stated = Device::new(&bundle, &large).map(|_| ());
    assert!(matches!(stated, Err(DeviceError::Memory { planned: 0x100_0000_0000, .. })), "{stated:?}");
}

/// Plan and selection came to the manifest later: a bundle without them is read, run and packed as it was.
#[test]
fn older_bundles_still_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/bundles");
    for name in ["image-sim.sedge", "imu-sim.sedge"] {
        let mut bundle = Bundle::read(&folder.join(name)).unwrap();
        assert!(bundle.manifest.plan.is_some() && bundle.manifest.selection.is_some(), "{name}");
        Device::new(&bundle, &DeviceConfig::default()).unwrap();
        (bundle.manifest.plan, bundle.manifest.selection) = (None, None);
        let older = bundle.to_bytes().unwrap();
        let bundle = Bundle::from_bytes(&older).unwrap();
        assert_eq!((bundle.manifest.plan.as_ref(), bundle.manifest.selection.as_ref()), (None, None));
        Device::new(&bundle, &DeviceConfig::default()).unwrap();
        assert!(bundle.to_bytes().unwrap() == older, "{name} is packed as it was");
    }
}
