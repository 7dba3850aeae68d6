//! How every device of a board is and what it has given: written by the threads that read them, read by
//! whoever reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
#[non_exhaustive]
pub enum DeviceCondition {
    /// It has not answered yet.
    Starting,
    /// It gives readings.
    Live,
    /// It has failed a few times and is still asked.
    Failing,
    /// It is given up until it can be opened again.
    Lost,
    /// A camera that waits for one before it to be lost.
    Standby,
}

impl DeviceCondition {
    const ALL: [Self; 5] = [Self::Starting, Self::Live, Self::Failing, Self::Lost, Self::Standby];
}

impl std::fmt::Display for DeviceCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Failing => "failing",
            Self::Lost => "lost",
            Self::Standby => "standby",
        })
    }
}

/// A device's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccount {
    /// Its name in the board file.
    pub name: String,
    /// How it is.
    pub condition: DeviceCondition,
    /// Readings with a value, of this session.
    pub readings: u64,
    /// Readings without one, and failures to open it.
    pub failures: u64,
    /// Readings that came while nobody had room for them.
    pub dropped: u64,
}

/// One device's figures.
#[derive(Debug)]
pub(crate) struct Entry {
    name: String,
    condition: AtomicU8,
    readings: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
}

impl Entry {
    /// A device that has not answered yet.
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            condition: AtomicU8::new(DeviceCondition::Starting as u8),
            readings: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn condition(&self) -> DeviceCondition {
        let found = usize::from(self.condition.load(Ordering::Relaxed));
        DeviceCondition::ALL.get(found).copied().unwrap_or(DeviceCondition::Starting)
    }

    pub(crate) fn is(&self, condition: DeviceCondition) {
        self.condition.store(condition as u8, Ordering::Relaxed);
    }

    /// Counts a reading.
    pub(crate) fn read(&self, worked: bool) {
        let counter = if worked { &self.readings } else { &self.failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a reading that nobody had room for.
    pub(crate) fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn account(&self) -> DeviceAccount {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeviceAccount {
            name: self.name.clone(),
            condition: self.condition(),
            readings: count(&self.readings),
            failures: count(&self.failures),
            dropped: count(&self.dropped),
        }
    }
}
