//! The kernel's I2C buses (`/dev/i2c-N`), through rppal.
//!
//! Written for the Raspberry Pi; the device files are the kernel's own, so any Linux board that
//! has them will do. A read after a register address is two transfers here, not one with a repeated
//! start; the MPU-6050 keeps its register pointer between them.

use rppal::i2c::I2c;

/// A bus that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBusError {
    /// The kernel has no such bus.
    #[error(
        "no I2C bus /dev/i2c-{number}; enable it (raspi-config, Interface Options, I2C) or correct the board's bus.number"
    )]
    Missing {
        /// Bus number asked for.
        number: u8,
    },
    /// The user may not use it.
    #[error("no permission for /dev/i2c-{number}; add the user to the group i2c")]
    Denied {
        /// Bus number asked for.
        number: u8,
    },
    /// Anything else.
    #[error("cannot open I2C bus /dev/i2c-{number}: {source}")]
    Other {
        /// Bus number asked for.
        number: u8,
        /// What the platform said.
        source: rppal::i2c::Error,
    },
}

/// Opens bus `number`, usually 1 on a Raspberry Pi.
///
/// # Errors
/// [`OpenBusError`], which says how to mend the common cases.
pub fn open(number: u8) -> Result<I2c, OpenBusError> {
    use std::io::ErrorKind;
    I2c::with_bus(number).map_err(|source| match &source {
        rppal::i2c::Error::Io(error) => match error.kind() {
            ErrorKind::NotFound => OpenBusError::Missing { number },
            ErrorKind::PermissionDenied => OpenBusError::Denied { number },
            _ => OpenBusError::Other { number, source },
        },
        _ => OpenBusError::Other { number, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bus_is_named_with_its_cure() {
        // No machine has a bus 255 (the kernel hands numbers out from zero).
        let error = open(255).map(|_| ()).map_err(|e| e.to_string());
        assert!(matches!(error, Err(text) if text.contains("/dev/i2c-255") && text.contains("bus.number")));
    }
}
