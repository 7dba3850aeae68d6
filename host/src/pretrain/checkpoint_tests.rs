#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;

use super::*;

fn checkpoint() -> Checkpoint {
    let digests = Digests { config: "c".into(), data: "d".into(), step: "s".into(), files: BTreeMap::new() };
    let header = Header {
        format: FORMAT,
        position: Position { epoch: 3, batch: 2, step: 17 },
        digests,
        second: None,
        input: InputSpec::image(4, 4, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
        running: Running {
            loss_sum: 0.1 + 0.2,
            loss: Some(1.0 / 3.0),
            knn: None,
            seconds: 1.5,
            ..Running::default()
        },
        log_bytes: 99,
        tensor_bytes: 0,
        tensor_sha256: String::new(),
    };
    let values = [f32::MIN_POSITIVE / 8.0, -0.0, 0.1, f32::MAX];
    let array = ArrayD::from_shape_vec(IxDyn(&[2, 2]), values.to_vec()).unwrap();
    Checkpoint { header, state: [("w".to_string(), array)].into() }
}

fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.sedge-run");
    checkpoint().write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (folder, path, bytes)
}

#[test]
fn every_bit_comes_back() {
    let (_folder, path, _) = written();
    let read = Checkpoint::read(&path).unwrap();
    let bits = |c: &Checkpoint| c.state["w"].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&read), bits(&checkpoint()));
    let header = Header { tensor_bytes: 0, tensor_sha256: String::new(), ..read.header };
    assert_eq!(header, checkpoint().header);
}

#[test]
fn every_cut_and_every_longer_file_is_damage() {
    let (_folder, path, bytes) = written();
    for end in 0..bytes.len() {
        std::fs::write(&path, &bytes[..end]).unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(CheckpointError::Damaged { .. })), "cut at {end}");
    }
    std::fs::write(&path, [&bytes, b"x".as_slice()].concat()).unwrap();
    assert!(matches!(Checkpoint::read(&path), Err(CheckpointError::Damaged { .. })));
}

#[test]
fn a_later_format_is_named() {
    let (_folder, path, bytes) = written();
    let text = String::from_utf8_lossy(&bytes).replacen("\"format\":1", "\"format\":7", 1);
    std::fs::write(&path, text).unwrap();
    assert!(matches!(Checkpoint::read(&path), Err(CheckpointError::Version { found: 7, .. })));
}

#[test]
fn a_state_that_is_not_finite_is_not_read() {
    let (_folder, path, _) = written();
    let mut broken = checkpoint();
    broken.state.get_mut("w").unwrap()[[0, 0]] = f32::NAN;
    broken.write(&path).unwrap();
    let error = Checkpoint::read(&path).unwrap_err();
    assert!(error.to_string().contains("`w` holds NaN"), "{error}");
}

#[test]
fn a_write_that_fails_leaves_the_one_before() {
    let (folder, path, bytes) = written();
    let elsewhere = folder.path().join("absent").join("checkpoint.sedge-run");
    assert!(matches!(checkpoint().write(&elsewhere), Err(CheckpointError::Write(_))));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changed_bytes_never_panic_and_never_change_the_state(at in any::<usize>(), value in any::<u8>()) {
        let (_folder, path, mut bytes) = written();
        let at = at % bytes.len();
        bytes[at] = value;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(read) = Checkpoint::read(&path) {
            prop_assert_eq!(read.state, checkpoint().state);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        prop_assert!(Checkpoint::read(&path).is_err());
    }
}
