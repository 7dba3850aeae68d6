//! A simulated MPU-6050 that turns about its y axis at a steady rate, so that every sample tells the time at
//! which it was taken: at `t` seconds, acceleration is gravity's reaction turned by [`RATE`]` * t`.

use core::convert::Infallible;

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use sedge_boards::imu::convert::RawSample;
use sedge_boards::imu::mpu_registers::{
    BURST_LEN, PWR_SLEEP, Register, STATUS_FIFO_OVERFLOW, USER_FIFO_ENABLE, USER_FIFO_RESET, range_index,
};
use sedge_boards::imu::{AccelRange, GyroRange, STANDARD_GRAVITY};
use sedge_readings::ImuSample;

/// The chip's address.
pub const ADDRESS: u8 = 0x68;
/// Angular rate in rad/s.
const RATE: f64 = 2.0;
/// Bytes of one sample in the queue, and of all that it holds.
const QUEUED: usize = 12;
const QUEUE: u64 = 1024 / QUEUED as u64;

/// The chip's registers, and the time.
pub struct SimulatedMpu {
    registers: [u8; 128],
    pointer: u8,
    micros: fn() -> u64,
    /// Since when the queue runs, samples taken out of it, and bytes taken of the next one.
    queue: Option<(u64, u64, usize)>,
}

impl SimulatedMpu {
    /// A chip just powered: asleep.
    pub fn new(micros: fn() -> u64) -> Self {
        let mut registers = [0; 128];
        registers[usize::from(Register::PwrMgmt1.address())] = PWR_SLEEP;
        registers[usize::from(Register::WhoAmI.address())] = ADDRESS;
        Self { registers, pointer: 0, micros, queue: None }
    }

    fn get(&self, register: Register) -> u8 {
        self.registers[usize::from(register.address())]
    }

    /// What it measures at a time.
    fn bytes_at(&self, micros: u64) -> [u8; BURST_LEN] {
        let angle = RATE * micros as f64 * 1e-6;
        let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        let g = STANDARD_GRAVITY;
        let sample = ImuSample { accel: [g * sin, 0.0, g * cos], gyro: [0.0, RATE as f32, 0.0] };
        let accel = AccelRange::from_index(range_index(self.get(Register::AccelConfig)));
        let gyro = GyroRange::from_index(range_index(self.get(Register::GyroConfig)));
        RawSample::from_si(sample, accel, gyro, 30.0).to_bytes()
    }

    /// Microseconds between two samples in the queue.
    fn period(&self) -> u64 {
        1_000 * (1 + u64::from(self.get(Register::SampleRateDivider)))
    }

    /// Samples in the queue.
    fn queued(&self) -> u64 {
        let Some((since, taken, _)) = self.queue else { return 0 };
        ((self.micros)().saturating_sub(since) / self.period()).saturating_sub(taken)
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some((&register, values)) = bytes.split_first() else { return };
        self.pointer = register;
        for &value in values {
            if self.pointer == Register::UserControl.address() {
                if value & (USER_FIFO_RESET | USER_FIFO_ENABLE) != 0 {
                    let runs = value & USER_FIFO_ENABLE != 0;
                    self.queue = runs.then(|| ((self.micros)(), 0, 0));
                }
            } else if self.pointer != Register::WhoAmI.address()
                && let Some(slot) = self.registers.get_mut(usize::from(self.pointer))
            {
                *slot = value;
            }
            self.pointer = self.pointer.wrapping_add(1);
        }
    }

    fn read(&mut self, into: &mut [u8]) {
        if self.pointer == Register::AccelXoutH.address() {
            let bytes = self.bytes_at((self.micros)());
            let start = usize::from(self.pointer);
            self.registers[start..start + BURST_LEN].copy_from_slice(&bytes);
        } else if self.pointer == Register::FifoCountH.address() {
            let count = (self.queued().min(QUEUE) as u16) * QUEUED as u16;
            let start = usize::from(self.pointer);
            self.registers[start..start + 2].copy_from_slice(&count.to_be_bytes());
        } else if self.pointer == Register::InterruptStatus.address() {
            let ran_over = self.queued() > QUEUE;
            self.registers[usize::from(self.pointer)] = if ran_over { STATUS_FIFO_OVERFLOW } else { 0 };
        }
        for slot in into {
            *slot = self.read_byte();
        }
    }

    fn read_byte(&mut self) -> u8 {
        if self.pointer == Register::FifoReadWrite.address() {
            return self.pop();
        }
        let byte = self.registers.get(usize::from(self.pointer)).copied().unwrap_or(0);
        self.pointer = self.pointer.wrapping_add(1);
        byte
    }

    /// The next byte of the queue: acceleration, then angular rate.
    fn pop(&mut self) -> u8 {
        let period = self.period();
        let Some((since, taken, at)) = self.queue else { return 0 };
        let bytes = self.bytes_at(since + (taken + 1) * period);
        // The temperature, two bytes after the acceleration, is not queued.
        let byte = bytes[if at < 6 { at } else { at + 2 }];
        let ends = at + 1 == QUEUED;
        self.queue = Some((since, taken + u64::from(ends), if ends { 0 } else { at + 1 }));
        byte
    }
}

impl ErrorType for SimulatedMpu {
    type Error = Infallible;
}

impl I2c for SimulatedMpu {
    fn transaction(&mut self, _: u8, operations: &mut [Operation<'_>]) -> Result<(), Infallible> {
        for operation in operations {
            match operation {
                Operation::Write(bytes) => self.write(bytes),
                Operation::Read(into) => self.read(into),
            }
        }
        Ok(())
    }
}
