//! The pins of a board: a button for labels, a light for the daemon's state, a sensor's interrupt.
//!
//! Through rppal on a Raspberry Pi, the kernel's GPIO character device elsewhere,
//! or simulated; behind `embedded-hal`'s traits, where high means *on* whatever the wiring is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use embedded_hal::digital::{self, ErrorKind, ErrorType, InputPin, OutputPin};

use crate::board::{Driver, Line, PinSpec, PinsSpec};

/// What the kernel and its tools show as the user of a line.
const CONSUMER: &str = "sedged";

/// A pin that cannot be had or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The pins cannot be reached, or not this one.
    #[error("the pin {pin} on line {line} cannot be used: {said}; check the board's pins and the group gpio")]
    System {
        /// The pin's key in the board file.
        pin: &'static str,
        /// Its line.
        line: String,
        /// What the system said.
        said: String,
    },
}

impl digital::Error for PinError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The pins of a board, those it has.
#[derive(Debug, Default)]
pub struct Pins {
    /// The button that marks what is happening now.
    pub label_button: Option<Input>,
    /// The light.
    pub status_led: Option<Output>,
    /// A sensor's interrupt.
    pub data_ready: Option<Input>,
}

impl Pins {
    /// Opens the pins that `spec`, of a board that was checked, names.
    ///
    /// # Errors
    /// [`PinError`] of the first pin that cannot be had.
    pub fn open(spec: &PinsSpec) -> Result<Self, PinError> {
        let input = |pin: &Option<PinSpec>, name, rises| match pin {
            Some(pin) => Input::open(spec, name, pin, rises).map(Some),
            None => Ok(None),
        };
        Ok(Self {
            label_button: input(&spec.label_button, "label_button", true)?,
            data_ready: input(&spec.data_ready, "data_ready", true)?,
            status_led: match &spec.status_led {
                Some(pin) => Some(Output::open(spec, "status_led", pin)?),
                None => None,
            },
        })
    }
}

/// A pin that is read, and that can be waited for.
#[derive(Debug)]
pub struct Input {
    name: &'static str,
    line: Line,
    active_low: bool,
    reached: ReachedInput,
}

enum ReachedInput {
    Rppal(Box<rppal::gpio::InputPin>),
    Linux(linux_embedded_hal::gpio_cdev::LineEventHandle),
    Simulated(Arc<AtomicBool>),
}

/// A pin that is driven.
#[derive(Debug)]
pub struct Output {
    active_low: bool,
    reached: ReachedOutput,
}

enum ReachedOutput {
    Rppal(Box<rppal::gpio::OutputPin>),
    /// With its name and line, for when it fails.
    Linux(linux_embedded_hal::CdevPin, &'static str, Line),
    Simulated(Arc<AtomicBool>),
}

/// How a pin is reached, without what only its driver can say.
macro_rules! named_only {
    ($($kind:ty),*) => {
        $(impl std::fmt::Debug for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    Self::Rppal(_) => "rppal",
                    Self::Linux(..) => "linux",
                    Self::Simulated(_) => "simulated",
                })
            }
        })*
    };
}
named_only!(ReachedInput, ReachedOutput);

fn failed(pin: &'static str, line: &Line, said: &dyn std::fmt::Display) -> PinError {
    PinError::System { pin, line: line.to_string(), said: said.to_string() }
}

fn rppal_pin(name: &'static str, line: &Line) -> Result<rppal::gpio::Pin, PinError> {
    let Line::Number(number) = line else {
        return Err(failed(name, line, &"rppal knows lines by number alone"));
    };
    let number = u8::try_from(*number).map_err(|error| failed(name, line, &error))?;
    rppal::gpio::Gpio::new().and_then(|gpio| gpio.get(number)).map_err(|error| failed(name, line, &error))
}

fn kernel_line(
    spec: &PinsSpec,
    name: &'static str,
    line: &Line,
) -> Result<linux_embedded_hal::gpio_cdev::Line, PinError> {
    use linux_embedded_hal::gpio_cdev::Chip;
    let said = |error: &dyn std::fmt::Display| failed(name, line, error);
    let mut chip = Chip::new(spec.device.clone().unwrap_or_default()).map_err(|error| said(&error))?;
    let offset = match line {
        Line::Number(number) => *number,
        Line::Name(wanted) => {
            let is_wanted = |line: &linux_embedded_hal::gpio_cdev::Line| {
                line.info().is_ok_and(|info| info.name() == Some(wanted.as_str()))
            };
            let found = chip.lines().find(is_wanted);
            found.ok_or_else(|| said(&"the chip has no line of that name"))?.offset()
        }
    };
    chip.get_line(offset).map_err(|error| said(&error))
}

impl Input {
    /// Opens a pin for reading; `rises` says whether turning on is what is waited for.
    fn open(spec: &PinsSpec, name: &'static str, pin: &PinSpec, rises: bool) -> Result<Self, PinError> {
        let line = &pin.line;
        let upwards = rises != pin.active_low;
        let reached = match spec.driver {
            Driver::Simulated => ReachedInput::Simulated(Arc::new(AtomicBool::new(pin.active_low))),
            Driver::Rppal => {
                use rppal::gpio::Trigger;
                let free = rppal_pin(name, line)?;
                // A button to ground wants something that holds the line up while it is not pressed.
                let mut input = if pin.active_low { free.into_input_pullup() } else { free.into_input() };
                let trigger = if upwards { Trigger::RisingEdge } else { Trigger::FallingEdge };
                input.set_interrupt(trigger, None).map_err(|error| failed(name, line, &error))?;
                ReachedInput::Rppal(Box::new(input))
            }
            Driver::Linux => {
                use linux_embedded_hal::gpio_cdev::{EventRequestFlags, LineRequestFlags};
                let edge =
                    if upwards { EventRequestFlags::RISING_EDGE } else { EventRequestFlags::FALLING_EDGE };
                let requested =
                    kernel_line(spec, name, line)?.events(LineRequestFlags::INPUT, edge, CONSUMER);
                ReachedInput::Linux(requested.map_err(|error| failed(name, line, &error))?)
            }
        };
        Ok(Self { name, line: line.clone(), active_low: pin.active_low, reached })
    }

    /// Waits until the pin turns on, as the kernel's interrupt says it, for at most this long; answers
    /// whether it did. A simulated pin does not wait.
    ///
    /// # Errors
    /// [`PinError::System`].
    pub fn wait(&mut self, longest: Duration) -> Result<bool, PinError> {
        let (name, line) = (self.name, self.line.clone());
        match &mut self.reached {
            ReachedInput::Simulated(level) => Ok(level.load(Ordering::SeqCst) != self.active_low),
            ReachedInput::Rppal(pin) => {
                let event =
                    pin.poll_interrupt(false, Some(longest)).map_err(|error| failed(name, &line, &error))?;
                Ok(event.is_some())
            }
            ReachedInput::Linux(events) => {
                use rustix::event::{PollFd, PollFlags, Timespec, poll};
                let span = Timespec {
                    tv_sec: longest.as_secs().try_into().unwrap_or(i64::MAX),
                    tv_nsec: longest.subsec_nanos().into(),
                };
                let mut waiting = [PollFd::new(&*events, PollFlags::IN)];
                let ready = poll(&mut waiting, Some(&span)).map_err(|error| failed(name, &line, &error))?;
                if ready > 0 {
                    events.get_event().map_err(|error| failed(name, &line, &error))?;
                }
                Ok(ready > 0)
            }
        }
    }

    /// The level of a simulated pin, as the wire has it, to be moved from outside.
    pub fn simulated_level(&self) -> Option<Arc<AtomicBool>> {
        match &self.reached {
            ReachedInput::Simulated(level) => Some(level.clone()),
            _ => None,
        }
    }

    fn level(&mut self) -> Result<bool, PinError> {
        match &self.reached {
            ReachedInput::Simulated(level) => Ok(level.load(Ordering::SeqCst)),
            ReachedInput::Rppal(pin) => Ok(pin.is_high()),
            ReachedInput::Linux(events) => {
                let value = events.get_value();
                value.map(|value| value != 0).map_err(|error| failed(self.name, &self.line, &error))
            }
        }
    }
}

impl ErrorType for Input {
    type Error = PinError;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, PinError> {
        Ok(self.level()? != self.active_low)
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        Ok(self.level()? == self.active_low)
    }
}

impl Output {
    /// Opens a pin for driving, off at first.
    fn open(spec: &PinsSpec, name: &'static str, pin: &PinSpec) -> Result<Self, PinError> {
        let line = &pin.line;
        let reached = match spec.driver {
            Driver::Simulated => ReachedOutput::Simulated(Arc::new(AtomicBool::new(pin.active_low))),
            Driver::Rppal => {
                let free = rppal_pin(name, line)?;
                let driven = if pin.active_low { free.into_output_high() } else { free.into_output_low() };
                ReachedOutput::Rppal(Box::new(driven))
            }
            Driver::Linux => {
                use linux_embedded_hal::gpio_cdev::LineRequestFlags;
                let said = |error: &dyn std::fmt::Display| failed(name, line, error);
                let off = u8::from(pin.active_low);
                let handle = kernel_line(spec, name, line)?
                    .request(LineRequestFlags::OUTPUT, off, CONSUMER)
                    .map_err(|error| said(&error))?;
                let pin = linux_embedded_hal::CdevPin::new(handle).map_err(|error| said(&error))?;
                ReachedOutput::Linux(pin, name, line.clone())
            }
        };
        Ok(Self { active_low: pin.active_low, reached })
    }

    /// The level of a simulated pin, as the wire has it.
    pub fn simulated_level(&self) -> Option<bool> {
        match &self.reached {
            ReachedOutput::Simulated(level) => Some(level.load(Ordering::SeqCst)),
            _ => None,
        }
    }

    fn drive(&mut self, level: bool) -> Result<(), PinError> {
        match &mut self.reached {
            ReachedOutput::Simulated(wire) => wire.store(level, Ordering::SeqCst),
            ReachedOutput::Rppal(pin) if level => pin.set_high(),
            ReachedOutput::Rppal(pin) => pin.set_low(),
            ReachedOutput::Linux(pin, name, line) => {
                let driven = pin.set_state(digital::PinState::from(level));
                driven.map_err(|error| failed(name, line, &error))?;
            }
        }
        Ok(())
    }
}

impl ErrorType for Output {
    type Error = PinError;
}

impl OutputPin for Output {
    fn set_high(&mut self) -> Result<(), PinError> {
        self.drive(!self.active_low)
    }

    fn set_low(&mut self) -> Result<(), PinError> {
        self.drive(self.active_low)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::board::Board;

    fn simulated() -> PinsSpec {
        let pin = |line, active_low| Some(PinSpec { line: Line::Number(line), header: None, active_low });
        PinsSpec {
            driver: Driver::Simulated,
            device: None,
            label_button: pin(17, true),
            status_led: pin(27, false),
            data_ready: pin(22, false),
        }
    }

    #[test]
    fn high_means_on_whatever_the_wiring() {
        let mut pins = Pins::open(&simulated()).unwrap();
        let button = pins.label_button.as_mut().unwrap();
        assert!(button.is_low().unwrap() && !button.wait(Duration::ZERO).unwrap());
        // Pressed to ground.
        button.simulated_level().unwrap().store(false, Ordering::SeqCst);
        assert!(button.is_high().unwrap() && button.wait(Duration::ZERO).unwrap());
        let light = pins.status_led.as_mut().unwrap();
        assert_eq!(light.simulated_level(), Some(false));
        light.set_high().unwrap();
        assert_eq!(light.simulated_level(), Some(true));
        let dark = PinSpec { active_low: true, ..simulated().status_led.unwrap() };
        let mut pins = Pins::open(&PinsSpec { status_led: Some(dark), ..simulated() }).unwrap();
        let light = pins.status_led.as_mut().unwrap();
        assert_eq!(light.simulated_level(), Some(true));
        light.set_high().unwrap();
        assert_eq!(light.simulated_level(), Some(false));
    }

    #[test]
    fn a_machine_without_the_pins_says_which_and_why() {
        let jetson = Board::named("jetson-orin-nano").unwrap().pins.unwrap();
        let nowhere = PinsSpec { device: Some("/dev/gpiochip250".into()), ..jetson };
        let error = Pins::open(&nowhere).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("label_button") && text.contains("PAC.06"), "{text}");
    }
}
