//! The simulated rig's camera by itself, for boards that have no other.
//!
//! Frames come as they are asked for and carry the time at which they were; a drive that ends is followed by
//! another through the same building.

use sedge_boards::Board;
use sedge_boards::board::CameraSpec;
use sedge_boards::sim::{CameraSize, Rig, RigConfig, RigError};
use sedge_readings::{Event, Frame};

use crate::error::CameraError;

/// Length of a drive in seconds; its truth is held in memory.
const DRIVE_SECONDS: u32 = 600;

/// A camera of the simulated rig.
#[derive(Debug)]
pub(crate) struct Simulated {
    board: Board,
    config: RigConfig,
    rig: Rig,
}

impl Simulated {
    /// The camera of a drive from the rig's own seeds, of the size and rate asked for.
    pub(crate) fn open(spec: &CameraSpec) -> Result<Self, CameraError> {
        let failed =
            |source: RigError| CameraError::Simulated { camera: spec.name.clone(), source: Box::new(source) };
        if spec.width != spec.height {
            let (found, allowed) = (spec.height.to_string(), format!("{}, as the width is", spec.width));
            return Err(CameraError::Setting { camera: spec.name.clone(), key: "height", found, allowed });
        }
        let camera = CameraSize::try_from(spec.width).map_err(failed)?;
        let config = RigConfig { camera, seconds: DRIVE_SECONDS, ..RigConfig::default() };
        let mut board = Board::named("sim").map_err(|error| failed(error.into()))?;
        board.cameras = vec![spec.clone()];
        let rig = Rig::on_board(config.clone(), &board).map_err(failed)?;
        Ok(Self { board, config, rig })
    }

    /// The next frame, if it is not lost.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        if let Some(frame) = next(&mut self.rig) {
            return frame;
        }
        self.config.drive_seed = self.config.drive_seed.wrapping_add(1);
        self.rig = Rig::on_board(self.config.clone(), &self.board).ok()?;
        next(&mut self.rig)?
    }
}

/// The frame that comes next on a drive, or that it is lost; `None` at the end of the drive.
fn next(rig: &mut Rig) -> Option<Option<Frame>> {
    rig.find_map(|event| match event {
        Event::Frame(reading) => Some(reading.value.ok()),
        Event::Imu(_) => None,
    })
}
