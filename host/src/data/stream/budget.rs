//! What a stream holds, by account: two chunks at most, and the bytes of everything that is held.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Chunks that may be held: one in use, one being filled.
pub(super) const CHUNKS: usize = 2;

/// Counts what is held.
#[derive(Debug, Default)]
pub(super) struct Budget {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    chunks: usize,
    bytes: u64,
    peak: u64,
    /// Whether a filler waits for room.
    waits: bool,
}

impl Budget {
    /// Nothing done under the lock can leave it half done.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// Whether a filler waits while all chunks are in the hands of users.
    pub(super) fn is_stuck(&self) -> bool {
        let held = self.lock();
        held.waits && held.chunks >= CHUNKS
    }

    /// Waits until a chunk may be filled, or `given_up` says that nobody wants it; `false` then.
    pub(super) fn begin_chunk(&self, bytes: u64, given_up: impl Fn() -> bool) -> bool {
        let mut held = self.lock();
        while held.chunks >= CHUNKS && !given_up() {
            held.waits = true;
            held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.waits = false;
        if given_up() {
            return false;
        }
        held.chunks += 1;
        add(&mut held, bytes);
        true
    }

    pub(super) fn end_chunk(&self, bytes: u64) {
        let mut held = self.lock();
        held.chunks = held.chunks.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(bytes);
        self.changed.notify_all();
    }

    /// Wakes whoever waits, so that it sees that it was given up.
    pub(super) fn wake(&self) {
        let _held = self.lock();
        self.changed.notify_all();
    }

    pub(super) fn hold(&self, bytes: u64) {
        add(&mut self.lock(), bytes);
    }

    pub(super) fn release(&self, bytes: u64) {
        let mut held = self.lock();
        held.bytes = held.bytes.saturating_sub(bytes);
    }
}

fn add(held: &mut Held, bytes: u64) {
    held.bytes = held.bytes.saturating_add(bytes);
    held.peak = held.peak.max(held.bytes);
}
