//! Images and folders of them, against Pillow's reading of the same files (`goldens/make.py`).

use std::fs;
use std::path::Path;

use crate::common::golden;
use sedge_readings::{Event, NoData};
use sedge_recordings::{ImageError, ImageFolder, Limits, RecordingError, decode_image, read_image};

const LOSSLESS: [&str; 7] =
    ["rgb.png", "grey.png", "grey_alpha.png", "rgba.png", "rgb16.png", "palette.png", "bits.png"];

#[test]
fn pngs_of_every_kind_are_exact() {
    for name in LOSSLESS {
        let frame = read_image(&golden(name), &Limits::default()).unwrap();
        assert_eq!((frame.width(), frame.height()), (20, 14), "{name}");
        assert_eq!(frame.rgb(), fs::read(golden(&format!("{name}.rgb"))).unwrap(), "{name}");
    }
}

#[test]
fn jpegs_agree_within_rounding() {
    // Decoders differ in how they spread halved colours, so a subsampled edge may differ more.
    for (name, worst) in [("rgb.jpg", 4), ("progressive.jpg", 4), ("grey.jpg", 2), ("subsampled.jpg", 40)] {
        let frame = read_image(&golden(name), &Limits::default()).unwrap();
        let wanted = fs::read(golden(&format!("{name}.rgb"))).unwrap();
        assert_eq!(frame.rgb().len(), wanted.len());
        let differences: Vec<_> = frame.rgb().iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).collect();
        let mean = differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64;
        let most = differences.into_iter().max().unwrap();
        assert!(most <= worst && mean < 1.5, "{name}: at most {most}, mean {mean}");
    }
}

#[test]
fn what_a_camera_puts_behind_a_jpeg_is_ignored() {
    let bytes = fs::read(golden("rgb.jpg")).unwrap();
    let plain = decode_image(&bytes, &Limits::default()).unwrap();
    for padding in [[0, 0, 0], [0xFF, 0xFF, 0xFF], [1, 2, 3]] {
        assert_eq!(decode_image(&[&bytes[..], &padding].concat(), &Limits::default()), Ok(plain.clone()));
    }
}

#[test]
fn sizes_are_checked_before_pixels() {
    for name in ["rgb.jpg", "progressive.jpg", "rgb.png"] {
        let bytes = fs::read(golden(name)).unwrap();
        for limits in [
            Limits { image_side: 19, ..Limits::default() },
            Limits { image_pixels: 279, ..Limits::default() },
        ] {
            let answer = decode_image(&bytes, &limits);
            assert!(matches!(answer, Err(ImageError::TooLarge { width: 20, height: 14, .. })), "{answer:?}");
        }
        assert!(
            decode_image(&bytes, &Limits { image_side: 20, image_pixels: 280, ..Limits::default() }).is_ok()
        );
    }
    assert_eq!(decode_image(b"", &Limits::default()), Err(ImageError::Unrecognised { bytes: 0 }));
}

#[test]
fn files_that_are_no_images() {
    let folder = tempfile::tempdir().unwrap();
    let missing = read_image(&folder.path().join("none.png"), &Limits::default());
    assert!(matches!(missing, Err(RecordingError::Io { .. })));
    assert!(matches!(read_image(folder.path(), &Limits::default()), Err(RecordingError::NotAFile { .. })));
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    let large = read_image(&golden("rgb.png"), &limits);
    assert!(matches!(large, Err(RecordingError::TooLarge { field: "file_bytes", limit: 10, .. })));
}

fn put(folder: &Path, name: &str) {
    fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
    fs::copy(golden("rgb.png"), folder.join(name)).unwrap();
}

fn names(folder: &ImageFolder, root: &Path) -> Vec<(String, Option<u32>)> {
    let relative = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    folder.entries().iter().map(|entry| (relative(&entry.path), entry.label)).collect()
}

#[test]
fn a_flat_folder_is_a_clip() {
    let root = tempfile::tempdir().unwrap();
    for name in ["frame10.PNG", "frame9.png", "frame1.png"] {
        put(root.path(), name);
    }
    fs::write(root.path().join("frame2.jpg"), b"not a picture").unwrap();
    fs::write(root.path().join("notes.txt"), b"").unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    let folder = ImageFolder::open(root.path(), &Limits::default()).unwrap();
    let wanted = ["frame1.png", "frame2.jpg", "frame9.png", "frame10.PNG"].map(|n| (n.to_owned(), None));
    assert_eq!(names(&folder, root.path()), wanted);
    assert_eq!(folder.skipped(), 1);
    let mut events = folder.frames_at(20.0).unwrap();
    let values: Vec<_> = events
        .by_ref()
        .map(|event| match event {
            Event::Frame(reading) => (reading.at.nanos(), reading.value.map(|frame| frame.width())),
            Event::Imu(_) => panic!(),
        })
        .collect();
    let wanted =
        [(0, Ok(20)), (50_000_000, Err(NoData::Corrupt)), (100_000_000, Ok(20)), (150_000_000, Ok(20))];
    assert_eq!(values, wanted);
    assert_eq!(events.failures(), 1);
    assert!(matches!(folder.frames_at(0.0), Err(RecordingError::Rate { .. })));
}

#[test]
fn sub_folders_are_classes() {
    let root = tempfile::tempdir().unwrap();
    for name in ["dog/2.png", "dog/1.png", "cat/a.png", "cat/deeper/b.png"] {
        put(root.path(), name);
    }
    fs::create_dir(root.path().join("bird")).unwrap();
    let folder = ImageFolder::open(root.path(), &Limits::default()).unwrap();
    assert_eq!(folder.classes(), ["cat", "dog"]);
    let wanted = [("cat/a.png", 0), ("dog/1.png", 1), ("dog/2.png", 1)].map(|(n, l)| (n.to_owned(), Some(l)));
    assert_eq!(names(&folder, root.path()), wanted);
    assert_eq!(folder.decode(&folder.entries()[0]).unwrap().height(), 14);
    put(root.path(), "stray.png");
    assert!(matches!(
        ImageFolder::open(root.path(), &Limits::default()),
        Err(RecordingError::Malformed { .. })
    ));
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_not_followed() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "cat/a.png");
    symlink(root.path(), root.path().join("cat/loop")).unwrap();
    symlink(root.path(), root.path().join("loop")).unwrap();
    symlink(root.path().join("self.png"), root.path().join("self.png")).unwrap();
    symlink(golden("rgb.png"), root.path().join("cat/linked.png")).unwrap();
    let folder = ImageFolder::open(root.path(), &Limits::default()).unwrap();
    let wanted = ["cat/a.png", "cat/linked.png"].map(|n| (n.to_owned(), Some(0)));
    assert_eq!(names(&folder, root.path()), wanted);
    assert_eq!(folder.skipped(), 3);
}

#[test]
fn folders_that_are_none() {
    let root = tempfile::tempdir().unwrap();
    let open = |path: &Path, limits: &Limits| ImageFolder::open(path, limits);
    assert!(matches!(open(root.path(), &Limits::default()), Err(RecordingError::Empty { .. })));
    assert!(matches!(open(&root.path().join("no"), &Limits::default()), Err(RecordingError::Io { .. })));
    assert!(matches!(open(&golden("rgb.png"), &Limits::default()), Err(RecordingError::NotAFolder { .. })));
    put(root.path(), "a.png");
    put(root.path(), "b.png");
    let limits = Limits { entries: 1, ..Limits::default() };
    assert!(matches!(open(root.path(), &limits), Err(RecordingError::TooLarge { field: "entries", .. })));
}
