//! A board's camera at its place.

use std::path::PathBuf;
use std::sync::Arc;

use sedge_boards::board::{CameraKind, CameraSpec};
use sedge_boards::sensor::Sensor;
use sedge_cameras::BoardCamera;
use sedge_readings::{Event, Frame, NoData, Reading, Span, Timestamp};

use super::ledger::Entry;
use super::outbox::Said;
use super::simulated::SimulatedCamera;
use super::station::Slot;

/// A camera of a board.
pub(super) struct CameraSlot {
    /// Where device nodes are looked for.
    root: PathBuf,
    spec: CameraSpec,
    way: Way,
}

enum Way {
    /// A world that is always there, and whether its camera is open.
    Simulated(Box<SimulatedCamera>, bool),
    /// A camera of the machine, while it is open.
    Real(Option<BoardCamera>),
}

impl CameraSlot {
    /// A camera of the machine.
    pub(super) fn real(root: PathBuf, spec: CameraSpec) -> Self {
        Self { root, spec, way: Way::Real(None) }
    }

    /// A camera of a simulated world.
    pub(super) fn simulated(spec: CameraSpec, camera: SimulatedCamera) -> Self {
        Self { root: PathBuf::new(), spec, way: Way::Simulated(Box::new(camera), false) }
    }

    /// Time between two looks at a camera. A real one is waited for as it is read; it is looked at again
    /// sooner than its next frame, so that none waits.
    pub(super) fn period_of(spec: &CameraSpec) -> Span {
        let period = 1_000_000_000 / u64::from(spec.rate_hz.max(1));
        Span::from_nanos(if spec.kind == CameraKind::Simulated { period } else { period / 4 })
    }
}

impl Sensor for CameraSlot {
    type Value = Frame;

    fn read(&mut self, now: Timestamp) -> Reading<Frame> {
        match &mut self.way {
            Way::Simulated(camera, true) => camera.read(now),
            Way::Real(Some(camera)) => camera.read(now),
            Way::Simulated(_, false) | Way::Real(None) => Reading { at: now, value: Err(NoData::Bus) },
        }
    }
}

impl Slot for CameraSlot {
    fn open(&mut self, _: Timestamp) -> Result<(), String> {
        match &mut self.way {
            Way::Simulated(_, open) => *open = true,
            Way::Real(camera) => {
                let opened =
                    BoardCamera::open_below(&self.root, &self.spec).map_err(|error| error.to_string())?;
                tracing::info!(camera = self.spec.name, "{}", opened.describe());
                *camera = Some(opened);
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        match &mut self.way {
            Way::Simulated(_, open) => *open = false,
            Way::Real(camera) => *camera = None,
        }
    }

    fn gather(&mut self, now: Timestamp) -> usize {
        match &mut self.way {
            Way::Simulated(camera, true) => usize::from(camera.look(now)),
            _ => 1,
        }
    }

    fn trouble(&self) -> Option<String> {
        match &self.way {
            Way::Real(Some(camera)) => camera.trouble().map(ToString::to_string),
            _ => None,
        }
    }
}

/// What a frame becomes.
pub(super) fn feed(_: Arc<Entry>, reading: Reading<Frame>) -> Said {
    Said::Event(Event::Frame(reading))
}
