//! The board's button and light.
//!
//! Each press of the label button marks a moment, and is numbered. The status light says how the daemon is:
//!
//! | light | the daemon |
//! |---|---|
//! | on | starts |
//! | a flash of 0.1 s every 2 s | embeds |
//! | on and off for 0.5 s each | embeds and takes an adaptation step |
//! | on and off for 0.1 s each | embeds what there is: a device fails or is lost, or nothing can be written |
//! | off | does not run |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use embedded_hal::digital::{InputPin, OutputPin, PinState};
use sedge_boards::pins::{Input, Output, PinError};

use super::clock::Clock;
use super::outbox::{Outbox, Said};

/// Longest time without a look at the light.
const TURN: Duration = Duration::from_millis(20);
/// What a button's contacts bounce is over after this long.
const BOUNCE: Duration = Duration::from_millis(50);

/// What the light says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Shown {
    Start,
    Running,
    Adapting,
    Failing,
}

/// How the light is told what to show.
#[derive(Clone, Debug)]
pub(crate) struct Light(Arc<AtomicU8>);

impl Light {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Shown::Start as u8)))
    }

    pub(crate) fn show(&self, shown: Shown) {
        self.0.store(shown as u8, Ordering::Relaxed);
    }

    /// Whether the light is on this long after it began.
    fn is_on(&self, elapsed: Duration) -> bool {
        let millis = elapsed.as_millis();
        match self.0.load(Ordering::Relaxed) {
            shown if shown == Shown::Start as u8 => true,
            shown if shown == Shown::Running as u8 => millis % 2_000 < 100,
            shown if shown == Shown::Adapting as u8 => millis % 1_000 < 500,
            _ => millis % 200 < 100,
        }
    }
}

/// A button, of which each press counts once however its contacts bounce and however long it is held.
struct Button {
    pin: Input,
    /// When it was last seen pressed, while it is held.
    held: Option<Instant>,
    presses: u64,
}

impl Button {
    /// Waits at most this long for a press.
    fn press(&mut self, longest: Duration) -> Result<Option<u64>, PinError> {
        let rings = self.pin.wait(longest)?;
        let now = Instant::now();
        if let Some(last) = self.held {
            if rings || self.pin.is_high()? {
                self.held = Some(now);
            } else if now.duration_since(last) >= BOUNCE {
                self.held = None;
            }
            return Ok(None);
        }
        if !rings {
            return Ok(None);
        }
        self.held = Some(now);
        self.presses += 1;
        Ok(Some(self.presses))
    }
}

/// What the thread of the pins works with.
pub(super) struct Panel {
    pub(super) button: Option<Input>,
    /// Presses of earlier sessions.
    pub(super) presses: u64,
    pub(super) led: Option<Output>,
    pub(super) light: Light,
    pub(super) clock: Clock,
    pub(super) stop: Arc<AtomicBool>,
}

impl Panel {
    /// Serves button and light in a thread of their own.
    pub(super) fn serve(self, outbox: Outbox) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("sedged-pins".into()).spawn(move || self.run(outbox))
    }

    fn run(self, mut outbox: Outbox) {
        let Self { button, presses, mut led, light, clock, stop } = self;
        let mut button = button.map(|pin| Button { pin, held: None, presses });
        let start = Instant::now();
        while !stop.load(Ordering::Acquire) && !outbox.is_closed() {
            let simulated = button.as_ref().is_none_or(|button| button.pin.simulated_level().is_some());
            match button.as_mut().map(|button| button.press(TURN)) {
                Some(Ok(Some(press))) => outbox.insist(Said::Label { at: clock.now(), press }),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the label button is no longer listened to");
                    button = None;
                }
                _ => {}
            }
            if simulated {
                std::thread::park_timeout(TURN);
            }
            let state = PinState::from(light.is_on(start.elapsed()));
            if let Some(Err(error)) = led.as_mut().map(|led| led.set_state(state)) {
                tracing::warn!(%error, "the status light is no longer driven");
                led = None;
            }
        }
        if let Some(led) = &mut led {
            // Nobody is left to hear that it failed.
            let _ = led.set_low();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sedge_boards::board::{Driver, Line, PinSpec, PinsSpec};
    use sedge_boards::pins::Pins;

    fn button() -> Button {
        let pin = PinSpec { line: Line::Number(17), header: None, active_low: true };
        let spec = PinsSpec {
            driver: Driver::Simulated,
            device: None,
            label_button: Some(pin),
            status_led: None,
            data_ready: None,
        };
        Button { pin: Pins::open(&spec).unwrap().label_button.unwrap(), held: None, presses: 4 }
    }

    #[test]
    fn a_press_counts_once_however_it_bounces() {
        let mut button = button();
        let wire = button.pin.simulated_level().unwrap();
        let mut press = |low: bool| {
            wire.store(!low, Ordering::SeqCst);
            button.press(Duration::ZERO).unwrap()
        };
        assert_eq!(press(false), None);
        assert_eq!([press(true), press(false), press(true), press(true)], [Some(5), None, None, None]);
        assert_eq!(press(false), None);
        std::thread::park_timeout(BOUNCE + TURN);
        assert_eq!([press(false), press(true)], [None, Some(6)]);
    }

    #[test]
    fn the_lights_patterns_are_those_of_the_table() {
        let light = Light::new();
        let share = |shown| {
            light.show(shown);
            (0..2_000).filter(|millis| light.is_on(Duration::from_millis(*millis))).count()
        };
        assert_eq!(
            [Shown::Start, Shown::Running, Shown::Adapting, Shown::Failing].map(share),
            [2_000, 100, 1_000, 1_000]
        );
        let mut before = true;
        let changes = (0..2_000).filter(|millis| {
            let on = light.is_on(Duration::from_millis(*millis));
            std::mem::replace(&mut before, on) != on
        });
        assert_eq!(changes.count(), 19, "fast when failing");
    }
}
