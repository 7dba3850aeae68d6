//! The whole job once, on the simulated rig: pretrain encoders of camera and IMU without labels, pack
//! them as bundles, run the device over a stream from rooms that it has never seen and under light that it
//! was not trained for, let it adapt, and measure what that was worth with a few labels. Ground truth is
//! used in the last step only.
//!
//! Everything here calls what the other verbs call; nothing is a rehearsal-only shortcut.

mod camera;
mod error;
mod motion;
mod outcome;
mod page;
mod plan;

use std::path::Path;
use std::time::Instant;

use crate::files::write_atomic;
use crate::pretrain::Stop;

pub use camera::Camera;
pub use error::QuickstartError;
pub use motion::Motion;
pub use outcome::{Comparison, Device, Pretrained, Report};
pub use plan::Plan;

/// Told, in words, what is being done.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Does everything and writes `report.html`, `report.json`, the two run directories and the two bundles
/// into `out`. The camera's encoder and the IMU's are trained at the same time, each on one thread.
///
/// # Errors
/// [`QuickstartError`] with the stage that failed; what was written before stays.
pub fn run(plan: &Plan, out: &Path, stop: &Stop, say: Say<'_>) -> Result<Report, QuickstartError> {
    let started = Instant::now();
    std::fs::create_dir_all(out).map_err(|source| QuickstartError::Directory { path: out.into(), source })?;
    let (camera, motion) = std::thread::scope(|scope| {
        let motion = scope.spawn(|| motion::run(plan, out, stop, say));
        let camera = camera::run(plan, out, stop, say);
        // A panic in the other thread is a defect of ours, told like one.
        (camera, motion.join().unwrap_or(Err(QuickstartError::Thread)))
    });
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        seed: plan.seed,
        plan: plan.clone(),
        camera: camera?,
        motion: motion?,
        seconds: started.elapsed().as_secs_f64(),
    };
    let json = [serde_json::to_vec_pretty(&report)?, b"\n".to_vec()].concat();
    write_atomic(&out.join("report.json"), &json)?;
    page::write(&report, &out.join("report.html"))?;
    Ok(report)
}
