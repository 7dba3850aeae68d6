//! ONNX Runtime, asked through `run_onnx.py`.
//!
//! `SEDGE_PYTHON` names a Python that has `onnxruntime` and `numpy`, and must then have them; without it
//! a `python3` that has them will do, and without that the tests say that they were skipped.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use sedge_models::Tensors;
use sedge_models::weights::{TensorLimits, decode, encode};

fn has_onnxruntime(python: &OsString) -> bool {
    let imported = Command::new(python).args(["-c", "import numpy, onnxruntime"]).output();
    imported.is_ok_and(|output| output.status.success())
}

/// The Python to ask, `None` (and one line that says so) when there is none.
pub static ORACLE: LazyLock<Option<OsString>> = LazyLock::new(|| {
    if let Some(python) = std::env::var_os("SEDGE_PYTHON").filter(|p| !p.is_empty()) {
        assert!(has_onnxruntime(&python), "SEDGE_PYTHON={python:?} cannot import numpy and onnxruntime");
        return Some(python);
    }
    let python = OsString::from("python3");
    if has_onnxruntime(&python) {
        return Some(python);
    }
    // Straight to the stream: the test harness swallows what a passing test prints.
    let line = "skipped: no ONNX Runtime to compare with; set SEDGE_PYTHON to a Python that has it\n";
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
});

/// Runs `model` in ONNX Runtime.
pub fn onnxruntime(python: &OsString, model: &[u8], inputs: &Tensors) -> Tensors {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("model.onnx"), model).unwrap();
    std::fs::write(file("inputs.safetensors"), encode(inputs).unwrap()).unwrap();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/run_onnx.py"))
        .args(["model.onnx", "inputs.safetensors", "outputs.safetensors"].map(file))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(file("outputs.safetensors")).unwrap();
    decode(&bytes, TensorLimits::default()).unwrap()
}
