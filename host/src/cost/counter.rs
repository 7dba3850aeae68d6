//! Energy from what sensors give: a counter that begins again when it is full, or power now and then.

use std::time::Duration;

/// A counter of energy in microjoules that begins again at zero after `range`.
#[derive(Clone, Debug)]
pub struct Counter {
    range: u64,
    last: Option<u64>,
    microjoules: f64,
}

impl Counter {
    /// A counter that never shows more than `range`.
    pub fn new(range: u64) -> Self {
        Self { range, last: None, microjoules: 0.0 }
    }

    /// Takes a reading, and gives the joules since the first one. Readings must be less than a turn
    /// apart, since a whole turn cannot be seen.
    pub fn read(&mut self, value: u64) -> f64 {
        if let Some(last) = self.last {
            let passed = match value.checked_sub(last) {
                Some(passed) => passed,
                // A last reading beyond the range means that the counter was set back, not that it is full.
                None => self.range.checked_sub(last).map_or(value, |rest| rest.saturating_add(value)),
            };
            self.microjoules += passed as f64;
        }
        self.last = Some(value);
        self.joules()
    }

    /// Joules since the first reading.
    pub fn joules(&self) -> f64 {
        self.microjoules / 1e6
    }
}

/// Energy as the area under readings of power, by trapezoids.
#[derive(Clone, Debug, Default)]
pub struct PowerIntegral {
    last: Option<(Duration, f64)>,
    joules: f64,
}

impl PowerIntegral {
    /// Takes a reading of `watts` at the time `at`, and gives the joules since the first one. A reading
    /// that is not finite, below zero, or from before the last one is passed over.
    pub fn read(&mut self, at: Duration, watts: f64) -> f64 {
        if !(watts.is_finite() && watts >= 0.0) || self.last.is_some_and(|(last, _)| at < last) {
            return self.joules;
        }
        if let Some((last, before)) = self.last {
            self.joules += (at - last).as_secs_f64() * (watts + before) / 2.0;
        }
        self.last = Some((at, watts));
        self.joules
    }

    /// Joules since the first reading.
    pub fn joules(&self) -> f64 {
        self.joules
    }
}
