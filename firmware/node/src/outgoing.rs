//! Samples on their way: a bounded queue, and batches made of it.

use heapless::Deque;
use sedge_readings::ImuSample;
use sedge_wire::{Batch, FromNode, MAX_BATCH, Missing, SampleFault, TimedSample};

/// Most samples that wait for the line: 1.3 seconds of 100 Hz.
pub const QUEUE: usize = 128;
/// Longest time in microseconds that a sample waits for a batch to fill.
const MAX_WAIT_US: u64 = 20_000;

/// A sample or what is missing in its place.
#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u32,
    at_us: u64,
    value: Result<ImuSample, SampleFault>,
}

/// Samples that wait for the line, numbered in the order in which they were due.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    entries: Deque<Entry, QUEUE>,
    next: u32,
    dropped: u32,
}

impl Outgoing {
    /// Puts a sample at the end; drops the oldest where there is no room.
    pub(crate) fn push(&mut self, at_us: u64, value: Result<ImuSample, SampleFault>) {
        if self.entries.is_full() {
            self.entries.pop_front();
            self.dropped = self.dropped.wrapping_add(1);
        }
        let entry = Entry { number: self.next, at_us, value };
        self.next = self.next.wrapping_add(1);
        // Room was made above.
        let _ = self.entries.push_back(entry);
    }

    /// Leaves numbers out, for samples that were never taken.
    pub(crate) fn skip(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
    }

    /// Samples dropped so far.
    pub(crate) const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// What is to be sent next, if anything is by now, and how many entries it takes with it.
    pub(crate) fn next(&self, now_us: u64) -> Option<(FromNode, usize)> {
        let first = self.entries.front()?;
        if let Err(fault) = first.value {
            let missing = Missing { number: first.number, at_us: first.at_us as u32, fault };
            return Some((FromNode::Missing(missing), 1));
        }
        let follows = |&(at, entry): &(usize, &Entry)| {
            entry.value.is_ok() && entry.number == first.number.wrapping_add(at as u32)
        };
        let run = self.entries.iter().take(MAX_BATCH).enumerate().take_while(follows);
        let mut batch = Batch { first: first.number, at_us: first.at_us as u32, ..Batch::default() };
        for (_, entry) in run {
            let after_us = entry.at_us.saturating_sub(first.at_us) as u32;
            // No more than a batch holds were taken, and each of them has a sample.
            if let Ok(sample) = entry.value {
                let _ = batch.samples.push(TimedSample { after_us, sample });
            }
        }
        let count = batch.samples.len();
        let is_ended = count == MAX_BATCH || count < self.entries.len();
        let is_due = is_ended || now_us.saturating_sub(first.at_us) >= MAX_WAIT_US;
        is_due.then_some((FromNode::Batch(batch), count))
    }

    /// Takes out what was sent.
    pub(crate) fn sent(&mut self, count: usize) {
        for _ in 0..count {
            self.entries.pop_front();
        }
    }
}
