//! Files of PyTorch's two exporters against PyTorch: what an encoder computes, at another batch and with
//! norms in every form, and what the file computes once changed weights were written back.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::*;
use crate::onnx::{initializers, replace_initializers};
use crate::weights::{TensorLimits, decode};

mod files;
mod forms;
mod hostile;

pub(super) const BATCH: usize = 4;

pub(super) fn golden_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens/import").join(name)
}

pub(super) fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden_file(&format!("{name}.onnx"))).unwrap()
}

pub(super) fn golden(name: &str) -> Tensors {
    let bytes = std::fs::read(golden_file(&format!("{name}.safetensors"))).unwrap();
    decode(&bytes, TensorLimits::default()).unwrap()
}

pub(super) fn imported(bytes: &[u8], norm: NormForm) -> Imported {
    import(bytes, &ImportOptions::new(BATCH, norm)).unwrap_or_else(|e| panic!("{e}"))
}

/// Every output of `model` by name.
pub(super) fn run(model: &pb::ModelProto, x: &ArrayD<f32>) -> Tensors {
    let names = model.graph.as_ref().unwrap().output.iter().map(|o| o.name.clone());
    let plan = tract_onnx::onnx().model_for_proto_model(model).unwrap().into_optimized().unwrap();
    let x = Tensor::from_shape(x.shape(), &x.iter().copied().collect::<Vec<_>>()).unwrap();
    let outputs = plan.into_runnable().unwrap().run(tvec![x.into()]).unwrap();
    let array = |t: &TValue| {
        let view = t.try_as_plain_ram().unwrap();
        ArrayD::from_shape_vec(IxDyn(t.shape()), view.as_slice::<f32>().unwrap().to_vec()).unwrap()
    };
    names.zip(outputs.iter().map(array)).collect()
}

pub(super) fn embed(imported: &Imported, x: &ArrayD<f32>) -> ArrayD<f32> {
    let output = &imported.model.graph.as_ref().unwrap().output[0].name;
    run(&imported.model, x).remove(output).unwrap()
}

/// Asserts equality within 1e-4 of the largest value.
pub(super) fn assert_close(what: &str, found: &ArrayD<f32>, wanted: &ArrayD<f32>) {
    assert_eq!(found.shape(), wanted.shape(), "{what}");
    let largest = wanted.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(wanted).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 1e-4 * largest, "{what}: {worst} of {largest}");
}

/// The weights as they are.
pub(super) fn state(imported: &Imported) -> Tensors {
    let values = initializers(&imported.model);
    imported.weights.iter().map(|w| (w.name.clone(), values[&w.name].clone())).collect()
}

/// Moves weights as the script of the goldens moves PyTorch's parameters; `renamed` gives PyTorch's names
/// where the file has lost them.
pub(super) fn change(imported: &Imported, renamed: &BTreeMap<&str, &str>) -> Tensors {
    let mut state = state(imported);
    for weight in &imported.weights {
        let axes = &imported.sources[&weight.name].axes;
        let name = renamed.get(weight.name.as_str()).copied().unwrap_or(&weight.name);
        let phase: u32 = name.bytes().map(u32::from).sum();
        let mut shape = vec![0; weight.shape.len()];
        axes.iter().zip(&weight.shape).for_each(|(&axis, &extent)| shape[axis] = extent);
        for (index, value) in state.get_mut(&weight.name).unwrap().indexed_iter_mut() {
            let mut position = vec![0; shape.len()];
            axes.iter().enumerate().for_each(|(i, &axis)| position[axis] = index[i]);
            let flat = position.iter().zip(&shape).fold(0, |flat, (&i, &extent)| flat * extent + i);
            *value += (0.05 * (flat as f64 + f64::from(phase)).cos()) as f32;
        }
    }
    state
}

pub(super) fn with_weights(imported: &Imported, state: &Tensors) -> pb::ModelProto {
    let bytes = replace_initializers(&imported.model.encode_to_vec(), state).unwrap();
    pb::ModelProto::decode(bytes.as_slice()).unwrap()
}
