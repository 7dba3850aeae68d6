//! What a running session does beside its stream, by the machine's clock: it reads heat and memory for the
//! learner, hands lines on, shows its state by the light, the status file and the service manager.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use sedge_boards::Board;
use sedge_boards::board::{Heat, ThermalSpec, Throttling, heat};
use sedge_core::Warmth;

use crate::status::unix_s;

/// Time between two looks at heat and memory.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two statuses.
const TELL: Duration = Duration::from_secs(3);

/// What is due beside the stream.
pub(super) struct Upkeep {
    root: PathBuf,
    thermal: Option<ThermalSpec>,
    started_unix_s: f64,
    looked: Instant,
    told: Option<Instant>,
    watched: bool,
    heat: Option<Heat>,
    /// Whether it was said that heat cannot be read.
    unread: bool,
}

impl Upkeep {
    pub(super) fn new(root: PathBuf, board: Option<&Board>) -> Self {
        Self {
            root,
            thermal: board.and_then(|board| board.thermal.clone()),
            started_unix_s: unix_s(),
            looked: Instant::now(),
            told: None,
            watched: sd_notify::watchdog_enabled().is_some(),
            heat: None,
            unread: false,
        }
    }

    /// Whether a look is due.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.looked.elapsed() >= LOOK;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// Whether a status is due.
    pub(super) fn is_status_due(&mut self) -> bool {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }

    /// When the session began, in seconds since 1970.
    pub(super) fn started_unix_s(&self) -> f64 {
        self.started_unix_s
    }

    /// The heat of now for the learner, where the board says it.
    pub(super) fn warmth(&mut self) -> Option<Warmth> {
        let thermal = self.thermal.as_ref()?;
        match heat(&self.root, thermal) {
            Ok(heat) => {
                self.unread = false;
                self.heat = Some(heat);
                let throttled = heat.throttling.is_some_and(Throttling::is_held_back);
                // A cast saturates; no zone tells two million degrees.
                Some(Warmth { millicelsius: Some((heat.celsius * 1e3) as i32), throttled })
            }
            Err(error) => {
                if !self.unread {
                    tracing::warn!(%error, "adapting without regard to heat");
                }
                self.unread = true;
                self.heat = None;
                Some(Warmth { millicelsius: None, throttled: false })
            }
        }
    }

    /// Degrees Celsius, and whether the firmware holds the machine back, as they were read last.
    pub(super) fn read(&self) -> (Option<f32>, Option<bool>) {
        let throttled = self.heat.and_then(|heat| heat.throttling).map(Throttling::is_held_back);
        (self.heat.map(|heat| heat.celsius), throttled)
    }

    /// Tells the service manager that the main loop turns.
    pub(super) fn alive(&self) {
        if self.watched {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

/// Tells the service manager, if one started this process.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
