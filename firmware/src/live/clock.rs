//! The clock of a live stream: nanoseconds that this machine counts, going on where an earlier session's ended.

use std::time::Instant;

use sedge_readings::{Span, Timestamp};

/// Time between the last moment of one session and the first of the next: long enough to be a gap for any
/// window and any pair, whatever the true time was.
pub(crate) const BETWEEN_SESSIONS: Span = Span::from_millis(10_000);

/// A clock that never goes backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    start: Instant,
}

impl Clock {
    /// A clock that shows `base` now.
    pub(crate) fn new(base: Timestamp) -> Self {
        Self { base, start: Instant::now() }
    }

    /// The first moment.
    pub(crate) fn base(&self) -> Timestamp {
        self.base
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.base + Span::from_nanos(elapsed)
    }
}
