//! A chip modelled register by register, on I2C and on SPI: what the drivers' tests need of any chip.
//!
//! Registers hold what is written, but for those that are read-only; some give a queue's bytes one after the
//! other without the pointer moving on; a chip may have banks; and a closure sees every write, to do what
//! that chip does.

use std::collections::VecDeque;

use embedded_hal::delay::DelayNs;
use embedded_hal::{i2c, spi};

/// Changes the chip after a write of this value to this register.
pub type Reaction = fn(&mut Chip, u8, u8);

pub struct Chip {
    /// Four banks of registers; a chip without banks uses the first.
    pub banks: [[u8; 256]; 4],
    pub bank: usize,
    read_only: Vec<std::ops::RangeInclusive<u8>>,
    queue_port: Option<u8>,
    /// Last register of a queue's port, after which the pointer goes back to the first; the port itself
    /// where the pointer stays.
    queue_end: u8,
    pub queue: VecDeque<u8>,
    reaction: Option<Reaction>,
    pointer: u8,
    /// Bytes of nothing before what is read over SPI.
    dummy_bytes: usize,
    /// Every write, register and value.
    pub writes: Vec<(u8, u8)>,
    /// Whether it answers at all.
    is_there: bool,
    /// Everything written to a register in blocks.
    pub uploaded: Vec<u8>,
}

impl Chip {
    pub fn new() -> Self {
        Self {
            banks: [[0; 256]; 4],
            bank: 0,
            read_only: vec![],
            queue_port: None,
            queue_end: 0,
            queue: VecDeque::new(),
            reaction: None,
            pointer: 0,
            dummy_bytes: 0,
            writes: vec![],
            is_there: true,
            uploaded: vec![],
        }
    }

    pub fn with(mut self, register: u8, values: &[u8]) -> Self {
        self.poke(register, values);
        self
    }

    pub fn read_only(mut self, registers: std::ops::RangeInclusive<u8>) -> Self {
        self.read_only.push(registers);
        self
    }

    pub fn reacting(mut self, reaction: Reaction) -> Self {
        self.reaction = Some(reaction);
        self
    }

    pub fn queue_at(mut self, port: u8, end: u8) -> Self {
        (self.queue_port, self.queue_end) = (Some(port), end);
        self
    }

    /// The same chip, gone.
    pub fn absent(self) -> Self {
        Self { is_there: false, ..self }
    }

    /// The same chip, sending one byte of nothing before what is read over SPI.
    pub fn with_dummy_byte(self) -> Self {
        Self { dummy_bytes: 1, ..self }
    }

    /// The same chip, with these bytes in its queue.
    pub fn holding(mut self, bytes: &[u8]) -> Self {
        self.queue.extend(bytes);
        self
    }

    pub fn poke(&mut self, register: u8, values: &[u8]) {
        let at = usize::from(register);
        self.banks[self.bank][at..at + values.len()].copy_from_slice(values);
    }

    pub fn peek(&self, register: u8) -> u8 {
        self.banks[self.bank][usize::from(register)]
    }

    /// The bytes written to a register, in order.
    pub fn written(&self, register: u8) -> Vec<u8> {
        self.writes.iter().filter(|(at, _)| *at == register).map(|(_, value)| *value).collect()
    }

    fn store(&mut self, register: u8, value: u8) {
        self.writes.push((register, value));
        if !self.read_only.iter().any(|range| range.contains(&register)) {
            self.poke(register, &[value]);
        }
        if let Some(react) = self.reaction {
            react(self, register, value);
        }
    }

    fn write_bytes(&mut self, register: u8, values: &[u8]) {
        if values.len() > 4 {
            self.uploaded.extend_from_slice(values);
            return;
        }
        for (offset, value) in values.iter().enumerate() {
            self.store(register + offset as u8, *value);
        }
    }

    fn read_bytes(&mut self, into: &mut [u8]) {
        for byte in into {
            let in_queue =
                self.queue_port.is_some_and(|port| (port..=self.queue_end).contains(&self.pointer));
            *byte = if in_queue { self.queue.pop_front().unwrap_or(0) } else { self.peek(self.pointer) };
            self.pointer = match self.queue_port {
                Some(port) if self.pointer == self.queue_end => port,
                _ => self.pointer.wrapping_add(1),
            };
        }
    }
}

/// Why the bus failed.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Nobody;

impl i2c::Error for Nobody {
    fn kind(&self) -> i2c::ErrorKind {
        i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Address)
    }
}

impl spi::Error for Nobody {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}

/// The chip at an I2C address.
pub struct AtAddress(pub u8, pub Chip);

impl i2c::ErrorType for AtAddress {
    type Error = Nobody;
}

impl i2c::I2c for AtAddress {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), Nobody> {
        let Self(own, chip) = self;
        if address != *own || !chip.is_there {
            return Err(Nobody);
        }
        for operation in operations {
            match operation {
                i2c::Operation::Write(bytes) => {
                    chip.pointer = bytes[0];
                    chip.write_bytes(bytes[0], &bytes[1..]);
                }
                i2c::Operation::Read(into) => chip.read_bytes(into),
            }
        }
        Ok(())
    }
}

/// The chip behind a chip select, which reads where the highest bit of the address is set.
pub struct Selected(pub Chip);

impl spi::ErrorType for Selected {
    type Error = Nobody;
}

impl spi::SpiDevice for Selected {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), Nobody> {
        let chip = &mut self.0;
        if !chip.is_there {
            return Err(Nobody);
        }
        let (mut command, mut before) = (None, 0);
        for operation in operations {
            match operation {
                spi::Operation::Write(bytes) => {
                    let mut bytes = &bytes[..];
                    if command.is_none() {
                        (command, before) = (Some(bytes[0]), bytes.len() - 1);
                        chip.pointer = bytes[0] & 0x7F;
                        bytes = &bytes[1..];
                    }
                    if command.is_some_and(|command| command & 0x80 == 0) {
                        let register = chip.pointer;
                        chip.write_bytes(register, bytes);
                    }
                }
                spi::Operation::Read(into) => {
                    // What was clocked before belongs to the bytes of nothing; the rest of those come now.
                    let skipped = chip.dummy_bytes.saturating_sub(before);
                    into[..skipped].fill(0);
                    chip.read_bytes(&mut into[skipped..]);
                }
                other => panic!("no driver asks for {other:?}"),
            }
        }
        Ok(())
    }
}

/// Time that passes at once, counted.
#[derive(Default)]
pub struct Clock {
    pub ns: u64,
}

impl DelayNs for Clock {
    fn delay_ns(&mut self, ns: u32) {
        self.ns += u64::from(ns);
    }
}
