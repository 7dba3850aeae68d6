//! How devices that fail are tried again, given up, and taken back, without a clock of its own.
//!
//! A [`Supervisor`] watches a fixed set of devices. It is stepped with the time and told how each attempt
//! went, and answers what to do next: read, or open again. A device that fails is asked again after a pause
//! that doubles; after a stated number of failures it is marked as lost and only tried to be opened, more
//! and more rarely up to a limit, while the others go on. A lost device that answers is live again at once.
//! Pauses are shortened by a random part, drawn from a seed, so that devices of one cable do not all knock
//! together.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_readings::{Span, Timestamp};

/// Most devices watched.
pub const MAX_WATCHED: usize = 64;

/// When to ask a device again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Pause after the first failure.
    pub first: Span,
    /// Longest pause.
    pub longest: Span,
    /// Failures in a row after which a device is lost; at least one.
    pub failures: u32,
    /// Part of a pause that chance may take away, 0 to 1.
    pub jitter: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Span::from_millis(10), longest: Span::from_millis(30_000), failures: 5, jitter: 0.25 }
    }
}

/// A watch that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// Too many devices.
    #[error("{found} devices are to be watched, and at most {MAX_WATCHED} can be")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A device with no time between its readings.
    #[error("device {device} is to be read every 0 ns; give it a rate")]
    Period {
        /// Which device.
        device: usize,
    },
    /// A patience that cannot be.
    #[error("{what} of the patience is {found}; it must be {allowed}")]
    Patience {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: f64,
        /// What it must be.
        allowed: &'static str,
    },
}

/// What to do with a device now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask it for a reading, and tell [`Supervisor::report`] how it went.
    Read(usize),
    /// Close it and open it again, and tell [`Supervisor::report`] how it went.
    Reopen(usize),
    /// Nothing until this time.
    Rest(Timestamp),
}

/// A change in a device's condition, for logs and for those who go on with what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It failed, after having worked.
    Failing,
    /// It works again before it was given up.
    Recovered,
    /// It is given up for now.
    Lost,
    /// It was lost and is back.
    Returned,
}

/// A device's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It gives readings.
    Live,
    /// It has failed this many times in a row, and is still asked.
    Failing(u32),
    /// It is given up until it can be opened again.
    Lost,
}

#[derive(Clone, Debug)]
struct Watched {
    period: Span,
    condition: Condition,
    due: Timestamp,
    pause: Span,
}

/// A watch over devices.
#[derive(Clone, Debug)]
pub struct Supervisor {
    devices: Vec<Watched>,
    patience: Patience,
    rng: ChaCha8Rng,
}

impl Supervisor {
    /// A watch over devices that are read once a period each, from `start` on; all are taken to be open.
    ///
    /// # Errors
    /// [`SupervisorError`] for too many devices, a period of nothing, or a patience that cannot be.
    pub fn new(
        periods: &[Span],
        patience: Patience,
        start: Timestamp,
        seed: u64,
    ) -> Result<Self, SupervisorError> {
        if periods.len() > MAX_WATCHED {
            return Err(SupervisorError::TooMany { found: periods.len() });
        }
        if let Some(device) = periods.iter().position(|period| *period == Span::default()) {
            return Err(SupervisorError::Period { device });
        }
        let Patience { first, longest, failures, jitter } = patience;
        let seconds = |span: Span| span.as_secs_f64();
        for (fits, what, found, allowed) in [
            (first > Span::default(), "first", seconds(first), "above 0 s"),
            (longest >= first, "longest", seconds(longest), "at least the first pause"),
            (failures > 0, "failures", f64::from(failures), "at least 1"),
            ((0.0..=1.0).contains(&jitter), "jitter", jitter, "0 to 1"),
        ] {
            if !fits {
                return Err(SupervisorError::Patience { what, found, allowed });
            }
        }
        let watched =
            |period: &Span| Watched { period: *period, condition: Condition::Live, due: start, pause: first };
        let devices = periods.iter().map(watched).collect();
        Ok(Self { devices, patience, rng: ChaCha8Rng::seed_from_u64(seed) })
    }

    /// What to do at this time. The device that has waited longest comes first; of equals, the first.
    /// Asked again before [`Supervisor::report`], it answers the same.
    pub fn next(&self, now: Timestamp) -> Action {
        let soonest = self.devices.iter().enumerate().min_by_key(|(_, device)| device.due);
        match soonest {
            None => Action::Rest(now + self.patience.longest),
            Some((_, device)) if device.due > now => Action::Rest(device.due),
            Some((at, device)) if device.condition == Condition::Lost => Action::Reopen(at),
            Some((at, _)) => Action::Read(at),
        }
    }

    /// Takes in how the last attempt on a device went, at the time it ended. Answers what changed, if
    /// anything did; a device that is not watched changes nothing.
    pub fn report(&mut self, device: usize, now: Timestamp, worked: bool) -> Option<Change> {
        let patience = self.patience;
        let watched = self.devices.get_mut(device)?;
        if worked {
            let change = match watched.condition {
                Condition::Live => None,
                Condition::Failing(_) => Some(Change::Recovered),
                Condition::Lost => Some(Change::Returned),
            };
            watched.condition = Condition::Live;
            watched.pause = patience.first;
            watched.due = watched.next_beat(now);
            return change;
        }
        let (condition, change) = match watched.condition {
            Condition::Lost => (Condition::Lost, None),
            Condition::Live if patience.failures == 1 => (Condition::Lost, Some(Change::Lost)),
            Condition::Live => (Condition::Failing(1), Some(Change::Failing)),
            Condition::Failing(times) if times + 1 >= patience.failures => {
                (Condition::Lost, Some(Change::Lost))
            }
            Condition::Failing(times) => (Condition::Failing(times + 1), None),
        };
        watched.condition = condition;
        let share = 1.0 - patience.jitter * self.rng.random::<f64>();
        watched.due = now + Span::from_nanos((watched.pause.nanos() as f64 * share) as u64);
        let doubled = watched.pause.nanos().saturating_mul(2).min(patience.longest.nanos());
        watched.pause = Span::from_nanos(doubled);
        change
    }

    /// How a device is.
    pub fn condition(&self, device: usize) -> Option<Condition> {
        self.devices.get(device).map(|watched| watched.condition)
    }

    /// The devices that are not lost.
    pub fn left(&self) -> impl Iterator<Item = usize> {
        let lost = |watched: &Watched| watched.condition == Condition::Lost;
        self.devices.iter().enumerate().filter(move |(_, watched)| !lost(watched)).map(|(at, _)| at)
    }
}

impl Watched {
    /// The next time after `now` on the device's own beat, so that readings keep their rate however long
    /// each takes, and beats that were missed are not made up for.
    fn next_beat(&self, now: Timestamp) -> Timestamp {
        let late = now.since(self.due).nanos();
        let beats = late / self.period.nanos().max(1) + 1;
        self.due + Span::from_nanos(self.period.nanos().saturating_mul(beats))
    }
}

#[cfg(test)]
mod tests;
