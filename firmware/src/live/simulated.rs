//! The simulated robot as a board's devices: a drive that goes on with the clock, seen by a camera and felt by
//! a chip on a simulated bus. Where one drive ends the next begins.

use sedge_boards::Board;
use sedge_boards::board::{CameraSpec, SensorSpec};
use sedge_boards::sensor::Sensor;
use sedge_boards::sim::{Rig, RigConfig, RigError};
use sedge_readings::{Event, Frame, NoData, Reading, Span, Timestamp};

/// A world that moves.
pub(super) struct World {
    config: RigConfig,
    board: Board,
    sees: bool,
    rig: Rig,
    /// When the drive began, on the stream's clock.
    began: Timestamp,
    next: Option<Event>,
}

impl World {
    /// A world whose drive begins at `began`, felt at a sensor's rate. Equal seeds drive equally, whether seen
    /// or felt.
    pub(super) fn felt(seed: u64, began: Timestamp, sensor: &SensorSpec) -> Result<Self, RigError> {
        let mut board = Board::named("sim")?;
        board.sensors.iter_mut().for_each(|own| own.rate_hz = sensor.rate_hz);
        Self::new(seed, began, board, RigConfig::default(), false)
    }

    /// The same world seen by a camera.
    pub(super) fn seen(seed: u64, began: Timestamp, camera: &CameraSpec) -> Result<Self, RigError> {
        let mut board = Board::named("sim")?;
        board.cameras.iter_mut().for_each(|own| own.rate_hz = camera.rate_hz);
        let config = RigConfig { camera: camera.width.try_into()?, ..RigConfig::default() };
        Self::new(seed, began, board, config, true)
    }

    fn new(
        seed: u64,
        began: Timestamp,
        board: Board,
        config: RigConfig,
        sees: bool,
    ) -> Result<Self, RigError> {
        let config = RigConfig { drive_seed: seed, ..config };
        let rig = rig(&config, &board, sees)?;
        Ok(Self { config, board, sees, rig, began, next: None })
    }

    /// The next thing of the drive whose time has come, on the stream's clock.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<Event> {
        if self.next.is_none() {
            self.next = self.rig.next();
        }
        if self.next.is_none() {
            self.drive_on();
        }
        let at = self.began + Span::from_nanos(self.next.as_ref()?.at().nanos());
        if at > now {
            return None;
        }
        Some(match self.next.take()? {
            Event::Frame(reading) => Event::Frame(Reading { at, ..reading }),
            Event::Imu(reading) => Event::Imu(Reading { at, ..reading }),
        })
    }

    fn drive_on(&mut self) {
        self.began = self.began + Span::from_millis(u64::from(self.config.seconds) * 1_000);
        self.config.drive_seed = self.config.drive_seed.wrapping_add(1);
        // The configuration differs from one that was accepted by its seed alone.
        if let Ok(rig) = rig(&self.config, &self.board, self.sees) {
            self.rig = rig;
            self.next = self.rig.next();
        }
    }
}

fn rig(config: &RigConfig, board: &Board, sees: bool) -> Result<Rig, RigError> {
    let rig = Rig::on_board(config.clone(), board)?;
    Ok(if sees { rig } else { rig.without_camera() })
}

/// A camera in a simulated world.
pub(super) struct SimulatedCamera {
    world: World,
    newest: Option<Reading<Frame>>,
}

impl SimulatedCamera {
    pub(super) fn new(world: World) -> Self {
        Self { world, newest: None }
    }

    /// Looks, and answers whether there is a new frame. Frames that nobody looked at are gone.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        while let Some(event) = self.world.due(now) {
            if let Event::Frame(reading) = event {
                self.newest = Some(reading);
            }
        }
        self.newest.is_some()
    }
}

impl Sensor for SimulatedCamera {
    type Value = Frame;

    fn read(&mut self, now: Timestamp) -> Reading<Frame> {
        self.newest.take().unwrap_or(Reading { at: now, value: Err(NoData::DropOut) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn drives_follow_each_other_on_one_clock() {
        let board = Board::named("sim").unwrap();
        let mut world = World::felt(3, Timestamp::from_nanos(500), &board.sensors[0]).unwrap();
        let at = |seconds: u64| Timestamp::from_nanos(500 + seconds * 1_000_000_000);
        assert_eq!(world.due(Timestamp::from_nanos(499)), None);
        let mut times = vec![];
        while let Some(event) = world.due(at(250)) {
            times.push(event.at().nanos() - 500);
        }
        // 100 samples a second, through two drives of 120 s and into a third.
        let wanted: Vec<u64> = (0..=25_000).map(|n| n * 10_000_000).collect();
        assert!(times == wanted, "{} samples, {:?}", times.len(), times.last());
    }
}
