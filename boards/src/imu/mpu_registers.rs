//! Registers and fields of the InvenSense MPU-6050, MPU-6500 and MPU-9250, with the names of their own
//! documents.
//!
//! Source: InvenSense, *MPU-6000 and MPU-6050 Register Map and Descriptions*, RM-MPU-6000A-00
//! revision 4.2 (2013), and *Product Specification*, PS-MPU-6000A-00 revision 3.4 (2013). The later chips
//! keep the map and differ in identity, in the accelerometer's filter, which has a register of its own,
//! in the thermometer's scale and in the depth of the queue. The driver and the simulated chip share these
//! constants; the tests of each check them against numbers copied from the documents.

use crate::registers::registers;

/// The chip's address with pin AD0 low; 0x69 with it high.
pub const DEFAULT_ADDRESS: u8 = 0x68;

/// Bytes in one burst from [`Register::AccelXoutH`]: three accelerations, temperature, three rates.
pub const BURST_LEN: usize = 14;

/// Which of the family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MpuChip {
    /// MPU-6050, and the MPU-6000 and MPU-9150 that hold the same die.
    #[default]
    Mpu6050,
    /// MPU-6500.
    Mpu6500,
    /// MPU-9250 and MPU-9255, whose magnetometer is another chip in the package and is not read.
    Mpu9250,
}

impl MpuChip {
    /// The name on the package.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mpu6050 => "MPU-6050",
            Self::Mpu6500 => "MPU-6500",
            Self::Mpu9250 => "MPU-9250",
        }
    }

    /// What [`Register::WhoAmI`] holds, whatever AD0 says.
    pub const fn ids(self) -> &'static [u8] {
        match self {
            Self::Mpu6050 => &[0x68],
            Self::Mpu6500 => &[0x70],
            Self::Mpu9250 => &[0x71, 0x73],
        }
    }

    /// Die temperature in °C from counts (MPU-6050: register map, section 4.18; the others: 333.87 counts
    /// a degree around 21 °C).
    pub fn celsius(self, counts: i16) -> f32 {
        match self {
            Self::Mpu6050 => f32::from(counts) / 340.0 + 36.53,
            Self::Mpu6500 | Self::Mpu9250 => f32::from(counts) / 333.87 + 21.0,
        }
    }
}

/// Set in [`Register::PwrMgmt1`]: restore every register's reset value. Clears itself.
pub const PWR_DEVICE_RESET: u8 = 1 << 7;

/// Set in [`Register::PwrMgmt1`] after reset: the sensors are off.
pub const PWR_SLEEP: u8 = 1 << 6;

/// Clock choice in [`Register::PwrMgmt1`]: the X gyroscope's oscillator, which the register map
/// recommends over the internal one for stability.
pub const PWR_CLOCK_GYRO_X: u8 = 1;

/// Set in [`Register::FifoEnable`]: acceleration and all three angular rates go to the queue.
pub const FIFO_ACCEL_AND_GYRO: u8 = 0x78;

/// Set in [`Register::UserControl`]: the queue runs.
pub const USER_FIFO_ENABLE: u8 = 1 << 6;

/// Set in [`Register::UserControl`]: empty the queue. Clears itself.
pub const USER_FIFO_RESET: u8 = 1 << 2;

/// Set in [`Register::InterruptStatus`]: the queue ran over. Clears when read.
pub const STATUS_FIFO_OVERFLOW: u8 = 1 << 4;

registers! {
    /// The registers in use.
    Register {
        /// SMPLRT_DIV: sample rate = gyroscope output rate / (1 + value).
        SampleRateDivider = 0x19,
        /// CONFIG: the digital low-pass filter in bits 2:0.
        Config = 0x1A,
        /// GYRO_CONFIG: the gyroscope's full scale in bits 4:3.
        GyroConfig = 0x1B,
        /// ACCEL_CONFIG: the accelerometer's full scale in bits 4:3.
        AccelConfig = 0x1C,
        /// ACCEL_CONFIG_2 of the MPU-6500 and MPU-9250: the accelerometer's low-pass filter.
        AccelConfig2 = 0x1D,
        /// FIFO_EN: what goes to the queue.
        FifoEnable = 0x23,
        /// INT_STATUS.
        InterruptStatus = 0x3A,
        /// ACCEL_XOUT_H: first of the [`BURST_LEN`] measurement bytes, big-endian pairs.
        AccelXoutH = 0x3B,
        /// USER_CTRL: whether the queue runs.
        UserControl = 0x6A,
        /// PWR_MGMT_1: reset, sleep and clock.
        PwrMgmt1 = 0x6B,
        /// FIFO_COUNTH: bytes in the queue, a big-endian pair.
        FifoCountH = 0x72,
        /// FIFO_R_W: the queue; the register pointer stays on it.
        FifoReadWrite = 0x74,
        /// WHO_AM_I.
        WhoAmI = 0x75,
    }
}

/// The value of GYRO_CONFIG or ACCEL_CONFIG for the range at this place.
pub const fn range_bits(index: u8) -> u8 {
    index << 3
}

/// The place of the range that a GYRO_CONFIG or ACCEL_CONFIG value asks for.
pub const fn range_index(bits: u8) -> u8 {
    (bits >> 3) & 0b11
}

/// The digital low-pass filter (DLPF_CFG), named by the accelerometer's bandwidth.
///
/// `DLPF_CFG = 0` is left out: it runs the gyroscope at 8 kHz instead of 1 kHz and so changes what
/// the sample-rate divider means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LowPass {
    /// 184 Hz
    Hz184 = 1,
    /// 94 Hz
    Hz94 = 2,
    /// 44 Hz: below half of 100 Hz, the rate this project reads at.
    #[default]
    Hz44 = 3,
    /// 21 Hz
    Hz21 = 4,
    /// 10 Hz
    Hz10 = 5,
    /// 5 Hz
    Hz5 = 6,
}

impl LowPass {
    /// The value of the CONFIG register.
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The widest filter that still cuts off below half of `rate_hz`, or the narrowest there is.
    pub const fn below_nyquist(rate_hz: u32) -> Self {
        match rate_hz {
            369.. => Self::Hz184,
            189..=368 => Self::Hz94,
            89..=188 => Self::Hz44,
            43..=88 => Self::Hz21,
            21..=42 => Self::Hz10,
            _ => Self::Hz5,
        }
    }
}

/// Rate of the gyroscope's output with the low-pass filter on, which the divider divides.
pub const GYRO_OUTPUT_HZ: u32 = 1000;

/// The SMPLRT_DIV value for exactly `rate_hz`, or `None` where the chip cannot sample at it: the
/// rate must divide 1000 Hz and be at least 4 Hz.
pub const fn divider_for(rate_hz: u32) -> Option<u8> {
    if rate_hz < 4 || rate_hz > GYRO_OUTPUT_HZ || !GYRO_OUTPUT_HZ.is_multiple_of(rate_hz) {
        return None;
    }
    Some((GYRO_OUTPUT_HZ / rate_hz - 1) as u8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_sample_rate_formula_is_the_register_maps() {
        for rate in 0..=1200 {
            match divider_for(rate) {
                Some(div) => assert_eq!(1000 / (1 + u32::from(div)), rate),
                None => assert!(!(4..=1000).contains(&rate) || 1000 % rate != 0),
            }
        }
        assert_eq!(divider_for(100), Some(9));
    }

    #[test]
    fn the_filter_stays_below_nyquist() {
        let cutoff = |filter| match filter {
            LowPass::Hz184 => 184,
            LowPass::Hz94 => 94,
            LowPass::Hz44 => 44,
            LowPass::Hz21 => 21,
            LowPass::Hz10 => 10,
            LowPass::Hz5 => 5,
        };
        for rate in 11..=1000 {
            assert!(2 * cutoff(LowPass::below_nyquist(rate)) < rate, "{rate}");
        }
    }
}
