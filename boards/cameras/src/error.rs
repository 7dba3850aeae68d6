//! What can be wrong with a camera, and with one of its frames.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use sedge_boards::sim::RigError;
use sedge_readings::NoData;
use sedge_recordings::ImageError;

/// A frame that came and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes than its pixels take.
    #[error("a frame of {found} bytes came, and its pixels take {wanted}")]
    Short {
        /// Bytes that came.
        found: usize,
        /// Bytes that were wanted.
        wanted: usize,
    },
    /// The device itself says that the frame is damaged.
    #[error("the device says that the frame is damaged")]
    Flagged,
    /// Not a whole JPEG.
    #[error(transparent)]
    Jpeg(#[from] ImageError),
    /// A picture of another size than was asked for.
    #[error("a frame of {width}x{height} came, and {wanted_width}x{wanted_height} was asked for")]
    Size {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Pixels across that were asked for.
        wanted_width: u32,
        /// Pixels down that were asked for.
        wanted_height: u32,
    },
}

/// A camera that cannot be opened, or that gives no frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// The board file asks for what no camera here can give.
    #[error("camera {camera}: {key} = {found}, but allowed is {allowed}")]
    Setting {
        /// The camera's name.
        camera: String,
        /// The key in its table.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        allowed: String,
    },
    /// A program that cannot be started.
    #[error("camera {camera}: cannot run {program}: {source}; is it installed, and on the path?")]
    Program {
        /// The camera's name.
        camera: String,
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that has ended.
    #[error("camera {camera}: {program} ended ({}){}", ended(*status), said(errors))]
    Ended {
        /// The camera's name.
        camera: String,
        /// The program.
        program: String,
        /// How, if that could be had.
        status: Option<ExitStatus>,
        /// The end of what it wrote to standard error.
        errors: String,
    },
    /// No frame within the time that a camera is given.
    #[error(
        "camera {camera}: no frame in {} ms{}{}", waited.as_millis(), of_no_frame(*bytes), said(errors)
    )]
    Silent {
        /// The camera's name.
        camera: String,
        /// How long was waited.
        waited: Duration,
        /// Bytes that came and belong to no frame.
        bytes: u64,
        /// The end of what a program wrote to standard error.
        errors: String,
    },
    /// A device that the system does not open.
    #[error("camera {camera}: cannot open {device}: {source}; {}", opening(source))]
    Open {
        /// The camera's name.
        camera: String,
        /// Its node.
        device: String,
        /// What the system said.
        source: io::Error,
    },
    /// A device that is no camera that can be streamed from.
    #[error(
        "camera {camera}: {device} is no camera: it {why}; `v4l2-ctl --list-devices` lists those there are"
    )]
    NoCamera {
        /// The camera's name.
        camera: String,
        /// Its node.
        device: String,
        /// What it lacks.
        why: &'static str,
    },
    /// A device that does not do what is asked for.
    #[error("camera {camera}: {device} gives {answered} where {asked} was asked for; it offers {offered}")]
    Refused {
        /// The camera's name.
        camera: String,
        /// Its node.
        device: String,
        /// Format and size, rate or exposure asked for.
        asked: String,
        /// What the device answers.
        answered: String,
        /// What it offers instead.
        offered: String,
    },
    /// A device that another program streams from.
    #[error("camera {camera}: {device} is in use by another program; end that first")]
    Busy {
        /// The camera's name.
        camera: String,
        /// Its node.
        device: String,
    },
    /// A device that was unplugged, or whose driver has gone.
    #[error("camera {camera}: {device} is gone; it is looked for again when it is opened again")]
    Gone {
        /// The camera's name.
        camera: String,
        /// Its node.
        device: String,
    },
    /// The kernel refuses a step of the streaming.
    #[error("camera {camera}: {device}: {step}: {source}")]
    Kernel {
        /// The camera's name.
        camera: String,
        /// Its node.
        device: String,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A frame that cannot be used; the next may be.
    #[error("camera {camera}: {source}")]
    Frame {
        /// The camera's name.
        camera: String,
        /// What is wrong with it.
        source: FrameError,
    },
    /// A simulated camera that the rig does not have.
    #[error("camera {camera}: {source}")]
    Simulated {
        /// The camera's name.
        camera: String,
        /// Why.
        source: Box<RigError>,
    },
}

impl CameraError {
    /// The reason that a reading carries in place of a frame.
    pub const fn no_data(&self) -> NoData {
        match self {
            Self::Frame { source: FrameError::Size { .. }, .. } => NoData::WrongShape,
            Self::Frame { .. } => NoData::Corrupt,
            Self::Silent { .. } => NoData::DropOut,
            _ => NoData::Bus,
        }
    }

    /// Whether the camera may give its next frame without being opened again.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Frame { .. } | Self::Silent { .. })
    }
}

fn ended(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "its output is closed".to_owned(), |status| status.to_string())
}

fn said(errors: &str) -> String {
    if errors.is_empty() { String::new() } else { format!("; it said: {errors}") }
}

fn of_no_frame(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        _ => format!(", though {bytes} bytes came; are they of the format that the board file says?"),
    }
}

fn opening(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "is it plugged in, and does the board file name the right one?",
        io::ErrorKind::PermissionDenied => "add the user to the group video",
        _ => "is it a camera?",
    }
}
