//! A chip as registers behind a bus: what every driver here is written on.
//!
//! [`Registers`] is a chip's register file, over I2C or over SPI; drivers add the chip's name, so that
//! a failure says which chip, where, at which register, and what to look at. Nothing here allocates.

mod error;

use core::fmt;

use embedded_hal::i2c::I2c;
use embedded_hal::spi::{Operation, SpiDevice};

pub use error::SensorError;

/// Bytes of one [`Registers::write_block`].
pub const BLOCK: usize = 16;

/// Where a chip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At an address of an I2C bus.
    I2c(u8),
    /// Behind the chip select of an SPI bus.
    Spi,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I2c(address) => write!(f, "I2C address {address:#04x}"),
            Self::Spi => f.write_str("the SPI chip select"),
        }
    }
}

/// A register by address and by the name that its data sheet gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg {
    /// Address, without the bits that SPI adds to it.
    pub address: u8,
    /// Name.
    pub name: &'static str,
}

/// Declares a chip's registers in use: an enum whose values are addresses, and their names.
macro_rules! registers {
    ($(#[$about:meta])* $kind:ident { $($(#[$doc:meta])* $name:ident = $address:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $kind { $($(#[$doc])* $name = $address),* }

        impl $kind {
            /// The register's address.
            pub const fn address(self) -> u8 {
                self as u8
            }
        }

        impl From<$kind> for $crate::registers::Reg {
            fn from(register: $kind) -> Self {
                let name = match register { $($kind::$name => stringify!($name)),* };
                Self { address: register.address(), name }
            }
        }
    };
}
pub(crate) use registers;

/// A chip's register file.
pub trait Registers {
    /// How the bus fails.
    type Error: fmt::Debug;

    /// Where the chip is.
    fn place(&self) -> Place;

    /// Reads from a register on, one byte after the other.
    ///
    /// # Errors
    /// What the bus says.
    fn read(&mut self, register: u8, into: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes one register.
    ///
    /// # Errors
    /// What the bus says.
    fn write(&mut self, register: u8, value: u8) -> Result<(), Self::Error>;

    /// Writes [`BLOCK`] bytes to a register that takes many.
    ///
    /// # Errors
    /// What the bus says.
    fn write_block(&mut self, register: u8, block: [u8; BLOCK]) -> Result<(), Self::Error>;
}

/// Registers at an address of an I2C bus.
#[derive(Debug)]
pub struct OverI2c<B> {
    bus: B,
    address: u8,
}

impl<B> OverI2c<B> {
    /// The chip at `address` of `bus`.
    pub const fn new(bus: B, address: u8) -> Self {
        Self { bus, address }
    }

    /// The bus, for a simulation to move the world behind it.
    pub fn bus_mut(&mut self) -> &mut B {
        &mut self.bus
    }

    /// Gives the bus back.
    pub fn release(self) -> B {
        self.bus
    }
}

impl<B: I2c> Registers for OverI2c<B> {
    type Error = B::Error;

    fn place(&self) -> Place {
        Place::I2c(self.address)
    }

    fn read(&mut self, register: u8, into: &mut [u8]) -> Result<(), B::Error> {
        self.bus.write_read(self.address, &[register], into)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), B::Error> {
        self.bus.write(self.address, &[register, value])
    }

    // One buffer rather than two writes in a transaction: not every implementation joins those.
    fn write_block(&mut self, register: u8, block: [u8; BLOCK]) -> Result<(), B::Error> {
        let mut bytes = [register; BLOCK + 1];
        bytes[1..].copy_from_slice(&block);
        self.bus.write(self.address, &bytes)
    }
}

/// Registers behind a chip select. The highest bit of the address says that it is a read; some Bosch
/// chips put one byte of nothing before what is read.
#[derive(Debug)]
pub struct OverSpi<D> {
    device: D,
    has_dummy_byte: bool,
}

const SPI_READ: u8 = 0x80;

impl<D> OverSpi<D> {
    /// A chip that answers a read at once.
    pub const fn new(device: D) -> Self {
        Self { device, has_dummy_byte: false }
    }

    /// A chip that sends one byte of nothing first, as the BMI270 does.
    pub const fn with_dummy_byte(device: D) -> Self {
        Self { device, has_dummy_byte: true }
    }

    /// The device, for a simulation to move the world behind it.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: SpiDevice> Registers for OverSpi<D> {
    type Error = D::Error;

    fn place(&self) -> Place {
        Place::Spi
    }

    fn read(&mut self, register: u8, into: &mut [u8]) -> Result<(), D::Error> {
        let address = [register | SPI_READ, 0];
        let sent = if self.has_dummy_byte { &address[..] } else { &address[..1] };
        self.device.transaction(&mut [Operation::Write(sent), Operation::Read(into)])
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), D::Error> {
        self.device.write(&[register & !SPI_READ, value])
    }

    fn write_block(&mut self, register: u8, block: [u8; BLOCK]) -> Result<(), D::Error> {
        let address = [register & !SPI_READ];
        self.device.transaction(&mut [Operation::Write(&address), Operation::Write(&block)])
    }
}

/// A register file with a name: reads and writes whose failures say where.
#[derive(Debug)]
pub(crate) struct Chip<R> {
    pub(crate) registers: R,
    name: &'static str,
}

impl<R: Registers> Chip<R> {
    pub(crate) const fn new(registers: R, name: &'static str) -> Self {
        Self { registers, name }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn place(&self) -> Place {
        self.registers.place()
    }

    /// What the identity register holds, if it is one of those expected.
    pub(crate) fn identify(
        &mut self,
        register: impl Into<Reg>,
        expected: &'static [u8],
    ) -> Result<u8, SensorError<R::Error>> {
        let register = register.into();
        let found = self.read_byte(register)?;
        if expected.contains(&found) {
            return Ok(found);
        }
        let (chip, place) = (self.name, self.place());
        Err(SensorError::WrongChip { chip, place, register: register.name, found, expected })
    }

    pub(crate) fn read_into(
        &mut self,
        register: impl Into<Reg>,
        into: &mut [u8],
    ) -> Result<(), SensorError<R::Error>> {
        let register = register.into();
        self.registers.read(register.address, into).map_err(|source| self.bus(register, source))
    }

    pub(crate) fn read<const N: usize>(
        &mut self,
        register: impl Into<Reg>,
    ) -> Result<[u8; N], SensorError<R::Error>> {
        let mut bytes = [0; N];
        self.read_into(register, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn read_byte(&mut self, register: impl Into<Reg>) -> Result<u8, SensorError<R::Error>> {
        let [byte] = self.read(register)?;
        Ok(byte)
    }

    pub(crate) fn write(&mut self, register: impl Into<Reg>, value: u8) -> Result<(), SensorError<R::Error>> {
        let register = register.into();
        self.registers.write(register.address, value).map_err(|source| self.bus(register, source))
    }

    pub(crate) fn write_block(
        &mut self,
        register: impl Into<Reg>,
        block: [u8; BLOCK],
    ) -> Result<(), SensorError<R::Error>> {
        let register = register.into();
        self.registers.write_block(register.address, block).map_err(|source| self.bus(register, source))
    }

    /// Writes and reads back.
    pub(crate) fn set(&mut self, register: impl Into<Reg>, value: u8) -> Result<(), SensorError<R::Error>> {
        let register = register.into();
        self.write(register, value)?;
        self.verify(register, value, 0xFF)
    }

    /// Changes the bits of `mask`, keeps the others, and reads those of the mask back.
    pub(crate) fn set_bits(
        &mut self,
        register: impl Into<Reg>,
        mask: u8,
        value: u8,
    ) -> Result<(), SensorError<R::Error>> {
        let register = register.into();
        let before = self.read_byte(register)?;
        self.write(register, (before & !mask) | (value & mask))?;
        self.verify(register, value & mask, mask)
    }

    fn verify(&mut self, register: Reg, wrote: u8, mask: u8) -> Result<(), SensorError<R::Error>> {
        let read = self.read_byte(register)? & mask;
        if read == wrote {
            return Ok(());
        }
        Err(SensorError::NotTaken {
            chip: self.name,
            place: self.place(),
            register: register.name,
            wrote,
            read,
        })
    }

    fn bus(&self, register: Reg, source: R::Error) -> SensorError<R::Error> {
        SensorError::Bus { chip: self.name, place: self.place(), register: register.name, source }
    }

    pub(crate) fn not_ready(&self, what: &'static str) -> SensorError<R::Error> {
        SensorError::NotReady { chip: self.name, place: self.place(), what }
    }

    pub(crate) fn overrun(&self) -> SensorError<R::Error> {
        SensorError::Overrun { chip: self.name, place: self.place() }
    }
}
