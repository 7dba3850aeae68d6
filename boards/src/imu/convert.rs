//! Raw counts of the MPU family to SI units and back.
//!
//! Pure functions of fourteen bytes and two ranges, so that the data sheet's scale factors can be
//! tested without a bus. The inverse exists for the simulated chip, which must quantise and
//! saturate as the real one does.

use sedge_readings::ImuSample;

use super::mpu_registers::BURST_LEN;
use super::range::{AccelRange, GyroRange, RAD_PER_DEG, STANDARD_GRAVITY};

/// One burst read as big-endian counts: acceleration, temperature, angular rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSample {
    /// Acceleration counts along x, y, z.
    pub accel: [i16; 3],
    /// Temperature counts.
    pub temperature: i16,
    /// Angular rate counts about x, y, z.
    pub gyro: [i16; 3],
}

impl RawSample {
    /// The counts in a burst from ACCEL_XOUT_H.
    pub const fn from_bytes(bytes: [u8; BURST_LEN]) -> Self {
        let [axh, axl, ayh, ayl, azh, azl, th, tl, gxh, gxl, gyh, gyl, gzh, gzl] = bytes;
        Self {
            accel: [
                i16::from_be_bytes([axh, axl]),
                i16::from_be_bytes([ayh, ayl]),
                i16::from_be_bytes([azh, azl]),
            ],
            temperature: i16::from_be_bytes([th, tl]),
            gyro: [
                i16::from_be_bytes([gxh, gxl]),
                i16::from_be_bytes([gyh, gyl]),
                i16::from_be_bytes([gzh, gzl]),
            ],
        }
    }

    /// The burst that holds these counts.
    pub const fn to_bytes(self) -> [u8; BURST_LEN] {
        let ([ax, ay, az], [gx, gy, gz]) = (self.accel, self.gyro);
        let ([axh, axl], [ayh, ayl], [azh, azl]) = (ax.to_be_bytes(), ay.to_be_bytes(), az.to_be_bytes());
        let ([gxh, gxl], [gyh, gyl], [gzh, gzl]) = (gx.to_be_bytes(), gy.to_be_bytes(), gz.to_be_bytes());
        let [th, tl] = self.temperature.to_be_bytes();
        [axh, axl, ayh, ayl, azh, azl, th, tl, gxh, gxl, gyh, gyl, gzh, gzl]
    }

    /// The sample in m/s² and rad/s, given the ranges it was taken with.
    pub fn to_si(self, accel: AccelRange, gyro: GyroRange) -> ImuSample {
        let metres = STANDARD_GRAVITY / accel.counts_per_g();
        let radians = RAD_PER_DEG / gyro.counts_per_dps();
        ImuSample {
            accel: self.accel.map(|count| f32::from(count) * metres),
            gyro: self.gyro.map(|count| f32::from(count) * radians),
        }
    }

    /// What a chip with these ranges reads in this motion: rounded to the nearest count and
    /// saturated at the full scale. A NaN reads as zero.
    pub fn from_si(sample: ImuSample, accel: AccelRange, gyro: GyroRange, celsius: f32) -> Self {
        let counts = accel.counts_per_g() / STANDARD_GRAVITY;
        let rates = gyro.counts_per_dps() / RAD_PER_DEG;
        Self {
            accel: sample.accel.map(|metres| quantise(metres * counts)),
            temperature: quantise((celsius - 36.53) * 340.0),
            gyro: sample.gyro.map(|radians| quantise(radians * rates)),
        }
    }
}

/// Three little-endian counts.
pub(crate) const fn little_endian(bytes: [u8; 6]) -> [i16; 3] {
    let [xl, xh, yl, yh, zl, zh] = bytes;
    [i16::from_le_bytes([xl, xh]), i16::from_le_bytes([yl, yh]), i16::from_le_bytes([zl, zh])]
}

/// Three big-endian counts.
pub(crate) const fn big_endian(bytes: [u8; 6]) -> [i16; 3] {
    let [xh, xl, yh, yl, zh, zl] = bytes;
    [i16::from_be_bytes([xh, xl]), i16::from_be_bytes([yh, yl]), i16::from_be_bytes([zh, zl])]
}

/// Counts in a unit of which one count is `unit`.
pub(crate) fn scaled(counts: [i16; 3], unit: f32) -> [f32; 3] {
    counts.map(|count| f32::from(count) * unit)
}

fn quantise(count: f32) -> i16 {
    // A float-to-integer cast saturates at the type's bounds, which here are the full scale.
    libm::rintf(count) as i16
}

#[cfg(test)]
mod tests {
    use super::super::mpu_registers::MpuChip;
    use super::*;

    #[test]
    fn scale_factors_are_the_data_sheets() {
        // Product specification, tables in 6.1 and 6.2: (full scale, counts per unit).
        let accel = [(2, 16384.0), (4, 8192.0), (8, 4096.0), (16, 2048.0)];
        let gyro = [(250, 131.0), (500, 65.5), (1000, 32.8), (2000, 16.4)];
        for (range, (full, counts)) in AccelRange::ALL.into_iter().zip(accel) {
            assert_eq!((range.full_scale_g(), range.counts_per_g()), (full, counts));
        }
        for (range, (full, counts)) in GyroRange::ALL.into_iter().zip(gyro) {
            assert_eq!((range.full_scale_dps(), range.counts_per_dps()), (full, counts));
        }
    }

    #[test]
    fn one_g_up_and_one_turn_a_second_come_out_in_si() {
        let raw = RawSample { accel: [0, -4096, 4096], temperature: 0, gyro: [0, 0, 5904] };
        let sample = raw.to_si(AccelRange::G8, GyroRange::Dps2000);
        assert!((sample.accel[1] + 9.80665).abs() < 1e-6);
        assert!((sample.accel[2] - 9.80665).abs() < 1e-6);
        // 5904 / 16.4 = 360 °/s.
        assert!((sample.gyro[2] - core::f32::consts::TAU).abs() < 1e-5);
        assert!((MpuChip::Mpu6050.celsius(raw.temperature) - 36.53).abs() < 1e-6);
        // 340 counts a degree: register map, section 4.18.
        assert!((MpuChip::Mpu6050.celsius(3400) - 46.53).abs() < 1e-5);
    }

    #[test]
    fn bytes_are_big_endian_pairs_in_the_register_maps_order() {
        let bytes = [0x01, 0x02, 0xFF, 0xFE, 0x80, 0x00, 0x7F, 0xFF, 0, 1, 0, 2, 0xFF, 0xFF];
        let raw = RawSample::from_bytes(bytes);
        assert_eq!(raw.accel, [0x0102, -2, i16::MIN]);
        assert_eq!(raw.temperature, i16::MAX);
        assert_eq!(raw.gyro, [1, 2, -1]);
        assert_eq!(raw.to_bytes(), bytes);
    }

    #[test]
    fn quantising_saturates_and_loses_at_most_half_a_count() {
        let (accel, gyro) = (AccelRange::G2, GyroRange::Dps250);
        let strong = ImuSample { accel: [100.0, -100.0, f32::NAN], gyro: [10.0, -10.0, 0.0] };
        let raw = RawSample::from_si(strong, accel, gyro, 25.0);
        assert_eq!(raw.accel, [i16::MAX, i16::MIN, 0]);
        assert_eq!(raw.gyro, [i16::MAX, i16::MIN, 0]);
        let mild = ImuSample { accel: [0.1, -3.3, 9.81], gyro: [0.5, -0.01, 1.0] };
        let back = RawSample::from_si(mild, accel, gyro, 25.0).to_si(accel, gyro);
        for (a, b) in mild.accel.iter().zip(back.accel) {
            assert!((a - b).abs() <= 0.51 * 9.80665 / 16384.0, "{a} {b}");
        }
        for (a, b) in mild.gyro.iter().zip(back.gyro) {
            assert!((a - b).abs() <= 0.51 * (1.0f32 / 131.0).to_radians(), "{a} {b}");
        }
    }
}
