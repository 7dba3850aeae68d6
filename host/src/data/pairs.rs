//! Camera frames joined with what the IMU felt around their time, for contrast of the two. The
//! stream is passed through once, in order of time: a frame waits until the IMU has gone far enough
//! beyond it, and only the samples that a waiting frame may still need are kept.

use std::collections::VecDeque;

use sedge_boards::sim::Truths;
use sedge_readings::{Event, ImuSample, Reading};

use super::dataset::Dataset;
use super::images::{ImageSink, Picture, Tag};
use super::samples::Samples;
use super::streams::{GAP, Visits};
use super::windows::resample;
use super::{DataError, LoadOptions};

/// Channels of a window.
const CHANNELS: usize = ImuSample::CHANNELS;
/// Most bytes of frames that wait for their window; beyond it, as when the IMU has stopped, the
/// oldest goes without.
const MAX_WAITING: usize = 64 << 20;

/// Every frame of a stream that has a whole IMU window around it. `usual` is the usual step between
/// IMU samples, in nanoseconds.
pub(super) fn load(
    name: &str,
    events: impl Iterator<Item = Result<Event, DataError>>,
    usual: Option<u64>,
    options: &LoadOptions,
    truths: Option<&Truths>,
) -> Result<Dataset, DataError> {
    let empty = |first| DataError::Empty { source_name: name.to_owned(), what: EMPTY.to_owned(), first };
    let mut pairing = Pairing::new(options, usual.ok_or_else(|| empty(None))?);
    let mut sink = ImageSink::new(name, options);
    let mut visits = truths.map(Visits::new);
    let mut values = Vec::new();
    for event in events {
        match event? {
            Event::Imu(Reading { at, value: Ok(sample) }) => pairing.sample(at.nanos(), sample.channels()),
            Event::Imu(Reading { at, value: Err(why) }) => {
                sink.skip(format!("the IMU sample at {} ns", at.nanos()), why)?;
            }
            Event::Frame(Reading { at, value: Ok(frame) }) => {
                let label = truths.map(|truths| truths.at(at).room as u32);
                let group = visits.as_mut().map_or(0, |visits| visits.at(at));
                let picture = Picture::fit(&frame, options.image_size)?;
                pairing.frame(picture, Tag { label, group, order: at.nanos() });
            }
            Event::Frame(Reading { at, value: Err(why) }) => {
                sink.skip(format!("the frame at {} ns", at.nanos()), why)?;
            }
        }
        while let Some((picture, window, tag)) = pairing.next().filter(|_| !sink.is_full()) {
            refuse_beyond(name, sink.len() + 1, picture.bytes() + 4 * window.len(), options)?;
            values.extend(window);
            sink.push(picture, tag)?;
        }
        if sink.is_full() {
            break;
        }
    }
    if sink.len() == 0 {
        return Err(empty(sink.first_skip()));
    }
    let rooms = truths.map_or(0, Truths::rooms);
    let data = sink.finish((0..rooms).map(|room| format!("room {room}")).collect())?;
    data.with_windows(CHANNELS, options.window, pairing.rate_hz(), values)
}

/// What is looked for, as an error says it.
pub(super) const EMPTY: &str = "frame with a whole IMU window around its time";

/// Joins frames with the IMU windows around them.
pub(super) struct Pairing {
    /// Rows of a window at the IMU's own rate, of which `length` are left at the rate asked for.
    rows: usize,
    length: usize,
    usual: u64,
    /// Rate of the IMU, and the one asked for.
    rates: (f64, f64),
    samples: VecDeque<(u64, [f32; CHANNELS])>,
    waiting: VecDeque<(Picture, Tag)>,
    waiting_bytes: usize,
}

impl Pairing {
    /// For windows of `options.window` rows at `options.rate_hz`.
    pub(super) fn new(options: &LoadOptions, usual: u64) -> Self {
        let own = options.source_rate_hz.map_or(1e9 / usual.max(1) as f64, f64::from);
        let wanted = options.rate_hz.map_or(own, f64::from);
        let length = options.window;
        // One row more than the span, for what rounding takes.
        let spanned = ((length.saturating_sub(1)) as f64 * own / wanted).ceil() as usize + 2;
        Self {
            rows: if wanted == own { length } else { spanned },
            length,
            usual,
            rates: (own, wanted),
            samples: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Rows a second of the windows.
    pub(super) fn rate_hz(&self) -> f32 {
        self.rates.1 as f32
    }

    /// The next IMU sample. One that does not follow the last, for time ran back, begins anew.
    pub(super) fn sample(&mut self, at: u64, values: [f32; CHANNELS]) {
        if self.samples.back().is_some_and(|(last, _)| at <= *last) {
            self.samples.clear();
        }
        self.samples.push_back((at, values));
        if self.waiting.is_empty() && self.samples.len() > self.rows {
            self.samples.pop_front();
        }
    }

    /// The next frame.
    pub(super) fn frame(&mut self, picture: Picture, tag: Tag) {
        self.waiting_bytes += picture.bytes();
        self.waiting.push_back((picture, tag));
        while self.waiting_bytes > MAX_WAITING {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<(Picture, Tag)> {
        let (picture, tag) = self.waiting.pop_front()?;
        self.waiting_bytes -= picture.bytes();
        Some((picture, tag))
    }

    /// The next frame whose window is here, with the window `[channels, length]`. Frames that can
    /// have none are dropped.
    pub(super) fn next(&mut self) -> Option<(Picture, Vec<f32>, Tag)> {
        loop {
            let (_, tag) = self.waiting.front()?;
            let middle = self.samples.partition_point(|(at, _)| *at < tag.order);
            let first = middle.checked_sub(self.rows / 2);
            if let Some(first) = first.filter(|first| first + self.rows > self.samples.len()) {
                // More of the IMU has to come; what lies before the window is not needed again.
                self.samples.drain(..first.min(self.samples.len()));
                return None;
            }
            let window = first.and_then(|first| self.window(first));
            let (picture, tag) = self.pop()?;
            if let Some(window) = window {
                return Some((picture, window, tag));
            }
        }
    }

    /// The window from sample `first` on, unless there is a gap in it or a value that is no number.
    fn window(&self, first: usize) -> Option<Vec<f32>> {
        let rows = self.samples.range(first..first.checked_add(self.rows)?);
        let whole = rows.clone().zip(rows.clone().skip(1)).all(|((a, _), (b, _))| {
            // Times rise within the queue.
            ((b - a) as f64) < GAP * self.usual as f64
        });
        let own: Vec<f32> = rows.flat_map(|(_, values)| *values).collect();
        if !whole || own.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let (from, to) = self.rates;
        let rows = if from == to { own } else { resample(&own, CHANNELS, from, to) };
        let rows = rows.get(..self.length * CHANNELS)?;
        let channel = |c: usize| rows.iter().skip(c).step_by(CHANNELS).copied();
        Some((0..CHANNELS).flat_map(channel).collect())
    }
}

fn refuse_beyond(name: &str, samples: usize, each: usize, options: &LoadOptions) -> Result<(), DataError> {
    let (samples, limit) = (samples as u64, options.max_bytes);
    let bytes = samples.saturating_mul(each as u64);
    if bytes <= limit {
        return Ok(());
    }
    Err(DataError::TooLarge { source_name: name.to_owned(), samples, bytes, limit })
}

impl Dataset {
    /// These images as pairs with windows, `[n, channels, length]`.
    ///
    /// # Errors
    /// [`DataError::Lengths`] when there is not one window an image, or these are no images.
    pub(super) fn with_windows(
        self,
        channels: usize,
        length: usize,
        rate_hz: f32,
        values: Vec<f32>,
    ) -> Result<Self, DataError> {
        let samples = match self.samples {
            Samples::Images { width, height, pixels } => {
                Samples::Pairs { width, height, pixels, channels, length, rate_hz, values }
            }
            other => other,
        };
        let skipped = self.skipped;
        let mut data = Self::new(samples, self.labels, self.groups, self.order)?;
        data.skipped = skipped;
        Ok(data)
    }
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod tests;
