//! What the threads of a board say, and the bounded queue it goes through.
//!
//! Readings that find the queue full are dropped and counted, as with any source at the pace of a clock.
//! News of a device or of the button waits for room: there is little of it, and none may be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use sedge_readings::{Event, Measurement, Reading, Timestamp};
use serde::Serialize;

use super::ledger::Entry;

/// What is said.
#[derive(Debug)]
pub(crate) enum Said {
    /// A frame or an inertial sample for the learner.
    Event(Event),
    /// Another sensor's reading.
    Measured(Arc<Entry>, Reading<Measurement>),
    /// A device's condition changed.
    Changed {
        device: Arc<Entry>,
        at: Timestamp,
        change: DeviceChange,
        /// Why, where it is not for the better.
        reason: Option<String>,
    },
    /// The label button was pressed.
    Label { at: Timestamp, press: u64 },
}

/// A change in a device's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeviceChange {
    /// It answers for the first time.
    Opened,
    /// It failed several times in a row.
    Failing,
    /// It works again before it was given up.
    Recovered,
    /// It is given up for now, and tried again more and more rarely.
    Lost,
    /// It was lost and is back.
    Returned,
}

/// Frames and samples that nobody had room for.
#[derive(Debug, Default)]
pub(crate) struct Overrun {
    frames: AtomicU64,
    samples: AtomicU64,
}

impl Overrun {
    /// Frames, then samples.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [&self.frames, &self.samples].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// A thread's end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    pub(crate) sender: SyncSender<Said>,
    pub(crate) overrun: Arc<Overrun>,
    /// Set once nobody listens any more.
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(sender: SyncSender<Said>, overrun: Arc<Overrun>) -> Self {
        Self { sender, overrun, closed: false }
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Says it, about this device.
    pub(crate) fn say(&mut self, device: &Entry, said: Said) {
        if matches!(said, Said::Changed { .. }) {
            return self.insist(said);
        }
        match self.sender.try_send(said) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => self.closed = true,
            Err(TrySendError::Full(said)) => {
                device.drop_one();
                let counter = match said {
                    Said::Event(Event::Frame(_)) => &self.overrun.frames,
                    Said::Event(Event::Imu(_)) => &self.overrun.samples,
                    _ => return,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says it however long that takes.
    pub(crate) fn insist(&mut self, said: Said) {
        self.closed |= self.sender.send(said).is_err();
    }
}
