//! Registers and fields of the InvenSense MPU-6050, with the names of its own documents.
//!
//! Source: InvenSense, *MPU-6000 and MPU-6050 Register Map and Descriptions*, RM-MPU-6000A-00
//! revision 4.2 (2013), and *Product Specification*, PS-MPU-6000A-00 revision 3.4 (2013). The
//! driver and the simulated chip share these constants; the tests of each check them against
//! numbers copied from the documents.

/// The chip's address with pin AD0 low; 0x69 with it high.
pub const DEFAULT_ADDRESS: u8 = 0x68;

/// What [`Register::WhoAmI`] holds, whatever AD0 says (register map, section 4.33).
pub const CHIP_ID: u8 = 0x68;

/// Bytes in one burst from [`Register::AccelXoutH`]: three accelerations, temperature, three rates.
pub const BURST_LEN: usize = 14;

/// Set in [`Register::PwrMgmt1`]: restore every register's reset value. Clears itself.
pub const PWR_DEVICE_RESET: u8 = 1 << 7;

/// Set in [`Register::PwrMgmt1`] after reset: the sensors are off.
pub const PWR_SLEEP: u8 = 1 << 6;

/// Clock choice in [`Register::PwrMgmt1`]: the X gyroscope's oscillator, which the register map
/// recommends over the internal one for stability.
pub const PWR_CLOCK_GYRO_X: u8 = 1;

/// The registers in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Register {
    /// SMPLRT_DIV: sample rate = gyroscope output rate / (1 + value).
    SampleRateDivider = 0x19,
    /// CONFIG: the digital low-pass filter in bits 2:0.
    Config = 0x1A,
    /// GYRO_CONFIG: the gyroscope's full scale in bits 4:3.
    GyroConfig = 0x1B,
    /// ACCEL_CONFIG: the accelerometer's full scale in bits 4:3.
    AccelConfig = 0x1C,
    /// ACCEL_XOUT_H: first of the [`BURST_LEN`] measurement bytes, big-endian pairs.
    AccelXoutH = 0x3B,
    /// PWR_MGMT_1: reset, sleep and clock.
    PwrMgmt1 = 0x6B,
    /// WHO_AM_I.
    WhoAmI = 0x75,
}

impl Register {
    /// The register's address.
    pub const fn address(self) -> u8 {
        self as u8
    }
}

/// Full scale of the accelerometer (AFS_SEL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AccelRange {
    /// ±2 g
    G2,
    /// ±4 g
    #[default]
    G4,
    /// ±8 g
    G8,
    /// ±16 g
    G16,
}

impl AccelRange {
    /// Every range, narrowest first; the index is the field's value.
    pub const ALL: [Self; 4] = [Self::G2, Self::G4, Self::G8, Self::G16];

    /// Full scale in g.
    pub const fn full_scale_g(self) -> u32 {
        2 << (self as u32)
    }

    /// Counts for one g (product specification, section 6.2).
    pub const fn counts_per_g(self) -> f32 {
        (16_384 >> (self as u32)) as f32
    }

    /// The range with this full scale in g, if the chip has it.
    pub fn from_full_scale_g(g: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|range| range.full_scale_g() == g)
    }

    /// The value of the ACCEL_CONFIG register.
    pub const fn bits(self) -> u8 {
        (self as u8) << 3
    }

    /// The range that an ACCEL_CONFIG value asks for.
    pub const fn from_bits(bits: u8) -> Self {
        match (bits >> 3) & 0b11 {
            0 => Self::G2,
            1 => Self::G4,
            2 => Self::G8,
            _ => Self::G16,
        }
    }
}

/// Full scale of the gyroscope (FS_SEL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GyroRange {
    /// ±250 °/s
    Dps250,
    /// ±500 °/s
    #[default]
    Dps500,
    /// ±1000 °/s
    Dps1000,
    /// ±2000 °/s
    Dps2000,
}

impl GyroRange {
    /// Every range, narrowest first; the index is the field's value.
    pub const ALL: [Self; 4] = [Self::Dps250, Self::Dps500, Self::Dps1000, Self::Dps2000];

    /// Full scale in degrees per second.
    pub const fn full_scale_dps(self) -> u32 {
        250 << (self as u32)
    }

    /// Counts for one degree per second (product specification, section 6.1).
    pub const fn counts_per_dps(self) -> f32 {
        match self {
            Self::Dps250 => 131.0,
            Self::Dps500 => 65.5,
            Self::Dps1000 => 32.8,
            Self::Dps2000 => 16.4,
        }
    }

    /// The range with this full scale in degrees per second, if the chip has it.
    pub fn from_full_scale_dps(dps: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|range| range.full_scale_dps() == dps)
    }

    /// The value of the GYRO_CONFIG register.
    pub const fn bits(self) -> u8 {
        (self as u8) << 3
    }

    /// The range that a GYRO_CONFIG value asks for.
    pub const fn from_bits(bits: u8) -> Self {
        match (bits >> 3) & 0b11 {
            0 => Self::Dps250,
            1 => Self::Dps500,
            2 => Self::Dps1000,
            _ => Self::Dps2000,
        }
    }
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
    fn ranges_survive_their_bits_and_their_numbers() {
        for range in AccelRange::ALL {
            assert_eq!(AccelRange::from_bits(range.bits() | 0b1110_0111), range);
            assert_eq!(AccelRange::from_full_scale_g(range.full_scale_g()), Some(range));
        }
        for range in GyroRange::ALL {
            assert_eq!(GyroRange::from_bits(range.bits() | 0b1110_0111), range);
            assert_eq!(GyroRange::from_full_scale_dps(range.full_scale_dps()), Some(range));
        }
        assert_eq!(AccelRange::from_full_scale_g(3), None);
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
