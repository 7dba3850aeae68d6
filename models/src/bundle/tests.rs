//! A small valid bundle and what becomes of it; the modules break it, one way a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use ndarray::{Array2, IxDyn};
use proptest::prelude::*;
use prost::Message;
use tar::{Builder, EntryType, Header};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};

use super::*;
use crate::input::InputSpec;
use crate::onnx::read_tests::value;
use crate::step::{InputTensor, StateSpec};

mod archives;
mod contradictions;

/// A model in which each output is a copy of the first input.
fn graph(inputs: Vec<ValueInfoProto>, outputs: Vec<ValueInfoProto>) -> Vec<u8> {
    let node = outputs
        .iter()
        .map(|output| NodeProto {
            op_type: "Identity".into(),
            input: vec![inputs[0].name.clone()],
            output: vec![output.name.clone()],
            ..Default::default()
        })
        .collect();
    let graph = GraphProto { node, input: inputs, output: outputs, ..Default::default() };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..Default::default()
    }
    .encode_to_vec()
}

fn state(name: &str, shape: &[usize], role: StateRole) -> StateSpec {
    StateSpec { name: name.into(), shape: shape.into(), role }
}

fn spec() -> StepSpec {
    StepSpec {
        objective: "nt-xent".into(),
        optimizer: "sgd".into(),
        batch: 4,
        inputs: vec![InputTensor { name: "views".into(), shape: vec![4, 3, 2, 2] }],
        scalars: vec![("lr".into(), 0.1), ("temperature".into(), 0.5)],
        state: vec![
            state("w", &[2, 3], StateRole::Parameter),
            state("w.momentum", &[2, 3], StateRole::Optimizer),
            state("norm.mean", &[3], StateRole::Statistic),
        ],
        metrics: vec!["loss".into()],
    }
}

fn step_graph() -> Vec<u8> {
    let state = [("w", vec![2, 3]), ("w.momentum", vec![2, 3]), ("norm.mean", vec![3])];
    let mut inputs = vec![value("views", &[4, 3, 2, 2]), value("lr", &[]), value("temperature", &[])];
    inputs.extend(state.iter().map(|(name, shape)| value(name, shape)));
    let mut outputs = vec![value("loss", &[])];
    outputs.extend(state.iter().map(|(name, shape)| value(&format!("{name}.next"), shape)));
    graph(inputs, outputs)
}

fn bundle() -> Bundle {
    let spec = spec();
    let array =
        |shape: &[usize], values: &[f32]| ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap();
    let initial = [
        ("w".to_string(), array(&[2, 3], &[0.5, -0.25, 1e-9, 3.0, 0.1, 7.0])),
        ("w.momentum".to_string(), ArrayD::zeros(IxDyn(&[2, 3]))),
        ("norm.mean".to_string(), array(&[3], &[0.485, 0.456, 0.406])),
    ];
    Bundle {
        manifest: Manifest {
            format: FORMAT,
            name: "tiny".into(),
            made_by: MadeBy {
                version: "0.1.0".into(),
                command: "sedge export run".into(),
                config: "epochs = 3\n".into(),
                seed: 7,
                data_digest: "00".repeat(32),
                method: "simclr".into(),
                epochs: 3,
            },
            input: InputSpec::image(2, 2, [0.5; 3], [0.25; 3]),
            embedding_dim: 5,
            training: spec.clone(),
            adaptation: AdaptationDefaults {
                lr: 0.01,
                temperature: 0.2,
                weight_decay: 0.0,
                batch: 4,
                trains: "projection head".into(),
            },
            selection: None,
            plan: None,
            parts: Vec::new(),
        },
        encoder: graph(vec![value("image", &[0, 3, 2, 2])], vec![value("embedding", &[0, 5])]),
        step: TrainingStep { spec, onnx: step_graph(), initial: initial.into() },
        reference: Reference {
            inputs: ArrayD::from_shape_fn(IxDyn(&[2, 3, 2, 2]), |at| {
                ((at[0] * 97 + at[1] * 31 + at[2] * 7 + at[3]) % 256) as f32 / 255.0
            }),
            embeddings: Array2::from_shape_fn((2, 5), |(i, j)| (i as f32 + 1.0) / (j as f32 + 3.0)),
        },
    }
}

fn bytes() -> Vec<u8> {
    bundle().to_bytes().unwrap()
}

/// What reading says of a bundle whose field was changed behind the writer's back: the writer
/// refuses the same thing, so the archive is put together here.
fn read_changed(change: impl FnOnce(&mut Bundle)) -> BundleError {
    let mut bundle = bundle();
    change(&mut bundle);
    let refused = bundle.to_bytes().expect_err("the writer must refuse what the reader does");
    let stored = bundle.step.initial.iter().filter(|(name, _)| *name != "w.momentum");
    let weights = weights::encode(&stored.map(|(n, a)| (n.clone(), a.clone())).collect()).unwrap();
    let reference = bundle.reference.encode(crate::Modality::Image).unwrap();
    let error = Bundle::from_bytes(&assemble(&bundle, &weights, &reference)).unwrap_err();
    assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&refused), "{error} / {refused}");
    error
}

/// The archive of a bundle with right digests and no check.
fn assemble(bundle: &Bundle, weights: &[u8], reference: &[u8]) -> Vec<u8> {
    let parts = [bundle.encoder.as_slice(), &bundle.step.onnx, weights, reference];
    let digests = PARTS.iter().skip(1).zip(parts).map(|(name, part)| PartDigest {
        name: name.to_string(),
        bytes: part.len() as u64,
        sha256: archive::sha256(part),
    });
    let manifest = Manifest { parts: digests.collect(), ..bundle.manifest.clone() }.encode().unwrap();
    archive::pack([&manifest, parts[0], parts[1], parts[2], parts[3]]).unwrap()
}

/// What reading says of a manifest edited as text.
fn edited(from: &str, to: &str) -> BundleError {
    let bytes = bytes();
    let [manifest, a, b, c, d] = archive::unpack(&bytes).unwrap();
    let text = String::from_utf8(manifest.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    let manifest = text.replacen(from, to, 1);
    Bundle::from_bytes(&archive::pack([manifest.as_bytes(), a, b, c, d]).unwrap()).unwrap_err()
}

/// What reading says of an archive of the given entries.
fn archived(entries: &[(&[u8], EntryType, &[u8])]) -> BundleError {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, data) in entries {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(*kind);
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    Bundle::from_bytes(&builder.into_inner().unwrap()).unwrap_err()
}

const FILE: EntryType = EntryType::Regular;

#[test]
fn what_is_packed_comes_back() {
    let (packed, original) = (bytes(), bundle());
    let read = Bundle::from_bytes(&packed).unwrap();
    assert_eq!(read.manifest, Manifest { parts: read.manifest.parts.clone(), ..original.manifest.clone() });
    assert_eq!(read.encoder, original.encoder);
    assert_eq!(read.step.onnx, original.step.onnx);
    assert_eq!(read.step.initial, original.step.initial);
    assert_eq!(read.reference, original.reference);
    assert_eq!(read.to_bytes().unwrap(), packed);
    assert_eq!(read.digest().unwrap(), original.digest().unwrap());
}

#[test]
fn windows_come_back_bit_for_bit() {
    let mut bundle = bundle();
    bundle.manifest.input = InputSpec::imu(8, 50.0, vec![0.1; 6], vec![0.3; 6]);
    bundle.manifest.training.inputs[0].shape = vec![4, 6, 8];
    bundle.step.spec = bundle.manifest.training.clone();
    bundle.encoder = graph(vec![value("window", &[0, 6, 8])], vec![value("embedding", &[0, 5])]);
    let step = step_graph();
    let mut model = ModelProto::decode(step.as_slice()).unwrap();
    model.graph.as_mut().unwrap().input[0] = value("views", &[4, 6, 8]);
    bundle.step.onnx = model.encode_to_vec();
    bundle.reference.inputs = ArrayD::from_shape_fn(IxDyn(&[2, 6, 8]), |at| (at[1] * at[2]) as f32 * -9.81);
    let read = Bundle::from_bytes(&bundle.to_bytes().unwrap()).unwrap();
    assert_eq!(read.reference, bundle.reference);
}

#[test]
fn the_digest_is_the_manifests_and_follows_every_part() {
    let packed = bytes();
    let manifest = archive::unpack(&packed).unwrap()[0];
    assert_eq!(bundle().digest().unwrap(), archive::sha256(manifest));
    let mut other = bundle();
    other.reference.embeddings[[0, 0]] += 1.0;
    assert_ne!(bundle().digest().unwrap(), other.digest().unwrap());
}

/// FIPS 180-4, example for "abc".
#[test]
fn digests_are_sha256_in_hexadecimal() {
    let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(archive::sha256(b"abc"), wanted);
}

#[test]
fn any_tar_lists_the_parts_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.sedge");
    bundle().write(&path).unwrap();
    let Ok(output) = std::process::Command::new("tar").arg("tf").arg(&path).output() else {
        eprintln!("skipped: no tar on this machine");
        return;
    };
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", PARTS.join("\n")));
}

#[test]
fn writing_replaces_whole_and_reading_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.sedge");
    std::fs::write(&path, "older").unwrap();
    bundle().write(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(Bundle::read(&path).unwrap().manifest.name, "tiny");

    let absent = folder.path().join("absent").join("tiny.sedge");
    let error = bundle().write(&absent).unwrap_err();
    assert!(matches!(&error, BundleError::File { path, .. } if *path == absent));
    let inside = |path: &Path| match Bundle::read(path) {
        Err(BundleError::File { source, .. }) => *source,
        other => panic!("{other:?}"),
    };
    assert!(matches!(inside(&absent), BundleError::Io { .. }));
    assert!(matches!(inside(folder.path()), BundleError::NotAFile));
}

#[test]
fn a_bundle_that_does_not_fit_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.sedge");
    std::fs::write(&path, "older").unwrap();
    let mut broken = bundle();
    broken.manifest.embedding_dim = 6;
    broken.write(&path).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), b"older");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
    }

    /// Any change of a part is seen by its digest; a change that goes through was in a part of the
    /// tar header that means nothing, or in a free text of the manifest.
    #[test]
    fn changed_bundles_never_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..5)) {
        let mut bytes = bytes();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(read) = Bundle::from_bytes(&bytes) {
            prop_assert_eq!(read.step.initial, bundle().step.initial);
        }
    }

    /// Parts changed with right digests reach the parsers behind them.
    #[test]
    fn changed_parts_never_panic(part in 0usize..5, changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..5)) {
        let packed = bytes();
        let mut parts = archive::unpack(&packed).unwrap().map(<[u8]>::to_vec);
        for (at, value) in changes {
            let at = at % parts[part].len();
            parts[part][at] = value;
        }
        let [manifest, encoder, step, weights, reference] = parts;
        let mut changed = bundle();
        changed.encoder = encoder;
        changed.step.onnx = step;
        let archive = if part == 0 {
            archive::pack([&manifest, &changed.encoder, &changed.step.onnx, &weights, &reference]).unwrap()
        } else {
            assemble(&changed, &weights, &reference)
        };
        let _ = Bundle::from_bytes(&archive);
    }
}

#[test]
fn a_plan_and_a_selection_come_back_and_a_plan_that_cannot_be_is_refused() {
    let mut planned = bundle();
    let plan = crate::plan::Plan { peak_bytes: 5_000, state_bytes: 400, ..Default::default() };
    planned.manifest.plan = Some(plan);
    planned.manifest.selection = Some("bias+last:1".parse().unwrap());
    let read = Bundle::from_bytes(&planned.to_bytes().unwrap()).unwrap();
    assert_eq!(read.manifest.plan, planned.manifest.plan);
    assert_eq!(read.manifest.selection, planned.manifest.selection);
    let plain = String::from_utf8(bundle().encode_parts().unwrap().manifest).unwrap();
    assert!(!plain.contains("\"plan\"") && !plain.contains("\"selection\""), "{plain}");
    let refused = read_changed(|bundle| {
        bundle.manifest.plan = Some(crate::plan::Plan { peak_bytes: u64::MAX, ..Default::default() });
    });
    assert!(matches!(refused, BundleError::Field { .. }), "{refused}");
}
