#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use sedge_boards::board::CameraKind;

use super::*;

fn spec(format: PixelFormat, width: u32, height: u32) -> CameraSpec {
    CameraSpec {
        name: "eye".into(),
        kind: CameraKind::Pipe,
        device: None,
        command: None,
        format: Some(format),
        width,
        height,
        rate_hz: 30,
        exposure_us: None,
    }
}

fn layout(format: PixelFormat, width: u32, height: u32) -> Layout {
    Layout::of(&spec(format, width, height)).unwrap()
}

/// A smooth picture of 48 x 32.
fn picture() -> Vec<u8> {
    let pixels = (0..48 * 32).flat_map(|at| [(at % 48 * 5) as u8, (at / 48 * 7) as u8, 90]);
    let mut bytes = vec![];
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    encoder.encode(&pixels.collect::<Vec<_>>(), 48, 32, image::ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// A JPEG without its segments of Huffman tables.
fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let (mut kept, mut at) = (jpeg[..2].to_vec(), 2);
    while jpeg[at + 1] != 0xDA {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != 0xC4 {
            kept.extend_from_slice(&jpeg[at..end]);
        }
        at = end;
    }
    kept.extend_from_slice(&jpeg[at..]);
    kept
}

#[test]
fn what_no_camera_has_is_refused_by_its_key() {
    let key = |spec: CameraSpec| match Layout::of(&spec) {
        Err(CameraError::Setting { key, .. }) => key,
        other => format!("{other:?}").leak(),
    };
    assert_eq!(key(spec(PixelFormat::Mjpeg, 0, 8)), "width");
    assert_eq!(key(spec(PixelFormat::Mjpeg, 8, 5000)), "height");
    assert_eq!(key(spec(PixelFormat::Yuyv, 9, 8)), "width");
    assert_eq!(key(spec(PixelFormat::Nv12, 8, 9)), "height");
    assert_eq!(key(CameraSpec { rate_hz: 0, ..spec(PixelFormat::Grey, 8, 8) }), "rate_hz");
    assert_eq!(key(CameraSpec { format: None, ..spec(PixelFormat::Grey, 8, 8) }), "format");
}

#[test]
fn a_jpeg_without_tables_is_the_same_picture() {
    let (whole, bare) = (picture(), without_tables(&picture()));
    assert!(bare.len() + 400 < whole.len());
    assert!(decode_image(&bare, &Limits::default()).is_err(), "nothing is to be put in");
    let layout = layout(PixelFormat::Mjpeg, 48, 32);
    assert_eq!(layout.decode(&bare).unwrap(), layout.decode(&whole).unwrap());
    assert!(matches!(jpeg::with_tables(&whole), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn a_jpeg_of_another_size_is_refused_before_it_is_decoded() {
    let picture = picture();
    for (width, height) in [(48, 31), (32, 48), (8, 8), (64, 32)] {
        let error = layout(PixelFormat::Mjpeg, width, height).decode(&picture).unwrap_err();
        assert!(matches!(error, FrameError::Size { width: 48, height: 32, .. }), "{error}");
    }
    // A header that claims the largest picture there is.
    let mut huge = picture;
    let header = huge.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    huge[header + 5..header + 9].fill(0xFF);
    let error = layout(PixelFormat::Mjpeg, 48, 32).decode(&huge).unwrap_err();
    assert!(matches!(error, FrameError::Size { width: 65535, height: 65535, .. }), "{error}");
}

#[test]
fn a_cut_jpeg_is_no_frame() {
    let picture = picture();
    let layout = layout(PixelFormat::Mjpeg, 48, 32);
    for length in [0, 2, 3, 20, picture.len() / 2, picture.len() - 2] {
        assert!(matches!(layout.decode(&picture[..length]), Err(FrameError::Jpeg(_))), "{length}");
    }
    // Padding after the end is what drivers add.
    assert!(layout.decode(&[&picture[..], &[0; 64]].concat()).is_ok());
}

#[test]
fn raw_frames_are_as_long_as_they_must_be() {
    for (format, bytes) in [(PixelFormat::Yuyv, 96), (PixelFormat::Nv12, 72), (PixelFormat::Grey, 48)] {
        let layout = layout(format, 8, 6);
        assert_eq!(layout.bytes(), bytes);
        assert!(layout.decode(&vec![128; bytes]).is_ok());
        let error = layout.decode(&vec![128; bytes - 1]).unwrap_err();
        assert_eq!(error, FrameError::Short { found: bytes - 1, wanted: bytes });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes changed, taken out and put in: an error or a frame of the right size, and never a panic.
    #[test]
    fn a_mutated_jpeg_is_a_frame_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        bare in any::<bool>(),
    ) {
        let mut bytes = if bare { without_tables(&picture()) } else { picture() };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let from = cut.index(bytes.len());
        if from % 3 == 0 {
            bytes.drain(from..(from + 5).min(bytes.len()));
        }
        if let Ok(frame) = layout(PixelFormat::Mjpeg, 48, 32).decode(&bytes) {
            prop_assert_eq!((frame.width(), frame.height()), (48, 32));
        }
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [PixelFormat::Mjpeg, PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey] {
            let layout = layout(format, 8, 6);
            if let Ok(frame) = layout.decode(&bytes) {
                prop_assert!(bytes.len() >= layout.bytes());
                prop_assert_eq!(frame.rgb().len(), 8 * 6 * 3);
            }
            let marked = [&[0xFF, 0xD8, 0xFF], &bytes[..], &[0xFF, 0xDA, 0xFF, 0xD9]].concat();
            let _ = layout.decode(&marked);
        }
    }
}
