//! Pretrain, export, inspect and evaluate as processes, on drives of twenty seconds and a network of
//! two layers: what each writes is what the next reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const DRIVES: &str = "sim:drive=1-4,seconds=20";

/// A folder in which commands run, so that their paths are short.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sedge(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sedge"));
        command.current_dir(self.0.path()).args(line.split(' ')).stdin(Stdio::null()).output().unwrap()
    }

    /// What the command says when it succeeds.
    fn done(&self, line: &str) -> String {
        let output = self.sedge(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Its one line of reason when it fails.
    fn failed(&self, line: &str) -> String {
        let output = self.sedge(line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}");
        let reasons = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(reasons, 1, "{said}");
        said
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// One epoch on the drives.
    fn run(&self) {
        let config = "epochs = 1\nbatch = 16\nworkers = 1\n[data]\nmodality = \"imu\"\nwindow = 32\nstride = 64\n\
                      [architecture]\nkind = \"conv1d\"\nchannels = [8, 16]\nstrides = [2, 2]\nkernel = 5\n";
        std::fs::write(self.path("walk.toml"), config).unwrap();
        self.done(&format!("pretrain walk.toml --quiet --data {DRIVES} --seed 3 --out walk"));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Accuracies of a set, by measure.
fn accuracies(report: &Value, set: &str) -> Vec<(Value, Value)> {
    let all = report["evaluation"]["measurements"].as_array().unwrap().iter();
    all.filter(|m| m["set"] == set).map(|m| (m["measure"].clone(), m["accuracy"].clone())).collect()
}

#[test]
fn an_encoder_measures_the_same_in_its_run_its_bundle_and_its_onnx_file() {
    let folder = Folder::new();
    folder.run();
    let said = folder.done("export walk --out walk.sedge --onnx walk.onnx --json export.json");
    let export = folder.json("export.json");
    assert!(export["parity"]["relative"].as_f64().unwrap() < 1e-4 && said.contains("parity"), "{said}");
    let seen = Value::String(folder.done("inspect walk.sedge --json"));
    let seen: Value = serde_json::from_str(seen.as_str().unwrap()).unwrap();
    for (ours, theirs) in [("digest", "digest"), ("name", "name")] {
        let shown = if theirs == "name" { &seen["manifest"]["name"] } else { &seen[theirs] };
        assert_eq!(&export[ours], shown);
    }
    assert_eq!(export["name"], "walk");
    assert!(said.contains(export["digest"].as_str().unwrap()), "{said}");
    assert_eq!(export["bundle"]["bytes"], std::fs::metadata(folder.path("walk.sedge")).unwrap().len());
    assert_eq!(export["encoder"]["bytes"], std::fs::metadata(folder.path("walk.onnx")).unwrap().len());
    assert_eq!(
        (&seen["references"], &seen["manifest"]["made_by"]["epochs"]),
        (&export["parity"]["samples"], &1.into())
    );
    assert!(folder.done("inspect walk.sedge").contains("pretrained with"));

    let how = format!("--data {DRIVES} --draws 1 --supervised-steps 3 --quiet");
    let said = folder.done(&format!("evaluate --run walk {how} --json run.json"));
    for wanted in ["kNN", "5 labels per class", "over raw input", "over supervised", "without labels"] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    folder.done(&format!("evaluate --bundle walk.sedge {how} --json bundle.json"));
    let said = folder.done(&format!(
        "evaluate --onnx walk.onnx {how} --window 32 --stride 64 --modality imu --json onnx.json"
    ));
    assert!(said.contains("no supervised reference") && said.contains("normalised"), "{said}");
    let (run, bundle, onnx) = (folder.json("run.json"), folder.json("bundle.json"), folder.json("onnx.json"));
    assert_eq!(run["evaluation"], bundle["evaluation"]);
    assert_eq!(run["data"]["window"], 32);
    let said = folder.done(&format!("evaluate --run walk {how} --supervised-plain --json plain.json"));
    assert!(said.contains("without augmentation") && !said.contains("not over"), "{said}");
    let plain = folder.json("plain.json");
    assert_eq!(accuracies(&run, "encoder"), accuracies(&plain, "encoder"));
    assert_ne!(accuracies(&run, "supervised"), accuracies(&plain, "supervised"));
    for set in ["encoder", "random", "raw input", "supervised"] {
        assert_eq!(accuracies(&run, set).len(), if set == "supervised" { 6 } else { 7 }, "{set}");
        assert_eq!(accuracies(&onnx, set).is_empty(), set == "supervised", "{set}");
    }
    // The same weights see the same samples, normalised a little differently.
    assert_eq!(onnx["evaluation"]["test_items"], run["evaluation"]["test_items"]);
}

#[test]
fn test_data_may_be_apart_and_groups_chosen() {
    let folder = Folder::new();
    folder.run();
    let how = "--draws 1 --supervised-steps 0 --quiet --json e.json";
    let said =
        folder.done(&format!("evaluate --run walk --data {DRIVES} --test sim:drive=9,seconds=60 {how}"));
    assert!(!said.contains("without labels") && !said.contains("supervised"), "{said}");
    let apart = folder.json("e.json");
    assert_eq!(apart["test"], "sim:drive=9,seconds=60");
    folder.done(&format!("evaluate --run walk --data {DRIVES} --held-out 0,3,4 {how}"));
    assert_eq!(folder.json("e.json")["evaluation"]["test_groups"], 3);
    let said = folder.failed(&format!("evaluate --run walk --data {DRIVES} --held-out 0,999 {how}"));
    assert!(said.contains("`groups` is 999"), "{said}");
    let said = folder.failed(&format!("evaluate --run walk --data {DRIVES} --test {DRIVES} {how}"));
    assert!(said.contains("both the training part"), "{said}");
}

#[test]
fn what_cannot_be_measured_or_packed_is_said_in_one_line() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    plain_pictures(&pictures);
    let fixed = "--architecture image-tiny --batch 4 --epochs 1 --image-size 16 --quiet";
    folder.done(&format!("pretrain --data pictures --out run {fixed}"));
    let said = folder.failed("evaluate --run run --data pictures");
    assert!(said.contains("pictures has no labels"), "{said}");
    let said = folder.failed("evaluate --run absent --data pictures");
    assert!(said.contains("absent holds no run"), "{said}");
    let said = folder.failed("evaluate --bundle absent.sedge --data pictures");
    assert!(said.contains("absent.sedge"), "{said}");
    let said = folder.failed("export absent --out x.sedge");
    assert!(said.contains("absent holds no run"), "{said}");
    let said = folder.failed("export run --out missing/x.sedge");
    assert!(said.contains("missing/x.sedge"), "{said}");

    std::fs::rename(&pictures, folder.path("moved")).unwrap();
    let said = folder.failed("export run --out x.sedge");
    assert!(said.contains("--data PATH") && said.contains("pictures"), "{said}");
    assert!(!folder.path("x.sedge").exists());
    folder.done("export run --out x.sedge --data moved --train head --batch 8");
    let shown = folder.done("inspect x.sedge");
    assert!(shown.contains("export run --out x.sedge --data moved --train head --batch 8"), "{shown}");

    std::fs::remove_file(folder.path("run/checkpoint.sedge-run")).unwrap();
    let said = folder.failed("export run --out y.sedge --data moved");
    assert!(said.contains("no checkpoint yet"), "{said}");
}

#[test]
fn wrong_usage_is_status_two_and_help_has_examples() {
    let folder = Folder::new();
    for line in [
        "evaluate --run r",
        "evaluate --data d",
        "evaluate --run r --bundle b --data d",
        "evaluate --run r --data d --test t --held-out 1",
        "evaluate --run r --data d --supervised-lr -1",
        "evaluate --run r --data d --draws some",
        "export r",
        "export r --out f --batch 5",
        "export r --out f --train last:0",
        "export r --out f --lr 0",
    ] {
        let output = folder.sedge(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{line}");
    }
    for command in ["evaluate", "export"] {
        let said = folder.done(&format!("{command} --help"));
        assert!(said.contains("Examples:") && said.contains(&format!("sedge {command} ")), "{said}");
    }
}

/// Pictures in one folder, of no class.
fn plain_pictures(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for number in 0..12u8 {
        let picture = image::RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb([(x * 15) as u8, (y * 15) as u8, 20 * number])
        });
        picture.save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// Lines of text from pretraining to a bundle, by every command that touches them.
#[test]
fn texts_are_pretrained_measured_compared_and_exported() {
    const LOGS: &str = "sim-logs:runs=12,lines=20,seed=2";
    let folder = Folder::new();
    let config = "epochs = 1\nbatch = 16\nworkers = 1\n[data]\nlength = 32\n[architecture]\nkind = \"transformer\"\n\
                  patch = 1\ndim = 16\ndepth = 1\nheads = 2\nmlp_ratio = 2\n";
    std::fs::write(folder.path("text.toml"), config).unwrap();
    folder.done(&format!("pretrain text.toml --quiet --data {LOGS} --method masked-tokens --out words"));
    let said = folder.done("export words --out words.sedge --onnx words.onnx --json export.json");
    assert!(said.contains("parity"), "{said}");
    let seen: Value = serde_json::from_str(&folder.done("inspect words.sedge --json")).unwrap();
    assert_eq!(
        (&seen["manifest"]["input"]["modality"], &seen["manifest"]["input"]["shape"][0]),
        (&"text".into(), &32.into())
    );

    let how = format!("--data {LOGS} --draws 1 --supervised-steps 2 --quiet");
    let said = folder.done(&format!("evaluate --run words {how} --json run.json"));
    assert!(said.contains("over byte histogram") && !said.contains("raw input"), "{said}");
    folder.done(&format!("evaluate --bundle words.sedge {how} --json bundle.json"));
    folder.done(&format!("evaluate --onnx words.onnx {how} --json onnx.json"));
    let [run, bundle, onnx] = ["run.json", "bundle.json", "onnx.json"].map(|name| folder.json(name));
    assert_eq!(run["evaluation"], bundle["evaluation"]);
    for set in ["encoder", "byte histogram", "byte pairs, hashed"] {
        assert_eq!(accuracies(&run, set), accuracies(&onnx, set), "{set}");
        assert_eq!(accuracies(&run, set).len(), 7, "{set}");
    }
    let compare = format!("compare text.toml --data {LOGS} --draws 1 --quiet");
    let said = folder.done(&format!("{compare} --methods next-sentence,simclr,mae --out all"));
    for wanted in ["next-sentence", "simclr", "byte pairs, hashed", "mae was left out"] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    let said = folder.failed("pretrain --data missing.txt --method next-token --out x");
    assert!(said.contains("missing.txt"), "{said}");
    std::fs::write(folder.path("a.log"), "one line\nand one more\n").unwrap();
    let said = folder.failed("pretrain --data a.log --method rotation --out x");
    assert!(said.contains("masked-tokens") && said.contains("modality text"), "{said}");
}
