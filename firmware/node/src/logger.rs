//! The node's log: defmt's global logger into a bounded queue, from where [`Node`](crate::Node) sends it in
//! its own frames. A message that finds no room is left out whole and counted.
//!
//! defmt wants its logger to be taken for the length of a message, in parts that no value can hold. So the
//! queue is in a static, and is touched within critical sections only.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;

use critical_section::RestoreState;
use heapless::Deque;

/// Bytes of the log that wait for the line.
const WAITING: usize = 1024;

#[defmt::global_logger]
struct LineLogger;

struct Log {
    waiting: Deque<u8, WAITING>,
    encoder: defmt::Encoder,
    restore: RestoreState,
    /// Messages under way: more than one where a value that is logged logs as it is formatted.
    depth: u32,
    /// Bytes of the message under way.
    message: usize,
    is_cut: bool,
    lost: u32,
}

struct Shared(UnsafeCell<Log>);

// SAFETY: `with` is the only way in, and is entered within a critical section only, one call at a time.
unsafe impl Sync for Shared {}

static LOG: Shared = Shared(UnsafeCell::new(Log {
    waiting: Deque::new(),
    encoder: defmt::Encoder::new(),
    restore: RestoreState::invalid(),
    depth: 0,
    message: 0,
    is_cut: false,
    lost: 0,
}));

/// Takes waiting bytes of the log. Answers how many.
pub fn take(into: &mut [u8]) -> usize {
    critical_section::with(|_| {
        // SAFETY: within a critical section, and nothing here logs.
        let log = unsafe { &mut *LOG.0.get() };
        let mut count = 0;
        for slot in into {
            let Some(byte) = log.waiting.pop_front() else { break };
            *slot = byte;
            count += 1;
        }
        count
    })
}

/// Messages that found no room.
pub fn lost() -> u32 {
    // SAFETY: within a critical section, and nothing here logs.
    critical_section::with(|_| unsafe { &*LOG.0.get() }.lost)
}

impl Log {
    /// Runs the encoder, and keeps what it writes.
    fn encode(&mut self, run: impl FnOnce(&mut defmt::Encoder, &mut dyn FnMut(&[u8]))) {
        let Self { waiting, encoder, message, is_cut, .. } = self;
        run(encoder, &mut |bytes| {
            for &byte in bytes {
                if waiting.push_back(byte).is_ok() {
                    *message += 1;
                } else {
                    *is_cut = true;
                }
            }
        });
    }

    fn begin(&mut self) {
        (self.message, self.is_cut) = (0, false);
        self.encode(|encoder, keep| encoder.start_frame(keep));
    }

    fn end(&mut self) {
        self.encode(|encoder, keep| encoder.end_frame(keep));
        if self.is_cut {
            for _ in 0..self.message {
                self.waiting.pop_back();
            }
            self.lost = self.lost.wrapping_add(1);
        }
    }
}

// SAFETY: `acquire` enters a critical section, which `release` leaves, so a message is whole; defmt calls them
// in pairs and `write` between them.
unsafe impl defmt::Logger for LineLogger {
    fn acquire() {
        // SAFETY: left in `release`, in the order of entering.
        let restore = unsafe { critical_section::acquire() };
        // SAFETY: within the critical section.
        let log = unsafe { &mut *LOG.0.get() };
        log.depth += 1;
        if log.depth == 1 {
            log.restore = restore;
            log.begin();
        }
    }

    unsafe fn flush() {}

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: within the critical section of `acquire`.
        let log = unsafe { &mut *LOG.0.get() };
        if log.depth == 1 {
            log.encode(|encoder, keep| encoder.write(bytes, keep));
        }
    }

    unsafe fn release() {
        // SAFETY: within the critical section of `acquire`.
        let log = unsafe { &mut *LOG.0.get() };
        log.depth -= 1;
        if log.depth == 0 {
            log.end();
            let restore = log.restore;
            // SAFETY: entered in `acquire`, which gave this state.
            unsafe { critical_section::release(restore) };
        }
    }
}
