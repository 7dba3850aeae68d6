//! Video4Linux: a camera that the kernel drives, streamed through mapped buffers.
//!
//! Format, size, rate and exposure are asked for and the driver's answer is compared, for a driver may answer
//! anything it likes better. A buffer is copied out and given back at once, so that the driver always has some to
//! fill; what was filled while nobody read is given back unread.

mod kernel;
mod layout;
mod negotiate;
mod offer;
mod stream;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use sedge_boards::board::CameraSpec;

use crate::camera::Taken;
use crate::decode::Layout;
use crate::error::CameraError;
use stream::Stream;

/// How long a device may take until its first frame.
const START: Duration = Duration::from_secs(3);

/// Names a camera and its node in errors.
#[derive(Clone, Debug)]
struct Names {
    camera: String,
    device: String,
}

impl Names {
    fn no_camera(&self, why: &'static str) -> CameraError {
        CameraError::NoCamera { camera: self.camera.clone(), device: self.device.clone(), why }
    }

    fn refused(&self, asked: String, answered: String, offered: String) -> CameraError {
        let Self { camera, device } = self.clone();
        CameraError::Refused { camera, device, asked, answered, offered }
    }

    /// What the kernel refused at a step, by what it means.
    fn failed(&self, step: &'static str, errno: Errno) -> CameraError {
        let Self { camera, device } = self.clone();
        match errno {
            Errno::NODEV | Errno::NXIO => CameraError::Gone { camera, device },
            Errno::BUSY => CameraError::Busy { camera, device },
            _ => CameraError::Kernel { camera, device, step, source: errno.into() },
        }
    }
}

/// A device that streams.
#[derive(Debug)]
pub(crate) struct V4l2 {
    // Before the device: a stream is unmapped and its buffers are given back while the node is open.
    stream: Stream,
    about: String,
}

impl V4l2 {
    /// Opens the device below `root`, agrees with it on what is asked for, and waits for its first frame.
    pub(crate) fn open(root: &Path, spec: &CameraSpec, layout: Layout) -> Result<Self, CameraError> {
        let node = spec.device.clone().unwrap_or_default();
        let path = root.join(node.strip_prefix("/").unwrap_or(&node));
        let names = Names { camera: spec.name.clone(), device: path.display().to_string() };
        let device = open_node(&path, &names)?;
        let about = negotiate::identify(&device, &names)?;
        let agreed = negotiate::agree(&device, spec, layout, &names)?;
        let rate = agreed.rate.map(|rate| format!("at {} Hz", offer::rounded(rate)));
        let about = format!("{}, {about}", rate.unwrap_or_else(|| "at a rate of its own".to_owned()));
        let stream = Stream::start(device, names, agreed, spec.rate_hz)?;
        stream.wait(START)?;
        Ok(Self { stream, about })
    }

    /// Rate, card and driver, in words.
    pub(crate) fn describe(&self) -> &str {
        &self.about
    }

    /// Sets a control by its number.
    pub(crate) fn set_control(&self, id: u32, value: i32) -> Result<(), CameraError> {
        self.stream.set_control(id, value)
    }

    /// The newest frame.
    pub(crate) fn take(&mut self, wait: Duration) -> Result<Taken, CameraError> {
        self.stream.take(wait)
    }
}

fn open_node(path: &Path, names: &Names) -> Result<OwnedFd, CameraError> {
    let failed = |errno: Errno| {
        let Names { camera, device } = names.clone();
        match errno {
            Errno::BUSY => CameraError::Busy { camera, device },
            _ => CameraError::Open { camera, device, source: errno.into() },
        }
    };
    // Without waiting, so that a node that is a pipe does not hold us, and buffers are taken while there are some.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let kind = fstat(&device).map_err(failed)?.st_mode;
    if FileType::from_raw_mode(kind) != FileType::CharacterDevice {
        return Err(names.no_camera("is no device of the kernel's"));
    }
    Ok(device)
}

#[cfg(test)]
mod tests;
