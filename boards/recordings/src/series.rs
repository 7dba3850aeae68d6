//! Multi-channel time series, as recorded by body-worn and robot IMUs, and what the two file
//! formats for them share. Rows that hold NaN are kept, because they hold time too: whoever cuts
//! windows decides to pass them over.

use std::path::Path;

use sedge_readings::{Event, ImuSample, NoData, Reading, Timestamp};

use crate::{Limits, RecordingError, read_csv, read_npz};

/// Standard gravity in m/s² (CGPM, 1901): what one g of acceleration is.
pub const STANDARD_GRAVITY: f32 = 9.806_65;

/// Accelerometer channels, which come first in every series with motion in it.
const ACCEL_CHANNELS: usize = 3;

/// How the numbers of a file are to be understood where the file does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SeriesOptions {
    /// The first three channels are in g, and are multiplied by [`STANDARD_GRAVITY`]. Otherwise all
    /// values are taken as SI units: m/s² and rad/s.
    pub accel_in_g: bool,
    /// Rows per second; overrides what the file says.
    pub rate_hz: Option<f32>,
}

/// One recording: rows of channels at a steady rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is called: a name from the file, or its number there.
    pub name: String,
    /// Rows per second, when known.
    pub rate_hz: Option<f32>,
    /// Class of the whole series, when labelled.
    pub label: Option<u32>,
    /// Subject or recording session it came from, when known. Splits for evaluation must keep one
    /// group on one side.
    pub group: Option<u32>,
    channels: usize,
    values: Vec<f32>,
}

/// The series of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSet {
    /// In the order of the file.
    pub series: Vec<Series>,
    /// Names of the channels, where the file names them.
    pub channel_names: Vec<String>,
    /// Names of the labels, where the file gives names instead of numbers: label `i` is `[i]`.
    pub class_names: Vec<String>,
    /// Names of the groups, where the file gives names instead of numbers.
    pub group_names: Vec<String>,
    /// Rows whose time was not after the row before in the same series. They are kept.
    pub unordered_rows: u64,
}

impl Series {
    /// A series over `values`, row after row of `channels` values each. `None` when `values` is not
    /// a whole number of rows or `channels` is zero. Rate, label and group are set afterwards.
    pub fn new(name: impl Into<String>, channels: usize, values: Vec<f32>) -> Option<Self> {
        if channels == 0 || !values.len().is_multiple_of(channels) {
            return None;
        }
        Some(Self { name: name.into(), rate_hz: None, label: None, group: None, channels, values })
    }

    /// Values in a row.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.channels
    }

    /// All values, `[rows, channels]`, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values of one row.
    pub fn row(&self, index: usize) -> Option<&[f32]> {
        let start = index.checked_mul(self.channels)?;
        self.values.get(start..start.checked_add(self.channels)?)
    }

    /// How many rows hold NaN or infinity.
    pub fn non_finite_rows(&self) -> usize {
        self.values.chunks_exact(self.channels).filter(|row| row.iter().any(|v| !v.is_finite())).count()
    }

    /// The rows as an IMU sampling at `rate_hz` would have given them, the first at `start`. Needs
    /// six channels: ax, ay, az in m/s², then gx, gy, gz in rad/s. A row with NaN or infinity
    /// becomes a reading that says so.
    pub fn events(
        &self,
        start: Timestamp,
        rate_hz: f32,
    ) -> Result<impl Iterator<Item = Event> + '_, RecordingError> {
        let rate = checked_rate(rate_hz)?;
        let (rows, rest) = self.values.as_chunks::<{ ImuSample::CHANNELS }>();
        if self.channels != ImuSample::CHANNELS || !rest.is_empty() {
            return Err(RecordingError::Channels {
                name: self.name.clone(),
                found: self.channels,
                wanted: "6 (ax, ay, az, gx, gy, gz)",
            });
        }
        Ok(rows.iter().enumerate().map(move |(index, &row)| {
            let sample = ImuSample::from_channels(row);
            let value = if sample.is_finite() { Ok(sample) } else { Err(NoData::NotFinite) };
            Event::Imu(Reading { at: time_of_row(start, index, rate), value })
        }))
    }

    /// Applies what the options say of units and rate.
    pub(crate) fn with_options(mut self, options: &SeriesOptions) -> Result<Self, RecordingError> {
        if let Some(rate) = options.rate_hz {
            checked_rate(rate)?;
            self.rate_hz = Some(rate);
        }
        if options.accel_in_g {
            if self.channels < ACCEL_CHANNELS {
                return Err(RecordingError::Channels {
                    name: self.name,
                    found: self.channels,
                    wanted: "3 or more, acceleration first, with `accel_in_g`",
                });
            }
            for row in self.values.chunks_exact_mut(self.channels) {
                row.iter_mut().take(ACCEL_CHANNELS).for_each(|value| *value *= STANDARD_GRAVITY);
            }
        }
        Ok(self)
    }
}

impl SeriesSet {
    /// How many rows of all series hold NaN or infinity.
    pub fn non_finite_rows(&self) -> usize {
        self.series.iter().map(Series::non_finite_rows).sum()
    }
}

/// Reads a file of series by its extension: `.npz` with [`read_npz`], `.csv` with [`read_csv`].
pub fn read_series(
    path: impl AsRef<Path>,
    options: &SeriesOptions,
    limits: &Limits,
) -> Result<SeriesSet, RecordingError> {
    let path = path.as_ref();
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str() {
        Some("npz") => read_npz(path, options, limits),
        Some("csv") => read_csv(path, options, limits),
        _ => Err(RecordingError::UnknownKind { path: path.to_owned(), wanted: ".npz, .csv" }),
    }
}

/// The rate as a positive, finite number.
pub(crate) fn checked_rate(rate_hz: f32) -> Result<f64, RecordingError> {
    if rate_hz.is_finite() && rate_hz > 0.0 {
        Ok(f64::from(rate_hz))
    } else {
        Err(RecordingError::Rate { rate_hz })
    }
}

/// The time of one row, from its index and not from a running sum, which would drift.
pub(crate) fn time_of_row(start: Timestamp, index: usize, rate_hz: f64) -> Timestamp {
    // A float converts to an integer with saturation, so the end of time is the worst outcome.
    let since = (index as f64 * 1e9 / rate_hz).round() as u64;
    start + sedge_readings::Span::from_nanos(since)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_become_imu_events_and_nan_says_so() {
        let mut values: Vec<f32> = (0..18).map(|v| v as f32).collect();
        values[8] = f32::NAN;
        let series = Series::new("walk", 6, values).unwrap();
        assert_eq!(series.non_finite_rows(), 1);
        let events: Vec<_> = series.events(Timestamp::from_nanos(5), 3.0).unwrap().collect();
        let times: Vec<_> = events.iter().map(|event| event.at().nanos()).collect();
        assert_eq!(times, [5, 333_333_338, 666_666_672]);
        let Event::Imu(last) = &events[2] else { unreachable!() };
        assert_eq!(last.value.unwrap().accel, [12.0, 13.0, 14.0]);
        assert_eq!(last.value.unwrap().gyro, [15.0, 16.0, 17.0]);
        assert!(
            matches!(&events[1], Event::Imu(reading) if reading.value == Err(NoData::NotFinite)),
            "{events:?}"
        );
    }

    #[test]
    fn wrong_channels_and_rates_are_refused() {
        let series = Series::new("short", 3, vec![0.0; 6]).unwrap();
        assert!(matches!(
            series.events(Timestamp::default(), 50.0).err(),
            Some(RecordingError::Channels { found: 3, .. })
        ));
        for rate in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(matches!(
                series.events(Timestamp::default(), rate).err(),
                Some(RecordingError::Rate { .. })
            ));
        }
        assert!(Series::new("ragged", 4, vec![0.0; 6]).is_none());
        assert!(Series::new("none", 0, vec![]).is_none());
    }
}
