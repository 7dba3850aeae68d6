#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn ramp(shape: &[usize]) -> ArrayD<f32> {
    let values = (0..shape.iter().product::<usize>()).map(|i| i as f32 / 8.0 - 1.0).collect();
    ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()
}

fn sample() -> Tensors {
    [
        ("stem.weight".to_string(), ramp(&[2, 3, 3, 3])),
        ("stem.bias".to_string(), ramp(&[2])),
        ("blocks.0.scale".to_string(), ramp(&[1, 4, 1])),
        ("step".to_string(), ramp(&[])),
    ]
    .into()
}

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn fault(header: &str, data: &[u8]) -> WeightsError {
    decode(&file(header, data), TensorLimits::default()).expect_err("the file is broken")
}

/// Written by `goldens/weights.py` with the reference implementation.
#[test]
fn bytes_equal_those_of_the_python_package_both_ways() {
    let golden = include_bytes!("../goldens/weights.safetensors");
    assert_eq!(decode(golden, TensorLimits::default()).unwrap(), sample());
    assert_eq!(encode(&sample()).unwrap(), golden);
}

#[test]
fn nothing_is_a_file_too() {
    let bytes = encode(&Tensors::new()).unwrap();
    assert!(decode(&bytes, TensorLimits::default()).unwrap().is_empty());
}

#[test]
fn metadata_is_passed_over() {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let tensors = decode(&file(header, &1.5f32.to_le_bytes()), TensorLimits::default()).unwrap();
    assert_eq!(tensors["a"].iter().copied().collect::<Vec<_>>(), [1.5]);
}

#[test]
fn each_limit_is_kept() {
    let bytes = encode(&sample()).unwrap();
    let limits = TensorLimits { bytes: bytes.len() - 1, ..Default::default() };
    assert!(matches!(decode(&bytes, limits), Err(WeightsError::TooLarge { what: "bytes", .. })));
    let limits = TensorLimits { header_bytes: 16, ..Default::default() };
    assert!(matches!(decode(&bytes, limits), Err(WeightsError::TooLarge { what: "bytes of header", .. })));
    let limits = TensorLimits { tensors: 3, ..Default::default() };
    assert!(matches!(decode(&bytes, limits), Err(WeightsError::TooLarge { what: "tensors", .. })));
    let endless = u64::MAX.to_le_bytes();
    assert!(matches!(decode(&endless, TensorLimits::default()), Err(WeightsError::TooLarge { .. })));
}

#[test]
fn every_cut_is_an_error() {
    let bytes = encode(&sample()).unwrap();
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end], TensorLimits::default()).is_err(), "cut at {end}");
    }
    assert!(matches!(
        decode(&bytes[..4], TensorLimits::default()),
        Err(WeightsError::Truncated { found: 4 })
    ));
}

#[test]
fn a_damaged_header_is_told() {
    assert!(matches!(fault("[1]", &[]), WeightsError::Header { .. }));
    assert!(matches!(
        fault(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}"#, &[0; 4]),
        WeightsError::Header { reason } if reason.contains("more")
    ));
    let one = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let other = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#;
    assert_eq!(fault(&format!("{{{one},{other}}}"), &[0; 8]), WeightsError::Duplicate { name: "a".into() });
    assert!(matches!(
        fault(r#"{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]),
        WeightsError::Name { .. }
    ));
    assert!(matches!(
        fault(r#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#, &[0; 4]),
        WeightsError::DataType { found, .. } if found == "BF16"
    ));
    assert!(matches!(
        fault(r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, &[0; 4]),
        WeightsError::DataType { wanted: "F32", .. }
    ));
}

#[test]
fn shapes_and_places_must_agree() {
    let with = |shape: &str, offsets: &str, data: usize| {
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
        fault(&header, &vec![0; data])
    };
    assert!(matches!(with("[2]", "[0,4]", 4), WeightsError::Place { wanted_end: 8, .. }));
    assert!(matches!(with("[1]", "[4,8]", 8), WeightsError::Place { wanted_start: 0, .. }));
    assert!(matches!(with("[2]", "[0,8]", 4), WeightsError::DataLength { wanted: 8, found: 4 }));
    assert!(matches!(with("[1]", "[0,4]", 5), WeightsError::DataLength { wanted: 4, found: 5 }));
    assert!(matches!(with("[0,9223372036854775807,4]", "[0,0]", 0), WeightsError::Shape { .. }));
    assert!(matches!(with("[1,1,1,1,1,1,1,1,1]", "[0,4]", 4), WeightsError::Shape { .. }));
}

#[test]
fn names_that_the_layout_keeps_are_refused() {
    let tensors: Tensors = [(METADATA.to_string(), ramp(&[1]))].into();
    assert!(matches!(encode(&tensors), Err(WeightsError::Name { .. })));
}

proptest! {
    #[test]
    fn any_tensors_come_back(
        shapes in proptest::collection::btree_map("[ -~é]{1,20}", proptest::collection::vec(0usize..4, 0..4), 0..6)
    ) {
        let tensors: Tensors = shapes.into_iter().map(|(name, shape)| (name, ramp(&shape))).collect();
        prop_assert_eq!(decode(&encode(&tensors).unwrap(), TensorLimits::default()).unwrap(), tensors);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = decode(&bytes, TensorLimits::default());
    }

    #[test]
    fn changed_bytes_never_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut bytes = encode(&sample()).unwrap();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let _ = decode(&bytes, TensorLimits::default());
    }
}
