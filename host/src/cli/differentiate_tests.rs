//! `sedge differentiate` and `sedge write-back` as they are typed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use clap::Parser;
use prost::Message;
use sedge_models::bundle::Bundle;
use sedge_models::onnx::read::parse;
use sedge_models::weights::{self, TensorLimits};
use sedge_models::{TrainingStep, plan};

use super::{Cli, CliError, explain, run};
use crate::differentiate::StepRecord;
use crate::differentiate::tests::{file, train};
use crate::pretrain::sha256;

fn shown(line: &str, words: &[&Path]) -> Result<String, CliError> {
    let paths = words.iter().map(|path| path.to_str().unwrap());
    let mut paths = paths.collect::<Vec<_>>().into_iter();
    let words = line.split(' ').map(|word| if word == "_" { paths.next().unwrap() } else { word });
    let cli = Cli::try_parse_from(std::iter::once("sedge").chain(words)).map_err(|e| panic!("{e}")).unwrap();
    let mut out = vec![];
    run(cli, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// A folder with an encoder in it, and where its step goes.
fn folder(name: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (encoder, step) = (folder.path().join("encoder.onnx"), folder.path().join("step.onnx"));
    std::fs::write(&encoder, file(name)).unwrap();
    (folder, encoder, step)
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The step as its three files hold it.
fn written(step: &Path) -> (StepRecord, TrainingStep) {
    let record = std::fs::read(step.with_extension("json")).unwrap();
    let record: StepRecord = serde_json::from_slice(&record).unwrap();
    let onnx = std::fs::read(step).unwrap();
    let state = std::fs::read(step.with_extension("safetensors")).unwrap();
    for (part, bytes) in [(&record.graph, &onnx), (&record.state, &state)] {
        assert_eq!((part.bytes, &part.sha256), (bytes.len() as u64, &sha256(bytes)), "{}", part.file);
    }
    let initial = weights::decode(&state, TensorLimits::default()).unwrap();
    let spec = record.step.clone();
    (record, TrainingStep { spec, onnx, initial })
}

#[test]
fn every_exporters_file_becomes_a_step_that_trains() {
    for (name, line) in [
        ("cnn_norm", "--train last:2"),
        ("cnn_dynamo", "--train bias --optimizer adamw --lr 0.01"),
        ("resnet", "--train lora:2 --clip-norm 5 --lr 0.005"),
        ("squeeze_excite", "--train all --norm affine --lr 0.005"),
        ("vit", "--train norm --optimizer adamw --lr 0.01 --reference 0.1"),
        ("vit_dynamo", "--train last:1+lora:2"),
        ("windows", "--train all --norm statistics --loss byol --lr 0.005"),
        ("channels_last", "--train last:1 --loss vicreg --optimizer adamw"),
        ("tied_dynamo", "--train all --loss ntxent --optimizer lars --lr 0.01"),
    ] {
        let (_folder, encoder, step) = folder(name);
        let words = format!("differentiate _ {line} --batch 8 --out _");
        let said = shown(&words, &[&encoder, &step]).unwrap_or_else(|e| panic!("{name}: {}", explain(&e)));
        for part in ["encoder ", "batch norms ", "trains ", "MB at its peak", "million multiply-adds"] {
            assert!(said.contains(part), "{name}: {said}");
        }
        let (record, compiled) = written(&step);
        assert_eq!(record.encoder.file.sha256, sha256(&file(name)));
        assert_eq!(record.plan, plan::plan(&compiled.onnx).unwrap(), "{name}");
        let (losses, _) = train(&compiled, 20);
        assert!(losses[19] < losses[0], "{name} {line}: {losses:?}");
    }
}

#[test]
fn a_persons_own_file_comes_back_with_trained_weights() {
    let (folder, encoder, step) = folder("cnn_norm");
    shown("differentiate _ --train last:1 --batch 8 --out _", &[&encoder, &step]).unwrap();
    let (record, compiled) = written(&step);
    let (_, state) = train(&compiled, 3);
    let (trained, result) = (folder.path().join("t.safetensors"), folder.path().join("trained.onnx"));
    std::fs::write(&trained, weights::encode(&state).unwrap()).unwrap();
    let line = "write-back _ --step _ --state _ --out _";
    let json = step.with_extension("json");
    let said = shown(line, &[&encoder, &json, &trained, &result]).unwrap();
    assert!(said.contains(&format!("{} weights trained", record.trained.len())), "{said}");
    let (before, after) =
        (parse(&file("cnn_norm")).unwrap(), parse(&std::fs::read(&result).unwrap()).unwrap());
    let named =
        |model: &sedge_models::onnx::OnnxSummary| (model.inputs.len(), model.parameters, model.nodes());
    let summary = sedge_models::onnx::inspect::inspect;
    assert_eq!(named(&summary(&before)), named(&summary(&after)));
    assert_ne!(before, after);
    // Another encoder is refused, and nothing is written.
    std::fs::write(&encoder, file("double")).unwrap();
    std::fs::remove_file(&result).unwrap();
    let error = shown(line, &[&encoder, &json, &trained, &result]).unwrap_err();
    assert!(explain(&error).contains("that very file"), "{}", explain(&error));
    assert!(!result.exists());
}

#[test]
fn an_operator_without_a_rule_is_told_before_anything_is_written() {
    let (folder, encoder, step) = folder("cnn_folded");
    let mut model = parse(&file("cnn_folded")).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let node = graph.node.iter_mut().filter(|n| n.op_type == "Clip").nth(1).unwrap();
    node.op_type = "Trilu".into();
    node.input.truncate(1);
    node.name = "second/Triangle".into();
    std::fs::write(&encoder, model.encode_to_vec()).unwrap();
    let error = shown("differentiate _ --train all --batch 8 --out _", &[&encoder, &step]).unwrap_err();
    let said = explain(&error);
    assert_eq!(error.status(), 1);
    for part in [
        "no gradient rule for operator Trilu",
        "second/Triangle",
        "(output [8, 8, 8, 8])",
        "train only weights after it: `features.2.0.bias`, `features.2.0.weight`; or `--train head`",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(files(folder.path()), ["encoder.onnx"]);
}

#[test]
fn a_refusal_leaves_no_file() {
    for (line, status, said) in [
        ("--train last:1 --loss cross-entropy", 2, "--classes"),
        ("--train last:1 --queue 64", 2, "--queue"),
        ("--optimizer adamw --momentum 0.5", 2, "--momentum"),
        ("--train nonsense* --batch 8", 1, "nonsense*"),
        ("--train last:1 --batch 0", 1, "batch of 0"),
        ("--train last:1 --batch 7", 1, "7"),
        ("--train last:1 --lr -1", 1, "lr"),
        ("--train last:1 --accumulate 4", 1, "accumulate"),
        ("--train last:1 --output nowhere", 1, "nowhere"),
        ("--train head --reference 1", 1, "reference"),
        ("--plot choice.svg", 2, "--budget-mb"),
        ("--budget-mb 0.0001", 1, "raise the budget"),
        ("--train last:1 --bundle b.sedge --data nowhere", 1, "nowhere"),
    ] {
        let (folder, encoder, step) = folder("cnn_norm");
        let line = line.replace("--lr -1", "--lr=-1");
        let words = format!("differentiate _ {line} --out _");
        let error = shown(&words, &[&encoder, &step]).map(|said| panic!("{line}: {said}")).unwrap_err();
        assert!(explain(&error).contains(said), "{line}: {}", explain(&error));
        assert_eq!(error.status(), status, "{line}: {}", explain(&error));
        assert_eq!(files(folder.path()), ["encoder.onnx"], "{line}");
    }
    let (folder, encoder, _step) = folder("cnn_norm");
    for out in ["step.txt", "encoder.onnx"] {
        let out = folder.path().join(out);
        let error = shown("differentiate _ --out _", &[&encoder, &out]).unwrap_err();
        assert_eq!(error.status(), 2);
    }
    assert_eq!(std::fs::read(&encoder).unwrap(), file("cnn_norm"));
    let absent = folder.path().join("absent");
    let error =
        shown("differentiate _ --out _", &[&absent, &absent.with_extension("step.onnx")]).unwrap_err();
    assert!(matches!(error, CliError::Read { .. }));
}

#[test]
fn a_budget_chooses_and_shows_the_trade_off() {
    let (folder, encoder, step) = folder("cnn_norm");
    let (plot, json) = (folder.path().join("choice.svg"), folder.path().join("report.json"));
    let line = "differentiate _ --budget-mb 0.9 --batch 8 --plot _ --json _ --out _";
    let said = shown(line, &[&encoder, &plot, &json, &step]).unwrap();
    assert!(said.contains("what to train within 0.9 MB") && said.contains("chosen: --train"), "{said}");
    assert!(said.contains("seeded noise"), "{said}");
    let (record, compiled) = written(&step);
    assert!(record.plan.peak_mb() <= 0.9 && plan::plan(&compiled.onnx).unwrap().peak_mb() <= 0.9);
    assert!(std::fs::read_to_string(&plot).unwrap().contains("<svg"));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let tried = report["tried"].as_array().unwrap();
    assert_eq!(tried.iter().filter(|row| row["chosen"] == true).count(), 1);
    assert_eq!(report["record"]["step"]["objective"], "nt-xent");
}

#[test]
fn a_bundle_comes_along_and_is_shown() {
    let (folder, encoder, step) = folder("cnn_norm");
    let bundle = folder.path().join("stranger.sedge");
    let line = "differentiate _ --train last:1 --batch 8 --data sim:seconds=3 --imagenet --bundle _ --out _";
    let said = shown(line, &[&encoder, &bundle, &step]).unwrap();
    assert!(said.contains("bundle ") && said.contains("parity "), "{said}");
    let (_, compiled) = written(&step);
    let packed = Bundle::read(&bundle).unwrap();
    assert_eq!(packed.step.onnx, compiled.onnx);
    assert_eq!(packed.manifest.name, "encoder");
    let shown = shown("inspect _", &[&bundle]).unwrap();
    assert!(shown.contains("last:1"), "{shown}");
}

#[test]
fn inspection_lists_what_can_be_trained() {
    let (_folder, encoder, step) = folder("cnn_norm");
    let said = shown("inspect _", &[&encoder]).unwrap();
    for part in
        ["trainable in 3 blocks", "features.0 (last:3)", "features.2.0.weight", "kernel", "norm scale"]
    {
        assert!(said.contains(part), "{said}");
    }
    // A step is no encoder, and is shown without.
    shown("differentiate _ --train head --batch 8 --out _", &[&encoder, &step]).unwrap();
    assert!(!shown("inspect _", &[&step]).unwrap().contains("trainable in"));
}
