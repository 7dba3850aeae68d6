//! Real networks of torchvision, as both of PyTorch's exporters write them: imported, compiled with every layer
//! trained and the last two blocks, one step run, and the gradients against PyTorch in float64.
//!
//! Needs a Python with torch, torchvision, onnx, onnxscript and safetensors in `SEDGE_PYTHON`; says so when there is
//! none. Takes a minute a network, so it is run by name: `cargo test -p sedge-tests --test networks torchvision --
//! --ignored`.

use std::ffi::OsString;
use std::io::Write;
use std::process::Command;

use sedge_models::import::NormForm;

use super::gradients::{KINKED, Limits, SMOOTH, compare, of};
use super::*;

const FEW: usize = 4;

fn python() -> Option<OsString> {
    let python = std::env::var_os("SEDGE_PYTHON").filter(|p| !p.is_empty());
    let wanted = "import onnx, onnxscript, safetensors, torch, torchvision";
    let has = |python: &OsString| {
        Command::new(python).args(["-c", wanted]).output().is_ok_and(|output| output.status.success())
    };
    let found = python.filter(has);
    if found.is_none() {
        let line = "skipped: no torchvision to export from; set SEDGE_PYTHON to a Python that has it\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    found
}

/// Exports `name`, then holds every form of its norms: gradients with norms folded, a finite step with others.
fn agree(name: &str, exporter: &str, limits: Limits) {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(here.join("tests/networks/export_torchvision.py"))
        .arg(here.join("../models/goldens"))
        .args([name, exporter])
        .args(["encoder.onnx", "gradients.safetensors"].map(file))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check(
        name,
        exporter,
        &std::fs::read(file("encoder.onnx")).unwrap(),
        &read(file("gradients.safetensors")),
        limits,
    );
}

fn check(name: &str, exporter: &str, bytes: &[u8], golden: &Tensors, limits: Limits) {
    for norm in [NormForm::Folded, NormForm::Affine, NormForm::Statistics] {
        let encoder = import(bytes, &ImportOptions::new(FEW, norm)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let views = pattern(&encoder.input_shape, 0);
        for selection in ["all", "last:2"] {
            let step = step(&encoder, selection, |_| ());
            let found = of(&encoder, &step, &views);
            let what = format!("{name} {exporter} {norm:?} {selection}");
            if norm == NormForm::Folded {
                limits.check(&what, &compare("folded", &found, golden));
            } else {
                println!("{what}: {} weights, loss {}", found.1.len(), found.0);
            }
        }
    }
}

#[test]
#[ignore = "needs torchvision, and a minute"]
fn mobilenet_v2() {
    agree("mobilenet_v2", "legacy", KINKED);
    agree("mobilenet_v2", "dynamo", KINKED);
}

#[test]
#[ignore = "needs torchvision, and a minute"]
fn mobilenet_v3_small() {
    agree("mobilenet_v3_small", "legacy", KINKED);
    agree("mobilenet_v3_small", "dynamo", KINKED);
}

#[test]
#[ignore = "needs torchvision, and a minute"]
fn resnet18() {
    agree("resnet18", "legacy", KINKED);
    agree("resnet18", "dynamo", KINKED);
}

#[test]
#[ignore = "needs torchvision, and a minute"]
fn efficientnet_b0() {
    agree("efficientnet_b0", "legacy", SMOOTH);
    agree("efficientnet_b0", "dynamo", SMOOTH);
}

#[test]
#[ignore = "needs torchvision, and a minute"]
fn vision_transformer() {
    agree("vision_transformer", "legacy", SMOOTH);
    agree("vision_transformer", "dynamo", SMOOTH);
}
