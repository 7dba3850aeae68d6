//! An I2C bus with one MPU-6050 on it, modelled register by register.
//!
//! What the driver's tests and the simulated rig need from the chip, as the register map describes
//! it: reset values, sleep, the self-clearing reset bit, ranges that decide the counts, a register
//! pointer that moves on with each byte, a queue that takes a sample with each motion and runs over, and
//! no acknowledgement from any other address. The
//! low-pass filter is accepted but not applied: the world behind the bus is already band-limited.

use std::collections::VecDeque;

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use sedge_readings::ImuSample;

use crate::imu::convert::RawSample;
use crate::imu::mpu_registers::{
    BURST_LEN, FIFO_ACCEL_AND_GYRO, MpuChip, PWR_DEVICE_RESET, PWR_SLEEP, Register, STATUS_FIFO_OVERFLOW,
    USER_FIFO_ENABLE, USER_FIFO_RESET, range_index,
};
use crate::imu::{AccelRange, GyroRange, STANDARD_GRAVITY};

/// An MPU-6050's.
const CHIP_ID: u8 = MpuChip::Mpu6050.ids()[0];
const REGISTERS: usize = 128;
const MEASURED: core::ops::Range<usize> = 0x3B..0x3B + BURST_LEN;
const DIE_CELSIUS: f32 = 31.0;
/// Bytes of the queue.
const QUEUE: usize = 1024;

/// How the simulated bus fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatedBusError {
    /// No device answers at this address.
    #[error("no device acknowledges address {address:#04x} on the simulated bus")]
    NoAcknowledge {
        /// The address called.
        address: u8,
    },
    /// A failure asked for with [`SimulatedI2c::fail_next`].
    #[error("the simulated bus lost arbitration")]
    ArbitrationLoss,
}

impl Error for SimulatedBusError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoAcknowledge { .. } => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::ArbitrationLoss => ErrorKind::ArbitrationLoss,
        }
    }
}

/// A bus with an MPU-6050 at one address. [`SimulatedI2c::set_motion`] moves the world; bus traffic
/// reads it through the chip's quantisation and ranges.
#[derive(Clone, Debug)]
pub struct SimulatedI2c {
    address: u8,
    registers: [u8; REGISTERS],
    pointer: u8,
    motion: ImuSample,
    queue: VecDeque<u8>,
    failures: u32,
}

impl SimulatedI2c {
    /// A chip at `address`, just powered: at rest, asleep, reset values everywhere.
    pub fn new(address: u8) -> Self {
        let rest = ImuSample { accel: [0.0, 0.0, STANDARD_GRAVITY], gyro: [0.0; 3] };
        let (registers, queue) = ([0; REGISTERS], VecDeque::new());
        let mut this = Self { address, registers, pointer: 0, motion: rest, queue, failures: 0 };
        this.reset();
        this
    }

    /// What the chip undergoes from now on: specific force in m/s² and angular rate in rad/s, in the
    /// chip's axes, its bias and noise included. Where the chip queues its samples, it takes one.
    pub fn set_motion(&mut self, motion: ImuSample) {
        self.motion = motion;
        if self.peek(Register::UserControl) & USER_FIFO_ENABLE != 0
            && self.peek(Register::FifoEnable) == FIFO_ACCEL_AND_GYRO
        {
            self.measure();
            let [a0, a1, a2, a3, a4, a5, _, _, g0, g1, g2, g3, g4, g5] = self.measured();
            self.queue.extend([a0, a1, a2, a3, a4, a5, g0, g1, g2, g3, g4, g5]);
        }
        if self.queue.len() > QUEUE {
            self.queue.drain(..self.queue.len() - QUEUE);
            self.poke(Register::InterruptStatus, STATUS_FIFO_OVERFLOW);
        }
    }

    /// Makes the next `transactions` fail, to test what a driver and the layers above make of it.
    pub fn fail_next(&mut self, transactions: u32) {
        self.failures = transactions;
    }

    fn reset(&mut self) {
        self.registers = [0; REGISTERS];
        self.queue.clear();
        self.poke(Register::PwrMgmt1, PWR_SLEEP);
        self.poke(Register::WhoAmI, CHIP_ID);
    }

    fn peek(&self, register: Register) -> u8 {
        self.registers.get(usize::from(register.address())).copied().unwrap_or(0)
    }

    fn poke(&mut self, register: Register, value: u8) {
        if let Some(slot) = self.registers.get_mut(usize::from(register.address())) {
            *slot = value;
        }
    }

    /// Latches the motion into the measurement registers, which sleep leaves as they are.
    fn measure(&mut self) {
        if self.peek(Register::PwrMgmt1) & PWR_SLEEP != 0 {
            return;
        }
        let accel = AccelRange::from_index(range_index(self.peek(Register::AccelConfig)));
        let gyro = GyroRange::from_index(range_index(self.peek(Register::GyroConfig)));
        let bytes = RawSample::from_si(self.motion, accel, gyro, DIE_CELSIUS).to_bytes();
        if let Some(measured) = self.registers.get_mut(MEASURED) {
            measured.copy_from_slice(&bytes);
        }
    }

    fn measured(&self) -> [u8; BURST_LEN] {
        let bytes = self.registers.get(MEASURED).and_then(|bytes| bytes.try_into().ok());
        bytes.unwrap_or([0; BURST_LEN])
    }

    /// The first byte of a write moves the pointer; each further one is stored and moves it on.
    fn write_bytes(&mut self, bytes: &[u8]) {
        let Some((&register, values)) = bytes.split_first() else { return };
        self.pointer = register;
        for &value in values {
            self.store(self.pointer, value);
            self.pointer = self.pointer.wrapping_add(1);
        }
    }

    fn store(&mut self, register: u8, value: u8) {
        let index = usize::from(register);
        if register == Register::PwrMgmt1.address() && value & PWR_DEVICE_RESET != 0 {
            self.reset();
        } else if register == Register::UserControl.address() {
            if value & USER_FIFO_RESET != 0 {
                self.queue.clear();
            }
            self.poke(Register::UserControl, value & !USER_FIFO_RESET);
        } else if MEASURED.contains(&index) || register == Register::WhoAmI.address() {
            // Read-only: the chip takes the byte and forgets it.
        } else if let Some(slot) = self.registers.get_mut(index) {
            *slot = value;
        }
    }

    fn read_bytes(&mut self, into: &mut [u8]) {
        self.measure();
        // At most the queue's length.
        let [high, low] = (self.queue.len() as u16).to_be_bytes();
        let count = Register::FifoCountH.address();
        for byte in into {
            let register = self.pointer;
            *byte = if register == Register::FifoReadWrite.address() {
                // The pointer stays.
                self.queue.pop_front().unwrap_or(0)
            } else {
                self.pointer = register.wrapping_add(1);
                if register == count {
                    high
                } else if register == count + 1 {
                    low
                } else {
                    self.registers.get(usize::from(register)).copied().unwrap_or(0)
                }
            };
            if register == Register::InterruptStatus.address() {
                self.poke(Register::InterruptStatus, 0);
            }
        }
    }
}

impl ErrorType for SimulatedI2c {
    type Error = SimulatedBusError;
}

impl I2c for SimulatedI2c {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Self::Error> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(SimulatedBusError::ArbitrationLoss);
        }
        if address != self.address {
            return Err(SimulatedBusError::NoAcknowledge { address });
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => self.write_bytes(bytes),
                Operation::Read(into) => self.read_bytes(into),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::imu::{Mpu, MpuConfig};
    use crate::registers::{OverI2c, SensorError};

    fn read(bus: &mut SimulatedI2c, register: u8) -> u8 {
        let mut byte = [0];
        bus.write_read(0x68, &[register], &mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn powers_up_with_the_register_maps_reset_values() {
        // Register map, section 3: "The reset value is 0x00 for all registers other than
        // Register 107: 0x40 and Register 117: 0x68."
        let mut bus = SimulatedI2c::new(0x68);
        for register in 0..=127 {
            let expected = match register {
                107 => 0x40,
                117 => 0x68,
                _ => 0,
            };
            assert_eq!(read(&mut bus, register), expected, "register {register}");
        }
    }

    #[test]
    fn measures_nothing_asleep_and_two_g_counts_awake() {
        let mut bus = SimulatedI2c::new(0x68);
        let mut burst = [0xAA; 14];
        bus.write_read(0x68, &[59], &mut burst).unwrap();
        assert_eq!(burst, [0; 14]);
        bus.write(0x68, &[107, 0]).unwrap();
        bus.write_read(0x68, &[59], &mut burst).unwrap();
        // One g upwards at the reset range of ±2 g is 16384 counts: 0x4000 in registers 63 and 64.
        assert_eq!(&burst[..6], &[0, 0, 0, 0, 0x40, 0x00]);
        // ACCEL_CONFIG 0x18 is ±16 g: 2048 counts.
        bus.write(0x68, &[28, 0x18]).unwrap();
        bus.write_read(0x68, &[63], &mut burst[..2]).unwrap();
        assert_eq!(&burst[..2], &[0x08, 0x00]);
    }

    #[test]
    fn reset_restores_sleep_and_clears_itself() {
        let mut bus = SimulatedI2c::new(0x68);
        bus.write(0x68, &[25, 9, 3, 0x08, 0x10]).unwrap();
        assert_eq!([25, 26, 27, 28].map(|r| read(&mut bus, r)), [9, 3, 0x08, 0x10]);
        bus.write(0x68, &[107, 0x80]).unwrap();
        assert_eq!([25, 26, 27, 28, 107].map(|r| read(&mut bus, r)), [0, 0, 0, 0, 0x40]);
    }

    #[test]
    fn read_only_registers_stay_and_other_addresses_do_not_answer() {
        let mut bus = SimulatedI2c::new(0x68);
        bus.write(0x68, &[117, 0x12]).unwrap();
        assert_eq!(read(&mut bus, 117), 0x68);
        let error = bus.write(0x69, &[107, 0]).unwrap_err();
        assert_eq!(error, SimulatedBusError::NoAcknowledge { address: 0x69 });
        assert_eq!(error.kind(), ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
    }

    #[test]
    fn the_driver_reads_back_the_motion_within_a_count_for_every_range() {
        let motion = ImuSample { accel: [1.25, -3.5, 9.6], gyro: [0.2, -1.1, 2.5] };
        for accel in AccelRange::ALL {
            for gyro in GyroRange::ALL {
                let config = MpuConfig { accel, gyro, ..MpuConfig::default() };
                let mut imu = Mpu::new(OverI2c::new(SimulatedI2c::new(0x68), 0x68), config).unwrap();
                imu.registers_mut().bus_mut().set_motion(motion);
                let got = imu.sample().unwrap();
                for (a, b) in motion.channels().iter().zip(got.channels()).take(3) {
                    assert!((a - b).abs() < 9.81 / accel.counts_per_g());
                }
                for (a, b) in motion.channels().iter().zip(got.channels()).skip(3) {
                    assert!((a - b).abs() < (1.0 / gyro.counts_per_dps()).to_radians());
                }
            }
        }
    }

    #[test]
    fn the_queue_gives_every_motion_once_and_says_when_it_ran_over() {
        let mut imu = Mpu::new(OverI2c::new(SimulatedI2c::new(0x68), 0x68), MpuConfig::default()).unwrap();
        let turn = |n: u16| ImuSample { accel: [0.0; 3], gyro: [f32::from(n) * 0.01, 0.0, 0.0] };
        let mut samples = [ImuSample::default(); 100];
        imu.registers_mut().bus_mut().set_motion(turn(9));
        imu.start_queue().unwrap();
        assert_eq!(imu.drain(&mut samples).unwrap(), 0);
        (1..=20).for_each(|n| imu.registers_mut().bus_mut().set_motion(turn(n)));
        assert_eq!(imu.drain(&mut samples[..15]).unwrap(), 15);
        assert_eq!(imu.drain(&mut samples[15..]).unwrap(), 5);
        for (sample, n) in samples.iter().zip(1..=20u16) {
            assert!((sample.gyro[0] - f32::from(n) * 0.01).abs() < 2e-4, "{n}: {sample:?}");
        }
        // 86 samples of 12 bytes are more than 1024.
        (0..86).for_each(|n| imu.registers_mut().bus_mut().set_motion(turn(n)));
        assert!(matches!(imu.drain(&mut samples), Err(SensorError::Overrun { .. })));
        imu.registers_mut().bus_mut().set_motion(turn(3));
        assert_eq!(imu.drain(&mut samples).unwrap(), 1);
    }

    #[test]
    fn the_driver_says_what_is_wrong() {
        let at = |address, rate_hz| {
            let config = MpuConfig { rate_hz, ..MpuConfig::default() };
            Mpu::new(OverI2c::new(SimulatedI2c::new(0x68), address), config).map(|_| ()).unwrap_err()
        };
        assert!(matches!(at(0x69, 100), SensorError::Bus { register: "WhoAmI", .. }));
        assert!(matches!(at(0x68, 99), SensorError::Setting { found: 99, .. }));
        let mut other = SimulatedI2c::new(0x68);
        other.poke(Register::WhoAmI, 0x71);
        let error = Mpu::new(OverI2c::new(other, 0x68), MpuConfig::default()).map(|_| ()).unwrap_err();
        assert!(matches!(error, SensorError::WrongChip { found: 0x71, expected: [0x68], .. }));
        let text = error.to_string();
        assert!(text.contains("0x68") && text.contains("0x71") && text.contains("MPU-6050"), "{text}");
    }

    #[test]
    fn the_driver_survives_a_bus_that_fails_for_a_while() {
        let mut imu = Mpu::new(OverI2c::new(SimulatedI2c::new(0x68), 0x68), MpuConfig::default()).unwrap();
        imu.registers_mut().bus_mut().fail_next(2);
        assert!(imu.sample().is_err());
        assert!(imu.sample().is_err());
        assert!((imu.sample().unwrap().accel[2] - 9.806).abs() < 2e-3);
    }
}
