//! Cuts recordings of steady rate into windows. A window never crosses from one recording into the
//! next, and one that holds a value which is not a number is passed over and counted.

use std::ops::Range;

use super::dataset::Dataset;
use super::images::{MAX_CLASSES, Tag, labels_of};
use super::samples::Samples;
use super::skipped::SkipList;
use super::{DataError, LoadOptions};

/// How far the rates of two recordings may differ, as a fraction, and still be called the same.
const RATE_TOLERANCE: f32 = 0.01;

/// A stretch of rows without a gap.
pub(super) struct Run<'a> {
    pub(super) name: &'a str,
    pub(super) channels: usize,
    /// `[rows, channels]`.
    pub(super) values: &'a [f32],
    /// Rows a second; zero when unknown.
    pub(super) rate_hz: f32,
    pub(super) label: Option<u32>,
    pub(super) group: u32,
    /// Order of the first row, and from row to row at `rate_hz`.
    pub(super) order: (u64, u64),
}

/// Gathers windows of one shape and rate.
pub(super) struct WindowSink<'a> {
    source_name: &'a str,
    options: &'a LoadOptions,
    shape: Option<(usize, f32)>,
    values: Vec<f32>,
    ids: Vec<Option<u32>>,
    groups: Vec<u32>,
    order: Vec<u64>,
    skipped: SkipList,
}

impl<'a> WindowSink<'a> {
    pub(super) fn new(source_name: &'a str, options: &'a LoadOptions) -> Self {
        Self {
            source_name,
            options,
            shape: None,
            values: Vec::new(),
            ids: Vec::new(),
            groups: Vec::new(),
            order: Vec::new(),
            skipped: SkipList::default(),
        }
    }

    /// One whose windows come cut already, all of these channels and this rate.
    pub(super) fn of(mut self, channels: usize, rate_hz: f32) -> Self {
        self.shape = Some((channels, rate_hz));
        self
    }

    /// Takes one window, `[channels, length]`.
    pub(super) fn push(&mut self, window: &[f32], tag: Tag) -> Result<(), DataError> {
        self.refuse_beyond(window.len())?;
        self.values.extend_from_slice(window);
        self.ids.push(tag.label);
        self.groups.push(tag.group);
        self.order.push(tag.order);
        Ok(())
    }

    pub(super) fn skip(&mut self, what: String, why: impl ToString) -> Result<(), DataError> {
        self.skipped.add(self.source_name, self.options.max_skipped, what, why)
    }

    /// Cuts one run, at the rate asked for.
    pub(super) fn add(&mut self, run: &Run<'_>) -> Result<(), DataError> {
        if run.label.is_some_and(|label| label >= MAX_CLASSES) {
            return self
                .skip(format!("recording `{}`", run.name), format!("its class is not below {MAX_CLASSES}"));
        }
        let Some(rate_hz) = self.options.rate_hz.filter(|wanted| *wanted != run.rate_hz) else {
            return self.cut(run);
        };
        if run.rate_hz <= 0.0 {
            let found = format!("not given, and neither does recording `{}` say", run.name);
            let wanted = "the rate of the recording, for it to be resampled to `rate_hz`";
            return Err(DataError::Option { option: "source_rate_hz", found, wanted });
        }
        let values = resample(run.values, run.channels, f64::from(run.rate_hz), f64::from(rate_hz));
        let step = (run.order.1 as f64 * f64::from(run.rate_hz / rate_hz)).round() as u64;
        self.cut(&Run { values: &values, rate_hz, order: (run.order.0, step.max(1)), ..*run })
    }

    fn cut(&mut self, run: &Run<'_>) -> Result<(), DataError> {
        self.check_shape(run)?;
        let (length, channels) = (self.options.window, run.channels);
        let rows = run.values.len() / channels.max(1);
        for first in (0..(rows + 1).saturating_sub(length)).step_by(self.options.stride) {
            let window = &run.values[first * channels..(first + length) * channels];
            if let Some(bad) = window.iter().position(|v| !v.is_finite()) {
                let what = format!("recording `{}`, rows {first} to {}", run.name, first + length - 1);
                let why = format!(
                    "row {}, channel {} is not a finite number",
                    first + bad / channels,
                    bad % channels
                );
                self.skip(what, why)?;
                continue;
            }
            self.refuse_beyond(window.len())?;
            for channel in 0..channels {
                self.values.extend(window.iter().skip(channel).step_by(channels));
            }
            self.ids.push(run.label);
            self.groups.push(run.group);
            self.order.push(run.order.0.saturating_add(run.order.1.saturating_mul(first as u64)));
        }
        Ok(())
    }

    /// All runs must have the channels and rate of the first.
    fn check_shape(&mut self, run: &Run<'_>) -> Result<(), DataError> {
        let (channels, rate_hz) = *self.shape.get_or_insert((run.channels, run.rate_hz));
        let mixed = |what: &str, found: String, wanted: String, mend| DataError::Mixed {
            source_name: self.source_name.to_owned(),
            what: format!("the {what} of recording `{}`", run.name),
            found,
            wanted,
            mend,
        };
        if channels != run.channels {
            let (found, wanted) = (run.channels.to_string(), channels.to_string());
            return Err(mixed("number of channels", found, wanted, "load them apart"));
        }
        if (run.rate_hz - rate_hz).abs() > RATE_TOLERANCE * rate_hz {
            let (found, wanted) = (format!("{} Hz", run.rate_hz), format!("{rate_hz} Hz"));
            return Err(mixed("rate", found, wanted, "set `rate_hz` to bring all to one rate"));
        }
        Ok(())
    }

    fn refuse_beyond(&self, window: usize) -> Result<(), DataError> {
        let samples = self.groups.len() as u64 + 1;
        let bytes = samples.saturating_mul(4 * window as u64);
        if bytes <= self.options.max_bytes {
            return Ok(());
        }
        let (source_name, limit) = (self.source_name.to_owned(), self.options.max_bytes);
        Err(DataError::TooLarge { source_name, samples, bytes, limit })
    }

    /// The data set; `names` are the classes, where the source names them.
    pub(super) fn finish(self, names: Vec<String>) -> Result<Dataset, DataError> {
        let count = self.groups.len();
        let (Some((channels, rate_hz)), 1..) = (self.shape, count) else {
            let what = format!("whole window of {} rows", self.options.window);
            let (source_name, first) = (self.source_name.to_owned(), self.skipped.first());
            return Err(DataError::Empty { source_name, what, first });
        };
        let labels = labels_of(self.source_name, &self.ids, names);
        let samples =
            Samples::Windows { channels, length: self.options.window, rate_hz, values: self.values };
        let mut data = Dataset::new(samples, labels, self.groups, self.order)?;
        data.skipped = self.skipped;
        data.limited(self.options.limit)
    }
}

/// `limit` of `count` indices, evenly spread.
pub(super) fn spread(count: usize, limit: usize) -> Vec<usize> {
    (0..limit).map(|i| (i as u128 * count as u128 / limit.max(1) as u128) as usize).collect()
}

/// Brings rows to another rate with a triangle filter: linear interpolation when rows become more,
/// and a weighted mean as wide as the new spacing when they become fewer, so that vibration beyond
/// the new rate is averaged rather than folded back.
pub(super) fn resample(values: &[f32], channels: usize, from: f64, to: f64) -> Vec<f32> {
    let rows = values.len() / channels.max(1);
    let count = resampled_rows(rows, from, to);
    resample_part(values, channels, (0, rows), from / to, 0..count)
}

/// Rows that `rows` become at another rate.
pub(super) fn resampled_rows(rows: usize, from: f64, to: f64) -> usize {
    rows.checked_sub(1).map_or(0, |last| (last as f64 / (from / to) + 1e-9).floor() as usize + 1)
}

/// Rows of `rows` that the resampled rows `wanted` are made of; `step` is the old rate over the new.
pub(super) fn resampled_from(rows: usize, step: f64, wanted: Range<usize>) -> Range<usize> {
    let support = step.max(1.0);
    let last = rows.saturating_sub(1);
    let first = (wanted.start as f64 * step - support).ceil().max(0.0) as usize;
    let end = (wanted.end.saturating_sub(1) as f64 * step + support).floor() as usize;
    first.min(last)..(end.min(last) + 1).min(rows)
}

/// Only the resampled rows `wanted`, made from the rows at hand: those from `(first, ..)` on of `(.., rows)`.
pub(super) fn resample_part(
    values: &[f32],
    channels: usize,
    (base, rows): (usize, usize),
    step: f64,
    wanted: Range<usize>,
) -> Vec<f32> {
    let support = step.max(1.0);
    let mut out = Vec::with_capacity(wanted.len().saturating_mul(channels));
    let mut sums = vec![0.0f64; channels];
    for i in wanted {
        let at = i as f64 * step;
        let mut total = 0.0;
        sums.fill(0.0);
        for row in resampled_from(rows, step, i..i + 1) {
            let weight = 1.0 - ((row as f64 - at) / support).abs();
            // A row of no weight must not pass its NaN on.
            if weight > 1e-9 {
                total += weight;
                let row = &values[(row - base) * channels..][..channels];
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += weight * f64::from(*v));
            }
        }
        out.extend(sums.iter().map(|sum| (sum / total) as f32));
    }
    out
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
