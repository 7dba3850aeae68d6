//! Quantities beside motion, each a type of its own, so that pascals are never taken for degrees.

/// A temperature in degrees Celsius.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Celsius(pub f32);

/// A pressure in pascals.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pascals(pub f32);

/// Relative humidity in per cent, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RelativeHumidity(pub f32);

/// Magnetic flux density in tesla along x, y, z of the sensor; the Earth's is 25 to 65 millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MagneticField(pub [f32; 3]);

/// What a sensor says of the air around it: as much as it measures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Environment {
    /// Temperature, of the air or of the chip in it.
    pub temperature: Option<Celsius>,
    /// Pressure, not reduced to sea level.
    pub pressure: Option<Pascals>,
    /// Humidity.
    pub humidity: Option<RelativeHumidity>,
}

impl Environment {
    /// Whether every value that is there is a finite number.
    pub fn is_finite(&self) -> bool {
        let Self { temperature, pressure, humidity } = self;
        let numbers = [temperature.map(|t| t.0), pressure.map(|p| p.0), humidity.map(|h| h.0)];
        numbers.into_iter().flatten().all(f32::is_finite)
    }
}

/// One value of any sensor but a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Measurement {
    /// Of an inertial sensor.
    Imu(crate::ImuSample),
    /// Of a magnetometer.
    Magnetic(MagneticField),
    /// Of a thermometer, barometer or hygrometer.
    Environment(Environment),
}

impl Measurement {
    /// Whether every number in it is finite.
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Imu(sample) => sample.is_finite(),
            Self::Magnetic(field) => field.0.iter().all(|value| value.is_finite()),
            Self::Environment(environment) => environment.is_finite(),
        }
    }
}
