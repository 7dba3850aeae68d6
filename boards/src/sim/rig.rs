//! The stream: steps the world, and reads it through the sensors, in time order.
//!
//! The IMU is reached as on a real robot: each sample is a burst read by the driver in [`crate::imu`]
//! from a bus, here the simulated one. When both sensors are due at once the IMU comes first.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use sedge_readings::{Event, NoData, Reading, Timestamp};

use super::camera::Camera;
use super::config::{RigConfig, RigError};
use super::drive::STEP_HZ;
use super::imu::Inertia;
use super::random::{Purpose, generator};
use super::ray::View;
use super::truth::{Truth, Truths};
use super::vibration::Vibration;
use super::world::World;
use crate::board::Board;
use crate::bus::SimulatedI2c;
use crate::imu::Mpu;
use crate::registers::OverI2c;

/// A robot in its building: an iterator over what its sensors say, from time zero on.
///
/// ```
/// use sedge_boards::sim::{Rig, RigConfig};
/// use sedge_readings::Event;
///
/// let rig = Rig::new("sim:seconds=2,rooms=2".parse::<RigConfig>()?)?;
/// let truths = rig.truths();
/// for event in rig {
///     if let Event::Frame(frame) = event {
///         // For measuring only.
///         let _room = truths.at(frame.at).room;
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Rig {
    config: RigConfig,
    world: World,
    truths: Truths,
    camera: Camera,
    imu: Mpu<OverI2c<SimulatedI2c>>,
    inertia: Inertia,
    vibration: Vibration,
    drop_outs: ChaCha8Rng,
    steps_per_sample: u32,
    steps_per_frame: u32,
    step: u32,
    pending: Option<Event>,
    blind: bool,
}

impl Rig {
    /// The rig on the built-in board `sim`.
    ///
    /// # Errors
    /// [`RigError`] for a configuration out of its limits.
    pub fn new(config: RigConfig) -> Result<Self, RigError> {
        Self::on_board(config, &Board::named("sim")?)
    }

    /// The rig with a board's own IMU settings and rates. The frame's size is the configuration's.
    ///
    /// # Errors
    /// [`RigError`] for a configuration out of its limits, a board that lacks a sensor, or a rate
    /// that does not divide 200 Hz.
    pub fn on_board(config: RigConfig, board: &Board) -> Result<Self, RigError> {
        config.check()?;
        let missing = |sensor| RigError::NoSensor { board: board.name.clone(), sensor };
        let sensor = board.imu().ok_or_else(|| missing("imu"))?;
        let settings = sensor.mpu_config().ok_or_else(|| missing("imu"))?;
        let address = sensor.address.ok_or_else(|| missing("imu"))?;
        let frames = board.cameras.first().ok_or_else(|| missing("camera"))?.rate_hz;
        let every = |sensor, rate_hz: u32| match STEP_HZ.checked_rem(rate_hz) {
            Some(0) => Ok(STEP_HZ / rate_hz),
            _ => Err(RigError::Rate { board: board.name.clone(), sensor, rate_hz }),
        };
        let (steps_per_sample, steps_per_frame) = (every("imu", settings.rate_hz)?, every("camera", frames)?);
        let bus = OverI2c::new(SimulatedI2c::new(address), address);
        let imu = Mpu::new(bus, settings).map_err(RigError::Imu)?;
        let world = World::new(config.building_seed, config.rooms);
        let truths = Truths::drive(&world, config.drive_seed, config.seconds);
        let own = |purpose| generator(config.drive_seed, purpose);
        let camera = Camera::new(
            config.camera.pixels() as usize,
            config.building_seed,
            config.robot_seed,
            config.shift,
            own(Purpose::Light),
            own(Purpose::Pixels),
        );
        Ok(Self {
            world,
            truths,
            camera,
            imu,
            inertia: Inertia::new(config.robot_seed, own(Purpose::Inertial), config.shift.imu_bias_drift),
            vibration: Vibration::new(own(Purpose::Floor)),
            drop_outs: own(Purpose::DropOuts),
            steps_per_sample,
            steps_per_frame,
            step: 0,
            pending: None,
            blind: false,
            config,
        })
    }

    /// Leaves the frames out, which take most of the time. The IMU says exactly the same.
    #[must_use]
    pub fn without_camera(self) -> Self {
        Self { blind: true, ..self }
    }

    /// What fixed this drive.
    pub fn config(&self) -> &RigConfig {
        &self.config
    }

    /// Ground truth of the whole drive, for measuring only.
    pub fn truths(&self) -> Truths {
        self.truths.clone()
    }

    /// Ground truth at one time, for measuring only.
    pub fn truth_at(&self, at: Timestamp) -> Truth {
        self.truths.at(at)
    }

    /// The simulated bus, to make it fail.
    pub fn bus_mut(&mut self) -> &mut SimulatedI2c {
        self.imu.registers_mut().bus_mut()
    }

    /// One step of the world; what its sensors said, the IMU first.
    fn advance(&mut self) -> Option<[Option<Event>; 2]> {
        let motion = self.truths.motion(self.step as usize)?;
        let floor = self.truths.floor_at(self.step as usize);
        let shake = self.vibration.step(&motion, floor);
        let seconds = f64::from(self.step) / f64::from(STEP_HZ);
        let at = Timestamp::from_nanos(u64::from(self.step) * (1_000_000_000 / u64::from(STEP_HZ)));
        let sample = self.step.is_multiple_of(self.steps_per_sample).then(|| {
            let felt = self.inertia.feel(seconds, &motion, &shake);
            self.bus_mut().set_motion(felt);
            Event::Imu(Reading { at, value: self.imu.sample().map_err(|_| NoData::Bus) })
        });
        let seen = !self.blind && self.step.is_multiple_of(self.steps_per_frame);
        let frame = seen.then(|| {
            let view = View {
                x: motion.x as f32,
                y: motion.y as f32,
                heading: motion.heading as f32,
                pitch: shake.pitch,
            };
            let shot = self.camera.shoot(&self.world, view, seconds);
            // The camera shoots a lost frame too: a drop-out must not change the frames after it.
            let lost = self.drop_outs.random_bool(f64::from(self.config.shift.camera_dropouts));
            let value = if lost { Err(NoData::DropOut) } else { shot.ok_or(NoData::Corrupt) };
            Event::Frame(Reading { at, value })
        });
        self.step += 1;
        Some([sample, frame])
    }
}

impl Iterator for Rig {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.pending.take() {
            return Some(event);
        }
        loop {
            match self.advance()? {
                [Some(first), second] => {
                    self.pending = second;
                    return Some(first);
                }
                [None, Some(only)] => return Some(only),
                [None, None] => {}
            }
        }
    }
}
