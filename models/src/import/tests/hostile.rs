//! Files that are damaged, or made to hurt: an error or an encoder, never a panic.

use proptest::prelude::*;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

use super::*;

fn edited(name: &str, edit: impl FnOnce(&mut pb::GraphProto)) -> Vec<u8> {
    let mut model = pb::ModelProto::decode(file(name).as_slice()).unwrap();
    edit(model.graph.as_mut().unwrap());
    model.encode_to_vec()
}

fn refused(bytes: &[u8]) -> ImportError {
    import(bytes, &ImportOptions::new(BATCH, NormForm::Affine)).unwrap_err()
}

#[test]
fn a_batch_outside_the_range_is_refused() {
    for batch in [0, MAX_BATCH + 1] {
        let error = import(&file("tied"), &ImportOptions::new(batch, NormForm::Affine)).unwrap_err();
        assert_eq!(error, ImportError::Batch { found: batch, limit: MAX_BATCH });
    }
}

#[test]
fn open_axes_are_asked_for_and_then_used() {
    let bytes = edited("cnn_norm", |graph| {
        let Some(pb::type_proto::Value::TensorType(tensor)) =
            &mut graph.input[0].r#type.as_mut().unwrap().value
        else {
            panic!("no tensor")
        };
        for dim in &mut tensor.shape.as_mut().unwrap().dim[2..] {
            dim.value = Some(Dim::DimParam("side".into()));
        }
    });
    let error = refused(&bytes);
    assert!(
        matches!(&error, ImportError::InputShape { found, .. } if *found == ["1", "3", "?", "?"]),
        "{error}"
    );
    let input_shape = Some(vec![3, 24, 20]);
    let options = ImportOptions { input_shape, ..ImportOptions::new(BATCH, NormForm::Affine) };
    assert_eq!(import(&bytes, &options).unwrap().input_shape, [BATCH, 3, 24, 20]);
}

#[test]
fn a_batch_that_cannot_be_changed_is_named() {
    // The samples of a batch as the rows of one product.
    let bytes = edited("windows", |graph| {
        let node = graph.node.iter_mut().find(|n| n.op_type == "Relu").unwrap();
        *node = pb::NodeProto {
            op_type: "Transpose".into(),
            attribute: vec![crate::onnx::proto::ints("perm", vec![1, 0, 2])],
            name: "turned".into(),
            ..node.clone()
        };
    });
    let error = refused(&bytes);
    assert!(matches!(&error, ImportError::Shapes { .. } | ImportError::Baked { .. }), "{error}");
}

#[test]
fn a_second_input_is_refused() {
    let bytes = edited("tied", |graph| graph.input.push(crate::onnx::proto::value_info("mask", &[1, 5])));
    assert_eq!(refused(&bytes), ImportError::Inputs { names: vec!["x".into(), "mask".into()] });
}

#[test]
fn another_file_is_refused_on_the_way_back() {
    let encoder = imported(&file("vit"), NormForm::Affine);
    let error = encoder.write_back(&file("resnet"), &state(&encoder)).unwrap_err();
    assert!(matches!(error, ImportError::OtherFile { .. }), "{error}");
    let mut state = state(&encoder);
    state.insert("norm.bias".into(), ArrayD::zeros(IxDyn(&[3])));
    let error = encoder.write_back(&file("vit"), &state).unwrap_err();
    assert!(matches!(error, ImportError::State { .. }), "{error}");
}

#[test]
fn an_array_too_large_to_make_is_refused_before_it_is_made() {
    let bytes = edited("tied", |graph| {
        graph.initializer.push(crate::onnx::proto::int_tensor("huge", &[1 << 20, 1 << 20]));
        let made = pb::NodeProto {
            op_type: "Expand".into(),
            name: "expansion".into(),
            input: vec!["norm.bias".into(), "huge".into()],
            output: vec!["expanded".into()],
            ..Default::default()
        };
        graph.node.insert(0, made);
        graph.node.last_mut().unwrap().input = vec!["expanded".into()];
    });
    let error = refused(&bytes);
    assert!(matches!(&error, ImportError::Shapes { reason, .. } if reason.contains("expansion")), "{error}");
}

#[test]
fn a_layer_norm_out_of_range_is_refused_and_not_followed_for_ever() {
    let bytes = edited("tied", |graph| {
        let norm = graph.node.iter_mut().find(|n| n.op_type == "LayerNormalization").unwrap();
        norm.attribute = vec![crate::onnx::proto::int("axis", -9)];
    });
    let error = refused(&bytes);
    assert!(
        matches!(&error, ImportError::Shapes { reason, .. } if reason.contains("normalises an axis")),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_changed_anywhere_never_panic(
        name in prop::sample::select(vec!["cnn_norm", "tied", "windows", "channels_last", "sequence_first"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        form in prop::sample::select(vec![NormForm::Folded, NormForm::Affine, NormForm::Statistics]),
    ) {
        let mut bytes = file(name);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(encoder) = import(&bytes, &ImportOptions::new(2, form)) {
            let state = state(&encoder);
            let _ = encoder.write_back(&bytes, &state);
        }
    }

    #[test]
    fn nodes_changed_anywhere_never_panic(
        name in prop::sample::select(vec!["cnn_norm", "tied", "windows", "squeeze_excite", "vit"]),
        seeds in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index, u8)>(), 1..4),
        form in prop::sample::select(vec![NormForm::Folded, NormForm::Affine, NormForm::Statistics]),
    ) {
        let bytes = edited(name, |graph| {
            for (at, other, what) in seeds {
                let from = graph.node[other.index(graph.node.len())].clone();
                let node = at.index(graph.node.len());
                match what % 6 {
                    0 => graph.node[node].op_type = from.op_type,
                    1 => graph.node[node].attribute = from.attribute,
                    2 => graph.node[node].input = from.input,
                    3 => { graph.node[node].input.pop(); }
                    4 => graph.node[node].attribute.iter_mut().for_each(|a| a.ints.iter_mut().for_each(|i| *i -= 1)),
                    _ => { graph.node[node].output.push(format!("extra{what}")); }
                }
            }
        });
        if let Ok(encoder) = import(&bytes, &ImportOptions::new(3, form)) {
            let state = state(&encoder);
            let _ = encoder.write_back(&bytes, &state);
        }
    }
}
