//! A chip as the node asks it: opened with the host's settings, sampled or drained, opened anew after it
//! failed.

use core::fmt::Debug;

use sedge_boards::imu::{AccelRange, GyroRange, LowPass, Lsm6dsox, Lsm6dsoxConfig, Mpu, MpuChip, MpuConfig};
use sedge_boards::registers::{Registers, SensorError};
use sedge_readings::ImuSample;
use sedge_wire::{Pacing, SampleFault, Settings};

/// An inertial chip.
pub trait Imu {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Sets it up so, whatever it was before.
    ///
    /// # Errors
    /// [`SampleFault`]; the chip is then closed.
    fn open(&mut self, settings: &Settings) -> Result<(), SampleFault>;

    /// Its present sample.
    ///
    /// # Errors
    /// [`SampleFault`]; the chip stays open.
    fn sample(&mut self) -> Result<ImuSample, SampleFault>;

    /// The samples in its queue, the oldest first, at most as many as `into` holds. Answers how many.
    ///
    /// # Errors
    /// [`SampleFault`]; the chip stays open.
    fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SampleFault>;
}

/// An MPU-6050, MPU-6500 or MPU-9250. `connect` gives its registers each time it is opened.
#[derive(Debug)]
pub struct MpuImu<F, R> {
    chip: MpuChip,
    connect: F,
    open: Option<Mpu<R>>,
}

impl<R: Registers, F: FnMut() -> R> MpuImu<F, R> {
    /// A chip that is not open yet.
    pub const fn new(chip: MpuChip, connect: F) -> Self {
        Self { chip, connect, open: None }
    }
}

impl<R: Registers, F: FnMut() -> R> Imu for MpuImu<F, R> {
    fn name(&self) -> &'static str {
        self.chip.name()
    }

    fn open(&mut self, settings: &Settings) -> Result<(), SampleFault> {
        self.open = None;
        let (accel, gyro) = ranges(settings)?;
        let rate_hz = u32::from(settings.rate_hz);
        let filter = LowPass::below_nyquist(rate_hz);
        let config = MpuConfig { chip: self.chip, rate_hz, accel, gyro, filter };
        let mut chip = Mpu::new((self.connect)(), config).map_err(fault)?;
        if settings.pacing == Pacing::Queue {
            chip.start_queue().map_err(fault)?;
        }
        self.open = Some(chip);
        Ok(())
    }

    fn sample(&mut self) -> Result<ImuSample, SampleFault> {
        self.open.as_mut().ok_or(SampleFault::NotReady)?.sample().map_err(fault)
    }

    fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SampleFault> {
        self.open.as_mut().ok_or(SampleFault::NotReady)?.drain(into).map_err(fault)
    }
}

/// An LSM6DSOX. `connect` gives its registers each time it is opened.
#[derive(Debug)]
pub struct Lsm6dsoxImu<F, R> {
    connect: F,
    open: Option<Lsm6dsox<R>>,
}

impl<R: Registers, F: FnMut() -> R> Lsm6dsoxImu<F, R> {
    /// A chip that is not open yet.
    pub const fn new(connect: F) -> Self {
        Self { connect, open: None }
    }
}

impl<R: Registers, F: FnMut() -> R> Imu for Lsm6dsoxImu<F, R> {
    fn name(&self) -> &'static str {
        "LSM6DSOX"
    }

    fn open(&mut self, settings: &Settings) -> Result<(), SampleFault> {
        self.open = None;
        let (accel, gyro) = ranges(settings)?;
        let config = Lsm6dsoxConfig { rate_hz: u32::from(settings.rate_hz), accel, gyro };
        let mut chip = Lsm6dsox::new((self.connect)(), config).map_err(fault)?;
        if settings.pacing == Pacing::Queue {
            chip.start_queue().map_err(fault)?;
        }
        self.open = Some(chip);
        Ok(())
    }

    fn sample(&mut self) -> Result<ImuSample, SampleFault> {
        self.open.as_mut().ok_or(SampleFault::NotReady)?.sample().map_err(fault)
    }

    fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SampleFault> {
        self.open.as_mut().ok_or(SampleFault::NotReady)?.drain(into).map_err(fault)
    }
}

fn ranges(settings: &Settings) -> Result<(AccelRange, GyroRange), SampleFault> {
    let accel = AccelRange::from_full_scale_g(u32::from(settings.accel_full_scale_g));
    let gyro = GyroRange::from_full_scale_dps(u32::from(settings.gyro_full_scale_dps));
    Ok((accel.ok_or(SampleFault::Setting)?, gyro.ok_or(SampleFault::Setting)?))
}

fn fault<E: Debug>(error: SensorError<E>) -> SampleFault {
    match error {
        SensorError::WrongChip { .. } => SampleFault::WrongChip,
        SensorError::Setting { .. } => SampleFault::Setting,
        SensorError::NotTaken { .. } | SensorError::NotReady { .. } | SensorError::Firmware { .. } => {
            SampleFault::NotReady
        }
        SensorError::Overrun { .. } => SampleFault::Overrun,
        _ => SampleFault::Bus,
    }
}
