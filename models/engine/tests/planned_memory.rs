//! The planned peak memory of a step beside what running it really allocates, counted by an allocator
//! of this test alone.
#![allow(clippy::unwrap_used, clippy::print_stderr, unsafe_code, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::ArrayD;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{Architecture, Form, fold};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::plan::plan;
use sedge_models::selection::Selection;

/// Counts live bytes and the most there were.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's layout, as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's pointer and layout, as they came.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Planned and measured peak in bytes of one step of `batch` rows.
fn compare(name: &str, sample: &[usize], batch: usize, selection: &Selection) -> (usize, usize) {
    let architecture = Architecture::preset(name).unwrap();
    let weights = architecture.initial_weights(sample, 1).unwrap();
    // The board trains a folded encoder; all layers are trained by batch statistics, as in pretraining.
    let (form, weights) = match selection {
        Selection::All => (Form::Training, weights),
        _ => (Form::Folded, fold(&weights).unwrap()),
    };
    let learned = weights.keys().filter(|name| !name.contains("running"));
    let encoder = architecture.graph(form, Batch::Fixed(batch), sample, &weights).unwrap();
    let trained = selection.pick(&architecture.stages(), learned);
    let objective = Objective::NtXent { head: ProjectionHead::new(128, 32), temperature: 0.2 };
    let step = compile(Recipe { lr: 0.01, seed: 1, ..Recipe::new(encoder, trained, objective) }).unwrap();
    let stated = plan(&step.onnx).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut shape = vec![batch];
    shape.extend(sample);
    let views = ArrayD::from_shape_simple_fn(shape, || rng.random::<f32>());

    let before = LIVE.load(Ordering::Relaxed);
    let mut engine = TractStep::new(&step).unwrap();
    engine.step(&[("views", views.view())], &[]).unwrap();
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    engine.step(&[("views", views.view())], &[]).unwrap();
    let measured = PEAK.load(Ordering::Relaxed) - before;
    let planned = engine.plan().peak_bytes as usize;
    eprintln!(
        "{name} {selection}, {batch} rows: planned {:.2} MB (from the file {:.2}), measured {:.2} MB, ratio {:.2}; \
         at `{}`, {:.1} million multiply-adds",
        planned as f64 / 1e6,
        stated.peak_mb(),
        measured as f64 / 1e6,
        measured as f64 / planned as f64,
        engine.plan().peak_at,
        engine.plan().work.multiply_adds() as f64 / 1e6,
    );
    (planned, measured)
}

/// One test, since all share the counters.
#[test]
fn the_plan_is_what_is_allocated() {
    for (name, sample) in [("image-small", vec![3, 64, 64]), ("imu-small", vec![6, 100])] {
        for selection in [Selection::Head, Selection::Last(2), Selection::All] {
            let (planned, measured) = compare(name, &sample, 16, &selection);
            let ratio = measured as f64 / planned as f64;
            assert!(
                (0.8..1.25).contains(&ratio),
                "{name} {selection}: {measured} measured, {planned} planned"
            );
        }
    }
}
