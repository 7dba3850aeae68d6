//! A bus that a driver can be made on again after one was given up.

use core::cell::RefCell;

use embedded_hal::i2c::{ErrorType, I2c, Operation};

/// An I2C bus by reference. Drivers take their bus and keep it even when they fail; each gets a copy of this.
#[derive(Debug)]
pub struct SharedBus<'a, B>(&'a RefCell<B>);

impl<'a, B> SharedBus<'a, B> {
    /// The bus in `cell`.
    pub const fn new(cell: &'a RefCell<B>) -> Self {
        Self(cell)
    }
}

impl<B> Clone for SharedBus<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for SharedBus<'_, B> {}

impl<B: ErrorType> ErrorType for SharedBus<'_, B> {
    type Error = B::Error;
}

impl<B: I2c> I2c for SharedBus<'_, B> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), B::Error> {
        // Never borrowed twice: the borrow ends with this call, and a bus calls nobody back.
        self.0.borrow_mut().transaction(address, operations)
    }

    // Not through `transaction`, which some buses of microcontrollers do only these two ways at a time.
    fn write_read(&mut self, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), B::Error> {
        self.0.borrow_mut().write_read(address, write, read)
    }

    fn write(&mut self, address: u8, write: &[u8]) -> Result<(), B::Error> {
        self.0.borrow_mut().write(address, write)
    }
}
