//! Cuts an inertial stream into overlapping windows at the encoder's rate.
//!
//! Sensors do not run at the encoder's rate, nor exactly at their own, so samples are interpolated
//! linearly onto a regular grid (a sample that lies on the grid passes unchanged; there is no low-pass
//! filter, so a sensor far faster than the encoder should be set to filter itself). A gap, a value
//! that is not finite or a missing one breaks the window under way: nothing is invented across a hole.

use heapless::Deque;
use sedge_readings::{ImuSample, Reading, Span, Timestamp};

use crate::Tally;

/// Length, stride and rate of the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WindowConfig {
    /// Samples in a window, at most the capacity of its [`Windower`].
    pub length: usize,
    /// Samples from the start of one window to the start of the next.
    pub stride: usize,
    /// Time between two samples of a window.
    pub period: Span,
    /// Readings further apart than this break a window.
    pub max_gap: Span,
}

/// One sample on the grid.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Point {
    at: Timestamp,
    sample: ImuSample,
    /// Readings that came since the point before, not yet counted as used or broken.
    readings: u32,
}

/// Cuts windows of at most `CAP` samples.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Windower<const CAP: usize> {
    config: WindowConfig,
    points: Deque<Point, CAP>,
    /// The last two readings; grid points between them may still be due.
    before: Option<(Timestamp, ImuSample)>,
    last: Option<(Timestamp, ImuSample)>,
    last_time: Option<Timestamp>,
    next_point: Timestamp,
    /// Grid points still to be passed over, when the stride is longer than the window.
    to_skip: usize,
    /// Readings since the last grid point.
    fresh: u32,
    ready: bool,
    segment: u32,
    pub(crate) tally: Tally,
    breaks: u64,
}

impl<const CAP: usize> Windower<CAP> {
    /// An empty windower, or what is wrong with the configuration.
    pub fn new(config: WindowConfig) -> Result<Self, &'static str> {
        if config.length == 0 || config.length > CAP {
            return Err("the window is empty or longer than the windower's capacity");
        }
        if config.stride == 0 || config.period.nanos() == 0 {
            return Err("stride and period must be above zero");
        }
        if config.max_gap < config.period {
            return Err("a gap cannot be shorter than the period");
        }
        // So that one reading completes at most one window.
        if config.period.nanos().saturating_mul(config.stride as u64) < config.max_gap.nanos() {
            return Err("the stride must span at least the longest gap");
        }
        Ok(Self {
            config,
            points: Deque::new(),
            before: None,
            last: None,
            last_time: None,
            next_point: Timestamp::default(),
            to_skip: 0,
            fresh: 0,
            ready: false,
            segment: 0,
            tally: Tally::default(),
            breaks: 0,
        })
    }

    /// Takes a reading; gives whether a window is now complete. It stays readable through
    /// [`Windower::window`] until the next reading.
    pub fn push(&mut self, reading: Reading<ImuSample>) -> bool {
        self.tally.offered += 1;
        self.advance();
        let sample = match reading.value {
            Ok(sample) if sample.is_finite() => sample,
            Ok(_) => {
                self.tally.not_finite += 1;
                self.break_off();
                return false;
            }
            Err(reason) => {
                self.tally.no_data(reason);
                self.break_off();
                return false;
            }
        };
        if let Some(last) = self.last_time
            && reading.at <= last
        {
            let reason =
                if reading.at == last { &mut self.tally.duplicate } else { &mut self.tally.backwards };
            *reason += 1;
            return false;
        }
        if self.last.is_some_and(|(last, _)| reading.at.since(last) > self.config.max_gap) {
            self.break_off();
        }
        if self.last.is_none() {
            self.next_point = reading.at;
        }
        self.last_time = Some(reading.at);
        self.before = self.last;
        self.last = Some((reading.at, sample));
        self.fresh = self.fresh.saturating_add(1);
        self.fill();
        self.ready
    }

    /// The complete window, oldest sample first; empty when none is ready.
    pub fn window(&self) -> impl Iterator<Item = &ImuSample> {
        let points = self.ready.then(|| self.points.iter());
        points.into_iter().flatten().map(|point| &point.sample)
    }

    /// When the complete window ends, and a number that changes wherever the stream broke.
    pub fn stamp(&self) -> Option<(Timestamp, u32)> {
        let last = self.ready.then(|| self.points.back()).flatten()?;
        Some((last.at, self.segment))
    }

    /// What became of the readings.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Times that a window under way was broken off.
    pub fn breaks(&self) -> u64 {
        self.breaks
    }

    /// Ends the stream: what no window holds is counted as broken.
    pub fn end(&mut self) {
        self.advance();
        self.break_off();
    }

    /// Adds the grid points up to the last reading, until a window is complete.
    fn fill(&mut self) {
        let Some((end, last)) = self.last else { return };
        while self.next_point <= end && !self.ready {
            let sample = match self.before {
                Some((start, first)) => between((start, first), (end, last), self.next_point),
                None => last,
            };
            let at = self.next_point;
            self.next_point = self.next_point + self.config.period;
            if self.to_skip > 0 {
                self.to_skip -= 1;
                self.tally.skipped += u64::from(core::mem::take(&mut self.fresh));
                continue;
            }
            let point = Point { at, sample, readings: core::mem::take(&mut self.fresh) };
            // Never full: `advance` made room, and `length <= CAP` was checked.
            if self.points.push_back(point).is_err() {
                self.tally.overflow += u64::from(point.readings);
            }
            self.ready = self.points.len() >= self.config.length;
        }
        if self.ready {
            for point in self.points.iter_mut() {
                self.tally.used += u64::from(core::mem::take(&mut point.readings));
            }
        }
    }

    /// Moves past a complete window by one stride and adds the points that waited for it.
    fn advance(&mut self) {
        if !self.ready {
            return;
        }
        self.ready = false;
        let dropped = self.config.stride.min(self.points.len());
        for _ in 0..dropped {
            self.points.pop_front();
        }
        self.to_skip = self.config.stride - dropped;
        self.fill();
    }

    fn break_off(&mut self) {
        let open: u64 = self.points.iter().map(|point| u64::from(point.readings)).sum();
        self.tally.broken += open + u64::from(self.fresh);
        self.breaks += u64::from(!self.points.is_empty() || self.fresh > 0);
        self.points.clear();
        (self.before, self.last) = (None, None);
        self.fresh = 0;
        self.to_skip = 0;
        self.ready = false;
        self.segment = self.segment.wrapping_add(1);
    }
}

/// Linear between two readings, exact at both.
fn between(
    (start, first): (Timestamp, ImuSample),
    (end, last): (Timestamp, ImuSample),
    at: Timestamp,
) -> ImuSample {
    if at >= end {
        return last;
    }
    let fraction = (at.since(start).nanos() as f64 / end.since(start).nanos() as f64) as f32;
    let (a, b) = (first.channels(), last.channels());
    ImuSample::from_channels(core::array::from_fn(|i| a[i] + (b[i] - a[i]) * fraction))
}
