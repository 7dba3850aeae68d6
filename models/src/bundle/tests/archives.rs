//! Archives that are too large, cut, padded, out of order or not what their manifest states.

use super::*;

#[test]
fn a_sparse_file_of_any_size_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.sedge");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let Err(BundleError::File { source, .. }) = Bundle::read(&path) else { panic!() };
    assert!(matches!(*source, BundleError::TooLarge { found, .. } if found == 1 << 40));
}

#[test]
fn a_part_beyond_its_limit() {
    let mut header = Header::new_ustar();
    header.set_path("manifest.json").unwrap();
    header.set_size(1 << 40);
    header.set_entry_type(FILE);
    header.set_cksum();
    let error = Bundle::from_bytes(header.as_bytes()).unwrap_err();
    assert!(matches!(error, BundleError::TooLarge { what, .. } if what == "manifest.json"));
}

#[test]
fn every_cut_is_an_error() {
    let bytes = bytes();
    for end in (0..bytes.len()).step_by(61) {
        assert!(Bundle::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
    }
    let error = Bundle::from_bytes(&bytes[..600]).unwrap_err();
    assert!(matches!(&error, BundleError::Truncated { place } if place.contains("manifest")), "{error}");
    let error = Bundle::from_bytes(&bytes[..bytes.len() - 1024]).unwrap_err();
    assert!(matches!(&error, BundleError::Truncated { place } if place.contains("end mark")), "{error}");
}

#[test]
fn something_else_is_not_a_bundle() {
    let error = Bundle::from_bytes(&[0x50; 2048]).unwrap_err();
    assert!(matches!(error, BundleError::Archive { .. }), "{error}");
}

#[test]
fn bytes_behind_the_end() {
    let mut bytes = bytes();
    bytes.extend([0; 4096]);
    Bundle::from_bytes(&bytes).unwrap();
    bytes.push(1);
    let error = Bundle::from_bytes(&bytes).unwrap_err();
    assert!(matches!(error, BundleError::TrailingBytes { offset } if offset == bytes.len() as u64 - 1));
}

#[test]
fn names_that_lead_elsewhere() {
    for name in ["../manifest.json", "/etc/passwd", "a/b", "..", "c:manifest.json", "..\\x"] {
        let error = archived(&[(name.as_bytes(), FILE, b"{}")]);
        assert!(matches!(&error, BundleError::UnsafePath { path } if path == name), "{name}: {error}");
    }
}

#[test]
fn only_plain_files() {
    for kind in [
        EntryType::Link,
        EntryType::Symlink,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::GNULongName,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let error = archived(&[(b"manifest.json", kind, b"")]);
        assert!(matches!(error, BundleError::NotPlain { .. }), "{kind:?}: {error}");
    }
}

#[test]
fn unknown_duplicate_missing_and_misplaced_parts() {
    let error = archived(&[(b"extra.bin", FILE, b"")]);
    assert!(matches!(error, BundleError::UnknownPart { name } if name == "extra.bin"));
    let error = archived(&[(b"manifest.json", FILE, b"{}"), (b"manifest.json", FILE, b"{}")]);
    assert!(matches!(error, BundleError::DuplicatePart { name } if name == "manifest.json"));
    let error = archived(&[(b"manifest.json", FILE, b"{}"), (b"encoder.onnx", FILE, b"")]);
    assert!(matches!(error, BundleError::MissingPart { name: "step.onnx" }));
    let error = archived(&[(b"encoder.onnx", FILE, b"")]);
    assert!(matches!(error, BundleError::PartOrder { found: "encoder.onnx", wanted: "manifest.json" }));
    let all: Vec<_> = PARTS.iter().map(|name| (name.as_bytes(), FILE, b"".as_slice())).collect();
    let twice = [all.as_slice(), &all[4..]].concat();
    assert!(matches!(archived(&twice), BundleError::DuplicatePart { name } if name == "reference.bin"));
    let more = [all.as_slice(), &[(b"more".as_slice(), FILE, b"".as_slice())]].concat();
    assert!(matches!(archived(&more), BundleError::UnknownPart { name } if name == "more"));
}

#[test]
fn a_later_version_says_which_is_read() {
    let error = edited("\"format\": 1", "\"format\": 2, \"unheard_of\": true");
    assert!(matches!(error, BundleError::Version { found: 2, reads: 1 }));
    assert!(error.to_string().contains("reads version 1"), "{error}");
    assert!(matches!(edited("\"format\": 1", "\"format\": 0"), BundleError::Field { .. }));
}

#[test]
fn unknown_fields_are_named() {
    let error = edited("\"name\"", "\"nom\": 1, \"name\"");
    assert!(matches!(&error, BundleError::Manifest { reason } if reason.contains("nom")), "{error}");
    let error = edited("\"lr\": 0.01", "\"lr\": 0.01, \"momentum\": 1");
    assert!(matches!(&error, BundleError::Manifest { reason } if reason.contains("momentum")), "{error}");
    assert!(matches!(edited("{", "["), BundleError::Manifest { .. }));
}

#[test]
fn digests_and_sizes_must_be_those_stated() {
    let mut damaged = bytes();
    let at = damaged.windows(9).position(|w| w == b"embedding").unwrap();
    // The first hit is in the manifest; the graph behind it names its output so too.
    let at = at + 1 + damaged[at + 1..].windows(9).rposition(|w| w == b"embedding").unwrap();
    damaged[at] = b'E';
    let error = Bundle::from_bytes(&damaged).unwrap_err();
    assert!(matches!(error, BundleError::Digest { .. }), "{error}");

    let size = format!("\"bytes\": {}", bundle().encoder.len());
    assert!(matches!(edited(&size, "\"bytes\": 1"), BundleError::PartSize { name: "encoder.onnx", .. }));
    let error = edited("\"name\": \"encoder.onnx\"", "\"name\": \"other.onnx\"");
    assert!(matches!(error, BundleError::PartList { .. }), "{error}");
}
