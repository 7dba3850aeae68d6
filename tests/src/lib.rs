//! What tests and benches that cross crates have in common: where the shared data lies, and bundles to
//! run that no one had to train.

pub mod hostile;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use sedge::data::{LoadOptions, load};
use sedge::encoder::Trained;
use sedge::export::{ExportOptions, pack};
use sedge_models::Modality;
use sedge_models::architecture::Architecture;
use sedge_models::bundle::{Bundle, MadeBy};
use sedge_models::selection::Selection;

/// A file of the shared data, `None` when it is not there: named by `SEDGE_SHARED`, or `shared` beside
/// the workspace. What is not there is told in one line, past the test harness, which swallows what a
/// passing test prints.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("SEDGE_SHARED").map_or_else(beside, PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    let line = format!("skipped: {} is not there (set SEDGE_SHARED)\n", path.display());
    // Where standard error is closed, there is no one to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}

/// An encoder with freshly drawn weights that reads what the simulated rig gives, images of `side`
/// pixels or windows, packed for a board that trains `part` of it, 64 rows a step.
///
/// # Errors
/// Whatever building, running or packing it says.
pub fn fresh_bundle(
    architecture: &Architecture,
    side: usize,
    part: Selection,
    seed: u64,
) -> Result<Bundle, Box<dyn Error>> {
    let reads_images = architecture.check(&[3, side, side]).is_ok();
    let modality = if reads_images { Modality::Image } else { Modality::Imu };
    let (image_size, limit) = (Some(side), Some(16));
    let options = LoadOptions { modality: Some(modality), image_size, limit, ..LoadOptions::default() };
    let data = load("sim:rooms=2,seconds=20", &options)?;
    let encoder = Trained::fresh(architecture, &data.input_spec(image_size), seed)?;
    let made_by = MadeBy {
        version: env!("CARGO_PKG_VERSION").into(),
        command: "none: fresh weights".into(),
        config: String::new(),
        seed,
        data_digest: data.digest(),
        method: "none".into(),
        epochs: 0,
    };
    let options = ExportOptions {
        name: format!("fresh, {part}"),
        train: part,
        batch: 64,
        lr: 0.01,
        temperature: 0.2,
        weight_decay: 1e-4,
        made_by,
    };
    Ok(pack(&encoder, &data, &options)?.0)
}
