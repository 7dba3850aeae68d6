//! A script in the place of `ffmpeg`, which says what it was asked and gives known bytes; and the real one,
//! where there is one.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::super::{Dataset, Samples, load};
use super::testing::{encode, has_ffmpeg};
use super::*;

/// A folder with programs of these scripts, and options that name the first.
fn programs(ffmpeg: &str, ffprobe: &str) -> (TempDir, LoadOptions) {
    let folder = TempDir::new().unwrap();
    for (name, script) in [("ffmpeg", ffmpeg), ("ffprobe", ffprobe)] {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(folder.path().join("a.mp4"), b"video").unwrap();
    let options = LoadOptions { ffmpeg: Some(folder.path().join("ffmpeg")), ..LoadOptions::default() };
    (folder, options)
}

fn pixels(data: &Dataset, index: usize) -> &[u8] {
    let Samples::Images { pixels, .. } = data.samples() else { unreachable!() };
    let stride = pixels.len() / data.len();
    &pixels[index * stride..][..stride]
}

const THREE_FRAMES: &str =
    r#"echo '{"streams": [{"width": 2, "height": 1, "avg_frame_rate": "3/1", "duration": "1.0"}]}'"#;

#[test]
fn frames_are_read_one_by_one_and_missing_ones_are_named() {
    let (folder, options) = programs("printf 'abcdefABCDEFghijkl'", THREE_FRAMES);
    let data = load(folder.path().join("a.mp4"), &options).unwrap();
    assert_eq!(pixels(&data, 1), b"ABCDEF");
    assert_eq!((data.len(), data.groups(), data.order()[2]), (3, [0, 0, 0].as_slice(), 666_666_667));
    // The last frame may fall to rounding; half a frame is an error.
    let (folder, options) = programs("printf 'abcdefABCDEF'", THREE_FRAMES);
    assert_eq!(load(folder.path(), &options).unwrap().skipped().count(), 0);
    let (folder, options) = programs("printf 'abcdefABC'; echo 'moov is gone' >&2; exit 7", THREE_FRAMES);
    let data = load(folder.path(), &options).unwrap();
    assert_eq!((data.len(), data.skipped().count()), (1, 2));
    let why = &data.skipped().named()[0].why;
    assert!(why.contains("moov is gone") && why.contains('7'), "{why}");
    let none = load(folder.path(), &LoadOptions { max_skipped: 1, ..options });
    assert!(matches!(none, Err(DataError::TooManySkipped { limit: 1, .. })));
}

#[test]
fn what_is_missing_or_broken_is_said() {
    let (folder, options) = programs("", "echo 'Invalid data' >&2; exit 1");
    let broken = load(folder.path().join("a.mp4"), &options).unwrap_err();
    assert!(matches!(&broken, DataError::Video { why, .. } if why.contains("Invalid data")), "{broken}");
    let (_gone, absent) = (folder, LoadOptions { ffmpeg: Some("/nowhere/ffmpeg".into()), ..options });
    let told = load(_gone.path().join("a.mp4"), &absent).unwrap_err();
    assert!(matches!(told, DataError::Program { .. }));
    assert!(told.to_string().contains("apt install ffmpeg"), "{told}");
    for (answer, said) in [
        ("{}", "holds no video"),
        (r#"{"streams": [{"width": 99999, "height": 2}]}"#, "99999x2"),
        (r#"{"streams": [{"width": 9, "height": 2, "avg_frame_rate": "0/0"}]}"#, "frame rate"),
        (
            r#"{"streams": [{"width": 9, "height": 2, "avg_frame_rate": "9/1", "duration": "1e30"}]}"#,
            "claims",
        ),
        (r#"{"streams": [{"width": 9, "height": 2, "avg_frame_rate": "9/1"}]}"#, "length"),
        ("no json", "ffprobe"),
    ] {
        let (folder, options) = programs("", &format!("echo '{answer}'"));
        let error = load(folder.path(), &options).unwrap_err().to_string();
        assert!(error.contains(said), "{answer}: {error}");
    }
}

#[test]
fn a_program_that_never_ends_is_ended() {
    let (folder, options) = programs("while true; do printf 'abcdef'; done", THREE_FRAMES);
    let path = folder.path().join("a.mp4");
    let wanted = Span { from: 0.0, fps: 3.0, frames: 9, size: (2, 1) };
    let mut frames = Ffmpeg::new(&options).frames(&path, &wanted).unwrap();
    assert!(frames.next().unwrap().is_some());
    drop(frames);
    assert_eq!(load(&path, &options).unwrap().len(), 3);
}

#[test]
fn turned_video_is_probed_upright() {
    let answer = |turn: &str| {
        let text = format!(
            r#"{{"streams": [{{"width": 8, "height": 4, "avg_frame_rate": "5/2", "duration": "2", {turn}}}]}}"#
        );
        probe_of(&serde_json::from_str(&text).unwrap()).unwrap().unwrap()
    };
    let plain = answer(r#""tags": {}"#);
    assert_eq!(plain, Probe { width: 8, height: 4, rate: 2.5, seconds: 2.0 });
    assert_eq!(answer(r#""side_data_list": [{"rotation": -90}]"#).width, 4);
    assert_eq!(answer(r#""tags": {"rotate": "180"}"#).width, 8);
}

#[test]
fn videos_of_every_kind_are_decoded_at_the_size_and_rate_asked_for() {
    if !has_ffmpeg() {
        return;
    }
    let colours: Vec<[u8; 3]> = (0..30).map(|i| [8 * i, 200 - 5 * i, 60]).collect();
    for kind in ["mp4", "mkv", "avi", "mjpeg"] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(format!("a.{kind}"));
        encode(&path, (48, 32), 25, &colours);
        let options = LoadOptions { image_size: Some(8), ..LoadOptions::default() };
        let data = load(folder.path(), &options).unwrap();
        assert_eq!((data.len(), data.bytes()), (30, 30 * 192), "{kind}");
        for (index, wanted) in colours.iter().enumerate() {
            let seen = &pixels(&data, index)[..3];
            assert!(
                seen.iter().zip(wanted).all(|(a, b)| a.abs_diff(*b) <= 8),
                "{kind} {index}: {seen:?} {wanted:?}"
            );
        }
        let few = load(&path, &LoadOptions { fps: Some(5.0), ..LoadOptions::default() }).unwrap();
        assert_eq!((few.len(), few.bytes()), (6, 6 * 48 * 32 * 3), "{kind}");
        let from = pixels(&few, 2)[0];
        assert!(from.abs_diff(80) <= 24, "{from}");
    }
}
