//! Full scales of accelerometer and gyroscope. Every chip here has these four of each, and numbers them
//! in a field of its own.

/// Standard gravity in m/s² (BIPM, exact by definition).
pub const STANDARD_GRAVITY: f32 = 9.806_65;

/// Radians in a degree.
pub(crate) const RAD_PER_DEG: f32 = core::f32::consts::PI / 180.0;

/// Full scale of the accelerometer.
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
    /// Every range, narrowest first.
    pub const ALL: [Self; 4] = [Self::G2, Self::G4, Self::G8, Self::G16];

    /// Place in [`AccelRange::ALL`].
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// The range at the place that the two lowest bits say.
    pub const fn from_index(index: u8) -> Self {
        match index & 0b11 {
            0 => Self::G2,
            1 => Self::G4,
            2 => Self::G8,
            _ => Self::G16,
        }
    }

    /// Full scale in g.
    pub const fn full_scale_g(self) -> u32 {
        2 << (self as u32)
    }

    /// The range with this full scale in g.
    pub fn from_full_scale_g(g: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|range| range.full_scale_g() == g)
    }

    /// Counts for one g where 16 bits span the full scale: MPU, ICM-20948, BMI160 and BMI270.
    pub const fn counts_per_g(self) -> f32 {
        (32_768 / self.full_scale_g()) as f32
    }
}

/// Full scale of the gyroscope.
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
    /// Every range, narrowest first.
    pub const ALL: [Self; 4] = [Self::Dps250, Self::Dps500, Self::Dps1000, Self::Dps2000];

    /// Place in [`GyroRange::ALL`].
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// The range at the place that the two lowest bits say.
    pub const fn from_index(index: u8) -> Self {
        match index & 0b11 {
            0 => Self::Dps250,
            1 => Self::Dps500,
            2 => Self::Dps1000,
            _ => Self::Dps2000,
        }
    }

    /// Full scale in degrees per second.
    pub const fn full_scale_dps(self) -> u32 {
        250 << (self as u32)
    }

    /// The range with this full scale in degrees per second.
    pub fn from_full_scale_dps(dps: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|range| range.full_scale_dps() == dps)
    }

    /// Counts for one degree per second as the MPU's and the ICM-20948's documents round them.
    pub const fn counts_per_dps(self) -> f32 {
        match self {
            Self::Dps250 => 131.0,
            Self::Dps500 => 65.5,
            Self::Dps1000 => 32.8,
            Self::Dps2000 => 16.4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_survive_their_places_and_their_numbers() {
        for range in AccelRange::ALL {
            assert_eq!(AccelRange::from_index(range.index() | 0b1111_1100), range);
            assert_eq!(AccelRange::from_full_scale_g(range.full_scale_g()), Some(range));
        }
        for range in GyroRange::ALL {
            assert_eq!(GyroRange::from_index(range.index() | 0b1111_1100), range);
            assert_eq!(GyroRange::from_full_scale_dps(range.full_scale_dps()), Some(range));
        }
        assert_eq!(AccelRange::from_full_scale_g(3), None);
        assert_eq!(GyroRange::from_full_scale_dps(125), None);
    }
}
