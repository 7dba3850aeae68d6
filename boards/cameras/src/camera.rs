//! A camera of a board: one type over everything that frames come from, and a sensor.

use std::path::Path;
use std::time::{Duration, Instant};

use sedge_boards::board::{CameraKind, CameraSpec};
use sedge_boards::sensor::Sensor;
use sedge_readings::{Frame, Reading, Span, Timestamp};

use crate::decode::Layout;
use crate::error::CameraError;
use crate::pipe::Pipe;
use crate::simulated::Simulated;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use crate::v4l2::V4l2;

/// A camera of a board, opened.
///
/// A device that is unplugged and a program that ends are let go of at once, so that the kernel can give a
/// device its old name again; from then on every reading is [`NoData::Bus`](sedge_readings::NoData::Bus) until
/// [`BoardCamera::reopen`] succeeds.
#[derive(Debug)]
pub struct BoardCamera {
    root: std::path::PathBuf,
    spec: CameraSpec,
    source: Option<Source>,
    trouble: Option<CameraError>,
}

#[derive(Debug)]
enum Source {
    Pipe(Pipe),
    Simulated(Box<Simulated>),
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    V4l2(V4l2),
}

/// A frame and when it was taken, in nanoseconds after the time at which it was asked for; most were before.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) frame: Frame,
    pub(crate) after: i64,
}

impl BoardCamera {
    /// Opens a camera and waits for it to give frames: up to 10 s for a program, which may have to start a
    /// camera of its own, and up to 3 s for a device.
    ///
    /// # Errors
    /// [`CameraError`]: it is not there, is in use, does not do what is asked for (what it offers is named), or
    /// gives no frame.
    pub fn open(spec: &CameraSpec) -> Result<Self, CameraError> {
        Self::open_below(Path::new("/"), spec)
    }

    /// The same with a device's node looked for below `root`.
    ///
    /// # Errors
    /// [`CameraError`], as [`BoardCamera::open`].
    pub fn open_below(root: &Path, spec: &CameraSpec) -> Result<Self, CameraError> {
        let source = Some(Source::open(root, spec)?);
        Ok(Self { root: root.to_owned(), spec: spec.clone(), source, trouble: None })
    }

    /// Closes the camera, if it is open, and opens it again.
    ///
    /// # Errors
    /// [`CameraError`], as [`BoardCamera::open`]; the camera is then closed, and can be tried again.
    pub fn reopen(&mut self) -> Result<(), CameraError> {
        // First closed: neither a device nor a program's camera can be had twice.
        self.source = None;
        self.source = Some(Source::open(&self.root, &self.spec)?);
        self.trouble = None;
        Ok(())
    }

    /// Whether the camera is open, and the next reading may hold a frame.
    pub fn is_open(&self) -> bool {
        self.source.is_some()
    }

    /// Why the last reading held no frame, in more words than a reading has.
    pub fn trouble(&self) -> Option<&CameraError> {
        self.trouble.as_ref()
    }

    /// The longest time that a reading takes: a frame period and some, at most about a second.
    pub fn longest_wait(&self) -> Span {
        Span::from_nanos(u64::try_from(patience(&self.spec).as_nanos()).unwrap_or(u64::MAX))
    }

    /// What it is and what it gives, in words: format, size and rate, and a device's card and driver.
    pub fn describe(&self) -> String {
        let CameraSpec { format, width, height, rate_hz, .. } = &self.spec;
        let format = format.map(|format| format!("{format:?} ").to_uppercase()).unwrap_or_default();
        match &self.source {
            None => "closed".to_owned(),
            Some(Source::Pipe(pipe)) => {
                format!("{format}{width}x{height} at {rate_hz} Hz from {}", pipe.program())
            }
            Some(Source::Simulated(_)) => format!("{width}x{height} at {rate_hz} Hz, simulated"),
            #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
            Some(Source::V4l2(device)) => format!("{format}{width}x{height} {}", device.describe()),
        }
    }

    /// Sets a control of an open Video4Linux device by the number that `linux/v4l2-controls.h` gives it: gain, white
    /// balance and whatever else board files have no key for. It is not set again when the camera is reopened.
    ///
    /// # Errors
    /// [`CameraError::Kernel`] where the device has no such control or the value is out of its range,
    /// [`CameraError::Setting`] where the camera has no controls or is closed.
    pub fn set_control(&mut self, id: u32, value: i32) -> Result<(), CameraError> {
        match &self.source {
            #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
            Some(Source::V4l2(device)) => device.set_control(id, value),
            _ => Err(CameraError::Setting {
                camera: self.spec.name.clone(),
                key: "kind",
                found: format!("{:?}", self.spec.kind),
                allowed: format!("v4l2, open, to set control {id:#x} to {value}"),
            }),
        }
    }

    fn take(&mut self) -> Option<Result<Taken, CameraError>> {
        let wait = patience(&self.spec);
        Some(match self.source.as_mut()? {
            Source::Pipe(pipe) => pipe.take(wait),
            Source::Simulated(camera) => match camera.frame() {
                Some(frame) => Ok(Taken { frame, after: 0 }),
                None => Err(silent(&self.spec)),
            },
            #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
            Source::V4l2(device) => device.take(wait),
        })
    }
}

impl Source {
    fn open(root: &Path, spec: &CameraSpec) -> Result<Self, CameraError> {
        match spec.kind {
            CameraKind::Pipe => Ok(Self::Pipe(Pipe::open(spec, Layout::of(spec)?)?)),
            CameraKind::Simulated => Ok(Self::Simulated(Box::new(Simulated::open(spec)?))),
            #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
            CameraKind::V4l2 => Ok(Self::V4l2(V4l2::open(root, spec, Layout::of(spec)?)?)),
            other => Err(CameraError::Setting {
                camera: spec.name.clone(),
                key: "kind",
                found: format!("{other:?}"),
                allowed: format!(
                    "a kind that cameras have on this system (looked for below {})",
                    root.display()
                ),
            }),
        }
    }
}

impl Sensor for BoardCamera {
    type Value = Frame;

    /// The newest frame that has not been given yet. Waits up to [`BoardCamera::longest_wait`] for one, but for
    /// a simulated camera, which answers at once. The reading's time is that at which the frame was taken: by the
    /// driver's clock, or when its last byte arrived.
    fn read(&mut self, now: Timestamp) -> Reading<Frame> {
        let asked = Instant::now();
        match self.take() {
            None => Reading { at: now, value: Err(sedge_readings::NoData::Bus) },
            Some(Ok(Taken { frame, after })) => {
                self.trouble = None;
                Reading { at: moved(now, after), value: Ok(frame) }
            }
            Some(Err(error)) => {
                let value = Err(error.no_data());
                if !error.is_passing() {
                    self.source = None;
                }
                self.trouble = Some(error);
                Reading { at: moved(now, nanos(asked.elapsed())), value }
            }
        }
    }
}

/// How long a frame is waited for.
fn patience(spec: &CameraSpec) -> Duration {
    let period = Duration::from_secs(1) / spec.rate_hz.max(1);
    (2 * period + Duration::from_millis(100)).min(Duration::from_millis(1250))
}

fn silent(spec: &CameraSpec) -> CameraError {
    let camera = spec.name.clone();
    CameraError::Silent { camera, waited: Duration::ZERO, bytes: 0, errors: String::new() }
}

fn moved(now: Timestamp, after: i64) -> Timestamp {
    let span = Span::from_nanos(after.unsigned_abs());
    if after < 0 { now - span } else { now + span }
}

/// A duration as nanoseconds, saturating.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
