//! How long things take: counts in buckets that grow by a thirty-second of an octave, so that a
//! percentile is within about three per cent over any length of run, in fixed memory.

use std::time::Duration;

use serde::Serialize;

/// Buckets an octave.
const STEPS: u32 = 32;
/// Octaves from a microsecond up: over an hour.
const OCTAVES: usize = 32;

/// Durations by size.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    largest: Duration,
}

/// Percentiles in milliseconds; zero where nothing was timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many were timed.
    pub count: u64,
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; STEPS as usize * OCTAVES], count: 0, largest: Duration::ZERO }
    }
}

impl Latencies {
    pub(crate) fn add(&mut self, took: Duration) {
        let micros = (took.as_secs_f64() * 1e6).max(1.0);
        let bucket = (micros.log2() * f64::from(STEPS)) as usize;
        let last = self.buckets.len() - 1;
        // Clamped to the table, which is never empty.
        self.buckets[bucket.min(last)] += 1;
        self.count += 1;
        self.largest = self.largest.max(took);
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let max_ms = self.largest.as_secs_f64() * 1e3;
        let at = |share: f64| {
            let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
            let mut seen = 0;
            let bucket = self.buckets.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            let upper = |b: usize| ((b + 1) as f64 / f64::from(STEPS)).exp2() * 1e-3;
            bucket.map_or(0.0, upper).min(max_ms)
        };
        Percentiles { count: self.count, p50_ms: at(0.5), p99_ms: at(0.99), max_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket_of_the_exact_ones() {
        let mut latencies = Latencies::default();
        for micros in 1..=10_000u64 {
            latencies.add(Duration::from_micros(micros));
        }
        let found = latencies.percentiles();
        assert!((found.p50_ms / 5.0 - 1.0).abs() < 0.03, "{found:?}");
        assert!((found.p99_ms / 9.9 - 1.0).abs() < 0.03, "{found:?}");
        assert_eq!((found.max_ms, found.count), (10.0, 10_000));
        assert_eq!(Latencies::default().percentiles(), Percentiles::default());
        latencies.add(Duration::MAX);
    }
}
