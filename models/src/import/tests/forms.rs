//! Batch norm in its three forms, our own encoders, and the road into the compiler.

use super::*;
use crate::architecture::{Architecture, Form, fold as fold_weights};
use crate::compile::{Recipe, compile};
use crate::objective::Objective;
use crate::onnx::build::Batch;
use crate::selection::Kind;

#[test]
fn statistics_are_those_of_pytorch_in_training() {
    for name in ["cnn_norm", "resnet", "windows", "squeeze_excite", "double"] {
        let (encoder, golden) = (imported(&file(name), NormForm::Statistics), golden(name));
        let outputs = run(&encoder.model, &golden["input"]);
        let embedding = &encoder.model.graph.as_ref().unwrap().output[0].name;
        assert_close(name, &outputs[embedding], &golden["by_batch"]);
        let running: Vec<&String> = golden.keys().filter(|k| k.contains("running_")).collect();
        assert_eq!(running, encoder.statistics.keys().collect::<Vec<_>>(), "{name}");
        for key in running {
            let batch = &outputs[&key.replace(".running_", ".batch_")];
            let batch = batch.to_shape(golden[key].raw_dim()).unwrap();
            let next = encoder.statistics[key].mapv(|v| 0.9 * v) + batch.mapv(|v| 0.1 * v);
            assert_close(&format!("{name} {key}"), &next, &golden[key]);
        }
    }
}

#[test]
fn trained_statistics_go_back_into_the_file() {
    let bytes = file("cnn_norm");
    let encoder = imported(&bytes, NormForm::Statistics);
    let mut trained = state(&encoder);
    trained.extend(encoder.statistics.iter().map(|(k, v)| (k.clone(), v.mapv(|v| v + 0.25))));
    let written = read::parse(&encoder.write_back(&bytes, &trained).unwrap()).unwrap();
    let (found, before) = (initializers(&written), initializers(&read::parse(&bytes).unwrap()));
    for (name, value) in &found {
        let moved = if name.contains("running_") { 0.25 } else { 0.0 };
        assert_close(name, value, &before[name].mapv(|v| v + moved));
    }
}

#[test]
fn moved_weights_of_a_folded_encoder_go_back_into_a_file_with_norms() {
    for name in ["cnn_norm", "resnet", "windows", "squeeze_excite", "double", "windows_constants"] {
        let (bytes, golden) = (file(name), golden(name));
        let encoder = imported(&bytes, NormForm::Folded);
        assert!(encoder.weights.iter().all(|w| w.kind != Kind::NormScale), "{name}");
        let changed = change(&encoder, &BTreeMap::new());
        let graph = with_weights(&encoder, &changed);
        let output = &graph.graph.as_ref().unwrap().output[0].name;
        let wanted = run(&graph, &golden["input"]).remove(output).unwrap();
        let written = encoder.write_back(&bytes, &changed).unwrap();
        for norm in [NormForm::Affine, NormForm::Folded] {
            let again = imported(&written, norm);
            assert_close(&format!("{name} {norm:?}"), &embed(&again, &golden["input"]), &wanted);
        }
    }
}

#[test]
fn the_compiler_takes_an_imported_encoder_as_it_is() {
    for norm in [NormForm::Folded, NormForm::Affine, NormForm::Statistics] {
        let encoder = imported(&file("cnn_norm"), norm);
        let trained: Vec<String> = encoder.weights.iter().map(|w| w.name.clone()).collect();
        let objective = Objective::CrossEntropy { classes: 3 };
        let recipe = Recipe::new(encoder.model.clone(), trained, objective);
        let step =
            compile(Recipe { statistics: encoder.statistics.clone(), lr: 0.1, seed: 1, ..recipe }).unwrap();
        let mut wanted = state(&encoder);
        wanted.extend(encoder.statistics.clone());
        assert_eq!(encoder.statistics.len(), if norm == NormForm::Statistics { 6 } else { 0 });
        for (name, value) in wanted {
            assert_eq!(step.initial.get(&name), Some(&value), "{norm:?} {name}");
            assert!(step.spec.state.iter().any(|s| s.name == name && s.shape == value.shape()), "{name}");
        }
    }
}

#[test]
fn our_own_encoders_keep_their_stages_and_names() {
    for (name, sample) in
        [("image-tiny", vec![3, 32, 32]), ("image-small", vec![3, 32, 32]), ("imu-small", vec![6, 64])]
    {
        let architecture = Architecture::preset(name).unwrap();
        let weights = architecture.initial_weights(&sample, 3).unwrap();
        let folded = fold_weights(&weights).unwrap();
        for (form, weights) in
            [(Form::Training, &weights), (Form::Inference, &weights), (Form::Folded, &folded)]
        {
            let graph = architecture.graph(form, Batch::Symbolic, &sample, weights).unwrap();
            let encoder = imported(&graph.encode_to_vec(), NormForm::Statistics);
            let stages = architecture.stages();
            let found: Vec<String> = encoder.blocks.iter().map(|b| format!("{b}.")).collect();
            assert_eq!(found, stages, "{name} {form:?}");
            let mut trained: Vec<&String> = weights.keys().filter(|k| !k.contains("running_")).collect();
            let mut names: Vec<&String> = encoder.weights.iter().map(|w| &w.name).collect();
            trained.sort();
            names.sort();
            assert_eq!(names, trained, "{name} {form:?}");
            let statistics = encoder.model.graph.as_ref().unwrap().output.len() - 1;
            let norms = weights.keys().filter(|k| k.contains("running_mean")).count();
            assert_eq!(statistics, if form == Form::Folded { 0 } else { 2 * norms }, "{name} {form:?}");
        }
    }
}

#[test]
fn a_graph_without_names_is_cut_between_its_residual_blocks() {
    let mut model = pb::ModelProto::decode(file("resnet").as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let names: BTreeMap<String, String> =
        graph.initializer.iter().enumerate().map(|(i, t)| (t.name.clone(), format!("val_{i}"))).collect();
    graph.initializer.iter_mut().for_each(|t| t.name = names[&t.name].clone());
    for node in &mut graph.node {
        node.name.clear();
        node.input.iter_mut().for_each(|i| *i = names.get(i).unwrap_or(i).clone());
    }
    for (norm, sizes) in [(NormForm::Affine, [3, 6, 6, 9, 2]), (NormForm::Folded, [2, 4, 4, 6, 2])] {
        let encoder = imported(&model.encode_to_vec(), norm);
        let inside = |number| encoder.weights.iter().filter(|w| w.block == number).count();
        let found: Vec<usize> = (0..encoder.blocks.len()).map(inside).collect();
        assert_eq!(found, sizes, "{:?}", encoder.blocks);
        assert_close("nameless", &embed(&encoder, &golden("resnet")["input"]), &golden("resnet")["output"]);
    }
}

#[test]
fn kinds_are_told_by_the_readers() {
    let encoder = imported(&file("vit"), NormForm::Affine);
    let kind = |name: &str| encoder.weights.iter().find(|w| w.name == name).unwrap().kind;
    assert_eq!(kind("patch.weight"), Kind::Kernel);
    assert_eq!(kind("patch.bias"), Kind::Bias);
    assert_eq!(kind("cls_token"), Kind::Embedding);
    assert_eq!(kind("pos_embed"), Kind::Embedding);
    assert_eq!(kind("blocks.1.attn.qkv.weight"), Kind::Matrix);
    assert_eq!(kind("blocks.1.norm2.weight"), Kind::NormScale);
    assert_eq!(kind("norm.bias"), Kind::NormShift);
    let decomposed = imported(&file("vit_dynamic"), NormForm::Affine);
    let kinds =
        |e: &Imported| e.weights.iter().map(|w| (w.name.clone(), w.kind as u8)).collect::<BTreeMap<_, _>>();
    assert_eq!(kinds(&decomposed), kinds(&encoder));
}

#[test]
fn a_third_party_mobilenet_is_read() {
    let Some(shared) = std::env::var_os("SEDGE_SHARED").filter(|s| !s.is_empty()) else {
        use std::io::Write;
        std::io::stderr().write_all(b"skipped: no third-party MobileNetV2; set SEDGE_SHARED\n").unwrap();
        return;
    };
    let path = PathBuf::from(shared).join("models/mobilenet_v2_imagenet_encoder.onnx");
    let bytes = std::fs::read(path).unwrap();
    let encoder = import(&bytes, &ImportOptions::new(2, NormForm::Folded)).unwrap();
    assert_eq!((encoder.width, encoder.input_shape.as_slice()), (1280, [2, 3, 224, 224].as_slice()));
    assert_eq!(encoder.weights.iter().filter(|w| w.kind == Kind::Kernel).count(), 52);
    assert_eq!(encoder.blocks.len(), 19, "{:?}", encoder.blocks);
    let x = ArrayD::from_shape_fn(IxDyn(&[2, 3, 224, 224]), |i| ((i[1] + 3 * i[2] + 5 * i[3]) as f32).sin());
    let alone = import(&bytes, &ImportOptions::new(1, NormForm::Folded)).unwrap();
    let first = x.slice_axis(ndarray::Axis(0), (0..1).into()).to_owned();
    let both = embed(&encoder, &x);
    assert_close(
        "first",
        &both.slice_axis(ndarray::Axis(0), (0..1).into()).to_owned(),
        &embed(&alone, &first),
    );
}
