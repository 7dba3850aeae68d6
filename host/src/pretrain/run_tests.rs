//! The loop against an engine small enough to follow by hand: one weight a channel, moved with
//! momentum towards the mean of the views.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use sedge_engine::Metrics;
use sedge_models::{InputTensor, StateRole, StateSpec, StepSpec};
use serde_json::Value;

use super::super::checkpoint::CheckpointError;
use super::super::settings::{DataSettings, Settings};
use super::*;
use crate::data::{Augment, Dataset, Samples};

const PAIRS: usize = 3;
/// Ten samples in batches of three pairs.
const BATCHES: usize = 3;

/// What the engine does beside training, by the number of the step it is asked for, from one.
type Meanwhile = Box<dyn FnMut(u64) -> Result<(), EngineError> + Send>;

struct Follower {
    spec: StepSpec,
    state: Tensors,
    asked: u64,
    meanwhile: Meanwhile,
}

impl Follower {
    fn new(meanwhile: Meanwhile) -> Self {
        let state = |name: &str, role| StateSpec { name: name.into(), shape: vec![3], role };
        let spec = StepSpec {
            objective: "follow".into(),
            optimizer: "sgd".into(),
            batch: 2 * PAIRS,
            inputs: vec![InputTensor { name: "views".into(), shape: vec![2 * PAIRS, 3, 4, 4] }],
            scalars: vec![("lr".into(), 0.1)],
            state: vec![state("w", StateRole::Parameter), state("m", StateRole::Optimizer)],
            metrics: vec!["loss".into()],
        };
        let zeros = || ArrayD::zeros(IxDyn(&[3]));
        let state = [("w".to_string(), zeros()), ("m".to_string(), zeros())].into();
        Self { spec, state, asked: 0, meanwhile }
    }
}

impl Engine for Follower {
    fn spec(&self) -> &StepSpec {
        &self.spec
    }

    fn step(
        &mut self,
        inputs: &[(&str, ArrayViewD<'_, f32>)],
        scalars: &[(&str, f32)],
    ) -> Result<Metrics, EngineError> {
        self.asked += 1;
        (self.meanwhile)(self.asked)?;
        assert_eq!((inputs[0].0, inputs[0].1.shape()), ("views", &[2 * PAIRS, 3, 4, 4][..]));
        assert_eq!(scalars[0].0, "lr");
        let mut target = inputs[0].1.to_owned();
        for axis in [3, 2, 0] {
            target = target.mean_axis(Axis(axis)).unwrap();
        }
        let gap = &self.state["w"] - &target;
        let m = &self.state["m"] * 0.9 + &gap;
        let w = &self.state["w"] - &(&m * scalars[0].1);
        self.state = [("w".to_string(), w), ("m".to_string(), m)].into();
        Ok([("loss".to_string(), gap.mapv(|v| v * v).sum())].into())
    }

    fn state(&self) -> Result<Tensors, EngineError> {
        Ok(self.state.clone())
    }

    fn set_state(&mut self, state: &Tensors) -> Result<(), EngineError> {
        self.state = state.clone();
        Ok(())
    }
}

fn quiet() -> Meanwhile {
    Box::new(|_| Ok(()))
}

fn config() -> PretrainConfig {
    let settings = Settings {
        data: DataSettings { path: Some("test".into()), ..Default::default() },
        epochs: Some(4),
        batch: Some(PAIRS),
        eval_every: Some(2),
        checkpoint_every: Some(2),
        seed: Some(11),
        workers: Some(2),
        ..Default::default()
    };
    settings.resolve(Modality::Image).unwrap()
}

/// One sitting in `folder`.
struct Sitting {
    config: PretrainConfig,
    data_digest: String,
    files: BTreeMap<String, String>,
    stop: Stop,
    measured: Vec<Tensors>,
    measure_fails: bool,
}

impl Sitting {
    fn new() -> Self {
        Self {
            config: config(),
            data_digest: "data".into(),
            files: [(FROM, "weights"), (TEACHER, "teacher")].map(|(a, b)| (a.into(), b.into())).into(),
            stop: Stop::new(),
            measured: Vec::new(),
            measure_fails: false,
        }
    }

    fn run(&mut self, run: &RunDirectory, meanwhile: Meanwhile) -> Result<Outcome, PretrainError> {
        let pixels = (0..10 * 48u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let samples = Samples::Images { width: 4, height: 4, pixels };
        let data = Dataset::new(samples, None, vec![0; 10], (0..10).collect()).unwrap();
        let input = data.input_spec(None);
        let augment = Augment::from(self.config.augment.clone());
        let (seed, workers) = (self.config.seed, self.config.workers);
        let loader = Loader::new(Arc::new(data), input.clone(), augment, PAIRS, seed, workers).unwrap();
        let mut engine = Follower::new(meanwhile);
        let (measured, fails) = (&mut self.measured, self.measure_fails);
        let mut measure = |state: &Tensors| {
            measured.push(state.clone());
            let knn = Some(0.25 * measured.len() as f64);
            let measures = Measures { knn, ..Measures::default() };
            if fails { Err("no neighbours".into()) } else { Ok(measures) }
        };
        let job = Job {
            config: &self.config,
            input: &input,
            second: None,
            scalars: &|_| vec![],
            loader: &loader,
            engine: &mut engine,
            graph: b"graph",
            data_digest: self.data_digest.clone(),
            step_digest: "step".into(),
            files: self.files.clone(),
            measure: Some(&mut measure),
            meter: Meter::system(),
        };
        pretrain(job, run, &mut Progress::silent(), &self.stop)
    }
}

fn directory(folder: &Path) -> RunDirectory {
    RunDirectory::create(&folder.join("run"), &config()).unwrap()
}

/// The log without what depends on the clock.
fn log(run: &RunDirectory) -> Vec<Value> {
    let text = std::fs::read_to_string(run.log_path()).unwrap();
    let timeless = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.remove("seconds");
        fields.remove("samples_per_second");
        fields.remove("watt_hours");
        fields.remove("watt_hours_estimated");
        line
    };
    text.lines().map(timeless).collect()
}

/// State as bits, position and what runs along, again without the clock.
fn end(run: &RunDirectory) -> (Vec<u32>, Position, Running) {
    let Checkpoint { header, state } = run.checkpoint().unwrap().unwrap();
    let bits = state.values().flat_map(|array| array.iter().map(|v| v.to_bits())).collect();
    (bits, header.position, Running { seconds: 0.0, energy: Energy::default(), ..header.running })
}

#[test]
fn a_run_takes_every_step_logs_it_and_sums_up() {
    let folder = tempfile::tempdir().unwrap();
    let run = directory(folder.path());
    let mut sitting = Sitting::new();
    let Outcome::Finished(summary) = sitting.run(&run, quiet()).unwrap() else { panic!() };
    assert_eq!((summary.epochs, summary.steps, summary.parameters), (4, 12, 3));
    assert_eq!(summary.knn, Some(0.5));
    assert_eq!(sitting.measured.len(), 2);
    assert_eq!(sitting.measured[1], run.checkpoint().unwrap().unwrap().state);
    let lines = log(&run);
    let of_kind = |kind: &str| lines.iter().filter(|l| l["kind"] == kind).cloned().collect::<Vec<_>>();
    assert_eq!((of_kind("step").len(), of_kind("epoch").len()), (12, 4));
    let losses: Vec<f64> = of_kind("step").iter().map(|l| l["loss"].as_f64().unwrap()).collect();
    let mean = losses[9..].iter().sum::<f64>() / BATCHES as f64;
    assert!((summary.loss.unwrap() - mean).abs() < 1e-6);
    assert_eq!(of_kind("epoch")[3]["knn"], 0.5);
    let rate = LearningRate::new(&config(), BATCHES);
    for (step, line) in of_kind("step").iter().enumerate() {
        assert_eq!(line["lr"].as_f64().unwrap() as f32, rate.at(step as u64));
    }
    let written: Value = serde_json::from_slice(&std::fs::read(run.summary_path()).unwrap()).unwrap();
    assert_eq!(written["steps"], 12);
    assert_eq!(run.config().unwrap(), config());
}

#[test]
fn a_run_cut_anywhere_ends_as_one_that_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let whole = directory(folder.path());
    Sitting::new().run(&whole, quiet()).unwrap();
    for cut in 1..12u64 {
        let folder = tempfile::tempdir().unwrap();
        let run = directory(folder.path());
        let mut first = Sitting::new();
        let stop = first.stop.clone();
        let meanwhile = move |asked| {
            if asked == cut {
                stop.request();
            }
            Ok(())
        };
        let outcome = first.run(&run, Box::new(meanwhile)).unwrap();
        let (epoch, batch) = ((cut / 3) as u32, (cut % 3) as usize);
        assert_eq!(outcome, Outcome::Interrupted(Position { epoch, batch, step: cut }));
        assert!(!run.summary_path().exists());
        // Another number of threads changes nothing.
        let mut second = Sitting::new();
        second.config.workers = 1;
        let again = RunDirectory::open(run.path()).unwrap();
        // The measurement counts its calls; the second sitting takes up the count.
        second.measured = first.measured.clone();
        second.run(&again, quiet()).unwrap();
        assert_eq!(end(&run), end(&whole), "cut after step {cut}");
        assert_eq!(log(&run), log(&whole), "cut after step {cut}");
    }
}

/// A cut without a chance to save: the log is ahead of the last checkpoint.
#[test]
fn a_crash_loses_no_more_than_since_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let whole = directory(folder.path());
    Sitting::new().run(&whole, quiet()).unwrap();
    for crash in [2, 8, 11] {
        let folder = tempfile::tempdir().unwrap();
        let run = directory(folder.path());
        let mut first = Sitting::new();
        let failing = move |asked| {
            let reason = "power".to_string();
            if asked == crash { Err(EngineError::Run { what: "training step", reason }) } else { Ok(()) }
        };
        let error = first.run(&run, Box::new(failing)).unwrap_err();
        assert!(matches!(error, PretrainError::Engine { .. }), "{error}");
        let mut half_a_line = std::fs::OpenOptions::new().append(true).open(run.log_path()).unwrap();
        std::io::Write::write_all(&mut half_a_line, b"{\"kind\":\"st").unwrap();
        let mut second = Sitting::new();
        second.measured = first.measured.iter().take(usize::from(crash > 6)).cloned().collect();
        second.run(&run, quiet()).unwrap();
        assert_eq!(end(&run), end(&whole), "crash at step {crash}");
        assert_eq!(log(&run), log(&whole), "crash at step {crash}");
    }
}

#[test]
fn a_finished_run_that_goes_on_is_finished_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = directory(folder.path());
    Sitting::new().run(&run, quiet()).unwrap();
    let before = (end(&run), log(&run));
    let nothing = Box::new(|_| panic!("there is no step left"));
    assert!(matches!(Sitting::new().run(&run, nothing).unwrap(), Outcome::Finished(_)));
    assert_eq!((end(&run), log(&run)), before);
}

#[test]
fn divergence_keeps_the_last_good_checkpoint() {
    let diverge_at = |step: u64| {
        let folder = tempfile::tempdir().unwrap();
        let run = directory(folder.path());
        let diverging = move |asked| {
            if asked == step { Err(EngineError::NotFinite { name: "loss".into() }) } else { Ok(()) }
        };
        let error = Sitting::new().run(&run, Box::new(diverging)).unwrap_err();
        let position = run.checkpoint().unwrap().map(|c| c.header.position);
        (error, position)
    };
    let (error, position) = diverge_at(2);
    assert!(matches!(error, PretrainError::Diverged { epoch: 1, batch: 2, checkpoint: None, .. }), "{error}");
    assert_eq!(position, None);
    let (error, position) = diverge_at(8);
    let PretrainError::Diverged { epoch: 3, batch: 2, checkpoint: Some(_), .. } = error else {
        panic!("{error}")
    };
    assert_eq!(position, Some(Position { epoch: 2, batch: 0, step: 6 }));
}

#[test]
fn a_disk_that_fails_is_told_and_the_checkpoint_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let run = directory(folder.path());
    let stop_at = |sitting: &Sitting, step: u64| -> Meanwhile {
        let stop = sitting.stop.clone();
        Box::new(move |asked| {
            if asked == step {
                stop.request();
            }
            Ok(())
        })
    };
    let mut first = Sitting::new();
    let meanwhile = stop_at(&first, 4);
    first.run(&run, meanwhile).unwrap();
    let kept = std::fs::read(run.checkpoint_path()).unwrap();
    // The directory is moved away under the second sitting, and its checkpoint has nowhere to go.
    let aside = folder.path().join("aside");
    let (from, to) = (run.path().to_path_buf(), aside.clone());
    let moving = Box::new(move |asked| {
        if asked == 1 {
            std::fs::rename(&from, &to).unwrap();
        }
        Ok(())
    });
    let error = Sitting::new().run(&run, moving).unwrap_err();
    assert!(matches!(error, PretrainError::Checkpoint(CheckpointError::Write(_))), "{error}");
    assert_eq!(std::fs::read(aside.join("checkpoint.sedge-run")).unwrap(), kept);
    assert_eq!(std::fs::read_dir(&aside).unwrap().count(), 3, "nothing is left beside");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_by_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let run = directory(folder.path());
    std::os::unix::fs::symlink("/dev/full", run.log_path()).unwrap();
    let error = Sitting::new().run(&run, quiet()).unwrap_err();
    assert!(matches!(&error, PretrainError::Log { .. }), "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
}

#[test]
fn a_run_goes_on_only_with_what_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let run = directory(folder.path());
    let mut first = Sitting::new();
    first.stop.request();
    assert_eq!(first.run(&run, quiet()).unwrap(), Outcome::Interrupted(Position::default()));
    let changed = |change: fn(&mut Sitting)| {
        let mut sitting = Sitting::new();
        change(&mut sitting);
        match sitting.run(&run, quiet()) {
            Err(PretrainError::Changed { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(changed(|s| s.data_digest = "other".into()), "the data");
    assert_eq!(changed(|s| drop(s.files.insert(FROM.into(), "other".into()))), "what `from` names");
    assert_eq!(changed(|s| drop(s.files.remove(TEACHER))), "the teacher");
    assert_eq!(changed(|s| s.config.lr *= 2.0), "the configuration");
}

#[test]
fn a_log_that_lost_lines_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = directory(folder.path());
    Sitting::new().run(&run, quiet()).unwrap();
    std::fs::write(run.log_path(), b"{}\n").unwrap();
    let error = Sitting::new().run(&run, quiet()).unwrap_err();
    assert!(matches!(error, PretrainError::LogShort { found: 3, .. }), "{error}");
}

#[test]
fn directories_are_not_mixed_up() {
    let folder = tempfile::tempdir().unwrap();
    let run = directory(folder.path());
    assert!(matches!(RunDirectory::create(run.path(), &config()), Err(PretrainError::Exists { .. })));
    assert!(matches!(RunDirectory::open(folder.path()), Err(PretrainError::NotARun { .. })));
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let inside = RunDirectory::create(&file.join("run"), &config());
    assert!(matches!(inside, Err(PretrainError::Directory { .. })));
}

#[test]
fn a_measurement_that_fails_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut sitting = Sitting::new();
    sitting.measure_fails = true;
    let error = sitting.run(&directory(folder.path()), quiet()).unwrap_err();
    assert!(matches!(error, PretrainError::Evaluate { epoch: 2, .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_signal_asks_to_stop() {
    let stop = Stop::on_signals().unwrap();
    assert!(!stop.requested());
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
    assert!(stop.requested());
}
