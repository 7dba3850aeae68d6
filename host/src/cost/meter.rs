//! The meter: whatever sensors a machine has, read together.

use std::fs::File;
use std::io::Read;
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cpu_time::{self, WATTS_PER_CORE};
use super::jetson::Rails;
use super::nvidia::Cards;
use super::rapl::Rapl;

/// Time between readings. A RAPL counter of a busy server turns in about ten minutes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Largest file read; sensors are a line.
const MAX_FILE: u64 = 4096;

/// Energy used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Energy {
    /// Joules that a sensor counted.
    pub measured_joules: f64,
    /// Joules that are an estimate.
    pub estimated_joules: f64,
}

impl Energy {
    /// All of it, in joules.
    pub fn joules(self) -> f64 {
        self.measured_joules + self.estimated_joules
    }

    /// All of it, in watt-hours.
    pub fn watt_hours(self) -> f64 {
        self.joules() / 3600.0
    }
}

impl Add for Energy {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            measured_joules: self.measured_joules + other.measured_joules,
            estimated_joules: self.estimated_joules + other.estimated_joules,
        }
    }
}

/// What tells the energy of all but the cards.
enum Machine {
    Module(Rails),
    Processors(Rapl),
    /// Seconds of processor time when the meter began.
    Busy(f64),
    /// Nothing at all is known: all cores are taken to be busy.
    Unknown,
}

/// Counts the energy of a machine from when it is made.
pub struct Meter {
    root: PathBuf,
    machine: Machine,
    cards: Option<Cards>,
    begun: Instant,
    last: Option<Duration>,
    energy: Energy,
    advice: Option<String>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("sources", &self.sources()).field("energy", &self.energy).finish()
    }
}

impl Meter {
    /// A meter of this machine.
    pub fn system() -> Self {
        Self::at(Path::new("/"))
    }

    /// A meter of the machine whose `sys` and `proc` lie under `root`.
    pub fn at(root: &Path) -> Self {
        let (machine, advice) = match (Rails::find(root), Rapl::find(root)) {
            (Some(rails), _) => (Machine::Module(rails), None),
            (None, Ok(Some(rapl))) => (Machine::Processors(rapl), None),
            (None, rapl) => {
                let busy = cpu_time::seconds(root).map_or(Machine::Unknown, Machine::Busy);
                (busy, rapl.err())
            }
        };
        let (root, begun) = (root.to_path_buf(), Instant::now());
        let mut meter =
            Self { root, machine, cards: None, begun, last: None, energy: Energy::default(), advice };
        meter.read(Duration::ZERO);
        meter
    }

    /// Counts NVIDIA cards as well, where the driver's `program` (`nvidia-smi`) can be started: for
    /// runs that use them.
    pub fn with_cards(mut self, program: &Path) -> Self {
        // A Jetson's module holds its card.
        if !matches!(self.machine, Machine::Module(_)) {
            self.cards = Cards::start(program);
        }
        self
    }

    /// Reads the sensors, where a second has passed since the last time. Cheap enough for every step.
    pub fn poll(&mut self) {
        let now = self.begun.elapsed();
        if self.last.is_none_or(|last| now.saturating_sub(last) >= INTERVAL) {
            self.read(now);
        }
    }

    /// Energy from when the meter was made until now.
    pub fn energy(&mut self) -> Energy {
        self.read(self.begun.elapsed())
    }

    /// What the energy is read from, in words.
    pub fn sources(&self) -> Vec<String> {
        let machine = match &self.machine {
            Machine::Module(rails) => rails.words(),
            Machine::Processors(rapl) => rapl.words(),
            Machine::Busy(_) | Machine::Unknown => cpu_time::words(),
        };
        let cards = self.cards.as_ref().map(|_| Cards::words());
        [Some(machine), self.advice.clone(), cards].into_iter().flatten().collect()
    }

    pub(super) fn read(&mut self, now: Duration) -> Energy {
        self.last = Some(now);
        let (measured, estimated) = match &mut self.machine {
            Machine::Module(rails) => (rails.read(now), 0.0),
            Machine::Processors(rapl) => (rapl.read(), 0.0),
            Machine::Busy(before) => {
                let busy = cpu_time::seconds(&self.root).map_or(0.0, |seconds| (seconds - *before).max(0.0));
                (0.0, busy * WATTS_PER_CORE)
            }
            Machine::Unknown => {
                let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                (0.0, now.as_secs_f64() * cores as f64 * WATTS_PER_CORE)
            }
        };
        let cards = self.cards.as_ref().map_or(0.0, Cards::joules);
        self.energy = Energy { measured_joules: measured + cards, estimated_joules: estimated };
        self.energy
    }
}

/// What a small text file holds, without the space around it.
pub(super) fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// The number that a file holds.
pub(super) fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}
