#![allow(clippy::unwrap_used, clippy::panic)]
use sedge_boards::board::{CameraKind, PixelFormat};

use super::*;
use crate::pixels::{Colour, Levels, Matrix};

fn open(root: &Path, device: &str) -> Result<V4l2, CameraError> {
    let spec = CameraSpec {
        name: "eye".into(),
        kind: CameraKind::V4l2,
        device: Some(device.into()),
        command: None,
        format: Some(PixelFormat::Yuyv),
        width: 320,
        height: 180,
        rate_hz: 10,
        exposure_us: None,
    };
    V4l2::open(root, &spec, Layout::of(&spec).unwrap())
}

#[test]
fn what_is_no_camera_is_named_with_what_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    let error = open(root.path(), "/dev/video0").unwrap_err();
    assert!(matches!(&error, CameraError::Open { device, .. } if device.ends_with("dev/video0")), "{error}");
    assert!(error.to_string().contains("plugged in"), "{error}");
    std::fs::create_dir(root.path().join("dev")).unwrap();
    std::fs::write(root.path().join("dev/video0"), "").unwrap();
    let error = open(root.path(), "/dev/video0").unwrap_err();
    assert!(matches!(error, CameraError::NoCamera { why: "is no device of the kernel's", .. }), "{error}");
    // A device, but no camera: it knows none of the calls.
    let error = open(Path::new("/"), "/dev/null").unwrap_err();
    assert!(matches!(error, CameraError::NoCamera { why: "does not speak Video4Linux", .. }), "{error}");
}

#[test]
fn colours_are_as_the_driver_says_and_else_as_the_kernel_documents() {
    use layout::{COLORSPACE_JPEG, COLORSPACE_REC709, ENCODING_601, ENCODING_709, Format, LEVELS_FULL};
    let of = |colorspace, encoding, quantization| {
        negotiate::colours(&Format { colorspace, encoding, quantization, ..Format::default() })
    };
    let limited = Colour::new(Matrix::Bt601, Levels::Limited);
    assert_eq!(of(8, 0, 0), (limited, Levels::Full), "sRGB");
    assert_eq!(of(COLORSPACE_JPEG, 0, 0).0, Colour::new(Matrix::Bt601, Levels::Full));
    assert_eq!(of(COLORSPACE_REC709, 0, 0).0, Colour::new(Matrix::Bt709, Levels::Limited));
    assert_eq!(of(COLORSPACE_REC709, ENCODING_601, 0).0, limited);
    assert_eq!(of(8, ENCODING_709, LEVELS_FULL).0, Colour::new(Matrix::Bt709, Levels::Full));
    assert_eq!(of(8, 0, layout::LEVELS_LIMITED).1, Levels::Limited);
}

#[test]
fn what_the_kernel_says_is_taken_for_what_it_means() {
    let names = Names { camera: "eye".into(), device: "/dev/video0".into() };
    assert!(matches!(names.failed("x", Errno::NODEV), CameraError::Gone { .. }));
    assert!(matches!(names.failed("x", Errno::BUSY), CameraError::Busy { .. }));
    assert!(matches!(names.failed("x", Errno::IO), CameraError::Kernel { .. }));
}
