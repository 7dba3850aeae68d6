//! Faults that cross crates: a bundle damaged on its way to a board, a run damaged on its way to a bundle,
//! a disk that takes no more. Whatever happens is an error that says so; nothing panics, and nothing is
//! left half-written. What one crate can meet alone is tested there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use clap::Parser;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge::cli::{Cli, explain};
use sedge_firmware::run::run;
use sedge_firmware::{Device, DeviceConfig, RunConfig, RunError};
use sedge_models::architecture::{Architecture, Block, Conv1d, InvertedResidual};
use sedge_models::bundle::Bundle;
use sedge_models::selection::Selection;
use sedge_tests::fresh_bundle;

/// Small, so that a device is soon made of it.
static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    let net = InvertedResidual { stem: 4, stem_stride: 2, blocks: vec![block(6, 2)], last: 8 };
    fresh_bundle(&Architecture::InvertedResidual(net), 16, Selection::Last(1), 1).unwrap()
});

static WINDOWS: LazyLock<Bundle> = LazyLock::new(|| {
    let net = Conv1d { channels: vec![4, 8], strides: vec![2, 2], kernel: 3 };
    fresh_bundle(&Architecture::Conv1d(net), 16, Selection::All, 1).unwrap()
});

/// Makes a device of the bundle at `path`, if it is one; a panic fails the test with `what` was done.
fn received(path: &Path, what: &str) -> Result<(), String> {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let bundle = Bundle::read(path).map_err(|error| error.to_string())?;
        Device::new(&bundle, &DeviceConfig::default()).map(drop).map_err(|error| error.to_string())
    }));
    made.unwrap_or_else(|_| panic!("a panic where {what}"))
}

#[test]
fn a_bundle_cut_or_flipped_on_its_way_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.sedge");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for bundle in [&*BUNDLE, &*WINDOWS] {
        let good = bundle.to_bytes().unwrap();
        std::fs::write(&path, &good).unwrap();
        received(&path, "nothing was done").unwrap();
        for _ in 0..200 {
            let end = rng.random_range(0..good.len());
            std::fs::write(&path, &good[..end]).unwrap();
            let said = received(&path, &format!("the file was cut at {end}")).unwrap_err();
            assert!(said.contains("bundle.sedge"), "{said}");
        }
        for _ in 0..200 {
            let (at, bit) = (rng.random_range(0..good.len()), rng.random_range(0..8));
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            // A bit that means nothing (padding, a date) may pass, but then nothing may have changed.
            if received(&path, &format!("bit {bit} of byte {at} was flipped")).is_ok() {
                let read = Bundle::read(&path).unwrap();
                assert!(read.encoder == bundle.encoder && read.step.initial == bundle.step.initial);
            }
        }
    }
}

/// What a digest does not catch: a bundle made wrong, by this program or by one that means harm. The
/// graphs reach the engine, which may refuse them but must survive them.
#[test]
fn graphs_damaged_before_packing_never_bring_a_device_down() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (mut refused, mut made) = (0, 0);
    for round in 0..120 {
        let mut bundle = if round % 2 == 0 { BUNDLE.clone() } else { WINDOWS.clone() };
        let is_step = round % 3 == 0;
        let graph = if is_step { &mut bundle.step.onnx } else { &mut bundle.encoder };
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..graph.len());
            graph[at] = rng.random();
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // What cannot be packed never reaches a board, but a device must not rely on that.
            let _ = bundle.to_bytes();
            Device::new(&bundle, &DeviceConfig::default()).map(drop)
        }));
        match outcome {
            Ok(Ok(())) => made += 1,
            Ok(Err(error)) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
            Err(_) => panic!("a panic in round {round}, {}", if is_step { "step" } else { "encoder" }),
        }
    }
    assert!(refused > 20, "{refused} refused, {made} made: the damage does not reach the graphs");
}

/// Runs `sedge` with a line of words.
fn sedge(line: &str) -> Result<String, String> {
    let cli = Cli::try_parse_from(std::iter::once("sedge").chain(line.split_whitespace())).unwrap();
    let mut out = vec![];
    sedge::cli::run(cli, &mut out).map_err(|error| explain(&error))?;
    Ok(String::from_utf8(out).unwrap())
}

/// A short run of `sedge pretrain`.
struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let how = "--architecture image-tiny --image-size 16 --batch 4 --epochs 1 --limit 16 --quiet";
        sedge(&format!("pretrain --data sim:rooms=2,seconds=10 {how} --out {}", this.path("run").display()))
            .unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn export(&self) -> Result<String, String> {
        let (run, out) = (self.path("run"), self.path("out.sedge"));
        sedge(&format!("export {} --out {} --batch 8", run.display(), out.display()))
    }

    /// Exports with `file` of the run replaced; what it says names the file, and no bundle is there.
    fn refused(&self, file: &str, bytes: &[u8], what: &str) {
        let path = self.path("run").join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let said = catch_unwind(AssertUnwindSafe(|| self.export()));
        let said = said.unwrap_or_else(|_| panic!("a panic where {file} {what}"));
        let Err(said) = said else { panic!("exported where {file} {what}") };
        assert!(said.contains(file), "{file} {what}: {said}");
        assert!(!self.path("out.sedge").exists(), "{file} {what}: a bundle was written");
        std::fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_damaged_run_makes_no_bundle() {
    let run = Run::new();
    for (bytes, what) in [
        (&b""[..], "was emptied"),
        (b"\xff\xfe\x00", "is no text"),
        (b"epochs = \"many\"", "holds a word for a number"),
        (b"method = \"simclr\"\nspeed = 11\n", "has an unknown key"),
    ] {
        run.refused("config.toml", bytes, what);
    }
    let good = std::fs::read(run.path("run/checkpoint.sedge-run")).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for round in 0..60 {
        let mut bad = good.clone();
        if round % 2 == 0 {
            bad.truncate(rng.random_range(0..good.len()));
        } else {
            let at = rng.random_range(0..good.len());
            bad[at] ^= 1 << rng.random_range(0..8);
        }
        run.refused("checkpoint.sedge-run", &bad, &format!("was damaged in round {round}"));
    }
    let other = [good.as_slice(), b"more"].concat();
    run.refused("checkpoint.sedge-run", &other, "has something behind its end");
    run.export().unwrap();
}

/// Set for the process that [`a_full_disk_leaves_no_half_of_a_file`] starts: where to work.
const FULL: &str = "SEDGE_TEST_FULL_DISK";

/// A limit on the size of files stands for a disk that is full: writing fails in the same place, and the
/// system need not be asked for a small disk. It holds for a whole process, so this one is started anew.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_no_half_of_a_file() {
    if std::env::var_os(FULL).is_some() {
        return full_disk();
    }
    let run = Run::new();
    std::fs::write(run.path("out.sedge"), "older").unwrap();
    std::fs::write(run.path("out.json"), "older").unwrap();
    BUNDLE.write(&run.path("good.sedge")).unwrap();
    pictures(&run.path("pictures"));
    // The signal that the system sends is ignored, so that writing fails instead.
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$0\" --exact a_full_disk_leaves_no_half_of_a_file";
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .env(FULL, run.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for name in ["out.sedge", "out.json"] {
        assert_eq!(std::fs::read(run.path(name)).unwrap(), b"older", "{name} was touched");
    }
    let left: Vec<_> =
        std::fs::read_dir(run.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("tmp")), "left behind: {left:?}");
    assert!(!run.path("other").join("checkpoint.sedge-run").exists());
    assert!(!run.path("device").join("summary.json").exists());
}

/// Pictures of two classes, dark and light.
#[cfg(target_os = "linux")]
fn pictures(folder: &Path) {
    for class in 0..2u8 {
        let inside = folder.join(["dark", "light"][usize::from(class)]);
        std::fs::create_dir_all(&inside).unwrap();
        for number in 0..16u8 {
            let pixel = |x: u32, y: u32| image::Rgb([90 * class + 5 * number + (x + y) as u8; 3]);
            image::RgbImage::from_fn(16, 16, pixel).save(inside.join(format!("{number}.png"))).unwrap();
        }
    }
}

/// The part under the limit: everything that writes, with its refusal.
#[cfg(target_os = "linux")]
fn full_disk() {
    let folder = PathBuf::from(std::env::var_os(FULL).unwrap());
    let at = folder.display();
    let refused = |line: &str, file: &str| {
        let said = sedge(line).expect_err(line);
        assert!(said.contains(file), "{line}: {said}");
    };
    refused(&format!("export {at}/run --out {at}/out.sedge --batch 8"), "out.sedge");
    let quick = "--draws 1 --supervised-steps 0 --quiet";
    let data = format!("--bundle {at}/good.sedge --data {at}/pictures");
    refused(&format!("evaluate {data} {quick} --json {at}/out.json"), "out.json");
    let how = "--architecture image-tiny --image-size 16 --batch 4 --epochs 1 --limit 16 --quiet";
    refused(&format!("pretrain --data sim:rooms=2,seconds=10 {how} --out {at}/other"), "config.toml");
    let config = RunConfig::new(folder.join("good.sedge"), "sim:rooms=2,seconds=5", folder.join("device"));
    let error = run(&config).unwrap_err();
    assert!(matches!(error, RunError::Output(_) | RunError::Device(_)), "{error}");
}

/// A reader of results that takes no more, such as a full disk behind `>`.
#[test]
#[cfg(target_os = "linux")]
fn results_that_cannot_be_printed_are_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.sedge");
    BUNDLE.write(&path).unwrap();
    let cli = Cli::try_parse_from(["sedge", "inspect", path.to_str().unwrap()]).unwrap();
    let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let error = sedge::cli::run(cli, &mut full).unwrap_err();
    assert_eq!(error.status(), 1, "{}", explain(&error));
}
