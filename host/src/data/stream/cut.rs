//! Windows of one recording whose rows come in turn, cut and resampled exactly as of a recording in memory,
//! while only the rows of one window are held.

use std::ops::Range;

use super::super::windows::{resample_part, resampled_from, resampled_rows};
use super::super::{DataError, LoadOptions};

/// How a recording of known length is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    channels: usize,
    rows: usize,
    length: usize,
    stride: usize,
    /// Old rate and new, where they differ.
    rates: Option<(f64, f64)>,
}

impl Cut {
    /// For a recording of `rows` rows at `rate_hz`, which is zero when unknown.
    ///
    /// # Errors
    /// [`DataError::Option`] when it is to be resampled and the rate is not known; [`DataError::TooLarge`]
    /// when the rows behind one window take more than `max_bytes`.
    pub(super) fn new(
        name: &str,
        (channels, rows): (usize, u64),
        rate_hz: f32,
        load: &LoadOptions,
        max_bytes: u64,
    ) -> Result<Self, DataError> {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let (length, stride) = (load.window, load.stride);
        let wanted = load.rate_hz.filter(|wanted| *wanted != rate_hz);
        if wanted.is_some() && rate_hz <= 0.0 {
            let found = format!("not given, and neither does recording `{name}` say");
            let wanted = "the rate of the recording, for it to be resampled to `rate_hz`";
            return Err(DataError::Option { option: "source_rate_hz", found, wanted });
        }
        let rates = wanted.map(|wanted| (f64::from(rate_hz), f64::from(wanted)));
        let cut = Self { channels, rows, length, stride, rates };
        let bytes = 4 * (cut.rows_of(0).len() as u64).saturating_mul(channels as u64);
        if bytes > max_bytes {
            let source_name = format!("a window of recording `{name}`");
            return Err(DataError::TooLarge { source_name, samples: 1, bytes, limit: max_bytes });
        }
        Ok(cut)
    }

    /// The rate of the windows.
    pub(super) fn rate_hz(&self, own: f32) -> f32 {
        self.rates.map_or(own, |(_, wanted)| wanted as f32)
    }

    /// Order from row to row of the windows, where it is `step` from row to row of the recording.
    pub(super) fn step(&self, step: u64, own: f32) -> u64 {
        let ratio = self.rates.map(|(_, wanted)| own / wanted as f32);
        ratio.map_or(step, |ratio| ((step as f64 * f64::from(ratio)).round() as u64).max(1))
    }

    /// Windows there are.
    pub(super) fn windows(&self) -> u64 {
        let rows = self.rates.map_or(self.rows, |(from, to)| resampled_rows(self.rows, from, to));
        rows.checked_sub(self.length).map_or(0, |spare| (spare / self.stride + 1) as u64)
    }

    /// Row, at the new rate, that window `number` begins with.
    pub(super) fn first(&self, number: u64) -> u64 {
        number.saturating_mul(self.stride as u64)
    }

    /// Rows of the recording that window `number` is made of.
    pub(super) fn rows_of(&self, number: u64) -> Range<usize> {
        let first = usize::try_from(self.first(number)).unwrap_or(usize::MAX);
        let wanted = first..first.saturating_add(self.length);
        match self.rates {
            None => wanted,
            Some((from, to)) => resampled_from(self.rows, from / to, wanted),
        }
    }

    /// Windows from number `first` on.
    pub(super) fn from(self, first: u64) -> Cutter {
        let base = self.rows_of(first).start;
        Cutter { cut: self, next: first, held: Vec::new(), base }
    }
}

/// Windows being cut.
pub(super) struct Cutter {
    cut: Cut,
    next: u64,
    /// Rows from `base` on.
    held: Vec<f32>,
    base: usize,
}

impl Cutter {
    /// The row that is to come next.
    pub(super) fn wants(&self) -> usize {
        self.base + self.held.len() / self.cut.channels.max(1)
    }

    /// Takes the next row.
    pub(super) fn push(&mut self, row: &[f32]) {
        self.held.extend_from_slice(row);
        self.forget();
    }

    /// The next window whose rows are all here: its number, and `[channels, length]` or what is wrong with it.
    pub(super) fn ready(&mut self) -> Option<(u64, Result<Vec<f32>, String>)> {
        let needed = self.cut.rows_of(self.next);
        if self.wants() < needed.end || self.next >= self.cut.windows() {
            return None;
        }
        let (number, window) = (self.next, self.window(needed));
        self.next += 1;
        self.forget();
        Some((number, window))
    }

    /// Drops rows that no window to come is made of.
    fn forget(&mut self) {
        let start = self.cut.rows_of(self.next).start;
        let gone = start.min(self.wants()).saturating_sub(self.base);
        self.held.drain(..gone * self.cut.channels);
        self.base += gone;
    }

    fn window(&self, needed: Range<usize>) -> Result<Vec<f32>, String> {
        let Cut { channels, rows, length, rates, .. } = self.cut;
        let first = usize::try_from(self.cut.first(self.next)).unwrap_or(usize::MAX);
        let resampled;
        let own = match rates {
            None => {
                let start = (needed.start - self.base) * channels;
                self.held.get(start..start + length * channels).unwrap_or_default()
            }
            Some((from, to)) => {
                resampled =
                    resample_part(&self.held, channels, (self.base, rows), from / to, first..first + length);
                resampled.as_slice()
            }
        };
        if let Some(bad) = own.iter().position(|value| !value.is_finite()) {
            let (row, channel) = (first + bad / channels, bad % channels);
            return Err(format!("row {row}, channel {channel} is not a finite number"));
        }
        let channel = |c: usize| own.iter().skip(c).step_by(channels).copied();
        Ok((0..channels).flat_map(channel).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::windows::{Run, WindowSink};
    use super::super::super::{LoadOptions, Samples};
    use super::*;

    proptest! {
        #[test]
        fn windows_are_those_of_a_recording_in_memory(
            rows in 1usize..90, window in 2usize..20, stride in 1usize..25, channels in 1usize..3,
            to in prop::option::of(3.0f32..200.0), first in 0u64..5,
        ) {
            let load = LoadOptions { window, stride, rate_hz: to, ..LoadOptions::default() };
            let values: Vec<f32> = (0..rows * channels).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
            let mut sink = WindowSink::new("test", &load);
            let run = Run {
                name: "0", channels, values: &values, rate_hz: 50.0, label: None, group: 0, order: (0, 1),
            };
            sink.add(&run).unwrap();
            let cut = Cut::new("0", (channels, rows as u64), 50.0, &load, 1 << 20).unwrap();
            let mut cutter = cut.from(first);
            let mut windows: Vec<f32> = Vec::new();
            for row in values.chunks_exact(channels).skip(cutter.wants()) {
                cutter.push(row);
                while let Some((_, window)) = cutter.ready() {
                    windows.extend(window.unwrap());
                }
                prop_assert!(cutter.held.len() <= (cut.rows_of(0).end + 20) * channels);
            }
            let Ok(whole) = sink.finish(Vec::new()) else {
                prop_assert_eq!(cut.windows(), 0);
                return Ok(());
            };
            prop_assert_eq!(whole.len() as u64, cut.windows());
            let Samples::Windows { values, rate_hz, .. } = whole.samples() else { unreachable!() };
            prop_assert_eq!(*rate_hz, cut.rate_hz(50.0));
            let skip = (first as usize * window * channels).min(values.len());
            prop_assert_eq!(&windows, &values[skip..]);
        }
    }
}
