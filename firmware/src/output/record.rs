//! The records of a run, as they stand in the JSON lines and in the MCAP file.

use sedge_core::{Evidence, Motion, Rest, StopReason, Verdict};
use sedge_readings::{Measurement, Reading};
use serde::Serialize;

use crate::live::DeviceChange;

/// One embedded frame or window.
#[derive(Clone, Debug, Serialize)]
pub struct EmbeddingRecord<'a> {
    /// When the frame, or the window's last sample, was taken: nanoseconds of the stream's clock.
    pub t_ns: u64,
    /// The frame's number in the stream, or the window's among the windows, from zero.
    pub index: u64,
    /// Which weights made it: 0 as shipped, one more at each change.
    pub weights: u64,
    /// The embedding.
    pub embedding: &'a [f32],
    /// How the device moved since the frame before; absent for windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionRecord>,
}

/// Inertial summary beside a frame.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MotionRecord {
    /// Inertial samples since the frame before.
    pub samples: u32,
    /// Mean specific force in m/s².
    pub accel_mean: [f32; 3],
    /// Mean angular rate in rad/s.
    pub gyro_mean: [f32; 3],
    /// Root mean square of the angular rate in rad/s.
    pub gyro_rms: f32,
    /// Rotation since the frame before in rad; null where the samples do not cover the time.
    pub rotation: Option<[f32; 3]>,
    /// Its part about the vertical.
    pub yaw: Option<f32>,
}

impl From<Motion> for MotionRecord {
    fn from(motion: Motion) -> Self {
        let Motion { samples, accel_mean, gyro_mean, gyro_rms, rotation, .. } = motion;
        Self { samples, accel_mean, gyro_mean, gyro_rms, rotation, yaw: motion.yaw() }
    }
}

/// Something that happened, with its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRecord {
    /// When, in nanoseconds of the stream's clock.
    pub t_ns: u64,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Happening {
    /// A session began.
    Started {
        /// Version of the daemon.
        version: String,
        /// SHA-256 of the bundle.
        bundle: String,
        /// Events that earlier sessions had consumed.
        resumed_after: u64,
    },
    /// A training step was taken.
    Adapted {
        /// Steps so far.
        step: u64,
        /// Its loss.
        loss: f32,
        /// Its learning rate.
        lr: f32,
        /// What it took in milliseconds; only at the pace of a clock, for it differs between machines.
        #[serde(skip_serializing_if = "Option::is_none")]
        took_ms: Option<f64>,
    },
    /// A training step failed; the training copy goes back to the weights in service.
    StepFailed {
        /// Why.
        reason: String,
    },
    /// A candidate was measured and judged.
    Judged {
        /// The verdict.
        verdict: Verdict,
        /// The numbers; a number that is not finite is null.
        evidence: Evidence,
        /// Why it could not be measured, if so.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// Other weights went into service.
    Serving {
        /// Their number.
        weights: u64,
    },
    /// Adaptation stopped for good.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// No steps are taken for now.
    Resting {
        /// Why.
        reason: Rest,
    },
    /// A frame or window could not be embedded.
    NotEmbedded {
        /// Its number.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The source failed; what came before is complete.
    SourceFailed {
        /// Why.
        reason: String,
    },
    /// A board is read; the stream's clock stands at this record's time.
    Live {
        /// The board.
        board: String,
        /// Seconds since 1970 by the machine's clock, which may be wrong and may be set later.
        unix_s: f64,
    },
    /// A camera's or sensor's condition changed.
    Device {
        /// Its name in the board file.
        device: String,
        /// What changed.
        change: DeviceChange,
        /// Why, where it is not for the better.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The label button was pressed: what happens now is worth a name.
    Label {
        /// Number of the press, from one.
        press: u64,
    },
    /// The checkpoint could not be written; the last one stays, and the daemon goes on.
    NotSaved {
        /// Why.
        reason: String,
    },
    /// A session ended.
    Ended {
        /// Whether the stream had ended too.
        stream: bool,
    },
}

/// One reading of a sensor that the learner does not read. Of the values only those that the sensor measures
/// are written.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SensorRecord<'a> {
    /// When it was taken: nanoseconds of the stream's clock.
    pub t_ns: u64,
    /// The sensor's name in the board file.
    pub sensor: &'a str,
    /// Temperature in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<f32>,
    /// Pressure in pascals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure_pascals: Option<f32>,
    /// Relative humidity in per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub humidity_percent: Option<f32>,
    /// Magnetic flux density in tesla along the sensor's axes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub magnetic_field_tesla: Option<[f32; 3]>,
    /// Specific force in m/s² along the sensor's axes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceleration_metres_per_second_squared: Option<[f32; 3]>,
    /// Angular rate in rad/s about the sensor's axes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub angular_rate_radians_per_second: Option<[f32; 3]>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl<'a> SensorRecord<'a> {
    /// The record of a reading.
    pub fn new(sensor: &'a str, reading: &Reading<Measurement>) -> Self {
        let record = Self { t_ns: reading.at.nanos(), sensor, ..Self::default() };
        match reading.value {
            Err(reason) => Self { missing: Some(reason.to_string()), ..record },
            Ok(Measurement::Imu(sample)) => Self {
                acceleration_metres_per_second_squared: Some(sample.accel),
                angular_rate_radians_per_second: Some(sample.gyro),
                ..record
            },
            Ok(Measurement::Magnetic(field)) => Self { magnetic_field_tesla: Some(field.0), ..record },
            Ok(Measurement::Environment(air)) => Self {
                temperature_celsius: air.temperature.map(|celsius| celsius.0),
                pressure_pascals: air.pressure.map(|pascals| pascals.0),
                humidity_percent: air.humidity.map(|percent| percent.0),
                ..record
            },
            Ok(_) => Self { missing: Some("of a kind that is not written".into()), ..record },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sedge_readings::{Celsius, Environment, MagneticField, NoData, Pascals, Timestamp};

    #[test]
    fn a_sensors_record_names_the_unit_of_each_value_it_has() {
        let line = |value| {
            let reading = Reading { at: Timestamp::from_nanos(5), value };
            serde_json::to_string(&SensorRecord::new("air", &reading)).unwrap()
        };
        let air = Environment {
            temperature: Some(Celsius(21.5)),
            pressure: Some(Pascals(101_325.0)),
            ..Environment::default()
        };
        let wanted = r#"{"t_ns":5,"sensor":"air","temperature_celsius":21.5,"pressure_pascals":101325.0}"#;
        assert_eq!(line(Ok(Measurement::Environment(air))), wanted);
        assert_eq!(
            line(Ok(Measurement::Magnetic(MagneticField([1.0, 2.0, 3.0])))),
            r#"{"t_ns":5,"sensor":"air","magnetic_field_tesla":[1.0,2.0,3.0]}"#
        );
        assert_eq!(line(Err(NoData::Bus)), r#"{"t_ns":5,"sensor":"air","missing":"bus failure"}"#);
    }
}
