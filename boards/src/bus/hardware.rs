//! The buses of a board file: the kernel's, through rppal on a Raspberry Pi and linux-embedded-hal
//! elsewhere, and the simulated one.
//!
//! rppal makes two transfers of a read after a register address, not one with a repeated start; every chip
//! that is read here keeps its register pointer between them.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{self, I2c};
use embedded_hal::spi::{self, SpiDevice};

use super::error::{BusFault, OpenBusError};
use super::simulated::SimulatedI2c;
use crate::board::{Board, BusKind, BusSpec, Driver, SensorChip, SensorSpec};
use crate::registers::{BLOCK, OverI2c, OverSpi, Place, Registers};

/// The mode of every chip here: clock low at rest, data taken as it rises.
const SPI_MODE: &str = "mode 0";
/// `EREMOTEIO` and `ENXIO`, by which the kernel's I2C drivers say that no device acknowledged.
const NOBODY: [i32; 2] = [121, 6];

/// An I2C bus, however it is reached.
#[non_exhaustive]
pub enum I2cBus {
    /// Through rppal.
    Rppal(Box<rppal::i2c::I2c>),
    /// Through linux-embedded-hal.
    Linux(Box<linux_embedded_hal::I2cdev>),
    /// Simulated.
    Simulated(Box<SimulatedI2c>),
}

/// An SPI bus with a chip select, however it is reached.
#[non_exhaustive]
pub enum SpiBus {
    /// Through rppal.
    Rppal(Box<rppal::spi::SimpleHalSpiDevice>),
    /// Through linux-embedded-hal.
    Linux(Box<linux_embedded_hal::SpidevDevice>),
}

/// The registers of one sensor of a board, on whichever bus it is.
#[non_exhaustive]
pub enum SensorRegisters {
    /// At an I2C address.
    I2c(OverI2c<I2cBus>),
    /// Behind an SPI chip select.
    Spi(OverSpi<SpiBus>),
}

impl SensorRegisters {
    /// The simulated bus, to move the world behind it; `None` on a real one.
    pub fn simulated(&mut self) -> Option<&mut SimulatedI2c> {
        match self {
            Self::I2c(registers) => match registers.bus_mut() {
                I2cBus::Simulated(bus) => Some(bus),
                _ => None,
            },
            Self::Spi(_) => None,
        }
    }
}

impl std::fmt::Debug for SensorRegisters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SensorRegisters({})", self.place())
    }
}

/// Opens the bus that a sensor of this board is on. Every sensor opens its own: the kernel sees to it that
/// transfers do not mix.
///
/// # Errors
/// [`OpenBusError`], which says how to mend the common cases.
pub fn open(board: &Board, sensor: &SensorSpec) -> Result<SensorRegisters, OpenBusError> {
    let none = || OpenBusError::NoBus { board: board.name.clone(), sensor: sensor.name.clone() };
    let bus = sensor.bus.as_deref().and_then(|name| board.bus(name)).ok_or_else(none)?;
    match bus.kind {
        BusKind::I2c => {
            let address = sensor.address.ok_or_else(none)?;
            Ok(SensorRegisters::I2c(OverI2c::new(I2cBus::open(bus, address)?, address)))
        }
        BusKind::Spi => {
            let device = SpiBus::open(bus)?;
            Ok(SensorRegisters::Spi(match sensor.chip {
                SensorChip::Bmi270 => OverSpi::with_dummy_byte(device),
                _ => OverSpi::new(device),
            }))
        }
    }
}

impl I2cBus {
    /// Opens a bus; `simulated_address` is where a simulated one has its chip.
    ///
    /// # Errors
    /// [`OpenBusError`].
    pub fn open(bus: &BusSpec, simulated_address: u8) -> Result<Self, OpenBusError> {
        let (number, _) = bus.node().unwrap_or_default();
        match bus.driver {
            Driver::Simulated => Ok(Self::Simulated(Box::new(SimulatedI2c::new(simulated_address)))),
            Driver::Rppal => {
                present(bus)?;
                let opened = rppal::i2c::I2c::with_bus(number);
                Ok(Self::Rppal(Box::new(opened.map_err(|error| system(bus, &error))?)))
            }
            Driver::Linux => {
                present(bus)?;
                let opened = linux_embedded_hal::I2cdev::new(bus.device.clone().unwrap_or_default());
                Ok(Self::Linux(Box::new(opened.map_err(|error| system(bus, &error))?)))
            }
        }
    }
}

impl SpiBus {
    /// Opens a bus in mode 0 at the clock that the board states.
    ///
    /// # Errors
    /// [`OpenBusError`].
    pub fn open(bus: &BusSpec) -> Result<Self, OpenBusError> {
        match bus.driver {
            Driver::Rppal => {
                present(bus)?;
                Ok(Self::Rppal(Box::new(rppal::spi::SimpleHalSpiDevice::new(rppal_spi(bus)?))))
            }
            Driver::Linux => {
                use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};
                present(bus)?;
                let path = bus.device.clone().unwrap_or_default();
                let mut device =
                    linux_embedded_hal::SpidevDevice::open(path).map_err(|error| system(bus, &error))?;
                let options = SpidevOptions::new()
                    .bits_per_word(8)
                    .max_speed_hz(bus.clock_hz.unwrap_or_default())
                    .mode(SpiModeFlags::SPI_MODE_0)
                    .build();
                device.0.configure(&options).map_err(|error| system(bus, &error))?;
                Ok(Self::Linux(Box::new(device)))
            }
            Driver::Simulated => Err(OpenBusError::System {
                bus: bus.name.clone(),
                device: bus.device.clone().unwrap_or_default(),
                said: "no SPI bus is simulated".to_owned(),
            }),
        }
    }
}

fn rppal_spi(bus: &BusSpec) -> Result<rppal::spi::Spi, OpenBusError> {
    use rppal::spi::{Bus, Mode, SlaveSelect, Spi};
    let (number, select) = bus.node().unwrap_or_default();
    let unknown = || system(bus, &"rppal knows the buses 0 to 6 and the chip selects 0 to 2");
    let on = match number {
        0 => Bus::Spi0,
        1 => Bus::Spi1,
        2 => Bus::Spi2,
        3 => Bus::Spi3,
        4 => Bus::Spi4,
        5 => Bus::Spi5,
        6 => Bus::Spi6,
        _ => return Err(unknown()),
    };
    let select = match select {
        0 => SlaveSelect::Ss0,
        1 => SlaveSelect::Ss1,
        2 => SlaveSelect::Ss2,
        _ => return Err(unknown()),
    };
    let clock = bus.clock_hz.unwrap_or_default();
    Spi::new(on, select, clock, Mode::Mode0)
        .map_err(|error| system(bus, &format_args!("{error} ({SPI_MODE}, {clock} Hz)")))
}

/// Tells the two common failures apart before a driver hides them.
fn present(bus: &BusSpec) -> Result<(), OpenBusError> {
    let (name, device) = (bus.name.clone(), bus.device.clone().unwrap_or_default());
    match std::fs::OpenOptions::new().read(true).write(true).open(Path::new(&device)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(OpenBusError::Missing { bus: name, device }),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(OpenBusError::Denied { bus: name, device })
        }
        Err(error) => Err(OpenBusError::System { bus: name, device, said: error.to_string() }),
    }
}

fn system(bus: &BusSpec, said: &dyn std::fmt::Display) -> OpenBusError {
    let device = bus.device.clone().unwrap_or_default();
    OpenBusError::System { bus: bus.name.clone(), device, said: said.to_string() }
}

/// A fault of the kernel's, and whether its number says that nobody acknowledged.
fn fault(said: String, number: Option<i32>) -> BusFault {
    BusFault { no_acknowledge: number.is_some_and(|number| NOBODY.contains(&number)), said }
}

impl i2c::ErrorType for I2cBus {
    type Error = BusFault;
}

impl I2c for I2cBus {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), BusFault> {
        match self {
            Self::Rppal(bus) => I2c::transaction(bus.as_mut(), address, operations).map_err(|error| {
                let number = match &error {
                    rppal::i2c::Error::Io(error) => error.raw_os_error(),
                    _ => None,
                };
                fault(error.to_string(), number)
            }),
            Self::Linux(bus) => I2c::<i2c::SevenBitAddress>::transaction(bus.as_mut(), address, operations)
                .map_err(|error| {
                    let nobody = matches!(i2c::Error::kind(&error), i2c::ErrorKind::NoAcknowledge(_));
                    let said = error.to_string();
                    BusFault { no_acknowledge: nobody, said }
                }),
            Self::Simulated(bus) => bus.transaction(address, operations).map_err(|error| {
                let nobody = matches!(i2c::Error::kind(&error), i2c::ErrorKind::NoAcknowledge(_));
                BusFault { no_acknowledge: nobody, said: error.to_string() }
            }),
        }
    }
}

impl spi::ErrorType for SpiBus {
    type Error = BusFault;
}

impl SpiDevice for SpiBus {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), BusFault> {
        match self {
            Self::Rppal(device) => {
                device.transaction(operations).map_err(|error| fault(error.to_string(), None))
            }
            Self::Linux(device) => {
                device.transaction(operations).map_err(|error| fault(error.to_string(), None))
            }
        }
    }
}

impl Registers for SensorRegisters {
    type Error = BusFault;

    fn place(&self) -> Place {
        match self {
            Self::I2c(registers) => registers.place(),
            Self::Spi(registers) => registers.place(),
        }
    }

    fn read(&mut self, register: u8, into: &mut [u8]) -> Result<(), BusFault> {
        match self {
            Self::I2c(registers) => registers.read(register, into),
            Self::Spi(registers) => registers.read(register, into),
        }
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), BusFault> {
        match self {
            Self::I2c(registers) => registers.write(register, value),
            Self::Spi(registers) => registers.write(register, value),
        }
    }

    fn write_block(&mut self, register: u8, block: [u8; BLOCK]) -> Result<(), BusFault> {
        match self {
            Self::I2c(registers) => registers.write_block(register, block),
            Self::Spi(registers) => registers.write_block(register, block),
        }
    }
}

/// Waits as the thread's sleep does; for the milliseconds that a chip wants while it wakes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait;

impl DelayNs for Wait {
    #[expect(
        clippy::disallowed_methods,
        reason = "a chip wakes in at most 0.2 s, and a stop can wait for that"
    )]
    fn delay_ns(&mut self, ns: u32) {
        std::thread::sleep(Duration::from_nanos(u64::from(ns)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::device::Device;
    use sedge_readings::Measurement;

    fn changed(board: &str, from: &str, to: &str) -> Board {
        Board::from_toml(&Board::text_of(board).unwrap().replacen(from, to, 1), "changed").unwrap()
    }

    #[test]
    fn the_simulated_board_is_read_through_the_same_door() {
        let board = Board::named("sim").unwrap();
        let registers = open(&board, &board.sensors[0]).unwrap();
        let mut device = Device::open(registers, &board.sensors[0], &[], &mut Wait).unwrap();
        let Measurement::Imu(sample) = device.measure().unwrap() else { panic!("no IMU") };
        assert!((sample.accel[2] - 9.807).abs() < 2e-3, "{sample:?}");
    }

    #[test]
    fn a_bus_that_the_kernel_does_not_have_is_named_with_its_cure() {
        // No machine has a bus 255 (the kernel hands numbers out from zero).
        let board = changed("rpi4", "/dev/i2c-1", "/dev/i2c-255");
        let error = open(&board, &board.sensors[0]).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, OpenBusError::Missing { .. }), "{text}");
        assert!(
            text.contains("/dev/i2c-255") && text.contains("i2c1") && text.contains("raspi-config"),
            "{text}"
        );
    }

    #[test]
    fn a_bus_of_another_kernel_is_missing_here() {
        let board = changed("jetson-orin-nano", "/dev/i2c-7", "/dev/i2c-255");
        let error = open(&board, &board.sensors[0]).unwrap_err();
        assert!(matches!(error, OpenBusError::Missing { .. }), "{error}");
    }

    #[test]
    fn a_missing_spi_bus_is_named() {
        let text = Board::text_of("rpi4")
            .unwrap()
            .replacen("kind = \"i2c\"", "kind = \"spi\"\nclock_hz = 1000000", 1)
            .replacen("/dev/i2c-1", "/dev/spidev250.0", 1)
            .replacen("mpu6050", "mpu9250", 1)
            .replacen("address = 0x68\n", "", 1);
        let cut = text.find("[[sensors]]\nname = \"air\"").unwrap();
        let camera = text.find("[[cameras]]").unwrap();
        let board = Board::from_toml(&format!("{}{}", &text[..cut], &text[camera..]), "spi").unwrap();
        let error = open(&board, &board.sensors[0]).unwrap_err();
        assert!(matches!(error, OpenBusError::Missing { .. }), "{error}");
    }
}
