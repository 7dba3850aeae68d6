//! Whole archives with right digests whose parts contradict the manifest or each other.

use super::*;

#[test]
fn fields_out_of_range_are_named() {
    let named = |error: BundleError, wanted: &str| {
        assert!(matches!(&error, BundleError::Field { field, .. } if field == wanted), "{error}");
    };
    named(read_changed(|b| b.manifest.adaptation.lr = 0.0), "adaptation.lr");
    named(read_changed(|b| b.manifest.adaptation.temperature = -1.0), "adaptation.temperature");
    named(read_changed(|b| b.manifest.adaptation.weight_decay = -1.0), "adaptation.weight_decay");
    named(read_changed(|b| b.manifest.adaptation.batch = 8), "adaptation.batch");
    named(read_changed(|b| b.manifest.embedding_dim = 0), "embedding_dim");
    named(read_changed(|b| b.manifest.name = "two\nlines".into()), "name");
    named(read_changed(|b| b.manifest.training.batch = 0), "training.batch");
    named(read_changed(|b| b.manifest.training.metrics = vec!["accuracy".into()]), "training.metrics");
    named(read_changed(|b| b.manifest.training.inputs.clear()), "training.inputs");
    named(read_changed(|b| b.manifest.training.state.truncate(0)), "training.state");
    named(read_changed(|b| b.manifest.training.state[1].shape = vec![1 << 40, 1 << 40]), "training.state");
}

#[test]
fn a_contradicting_input_specification() {
    let error = read_changed(|b| b.manifest.input.std[1] = 0.0);
    assert!(matches!(error, BundleError::Input(_)), "{error}");
}

#[test]
fn one_name_twice_in_the_training_step() {
    let error = read_changed(|b| b.manifest.training.state[2].name = "lr".into());
    assert!(matches!(&error, BundleError::DuplicateName { name } if name == "lr"), "{error}");
}

#[test]
fn shapes_that_contradict_the_specifications() {
    let shape = |error: BundleError, part: &str| {
        assert!(matches!(&error, BundleError::Shape { what, .. } if what.contains(part)), "{error}");
    };
    shape(read_changed(|b| b.manifest.input = InputSpec::image(4, 4, [0.0; 3], [1.0; 3])), "views");
    shape(
        read_changed(|b| drop(b.step.initial.insert("w".into(), ArrayD::zeros(IxDyn(&[3, 2]))))),
        "`w` in `weights.bin`",
    );
    shape(read_changed(|b| b.reference.inputs = ArrayD::zeros(IxDyn(&[2, 3, 2, 3]))), "reference inputs");
    shape(read_changed(|b| b.reference.embeddings = Array2::zeros((2, 6))), "reference embeddings");
    let none = read_changed(|b| {
        b.reference.inputs = ArrayD::zeros(IxDyn(&[0, 3, 2, 2]));
        b.reference.embeddings = Array2::zeros((0, 5));
    });
    assert!(matches!(none, BundleError::Field { .. }), "{none}");
}

#[test]
fn tensors_missing_or_unasked_for() {
    let error = read_changed(|b| drop(b.step.initial.remove("w")));
    assert!(matches!(&error, BundleError::MissingTensor { name, .. } if name == "w"), "{error}");
    let error = read_changed(|b| drop(b.step.initial.insert("v".into(), ArrayD::zeros(IxDyn(&[1])))));
    assert!(matches!(&error, BundleError::UnknownTensor { name, .. } if name == "v"), "{error}");
    // Optimiser state is never stored, so a file that stores it was not written by us.
    let bundle = bundle();
    let weights = weights::encode(&bundle.step.initial).unwrap();
    let reference = bundle.reference.encode(crate::Modality::Image).unwrap();
    let error = Bundle::from_bytes(&assemble(&bundle, &weights, &reference)).unwrap_err();
    assert!(matches!(&error, BundleError::UnknownTensor { name, .. } if name == "w.momentum"), "{error}");
}

#[test]
fn weights_and_embeddings_that_are_not_numbers() {
    for value in [f32::NAN, f32::INFINITY] {
        let error = read_changed(|b| b.step.initial.get_mut("w").unwrap()[[1, 2]] = value);
        assert!(
            matches!(&error, BundleError::NotFinite { part: "weights.bin", name } if name == "w"),
            "{error}"
        );
    }
    let error = read_changed(|b| b.reference.embeddings[[0, 1]] = f32::NAN);
    assert!(matches!(error, BundleError::NotFinite { part: "reference.bin", .. }));
}

#[test]
fn what_a_bundle_cannot_keep_is_refused_when_packing() {
    let mut moved = bundle();
    moved.step.initial.get_mut("w.momentum").unwrap()[[0, 0]] = 1.0;
    assert!(matches!(moved.to_bytes(), Err(BundleError::OptimizerState { name }) if name == "w.momentum"));
    let mut between = bundle();
    between.reference.inputs[[0, 0, 0, 0]] = 0.5;
    assert!(matches!(between.to_bytes(), Err(BundleError::ReferenceValue { .. })));
    let mut other = bundle();
    other.step.spec.objective = "vicreg".into();
    assert!(matches!(other.to_bytes(), Err(BundleError::Field { field, .. }) if field == "training"));
}

#[test]
fn texts_hold_numbers_of_tokens_only() {
    let text = crate::Modality::Text;
    let reference = |value: f32| Reference {
        inputs: ndarray::ArrayD::from_elem(ndarray::IxDyn(&[2, 3]), value),
        embeddings: ndarray::Array2::zeros((2, 5)),
    };
    let limits = TensorLimits::default();
    for value in [0.0, 97.0, 258.0] {
        let bytes = reference(value).encode(text).unwrap();
        assert_eq!(Reference::decode(&bytes, text, limits).unwrap(), reference(value));
    }
    for value in [-1.0, 0.5, 259.0, f32::NAN, f32::INFINITY] {
        let refused = reference(value).encode(text).unwrap_err();
        assert!(matches!(refused, BundleError::ReferenceToken { .. }), "{refused}");
        let bytes = reference(value).encode(crate::Modality::Imu).unwrap();
        assert!(Reference::decode(&bytes, text, limits).is_err(), "{value}");
    }
}

#[test]
fn a_tensor_part_that_is_none() {
    let bundle = bundle();
    let reference = bundle.reference.encode(crate::Modality::Image).unwrap();
    let error = Bundle::from_bytes(&assemble(&bundle, b"nothing", &reference)).unwrap_err();
    assert!(matches!(error, BundleError::Weights { part: "weights.bin", .. }), "{error}");
    let windows = bundle.reference.encode(crate::Modality::Imu).unwrap();
    let weights = weights::encode(&Tensors::new()).unwrap();
    let error = Bundle::from_bytes(&assemble(&bundle, &weights, &windows)).unwrap_err();
    assert!(matches!(error, BundleError::Weights { part: "reference.bin", .. }), "{error}");
}

#[test]
fn graphs_that_are_not_read_or_do_not_fit() {
    let error = read_changed(|b| b.encoder.truncate(20));
    assert!(matches!(error, BundleError::Onnx { part: "encoder.onnx", .. }), "{error}");
    let fits = |error: BundleError, words: &str| {
        assert!(matches!(&error, BundleError::Graph { reason, .. } if reason.contains(words)), "{error}");
    };
    let pair = |input: &[i64], output: &[i64]| graph(vec![value("i", input)], vec![value("o", output)]);
    fits(read_changed(|b| b.encoder = pair(&[0, 3, 4, 4], &[0, 5])), "[batch, 3, 2, 2] is wanted");
    fits(read_changed(|b| b.encoder = pair(&[0, 3, 2, 2], &[0, 7])), "[batch, 5] is wanted");
    fits(read_changed(|b| b.encoder = step_graph()), "an encoder has one of each");
    fits(read_changed(|b| b.step.onnx = pair(&[4, 3, 2, 2], &[1])), "no input `views`");
    let renamed = |b: &mut Bundle, from: &str, to: ValueInfoProto| {
        let mut model = ModelProto::decode(b.step.onnx.as_slice()).unwrap();
        let graph = model.graph.as_mut().unwrap();
        let values = graph.input.iter_mut().chain(&mut graph.output);
        for value in values.filter(|v| v.name == from) {
            *value = to.clone();
        }
        for node in graph.node.iter_mut().filter(|n| n.output[0] == from) {
            node.output[0] = to.name.clone();
        }
        b.step.onnx = model.encode_to_vec();
    };
    fits(read_changed(|b| renamed(b, "w.next", value("w.after", &[2, 3]))), "no output `w.next`");
    fits(read_changed(|b| renamed(b, "w", value("w", &[3, 2]))), "`w` has shape [3, 2]");
    let extra = |b: &mut Bundle| {
        let mut model = ModelProto::decode(b.step.onnx.as_slice()).unwrap();
        model.graph.as_mut().unwrap().input.push(value("dropout", &[]));
        b.step.onnx = model.encode_to_vec();
    };
    fits(read_changed(extra), "an input `dropout`");
}
