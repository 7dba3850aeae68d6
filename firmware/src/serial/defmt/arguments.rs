//! The arguments of a message, read from its bytes by the types that its format string names.

use std::ops::Range;

use defmt_parser::{Fragment, Parameter, ParserMode, Type};

use super::table::Table;
use super::{MAX_DEPTH, MAX_FORMAT, MAX_VALUES, MessageError};

/// A value of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'t> {
    Bool(bool),
    Unsigned(u128),
    /// With the bits of its type, in which its two's complement is shown.
    Signed(i128, u32),
    F32(f32),
    F64(f64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Nested(Formatted<'t>),
    List(Vec<Formatted<'t>>),
    /// Parts that are written one behind the other.
    Sequence(Vec<Formatted<'t>>),
}

/// A format string with its values, by their numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Formatted<'t> {
    pub(super) format: &'t str,
    pub(super) values: Vec<Value<'t>>,
}

/// What is left of a message.
pub(super) struct Arguments<'t, 'b> {
    table: &'t Table,
    bytes: &'b [u8],
    depth: usize,
    values: usize,
}

/// A format string's parts.
pub(super) fn parts(format: &str) -> Result<Vec<Fragment<'_>>, MessageError> {
    if format.len() > MAX_FORMAT {
        return Err(MessageError::Large);
    }
    // The parser takes memory for as many values as the largest number says.
    if format.replace("{{", "  ").split('{').skip(1).any(has_large_number) {
        return Err(broken(format, "the number of a value is too large"));
    }
    defmt_parser::parse(format, ParserMode::ForwardsCompatible)
        .map_err(|_| broken(format, "it is no format string of defmt's"))
}

/// Whether a parameter's own number, where it has one, is beyond any value of a message.
fn has_large_number(parameter: &str) -> bool {
    let number = parameter.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
    !number.is_empty() && number.parse::<usize>().map_or(true, |number| number >= MAX_VALUES)
}

pub(super) fn broken(format: &str, what: &'static str) -> MessageError {
    MessageError::Format { format: format.to_owned(), what }
}

impl<'t, 'b> Arguments<'t, 'b> {
    pub(super) fn new(table: &'t Table, bytes: &'b [u8]) -> Self {
        Self { table, bytes, depth: 0, values: 0 }
    }

    /// The number of a string.
    pub(super) fn number(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_le_bytes(self.take("")?))
    }

    /// The values that a format string names, in the order of their numbers.
    pub(super) fn of(&mut self, format: &str) -> Result<Vec<Value<'t>>, MessageError> {
        if self.depth >= MAX_DEPTH {
            return Err(MessageError::Large);
        }
        self.depth += 1;
        let mut values = vec![];
        for (wanted, parameter) in parameters(format)?.iter().enumerate() {
            if parameter.index != wanted {
                return Err(broken(format, "the numbers of its values have a gap"));
            }
            self.values += 1;
            if self.values > MAX_VALUES {
                return Err(MessageError::Large);
            }
            values.push(self.value(&parameter.ty, format)?);
        }
        self.depth -= 1;
        Ok(values)
    }

    fn value(&mut self, kind: &Type, format: &str) -> Result<Value<'t>, MessageError> {
        Ok(match kind {
            Type::Bool => match self.take(format)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [_] => return Err(broken(format, "a value is neither false nor true")),
            },
            Type::U8 => Value::Unsigned(u8::from_le_bytes(self.take(format)?).into()),
            Type::U16 => Value::Unsigned(u16::from_le_bytes(self.take(format)?).into()),
            // A microcontroller's words are of four bytes.
            Type::U32 | Type::Usize => Value::Unsigned(u32::from_le_bytes(self.take(format)?).into()),
            Type::U64 => Value::Unsigned(u64::from_le_bytes(self.take(format)?).into()),
            Type::U128 => Value::Unsigned(u128::from_le_bytes(self.take(format)?)),
            Type::I8 => Value::Signed(i8::from_le_bytes(self.take(format)?).into(), 8),
            Type::I16 => Value::Signed(i16::from_le_bytes(self.take(format)?).into(), 16),
            Type::I32 | Type::Isize => Value::Signed(i32::from_le_bytes(self.take(format)?).into(), 32),
            Type::I64 => Value::Signed(i64::from_le_bytes(self.take(format)?).into(), 64),
            Type::I128 => Value::Signed(i128::from_le_bytes(self.take(format)?), 128),
            Type::F32 => Value::F32(f32::from_le_bytes(self.take(format)?)),
            Type::F64 => Value::F64(f64::from_le_bytes(self.take(format)?)),
            Type::Char => {
                let letter = char::from_u32(u32::from_le_bytes(self.take(format)?));
                Value::Char(letter.ok_or_else(|| broken(format, "a value is no letter"))?)
            }
            Type::Str => {
                let length = self.length(format)?;
                Value::Text(self.text(length, format)?)
            }
            Type::IStr => {
                let index = self.number()?;
                Value::Text(self.table.text(index)?.to_owned())
            }
            // Written by the program itself, up to a byte that no text has.
            Type::Debug | Type::Display => {
                let end = self.bytes.iter().position(|byte| *byte == 0xff);
                let text = self.text(end.ok_or_else(|| short(format))?, format)?;
                self.take::<1>(format)?;
                Value::Text(text)
            }
            Type::U8Slice => {
                let length = self.length(format)?;
                Value::Bytes(self.slice(length, format)?.to_vec())
            }
            Type::U8Array(length) => Value::Bytes(self.slice(*length, format)?.to_vec()),
            Type::BitField(bits) => Value::Unsigned(self.bits(bits, format)?),
            Type::Format => Value::Nested(self.nested()?),
            Type::FormatSlice => {
                let length = self.length(format)?;
                Value::List(self.list(length)?)
            }
            Type::FormatArray(length) => Value::List(self.list(*length)?),
            Type::FormatSequence => Value::Sequence(self.sequence()?),
        })
    }

    fn nested(&mut self) -> Result<Formatted<'t>, MessageError> {
        let index = self.number()?;
        let format = self.table.text(index)?;
        self.of_any(format)
    }

    /// The values of a string, or of the one among its alternatives that comes first in the bytes.
    fn of_any(&mut self, format: &'t str) -> Result<Formatted<'t>, MessageError> {
        let format = if format.contains('|') { self.alternative(format)? } else { format };
        Ok(Formatted { format, values: self.of(format)? })
    }

    fn alternative(&mut self, format: &'t str) -> Result<&'t str, MessageError> {
        let last = format.matches('|').count();
        let chosen = match last {
            0..=0xff => u8::from_le_bytes(self.take(format)?).into(),
            0x100..=0xffff => u16::from_le_bytes(self.take(format)?).into(),
            _ => return Err(broken(format, "it has too many alternatives")),
        };
        format.split('|').nth(chosen).ok_or_else(|| broken(format, "it has no such alternative"))
    }

    fn list(&mut self, length: usize) -> Result<Vec<Formatted<'t>>, MessageError> {
        let index = self.number()?;
        let format = self.table.text(index)?;
        let mut list = vec![];
        for _ in 0..length {
            // An element may take no byte at all.
            self.values += 1;
            if self.values > MAX_VALUES {
                return Err(MessageError::Large);
            }
            list.push(self.of_any(format)?);
        }
        Ok(list)
    }

    fn sequence(&mut self) -> Result<Vec<Formatted<'t>>, MessageError> {
        let mut sequence = vec![];
        loop {
            let index = self.number()?;
            if index == 0 {
                return Ok(sequence);
            }
            let format = self.table.text(index)?;
            sequence.push(Formatted { format, values: self.of(format)? });
        }
    }

    /// The bytes that bit fields of one value lie in, at their place in it.
    fn bits(&mut self, bits: &Range<u8>, format: &str) -> Result<u128, MessageError> {
        let (first, last) = (bits.start / 8, bits.end.saturating_sub(1) / 8);
        let length = match last.saturating_sub(first) + 1 {
            1 => 1,
            2 => 2,
            3..=4 => 4,
            5..=8 => 8,
            9..=16 => 16,
            _ => return Err(broken(format, "a field is of more bits than any value has")),
        };
        let mut whole = [0; 16];
        for (to, from) in whole.iter_mut().zip(self.slice(length, format)?) {
            *to = *from;
        }
        Ok(u128::from_le_bytes(whole).checked_shl(u32::from(first) * 8).unwrap_or_default())
    }

    fn length(&mut self, format: &str) -> Result<usize, MessageError> {
        let length = u32::from_le_bytes(self.take(format)?);
        usize::try_from(length).map_err(|_| MessageError::Large)
    }

    fn text(&mut self, length: usize, format: &str) -> Result<String, MessageError> {
        let bytes = self.slice(length, format)?.to_vec();
        String::from_utf8(bytes).map_err(|_| broken(format, "a text is not UTF-8"))
    }

    fn slice(&mut self, length: usize, format: &str) -> Result<&'b [u8], MessageError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| short(format))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn take<const N: usize>(&mut self, format: &str) -> Result<[u8; N], MessageError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| short(format))?;
        self.bytes = rest;
        Ok(*taken)
    }
}

fn short(format: &str) -> MessageError {
    MessageError::Short { format: format.to_owned() }
}

/// The parameters of a format string by their numbers, each once; the fields of one value as the bits that hold them all.
fn parameters(format: &str) -> Result<Vec<Parameter>, MessageError> {
    let mut parameters: Vec<Parameter> = vec![];
    for part in parts(format)? {
        let Fragment::Parameter(parameter) = part else { continue };
        match parameters.iter_mut().find(|other| other.index == parameter.index) {
            None => parameters.push(parameter),
            Some(other) => {
                if let (Type::BitField(a), Type::BitField(b)) = (&other.ty, &parameter.ty) {
                    other.ty = Type::BitField(a.start.min(b.start)..a.end.max(b.end));
                }
            }
        }
    }
    parameters.sort_by_key(|parameter| parameter.index);
    Ok(parameters)
}
