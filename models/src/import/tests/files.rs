//! Every file: output, weights, blocks, and the way back.

use super::*;

/// What PyTorch knows of a file.
struct File {
    name: &'static str,
    /// Weights: PyTorch's parameters, or those left when the exporter folded norms.
    weights: usize,
    blocks: &'static [&'static str],
    /// PyTorch's names of weights whose own the file has lost; `None` where the exporter folded norms, so
    /// that the file's weights are not PyTorch's parameters.
    parameters: Option<&'static [(&'static str, &'static str)]>,
}

const FILES: &[File] = &[
    File {
        name: "cnn_norm",
        weights: 10,
        blocks: &["features.0", "features.1", "features.2"],
        parameters: Some(&[]),
    },
    File {
        name: "cnn_folded",
        weights: 6,
        blocks: &["features.0", "features.1", "features.2"],
        parameters: None,
    },
    File {
        name: "cnn_dynamo",
        weights: 6,
        blocks: &["features.0", "features.1", "features.2"],
        parameters: None,
    },
    File { name: "tied", weights: 8, blocks: &["stem", "first", "second"], parameters: Some(&[]) },
    File {
        name: "tied_dynamo",
        weights: 8,
        blocks: &["stem", "first", "first_2"],
        parameters: Some(&[("first_2.weight", "second.weight"), ("first_2.bias", "second.bias")]),
    },
    File { name: "vit", weights: 30, blocks: &["patch", "blocks.0", "blocks.1"], parameters: Some(&[]) },
    File {
        name: "vit_dynamic",
        weights: 30,
        blocks: &["patch", "blocks.0", "blocks.1"],
        parameters: Some(&[]),
    },
    File {
        name: "vit_dynamo",
        weights: 30,
        blocks: &["patch", "blocks.0", "blocks.1"],
        // The exporter computed the expansion of the token ahead.
        parameters: Some(&[("expand", "cls_token")]),
    },
    File {
        name: "sequence_first",
        weights: 8,
        blocks: &["embed", "attention", "out"],
        parameters: Some(&[("attention.weight", "attention.in_proj_weight")]),
    },
    File {
        name: "sequence_first_single",
        weights: 8,
        blocks: &["embed", "attention", "out"],
        parameters: Some(&[("attention.weight", "attention.in_proj_weight")]),
    },
    File {
        name: "resnet",
        weights: 26,
        blocks: &["conv1", "layer1.0", "layer1.1", "layer2.0", "fc"],
        parameters: Some(&[]),
    },
    File { name: "windows", weights: 12, blocks: &["net.0", "net.3", "head"], parameters: Some(&[]) },
    File { name: "windows_constants", weights: 8, blocks: &["net.0", "net.3", "head"], parameters: None },
    File {
        name: "squeeze_excite",
        weights: 13,
        blocks: &["stem.0", "depthwise.0", "fc1", "fc2", "project.0"],
        parameters: Some(&[]),
    },
    File {
        name: "channels_last",
        weights: 4,
        blocks: &["block0", "block1", "block2"],
        parameters: Some(&[]),
    },
    File {
        name: "double",
        weights: 10,
        blocks: &["features.0", "features.1", "features.2"],
        parameters: Some(&[]),
    },
];

#[test]
fn every_file_computes_what_pytorch_computes_at_another_batch() {
    for File { name, .. } in FILES {
        let golden = golden(name);
        for norm in [NormForm::Folded, NormForm::Affine] {
            let encoder = imported(&file(name), norm);
            assert_eq!(encoder.input_shape, golden["input"].shape(), "{name}");
            assert_eq!(encoder.width, golden["output"].shape()[1], "{name}");
            assert_close(&format!("{name} {norm:?}"), &embed(&encoder, &golden["input"]), &golden["output"]);
        }
    }
}

#[test]
fn every_file_has_pytorchs_parameters_in_blocks() {
    for File { name, weights, blocks, .. } in FILES {
        let encoder = imported(&file(name), NormForm::Affine);
        let names: Vec<&str> = encoder.weights.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(encoder.weights.len(), *weights, "{name}: {names:?}");
        let found: Vec<&str> = encoder.blocks.iter().map(String::as_str).collect();
        assert_eq!(found, *blocks, "{name}: {:?}", encoder.blocks);
        let mut numbers: Vec<usize> = encoder.weights.iter().map(|w| w.block).collect();
        assert!(numbers.is_sorted(), "{name} {numbers:?}");
        numbers.dedup();
        assert_eq!(numbers, (0..blocks.len()).collect::<Vec<_>>(), "{name}");
        let stored = initializers(&encoder.model);
        assert!(encoder.weights.iter().all(|w| stored[&w.name].shape() == w.shape), "{name}");
    }
}

#[test]
fn changed_weights_go_back_into_the_file() {
    for File { name, parameters, .. } in FILES {
        let Some(parameters) = parameters else { continue };
        let (bytes, golden) = (file(name), golden(name));
        let encoder = imported(&bytes, NormForm::Affine);
        let changed = change(&encoder, &parameters.iter().copied().collect());
        let graph = with_weights(&encoder, &changed);
        let output = &graph.graph.as_ref().unwrap().output[0].name;
        assert_close(name, &run(&graph, &golden["input"])[output], &golden["changed"]);
        let written = encoder.write_back(&bytes, &changed).unwrap();
        let again = imported(&written, NormForm::Affine);
        assert_close(&format!("{name} again"), &embed(&again, &golden["input"]), &golden["changed"]);
    }
}

#[test]
fn unchanged_weights_leave_the_file_as_it_is() {
    for File { name, .. } in FILES {
        let (bytes, golden) = (file(name), golden(name));
        for norm in [NormForm::Folded, NormForm::Affine, NormForm::Statistics] {
            let encoder = imported(&bytes, norm);
            let mut unchanged = state(&encoder);
            unchanged.extend(encoder.statistics.clone());
            let written = encoder.write_back(&bytes, &unchanged).unwrap();
            let again = imported(&written, NormForm::Affine);
            assert_close(&format!("{name} {norm:?}"), &embed(&again, &golden["input"]), &golden["output"]);
        }
    }
}

#[test]
fn a_file_keeps_its_types_names_and_layout() {
    for name in ["double", "windows", "channels_last", "cnn_norm"] {
        let bytes = file(name);
        let encoder = imported(&bytes, NormForm::Affine);
        let written = read::parse(&encoder.write_back(&bytes, &state(&encoder)).unwrap()).unwrap();
        let original = read::parse(&bytes).unwrap();
        let facts = |model: &pb::ModelProto| -> Vec<(String, i32, Vec<i64>)> {
            let tensors = model.graph.as_ref().unwrap().initializer.iter();
            tensors.map(|t| (t.name.clone(), t.data_type, t.dims.clone())).collect()
        };
        assert_eq!(facts(&written), facts(&original), "{name}");
        assert_eq!(written.graph.unwrap().node, original.graph.unwrap().node, "{name}");
    }
}

#[test]
fn shared_arrays_stay_one_when_asked() {
    let bytes = file("tied");
    let options = ImportOptions { keep_tied: true, ..ImportOptions::new(BATCH, NormForm::Affine) };
    let encoder = import(&bytes, &options).unwrap();
    assert_eq!(encoder.weights.len(), 6);
    assert!(encoder.notes.iter().any(|n| n.contains("stay tied")), "{:?}", encoder.notes);
    let mut changed = state(&encoder);
    changed.values_mut().for_each(|w| w.mapv_inplace(|v| 0.5 * v + 0.1));
    let input = &golden("tied")["input"];
    let graph = with_weights(&encoder, &changed);
    let wanted = &run(&graph, input)["y"];
    let again = imported(&encoder.write_back(&bytes, &changed).unwrap(), NormForm::Affine);
    assert_close("tied", &embed(&again, input), wanted);
}

#[test]
fn what_was_changed_is_said() {
    let said = |name: &str, words: &str| {
        let notes = imported(&file(name), NormForm::Affine).notes;
        assert!(notes.iter().any(|n| n.contains(words)), "{name}: {notes:?} lacks {words:?}");
    };
    said("cnn_norm", "dropout");
    said("cnn_norm", "training mode");
    said("cnn_folded", "no batch norm is left");
    said("tied", "own");
    said("vit", "class token");
    said("vit", "the batch was changed from 1 to 4");
    said("sequence_first", "mean");
    said("resnet", "class scores");
    said("windows", "also listed as inputs");
    said("squeeze_excite", "flattened");
    said("channels_last", "channels last");
    said("double", "doubles");
}

#[test]
fn a_value_inside_can_be_the_embedding() {
    let output = Some("/avgpool/GlobalAveragePool_output_0".to_string());
    let encoder =
        import(&file("resnet"), &ImportOptions { output, ..ImportOptions::new(2, NormForm::Folded) })
            .unwrap();
    assert_eq!(encoder.width, 12);
    assert!(encoder.weights.iter().all(|w| !w.name.starts_with("fc.")));
    let output = Some("nowhere".to_string());
    let error = import(&file("resnet"), &ImportOptions { output, ..ImportOptions::new(2, NormForm::Folded) });
    assert!(matches!(error, Err(ImportError::Output { known, .. }) if known == ["y"]));
}

#[test]
fn a_bias_that_an_exporter_folded_is_called_as_pytorch_calls_a_bias() {
    let names = |name: &str| imported(&file(name), NormForm::Folded).weights.into_iter().map(|w| w.name);
    assert!(names("cnn_dynamo").eq(names("cnn_norm")));
}
