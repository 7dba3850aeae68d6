//! Training steps of the presets with ordinary operators and with kernels, side by side in one run: the
//! fastest of many steps, and where the time goes. Names given as arguments choose presets.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use ndarray::{ArrayD, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Engine, Options, TractStep};
use sedge_models::TrainingStep;
use sedge_models::architecture::{Architecture, Form, fold};
use sedge_models::compile::{Recipe, VIEWS, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::selection::Selection;

const BATCH: usize = 64;
const ROUNDS: usize = 15;

fn step(name: &str, sample: &[usize], selection: Selection) -> TrainingStep {
    let architecture = Architecture::preset(name).unwrap();
    let weights = architecture.initial_weights(sample, 1).unwrap();
    let (form, weights) = match selection {
        Selection::All => (Form::Training, weights),
        _ => (Form::Folded, fold(&weights).unwrap()),
    };
    let names = weights.keys().filter(|k| !k.contains("running"));
    let encoder = architecture.graph(form, Batch::Fixed(BATCH), sample, &weights).unwrap();
    let trained = selection.pick(&architecture.stages(), names);
    let objective = Objective::NtXent { head: ProjectionHead::new(64, 32), temperature: 0.2 };
    let recipe = Recipe::new(encoder, trained, objective);
    compile(Recipe { statistics: weights.clone(), lr: 0.05, weight_decay: 1e-4, seed: 2, ..recipe }).unwrap()
}

fn noise(shape: &[usize]) -> ArrayD<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || rng.random_range(-1.0..1.0f32))
}

/// Time of one step: on one thread that which its processor spent on it, where the system tells, because
/// other programs may be running.
fn time(engine: &mut TractStep, views: &ArrayD<f32>, threads: usize) -> Duration {
    let (begin, spent) = (Instant::now(), processor_time());
    engine.step(&[(VIEWS, views.view())], &[]).unwrap();
    match (processor_time(), spent) {
        (Some(end), Some(begin)) if threads == 1 => end - begin,
        _ => begin.elapsed(),
    }
}

fn processor_time() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for (name, sample) in
        [("image-small", vec![3, 64, 64]), ("image-tiny", vec![3, 64, 64]), ("imu-small", vec![6, 128])]
    {
        if !chosen.is_empty() && !chosen.iter().any(|c| c == name) {
            continue;
        }
        for selection in [Selection::All, Selection::Last(2)] {
            let step = step(name, &sample, selection.clone());
            let views = noise(&[&[BATCH], sample.as_slice()].concat());
            let options = [
                Options { kernels: false, ..Options::default() },
                Options::default(),
                Options { threads: 2, ..Options::default() },
            ];
            let mut engines = options.map(|options| TractStep::with_options(&step, options).unwrap());
            let mut best = [Duration::MAX; 3];
            for _ in 0..ROUNDS {
                for ((engine, best), options) in engines.iter_mut().zip(&mut best).zip(options) {
                    *best = time(engine, &views, options.threads).min(*best);
                }
            }
            let [plain, kernels, two] = best.map(milliseconds);
            println!(
                "{name} {selection:?}: operators {plain:.1} ms, kernels {kernels:.1} ms, on two threads {two:.1} ms"
            );
            let mut times = engines[1].profile(&[(VIEWS, views.view())], &[]).unwrap();
            for _ in 0..5 {
                let again = engines[1].profile(&[(VIEWS, views.view())], &[]).unwrap();
                times.iter_mut().zip(again).for_each(|(best, (_, time))| best.1 = best.1.min(time));
            }
            times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
            let times = times.iter().take(14).map(|(op, time)| format!("{op} {:.1}", milliseconds(*time)));
            println!("    {}", times.collect::<Vec<_>>().join(", "));
        }
    }
}
