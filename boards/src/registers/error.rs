//! What can go wrong between a driver and its chip, told so that it can be mended.

use core::fmt;

use super::Place;

/// What can go wrong between a driver and its chip, over a bus whose own failure is `E`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SensorError<E: fmt::Debug> {
    /// The bus failed.
    #[error(
        "the {chip} at {place} does not answer at register {register}: {source:?}; check wiring, pull-ups and address"
    )]
    Bus {
        /// The chip.
        chip: &'static str,
        /// Where it should be.
        place: Place,
        /// The register addressed.
        register: &'static str,
        /// What the bus said.
        source: E,
    },
    /// Another chip answered.
    #[error(
        "what is at {place} says {found:#04x} in register {register}, and a {chip} says {expected:#04x?}; \
         correct the board's chip or address"
    )]
    WrongChip {
        /// The chip that was to be there.
        chip: &'static str,
        /// Where.
        place: Place,
        /// The register that holds the identity.
        register: &'static str,
        /// What it held.
        found: u8,
        /// What this chip's holds.
        expected: &'static [u8],
    },
    /// A setting read back other than written.
    #[error(
        "register {register} of the {chip} at {place} was set to {wrote:#04x} and reads {read:#04x}; the chip or \
         the bus is faulty"
    )]
    NotTaken {
        /// The chip.
        chip: &'static str,
        /// Where it is.
        place: Place,
        /// The register.
        register: &'static str,
        /// The value written.
        wrote: u8,
        /// The value it holds.
        read: u8,
    },
    /// The chip cannot be set so.
    #[error("a {chip} cannot have {setting} {found}; allowed is {allowed}")]
    Setting {
        /// The chip.
        chip: &'static str,
        /// What was to be set.
        setting: &'static str,
        /// To what.
        found: u32,
        /// What it can be set to.
        allowed: &'static str,
    },
    /// The chip did not get ready in the time that its data sheet gives it.
    #[error("the {chip} at {place} is not ready: {what}; take its power away and give it back")]
    NotReady {
        /// The chip.
        chip: &'static str,
        /// Where it is.
        place: Place,
        /// What was waited for.
        what: &'static str,
    },
    /// The chip must be sent a file that is not at hand, or not of its size.
    #[error(
        "the {chip} at {place} measures nothing until its maker's configuration of {wanted} bytes is uploaded, \
         and {found} were given; Sedge does not ship that file: take bmi270_config_file from Bosch's \
         BMI270 Sensor API as bytes, and name it as the sensor's firmware in the board file"
    )]
    Firmware {
        /// The chip.
        chip: &'static str,
        /// Where it is.
        place: Place,
        /// Bytes given.
        found: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// The value is beyond what the chip can say.
    #[error("the {chip} at {place} is driven beyond its full scale; take what disturbs it away")]
    Saturated {
        /// The chip.
        chip: &'static str,
        /// Where it is.
        place: Place,
    },
    /// The chip's own queue ran over, and samples were lost. It has been emptied.
    #[error("the queue of the {chip} at {place} ran over and was emptied; read it more often")]
    Overrun {
        /// The chip.
        chip: &'static str,
        /// Where it is.
        place: Place,
    },
}
