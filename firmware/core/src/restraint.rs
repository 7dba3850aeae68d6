//! What holds adaptation back from outside: heat, a firmware that throttles, memory.
//!
//! The shell reads the files and says what it read; here is what follows from it. Below the lower limit of
//! temperature nothing does. From there to the upper one the share of time falls in a straight line to
//! nothing, and beyond it adaptation rests, as it does while the firmware throttles the machine or the
//! daemon takes more memory than it may. A rest ends only well below the limit that began it, and a while
//! after the last throttling, so that the learner does not flutter about a limit with every step it takes.

use sedge_readings::{Span, Timestamp};

use crate::Rest;

/// Parts of a whole; a share is stated in these.
const MILLION: u32 = 1_000_000;

/// Limits of heat and memory. The default has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct RestraintConfig {
    /// Thousandths of a degree Celsius from which adaptation slows down.
    pub slow_millicelsius: i32,
    /// Thousandths of a degree Celsius from which it rests; not below `slow_millicelsius`.
    pub stop_millicelsius: i32,
    /// How far below `stop_millicelsius` a rest ends, in thousandths of a degree.
    pub hysteresis_millicelsius: i32,
    /// How long after the last throttling a rest ends.
    pub calm: Span,
    /// Bytes of the whole process from which adaptation rests; it goes on a sixteenth below them.
    pub memory_bytes: u64,
}

impl Default for RestraintConfig {
    fn default() -> Self {
        Self {
            slow_millicelsius: i32::MAX,
            stop_millicelsius: i32::MAX,
            hysteresis_millicelsius: 3_000,
            calm: Span::from_millis(10_000),
            memory_bytes: u64::MAX,
        }
    }
}

/// What the shell read of the machine's heat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Warmth {
    /// Thousandths of a degree Celsius, or `None` where it cannot be read: then it holds nothing back.
    pub millicelsius: Option<i32>,
    /// Whether the firmware holds the machine back at this moment.
    pub throttled: bool,
}

/// What the machine's state allows.
#[derive(Clone, Debug)]
pub struct Restraint {
    config: RestraintConfig,
    millicelsius: Option<i32>,
    hot: bool,
    throttled_until: Option<Timestamp>,
    full: bool,
}

impl Restraint {
    /// No restraint until something is said.
    pub fn new(config: RestraintConfig) -> Self {
        Self { config, millicelsius: None, hot: false, throttled_until: None, full: false }
    }

    /// Takes in the machine's heat at this time.
    pub fn feel(&mut self, now: Timestamp, warmth: Warmth) {
        let RestraintConfig { stop_millicelsius, hysteresis_millicelsius, calm, .. } = self.config;
        self.millicelsius = warmth.millicelsius;
        let limit = if self.hot {
            stop_millicelsius.saturating_sub(hysteresis_millicelsius.max(0))
        } else {
            stop_millicelsius
        };
        self.hot = warmth.millicelsius.is_some_and(|found| found >= limit);
        if warmth.throttled {
            self.throttled_until = Some(now + calm);
        }
    }

    /// Takes in the bytes that the process holds.
    pub fn weigh(&mut self, bytes: u64) {
        let ceiling = self.config.memory_bytes;
        let limit = if self.full { ceiling - ceiling / 16 } else { ceiling };
        self.full = bytes >= limit;
    }

    /// Why adaptation is to rest at this time, if it is.
    pub fn rest(&self, now: Timestamp) -> Option<Rest> {
        if self.hot {
            Some(Rest::Heat)
        } else if self.throttled_until.is_some_and(|until| now < until) {
            Some(Rest::Throttled)
        } else if self.full {
            Some(Rest::Memory)
        } else {
            None
        }
    }

    /// The share of its time that adaptation may take at this time, in millionths.
    pub fn share_ppm(&self, now: Timestamp) -> u32 {
        if self.rest(now).is_some() {
            return 0;
        }
        let Some(found) = self.millicelsius else { return MILLION };
        let RestraintConfig { slow_millicelsius: slow, stop_millicelsius: stop, .. } = self.config;
        if found < slow {
            return MILLION;
        }
        let (left, whole) = (i64::from(stop) - i64::from(found), i64::from(stop) - i64::from(slow));
        // Between the limits, so the quotient lies between 0 and a million.
        let share = (left.max(0) * i64::from(MILLION)).checked_div(whole).unwrap_or(0);
        u32::try_from(share).unwrap_or(MILLION).min(MILLION)
    }
}
