//! When samples are due, and when those of a chip's own queue were taken. Microseconds throughout.

/// Due times at a steady rate. Each is computed from the first, so that no rounding adds up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate_hz: u64,
    start: u64,
    count: u64,
}

impl Schedule {
    /// The first is due at `start`. A rate of zero counts as one.
    pub(crate) fn new(start: u64, rate_hz: u16) -> Self {
        Self { rate_hz: u64::from(rate_hz).max(1), start, count: 0 }
    }

    fn due(&self, count: u64) -> u64 {
        self.start.saturating_add(count.saturating_mul(1_000_000) / self.rate_hz)
    }

    /// How many have become due, the present one included; all of them are taken.
    pub(crate) fn take(&mut self, now: u64) -> u64 {
        if now < self.due(self.count) {
            return 0;
        }
        // Counts whose due time is at most `now`: an elapsed time in periods, and the first.
        let elapsed = u128::from(now.saturating_sub(self.start));
        let mut count = (elapsed * u128::from(self.rate_hz) / 1_000_000) as u64 + 1;
        // Due times are rounded down, so one more may be due.
        count += u64::from(self.due(count) <= now);
        let taken = count.saturating_sub(self.count);
        self.count = count;
        taken
    }
}

/// When the samples of a chip's queue were taken: they are as far apart as the chip's own clock has them, of
/// which the times of reading tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamps {
    period: u64,
    newest: Option<u64>,
}

impl Stamps {
    pub(crate) fn new(rate_hz: u16) -> Self {
        Self { period: 1_000_000 / u64::from(rate_hz).max(1), newest: None }
    }

    /// The time of the newest of `count` samples that were read at `now`, and their distance. `emptied` says
    /// that the queue has no more, so that the newest is less than a period old.
    pub(crate) fn take(&mut self, now: u64, count: u64, emptied: bool) -> (u64, u64) {
        let count = count.max(1);
        let Some(before) = self.newest else {
            self.newest = Some(now);
            return (now, self.period);
        };
        let expected = before.saturating_add(count.saturating_mul(self.period));
        let oldest = if emptied { now.saturating_sub(self.period) } else { 0 };
        // At least a microsecond apart, whatever the queue gives.
        let newest = expected.max(oldest).min(now).max(before.saturating_add(count));
        self.newest = Some(newest);
        (newest, newest.saturating_sub(before) / count)
    }

    /// Samples were lost.
    pub(crate) fn restart(&mut self) {
        self.newest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_divides_nothing_is_kept_for_ever() {
        let mut schedule = Schedule::new(500, 833);
        let mut taken = 0;
        for now in (0..3_600_000_000u64).step_by(997) {
            taken += schedule.take(now);
        }
        // An hour at 833 Hz, the first sample included.
        assert!((taken as i64 - 833 * 3_600).abs() <= 1, "{taken}");
    }

    #[test]
    fn every_due_time_is_taken_once_and_none_early() {
        let mut schedule = Schedule::new(1_000, 300);
        let due: Vec<u64> = (1_000..2_001_000).filter(|&now| schedule.take(now) > 0).collect();
        let expected: Vec<u64> = (0..600).map(|count| 1_000 + count * 1_000_000 / 300).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn a_late_look_finds_all_that_were_due() {
        let mut schedule = Schedule::new(0, 100);
        assert_eq!([schedule.take(0), schedule.take(9_999), schedule.take(35_000)], [1, 0, 3]);
        assert_eq!([schedule.take(39_999), schedule.take(40_000)], [0, 1]);
    }

    #[test]
    fn stamps_follow_a_chip_whose_clock_is_off_by_a_per_cent() {
        // The chip samples each 9900 µs and is read each 20 ms with jitter; nominal are 10 000.
        let mut stamps = Stamps::new(100);
        let (mut read, mut worst, mut last) = (0, 0, 0);
        for look in 1..2_000u64 {
            let now = look * 20_000 + look * 7_919 % 3_000;
            let there = now / 9_900;
            let count = there - read;
            read = there;
            let (newest, apart) = stamps.take(now, count, true);
            assert!(newest > last && apart > 0);
            last = newest;
            worst = worst.max(newest.abs_diff(there * 9_900));
        }
        assert!(worst <= 10_000, "{worst}");
    }
}
