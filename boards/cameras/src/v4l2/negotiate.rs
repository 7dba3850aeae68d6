//! What a device is, and the agreement with it on format, size, rate and exposure.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use sedge_boards::board::{CameraSpec, PixelFormat};

use super::layout::{
    CAN_SET_RATE, CAP_CAPTURE, CAP_CAPTURE_PLANES, CAP_DEVICE, CAP_STREAMING, COLORSPACE_JPEG,
    COLORSPACE_REC709, CONTROL_DISABLED, CONTROL_READ_ONLY, Capability, Control, ControlRange, ENCODING_601,
    ENCODING_709, EXPOSURE_ABSOLUTE, EXPOSURE_AUTO, EXPOSURE_MANUAL, Format, LEVELS_FULL, LEVELS_LIMITED,
    PROGRESSIVE, Parameters,
};
use super::offer::{formats, rates, rounded, text};
use super::{Names, kernel};
use crate::decode::Layout;
use crate::error::CameraError;
use crate::pixels::{Colour, Levels, Matrix};

/// Unit of an exposure in microseconds.
const EXPOSURE_UNIT_US: u32 = 100;
/// Part by which a rate may be off, so that 29.97 Hz passes for 30.
const RATE_TOLERANCE: f64 = 0.02;

/// What was agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    pub(super) layout: Layout,
    /// Most bytes of a buffer.
    pub(super) bytes: usize,
    /// Frames a second, where the device lets it be known.
    pub(super) rate: Option<f64>,
}

/// Whether the device is a camera that streams, and what it and its driver are called.
pub(super) fn identify(device: &OwnedFd, names: &Names) -> Result<String, CameraError> {
    let mut capability = Capability::default();
    match kernel::capability(device, &mut capability) {
        Ok(()) => {}
        Err(Errno::NOTTY | Errno::INVAL) => return Err(names.no_camera("does not speak Video4Linux")),
        Err(errno) => return Err(names.failed("asking what it is", errno)),
    }
    // One device may have several nodes, each with abilities of its own.
    let Capability { capabilities, device: own, .. } = capability;
    let can = if capabilities & CAP_DEVICE == 0 { capabilities } else { own };
    if can & CAP_CAPTURE == 0 {
        return Err(names.no_camera(match can & CAP_CAPTURE_PLANES {
            0 => "captures no video; a camera's other node may",
            _ => "gives its frames in several planes; use a pipe, as of rpicam-vid or GStreamer",
        }));
    }
    if can & CAP_STREAMING == 0 {
        return Err(names.no_camera("cannot stream"));
    }
    Ok(format!("{} (driver {})", text(&capability.card), text(&capability.driver)))
}

/// Asks for what the board file says and compares the answers.
pub(super) fn agree(
    device: &OwnedFd,
    spec: &CameraSpec,
    layout: Layout,
    names: &Names,
) -> Result<Agreed, CameraError> {
    let format = agree_on_format(device, spec, names)?;
    let rate = agree_on_rate(device, spec, &format, names)?;
    if let Some(us) = spec.exposure_us {
        expose(device, us, names)?;
    }
    let (colour, grey) = colours(&format);
    let layout = layout.with(format.stride as usize, colour, grey);
    // A driver that states no size is believed for as much as a frame takes.
    let bytes = (format.bytes as usize).max(1);
    Ok(Agreed { layout, bytes, rate })
}

fn fourcc(format: Option<PixelFormat>) -> &'static [u8; 4] {
    match format {
        Some(PixelFormat::Yuyv) => b"YUYV",
        Some(PixelFormat::Nv12) => b"NV12",
        Some(PixelFormat::Grey) => b"GREY",
        _ => b"MJPG",
    }
}

fn agree_on_format(device: &OwnedFd, spec: &CameraSpec, names: &Names) -> Result<Format, CameraError> {
    let fourcc = *fourcc(spec.format);
    let (width, height) = (spec.width, spec.height);
    let mut format = Format { width, height, fourcc, field: PROGRESSIVE, ..Format::default() };
    let shown = |fourcc: &[u8; 4], width, height| format!("{} {width}x{height}", text(fourcc));
    let asked = || shown(&fourcc, width, height);
    match kernel::set_format(device, &mut format) {
        Ok(()) => {}
        Err(Errno::INVAL) => return Err(names.refused(asked(), "nothing".to_owned(), formats(device))),
        Err(errno) => return Err(names.failed("setting the format", errno)),
    }
    // Some cameras have one more name for the same format, in which every frame is a JPEG too.
    let same = format.fourcc == fourcc || (&fourcc == b"MJPG" && &format.fourcc == b"JPEG");
    if !same || (format.width, format.height) != (width, height) {
        let answered = shown(&format.fourcc, format.width, format.height);
        return Err(names.refused(asked(), answered, formats(device)));
    }
    if format.field != PROGRESSIVE {
        let answered = format!("interlaced fields (order {})", format.field);
        return Err(names.refused(format!("{} in whole frames", asked()), answered, formats(device)));
    }
    Ok(format)
}

fn agree_on_rate(
    device: &OwnedFd,
    spec: &CameraSpec,
    format: &Format,
    names: &Names,
) -> Result<Option<f64>, CameraError> {
    let mut parameters = Parameters { numerator: 1, denominator: spec.rate_hz, ..Parameters::default() };
    match kernel::set_parameters(device, &mut parameters) {
        Ok(()) => {}
        // The driver knows no rates: frames come as they come.
        Err(Errno::NOTTY | Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(names.failed("setting the rate", errno)),
    }
    let Parameters { capability, numerator, denominator, .. } = parameters;
    if capability & CAN_SET_RATE == 0 || numerator == 0 || denominator == 0 {
        return Ok(None);
    }
    let (asked, answered) = (f64::from(spec.rate_hz), f64::from(denominator) / f64::from(numerator));
    if (answered - asked).abs() > asked * RATE_TOLERANCE {
        let offered = rates(device, format.fourcc, format.width, format.height);
        return Err(names.refused(format!("{asked} Hz"), format!("{} Hz", rounded(answered)), offered));
    }
    Ok(Some(answered))
}

/// Sets the exposure by hand.
fn expose(device: &OwnedFd, us: u32, names: &Names) -> Result<(), CameraError> {
    let asked = format!("an exposure of {us} µs");
    let units = i32::try_from(us / EXPOSURE_UNIT_US).unwrap_or(i32::MAX);
    let mut range = ControlRange { id: EXPOSURE_ABSOLUTE, ..ControlRange::default() };
    let there = kernel::control_range(device, &mut range).is_ok();
    if !there || range.flags & (CONTROL_DISABLED | CONTROL_READ_ONLY) != 0 {
        let offered = "an exposure of its own choice; take exposure_us out of the board file";
        return Err(names.refused(asked, "no such control".to_owned(), offered.to_owned()));
    }
    let micros = |units: i32| i64::from(units) * i64::from(EXPOSURE_UNIT_US);
    let offered =
        || format!("{} to {} µs by {} µs", micros(range.minimum), micros(range.maximum), micros(range.step));
    if !(range.minimum..=range.maximum).contains(&units) {
        return Err(names.refused(asked, "another".to_owned(), offered()));
    }
    // A camera that has no automatic exposure has no such control.
    let by_hand = kernel::set_control(device, &mut Control { id: EXPOSURE_AUTO, value: EXPOSURE_MANUAL });
    let mut control = Control { id: EXPOSURE_ABSOLUTE, value: units };
    match (by_hand, kernel::set_control(device, &mut control)) {
        (Ok(()) | Err(Errno::INVAL | Errno::NOTTY), Ok(())) => {}
        (Err(errno), _) | (_, Err(errno)) => return Err(names.failed("setting the exposure", errno)),
    }
    let off = control.value.abs_diff(units);
    if off > range.step.unsigned_abs().max(1) {
        return Err(names.refused(asked, format!("{} µs", micros(control.value)), offered()));
    }
    Ok(())
}

/// The colours of a format, and the levels of one without any, as the driver says or, where it says nothing, as the
/// kernel's documentation (Colorspaces, "defaults") has it. Grey without a word is full: it comes from sensors and
/// not from television.
pub(super) fn colours(format: &Format) -> (Colour, Levels) {
    let matrix = match (format.encoding, format.colorspace) {
        (ENCODING_709, _) => Matrix::Bt709,
        (ENCODING_601, _) => Matrix::Bt601,
        (_, COLORSPACE_REC709) => Matrix::Bt709,
        _ => Matrix::Bt601,
    };
    let levels = match (format.quantization, format.colorspace) {
        (LEVELS_FULL, _) => Levels::Full,
        (LEVELS_LIMITED, _) => Levels::Limited,
        (_, COLORSPACE_JPEG) => Levels::Full,
        _ => Levels::Limited,
    };
    let grey = if format.quantization == LEVELS_LIMITED { Levels::Limited } else { Levels::Full };
    (Colour::new(matrix, levels), grey)
}
