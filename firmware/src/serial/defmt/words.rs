//! A message in words: its format string with its values in their places, written as their hints say.

use std::fmt::Write;

use defmt_parser::{DisplayHint, Fragment, TimePrecision, Type};

use super::arguments::{Formatted, Value, broken, parts};
use super::{MAX_WORDS, MessageError};

/// Most zeros that are put before a number.
const MAX_PAD: usize = 130;

/// A format string and its values in words.
pub(super) fn of(format: &str, values: &[Value<'_>]) -> Result<String, MessageError> {
    let mut words = Words(String::new());
    words.formatted(format, values, None)?;
    Ok(words.0)
}

struct Words(String);

impl Words {
    fn formatted(
        &mut self,
        format: &str,
        values: &[Value<'_>],
        above: Option<&DisplayHint>,
    ) -> Result<(), MessageError> {
        for part in parts(format)? {
            match part {
                Fragment::Literal(text) => self.push(format_args!("{text}"))?,
                Fragment::Parameter(parameter) => {
                    let value = values.get(parameter.index);
                    let value = value.ok_or_else(|| broken(format, "it names a value that is not there"))?;
                    let field = match &parameter.ty {
                        Type::BitField(bits) => Some((bits.start, bits.end)),
                        _ => None,
                    };
                    self.value(value, field, parameter.hint.as_ref(), above)?;
                }
            }
        }
        Ok(())
    }

    /// A value as its own hint says, or the one of the format that it is nested in.
    fn value(
        &mut self,
        value: &Value<'_>,
        field: Option<(u8, u8)>,
        own: Option<&DisplayHint>,
        above: Option<&DisplayHint>,
    ) -> Result<(), MessageError> {
        let hint = own.or(above);
        match value {
            Value::Bool(value) => self.push(format_args!("{value}")),
            Value::F32(value) => self.push(format_args!("{value:?}")),
            Value::F64(value) => self.push(format_args!("{value:?}")),
            Value::Char(value) => self.push(format_args!("{value}")),
            Value::Unsigned(value) => {
                let value = field.map_or(*value, |(start, end)| isolated(*value, start, end));
                if let Some((start, end)) = field
                    && hint == Some(&DisplayHint::Ascii)
                {
                    // As many of the last bytes as the field reaches into.
                    let before = 16 - usize::from(end.saturating_sub(start)).div_ceil(8).min(16);
                    let bytes: Vec<u8> = value.to_be_bytes().into_iter().skip(before).collect();
                    return self.bytes(&bytes, hint);
                }
                let hint = if hint == Some(&DisplayHint::Debug) { above } else { hint };
                self.unsigned(value, hint)
            }
            Value::Signed(value, bits) => self.signed(*value, *bits, hint),
            Value::Text(text) if hint == Some(&DisplayHint::Debug) => self.push(format_args!("{text:?}")),
            Value::Text(text) => self.push(format_args!("{text}")),
            Value::Bytes(bytes) => self.bytes(bytes, hint),
            Value::Nested(Formatted { format, values }) => {
                let hint = if above == Some(&DisplayHint::Ascii) { above } else { hint };
                self.formatted(format, values, hint)
            }
            Value::List(list) => self.list(list, hint),
            Value::Sequence(parts) => {
                parts.iter().try_for_each(|part| self.formatted(part.format, &part.values, hint))
            }
        }
    }

    fn list(&mut self, list: &[Formatted<'_>], hint: Option<&DisplayHint>) -> Result<(), MessageError> {
        let byte = |element: &Formatted<'_>| match element.values.as_slice() {
            [Value::Unsigned(value)] if element.format == "{=u8}" => u8::try_from(*value).ok(),
            _ => None,
        };
        if hint == Some(&DisplayHint::Ascii)
            && let Some(bytes) = list.iter().map(byte).collect::<Option<Vec<u8>>>()
            && !bytes.is_empty()
        {
            return self.bytes(&bytes, hint);
        }
        self.joined(list, |words, element| words.formatted(element.format, &element.values, hint))
    }

    fn bytes(&mut self, bytes: &[u8], hint: Option<&DisplayHint>) -> Result<(), MessageError> {
        if hint != Some(&DisplayHint::Ascii) {
            let hint = hint.filter(|hint| {
                use DisplayHint::{Binary, Hexadecimal, Octal};
                matches!(hint, Hexadecimal { .. } | Octal { .. } | Binary { .. })
            });
            return self.joined(bytes, |words, byte| words.unsigned((*byte).into(), hint));
        }
        self.push(format_args!("b\""))?;
        for byte in bytes {
            match byte {
                b'\t' => self.push(format_args!("\\t"))?,
                b'\n' => self.push(format_args!("\\n"))?,
                b'\r' => self.push(format_args!("\\r"))?,
                b'"' => self.push(format_args!("\\\""))?,
                b'\\' => self.push(format_args!("\\\\"))?,
                b' '..=b'~' => self.push(format_args!("{}", char::from(*byte)))?,
                _ => self.push(format_args!("\\x{byte:02x}"))?,
            }
        }
        self.push(format_args!("\""))
    }

    fn joined<T>(
        &mut self,
        list: &[T],
        mut each: impl FnMut(&mut Self, &T) -> Result<(), MessageError>,
    ) -> Result<(), MessageError> {
        self.push(format_args!("["))?;
        for (at, element) in list.iter().enumerate() {
            if at > 0 {
                self.push(format_args!(", "))?;
            }
            each(self, element)?;
        }
        self.push(format_args!("]"))
    }

    fn unsigned(&mut self, value: u128, hint: Option<&DisplayHint>) -> Result<(), MessageError> {
        match hint {
            Some(DisplayHint::Seconds(TimePrecision::Micros)) => {
                self.push(format_args!("{}.{:06}", value / 1_000_000, value % 1_000_000))
            }
            Some(DisplayHint::Seconds(TimePrecision::Millis)) => {
                self.push(format_args!("{}.{:03}", value / 1_000, value % 1_000))
            }
            Some(DisplayHint::Time(precision)) => self.time(value, precision),
            _ => self.number(value, format_args!("{value}"), hint),
        }
    }

    fn signed(&mut self, value: i128, bits: u32, hint: Option<&DisplayHint>) -> Result<(), MessageError> {
        let pattern = match (bits, hint) {
            // Only in hexadecimal is a negative number shown in the bits of its own type.
            (1..=127, Some(DisplayHint::Hexadecimal { .. })) => value as u128 & ((1 << bits) - 1),
            _ => value as u128,
        };
        if let Some(DisplayHint::NoHint { zero_pad }) = hint {
            let pad = (*zero_pad).min(MAX_PAD);
            return self.push(format_args!("{value:0pad$}"));
        }
        self.number(pattern, format_args!("{value}"), hint)
    }

    /// A number in the base of its hint, or as `plain`.
    fn number(
        &mut self,
        value: u128,
        plain: std::fmt::Arguments<'_>,
        hint: Option<&DisplayHint>,
    ) -> Result<(), MessageError> {
        match *hint.unwrap_or(&DisplayHint::Debug) {
            DisplayHint::NoHint { zero_pad } => {
                let pad = zero_pad.min(MAX_PAD);
                self.push(format_args!("{value:0pad$}"))
            }
            DisplayHint::Hexadecimal { alternate, uppercase, zero_pad } => {
                let pad = zero_pad.min(MAX_PAD);
                match (alternate, uppercase) {
                    (false, false) => self.push(format_args!("{value:0pad$x}")),
                    (false, true) => self.push(format_args!("{value:0pad$X}")),
                    (true, false) => self.push(format_args!("{value:#0pad$x}")),
                    (true, true) => self.push(format_args!("{value:#0pad$X}")),
                }
            }
            DisplayHint::Octal { alternate, zero_pad } => {
                let pad = zero_pad.min(MAX_PAD);
                if alternate {
                    self.push(format_args!("{value:#0pad$o}"))
                } else {
                    self.push(format_args!("{value:0pad$o}"))
                }
            }
            DisplayHint::Binary { alternate, zero_pad } => {
                let pad = zero_pad.min(MAX_PAD);
                if alternate {
                    self.push(format_args!("{value:#0pad$b}"))
                } else {
                    self.push(format_args!("{value:0pad$b}"))
                }
            }
            _ => self.push(plain),
        }
    }

    /// A time as days, hours, minutes and seconds, from the first that is not zero.
    fn time(&mut self, value: u128, precision: &TimePrecision) -> Result<(), MessageError> {
        let (per_second, digits) = match precision {
            TimePrecision::Micros => (1_000_000, 6),
            TimePrecision::Millis => (1_000, 3),
            _ => (1, 0),
        };
        let (seconds, part) = (value / per_second, value % per_second);
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        if days > 0 {
            self.push(format_args!("{days}:"))?;
        }
        self.push(format_args!("{hours:02}:{minutes:02}:{:02}", seconds % 60))?;
        if digits > 0 { self.push(format_args!(".{part:0digits$}")) } else { Ok(()) }
    }

    fn push(&mut self, words: std::fmt::Arguments<'_>) -> Result<(), MessageError> {
        // A text cannot fail to take words.
        let _ = self.0.write_fmt(words);
        if self.0.len() > MAX_WORDS { Err(MessageError::Large) } else { Ok(()) }
    }
}

/// The bits of a field, moved to the lowest.
fn isolated(value: u128, start: u8, end: u8) -> u128 {
    let above = u32::from(128_u8.saturating_sub(end));
    let kept = value.checked_shl(above).unwrap_or_default();
    kept.checked_shr(above + u32::from(start)).unwrap_or_default()
}
