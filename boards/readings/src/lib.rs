//! What a sensor says and when: timestamps, units and readings.
//!
//! Every layer between a chip and the learner speaks in these types, so they live in a crate of
//! their own that needs neither `std` nor an allocator. A [`Reading`] is a value *or* a typed reason
//! for having none, and carries its time either way: a gap in a stream is information, and the
//! layers above count it instead of guessing.
//!
//! Units are SI throughout: nanoseconds, metres per second squared, radians per second, pascals, tesla; but
//! degrees Celsius.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(feature = "alloc")]
mod frame;
mod time;
mod units;

#[cfg(feature = "alloc")]
pub use frame::{Event, Frame, FrameError};
pub use time::{Span, Timestamp};
pub use units::{Celsius, Environment, MagneticField, Measurement, Pascals, RelativeHumidity};

/// One sample of an inertial measurement unit, in the sensor's own axes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ImuSample {
    /// Specific force in m/s² along x, y, z; at rest, gravity's reaction (about 9.81 upwards).
    pub accel: [f32; 3],
    /// Angular rate in rad/s about x, y, z.
    pub gyro: [f32; 3],
}

impl ImuSample {
    /// Channels in the order every window uses: ax, ay, az, gx, gy, gz.
    pub const CHANNELS: usize = 6;

    /// The six channels in order, accelerometer first.
    pub const fn channels(&self) -> [f32; Self::CHANNELS] {
        let ([ax, ay, az], [gx, gy, gz]) = (self.accel, self.gyro);
        [ax, ay, az, gx, gy, gz]
    }

    /// A sample from six channels in [`ImuSample::channels`] order.
    pub const fn from_channels([ax, ay, az, gx, gy, gz]: [f32; Self::CHANNELS]) -> Self {
        Self { accel: [ax, ay, az], gyro: [gx, gy, gz] }
    }

    /// Whether every channel is a finite number.
    pub fn is_finite(&self) -> bool {
        self.channels().iter().all(|v| v.is_finite())
    }
}

/// Why a reading holds no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum NoData {
    /// The device was asked and had nothing: a lost frame, a camera that blinked.
    DropOut,
    /// The bus or the kernel reported a failure.
    Bus,
    /// The value came, but holds NaN or infinity.
    NotFinite,
    /// The value came, but could not be decoded (a broken JPEG, a short message).
    Corrupt,
    /// The value came, but its size is not the one the stream began with.
    WrongShape,
    /// The value came, but is beyond what the sensor can say.
    Saturated,
    /// The device has been marked as lost and is not asked until it is due again.
    Lost,
}

impl core::fmt::Display for NoData {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::DropOut => "drop-out",
            Self::Bus => "bus failure",
            Self::NotFinite => "not finite",
            Self::Corrupt => "corrupt",
            Self::WrongShape => "wrong shape",
            Self::Saturated => "saturated",
            Self::Lost => "lost",
        })
    }
}

/// A value or the reason for none, at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reading<T> {
    /// When the value was taken, or when it was found missing, on the stream's one clock.
    pub at: Timestamp,
    /// The value, or why there is none.
    pub value: Result<T, NoData>,
}
