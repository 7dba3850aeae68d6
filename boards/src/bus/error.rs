//! Why a bus cannot be opened, and why it fails.

use std::path::PathBuf;

use embedded_hal::{i2c, spi};

/// A bus that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBusError {
    /// The kernel has no such device.
    #[error(
        "there is no {}; enable the bus (raspi-config on a Raspberry Pi, jetson-io on a Jetson, or load i2c-dev) \
         or correct the device of the board's bus {bus}", device.display()
    )]
    Missing {
        /// The bus's name in the board file.
        bus: String,
        /// The device node.
        device: PathBuf,
    },
    /// The user may not use it.
    #[error("no permission for {}, the board's bus {bus}; add the user to the group i2c or spi", device.display())]
    Denied {
        /// The bus's name in the board file.
        bus: String,
        /// The device node.
        device: PathBuf,
    },
    /// Anything else the system said.
    #[error("cannot open {}, the board's bus {bus}: {said}", device.display())]
    System {
        /// The bus's name in the board file.
        bus: String,
        /// The device node.
        device: PathBuf,
        /// What the system said.
        said: String,
    },
    /// The sensor is on no bus of this board.
    #[error("the sensor {sensor} is on no bus of the board {board} that this program can open")]
    NoBus {
        /// The board.
        board: String,
        /// The sensor.
        sensor: String,
    },
}

/// A transfer that failed, on a bus of any driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct BusFault {
    /// Whether nobody answered, as far as the driver can tell.
    pub no_acknowledge: bool,
    /// What the driver said.
    pub said: String,
}

impl i2c::Error for BusFault {
    fn kind(&self) -> i2c::ErrorKind {
        if self.no_acknowledge {
            i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Unknown)
        } else {
            i2c::ErrorKind::Other
        }
    }
}

impl spi::Error for BusFault {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}
