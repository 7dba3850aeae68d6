//! NumPy's array format, version 1 to 3 (NEP 1, Kern, 2007): a short header written as a Python
//! dictionary, then the values. Only the header forms that NumPy itself writes are read, and the
//! values of numeric kinds only; a pickled object is refused, never run.

use std::io::Read;

/// NumPy pads headers to a few hundred bytes; only structured types need more.
const LONGEST_HEADER: u64 = 1 << 14;
/// More dimensions than any form of ours has.
const MOST_DIMENSIONS: usize = 8;
/// Values whose memory is reserved on a header's word alone; beyond, memory follows data.
const RESERVED_UNSEEN: u64 = 1 << 16;

/// What is wrong with an array. The archive's reader adds the file and the member.
#[derive(Debug, PartialEq)]
pub(crate) enum NpyError {
    /// The data ends early, or the archive's checksum is wrong.
    Read(String),
    Malformed(String),
    TooLarge {
        found: u64,
        limit: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dtype {
    kind: Kind,
    /// 1, 2, 4 or 8.
    bytes: usize,
    big_endian: bool,
}

/// An array's shape and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NpyHeader {
    pub(crate) shape: Vec<u64>,
    dtype: Dtype,
    fortran: bool,
}

impl NpyHeader {
    pub(crate) fn read(source: &mut impl Read) -> Result<Self, NpyError> {
        let mut start = [0; 8];
        fill(source, &mut start)?;
        let version = match start {
            [0x93, b'N', b'U', b'M', b'P', b'Y', version @ 1..=3, _] => version,
            _ => return Err(malformed("does not begin like an array of version 1 to 3".to_owned())),
        };
        let length = if version == 1 {
            let mut length = [0; 2];
            fill(source, &mut length)?;
            u64::from(u16::from_le_bytes(length))
        } else {
            let mut length = [0; 4];
            fill(source, &mut length)?;
            u64::from(u32::from_le_bytes(length))
        };
        if length > LONGEST_HEADER {
            let why = format!("has a header of {length} bytes, over the limit of {LONGEST_HEADER}");
            return Err(malformed(why));
        }
        let mut text = vec![0; length as usize];
        fill(source, &mut text)?;
        let text = std::str::from_utf8(&text).map_err(|_| malformed("its header is not text".to_owned()))?;
        parse_header(text)
    }

    /// Bytes of one value.
    pub(crate) fn item_bytes(&self) -> usize {
        self.dtype.bytes
    }

    /// How many places of the array must be read at once to have it row by row: one where values lie row by
    /// row, one a column where a table lies column by column; `None` where it is neither.
    pub(crate) fn columns_apart(&self) -> Option<usize> {
        let flat = self.shape.iter().filter(|side| **side > 1).count() < 2;
        match *self.shape.as_slice() {
            _ if !self.fortran || flat => Some(1),
            [_, columns] => usize::try_from(columns).ok(),
            _ => None,
        }
    }

    /// Reads as many values as `row` holds.
    pub(crate) fn read_row(&self, source: &mut impl Read, row: &mut [f32]) -> Result<(), NpyError> {
        let mut item = [0; 8];
        // A value has one to eight bytes.
        let item = item.get_mut(..self.dtype.bytes).unwrap_or_default();
        for value in row {
            fill(source, item)?;
            *value = self.dtype.decode(item).float();
        }
        Ok(())
    }

    /// Number of values, saturating.
    pub(crate) fn len(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, &length| product.saturating_mul(length))
    }

    /// Reads all values as 32-bit floats in C order, refusing more than `limit`.
    pub(crate) fn read_floats(&self, source: &mut impl Read, limit: u64) -> Result<Vec<f32>, NpyError> {
        let values = self.read_values(source, limit, |value| Ok(value.float()))?;
        Ok(if self.fortran { to_c_order(&values, &self.shape) } else { values })
    }

    /// Reads all values of an array of at most one dimension as integers, refusing more than
    /// `limit`. Floats pass when they are whole.
    pub(crate) fn read_integers(&self, source: &mut impl Read, limit: u64) -> Result<Vec<i64>, NpyError> {
        if self.shape.len() > 1 {
            return Err(malformed(format!("has shape {:?}, and one dimension is wanted", self.shape)));
        }
        self.read_values(source, limit, Value::integer)
    }

    fn read_values<T>(
        &self,
        source: &mut impl Read,
        limit: u64,
        convert: impl Fn(Value) -> Result<T, NpyError>,
    ) -> Result<Vec<T>, NpyError> {
        let count = self.len();
        if count > limit {
            return Err(NpyError::TooLarge { found: count, limit });
        }
        let mut values = Vec::with_capacity(count.min(RESERVED_UNSEEN) as usize);
        // A multiple of every item size, so that no item straddles two buffers.
        let mut buffer = [0; 1 << 15];
        let mut left = count.saturating_mul(self.dtype.bytes as u64);
        while left > 0 {
            let part = &mut buffer[..left.min(1 << 15) as usize];
            fill(source, part)?;
            for item in part.chunks_exact(self.dtype.bytes) {
                values.push(convert(self.dtype.decode(item))?);
            }
            left -= part.len() as u64;
        }
        // The archive checks its checksum only when the end is reached.
        match source.read(&mut [0]) {
            Ok(0) => Ok(values),
            Ok(_) => Err(malformed("holds more bytes than its shape says".to_owned())),
            Err(error) => Err(NpyError::Read(error.to_string())),
        }
    }
}

enum Value {
    Float(f64),
    Integer(i64),
}

impl Value {
    fn float(self) -> f32 {
        match self {
            Self::Float(value) => value as f32,
            Self::Integer(value) => value as f32,
        }
    }

    fn integer(self) -> Result<i64, NpyError> {
        // Up to 2^53 a float holds every whole number.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Integer(value) => Ok(value),
            Self::Float(value) if value.fract() == 0.0 && value.abs() <= EXACT => Ok(value as i64),
            Self::Float(value) => Err(malformed(format!("holds {value}, and whole numbers are wanted"))),
        }
    }
}

impl Dtype {
    /// The value in `item`, which holds `self.bytes` bytes.
    fn decode(self, item: &[u8]) -> Value {
        let mut bytes = [0; 8];
        let mut word = 0_u64;
        if let Some(used) = bytes.get_mut(..item.len()) {
            used.copy_from_slice(item);
            if self.big_endian {
                used.reverse();
            }
            word = u64::from_le_bytes(bytes);
        }
        match (self.kind, self.bytes) {
            (Kind::Float, 4) => Value::Float(f32::from_bits(word as u32).into()),
            (Kind::Float, _) => Value::Float(f64::from_bits(word)),
            (Kind::Signed, 1) => Value::Integer(i64::from(word as i8)),
            (Kind::Signed, 2) => Value::Integer(i64::from(word as i16)),
            (Kind::Signed, 4) => Value::Integer(i64::from(word as i32)),
            (Kind::Signed, _) => Value::Integer(word as i64),
            (Kind::Unsigned, _) => Value::Integer(i64::try_from(word).unwrap_or(i64::MAX)),
        }
    }

    fn parse(text: &str) -> Result<Self, NpyError> {
        let refused =
            || malformed(format!("has type `{text}`; wanted f4, f8, i1, i2, i4, i8, u1, u2, u4, u8 or bool"));
        let big_endian = match text.as_bytes().first() {
            Some(b'>') => true,
            Some(b'<' | b'|' | b'=') => false,
            _ => return Err(refused()),
        };
        let (kind, bytes) = match text.get(1..).unwrap_or_default() {
            "f4" => (Kind::Float, 4),
            "f8" => (Kind::Float, 8),
            "i1" => (Kind::Signed, 1),
            "i2" => (Kind::Signed, 2),
            "i4" => (Kind::Signed, 4),
            "i8" => (Kind::Signed, 8),
            "u1" | "b1" => (Kind::Unsigned, 1),
            "u2" => (Kind::Unsigned, 2),
            "u4" => (Kind::Unsigned, 4),
            "u8" => (Kind::Unsigned, 8),
            _ => return Err(refused()),
        };
        Ok(Self { kind, bytes, big_endian })
    }
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
fn parse_header(text: &str) -> Result<NpyHeader, NpyError> {
    let broken = |what: &str| malformed(format!("its header has no {what}: {}", text.trim_end()));
    let after = |key: &str| {
        let rest = text.split_once(&format!("'{key}'"))?.1;
        rest.trim_start().strip_prefix(':').map(str::trim_start)
    };
    let descr = after("descr").and_then(|rest| rest.strip_prefix('\'')?.split_once('\''));
    let descr = descr.ok_or_else(|| broken("simple `descr`"))?.0;
    let order = after("fortran_order").ok_or_else(|| broken("`fortran_order`"))?;
    let fortran = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err(broken("`fortran_order` of True or False")),
    };
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let shape = shape.ok_or_else(|| broken("`shape`"))?.0;
    let lengths = shape.split(',').map(str::trim).filter(|length| !length.is_empty());
    let shape: Vec<u64> = lengths
        .map(|length| length.parse().map_err(|_| broken("`shape` of whole numbers")))
        .take(MOST_DIMENSIONS + 1)
        .collect::<Result<_, _>>()?;
    if shape.len() > MOST_DIMENSIONS {
        return Err(malformed(format!("has more than {MOST_DIMENSIONS} dimensions")));
    }
    Ok(NpyHeader { shape, dtype: Dtype::parse(descr)?, fortran })
}

/// Reorders values from first-index-fastest to last-index-fastest.
fn to_c_order(values: &[f32], shape: &[u64]) -> Vec<f32> {
    let mut index = vec![0_u64; shape.len()];
    let strides: Vec<u64> = shape
        .iter()
        .scan(1_u64, |stride, &length| Some(std::mem::replace(stride, stride.saturating_mul(length))))
        .collect();
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let offset: u64 = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        // Every index lies within the shape, and the values fill the shape, so the offset is good.
        ordered.push(values[offset as usize]);
        for (i, &length) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < length {
                break;
            }
            *i = 0;
        }
    }
    ordered
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), NpyError> {
    source.read_exact(buffer).map_err(|error| NpyError::Read(error.to_string()))
}

fn malformed(why: String) -> NpyError {
    NpyError::Malformed(why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAGIC: &[u8] = b"\x93NUMPY";

    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn floats(bytes: &[u8]) -> Result<Vec<f32>, NpyError> {
        let mut source = bytes;
        NpyHeader::read(&mut source)?.read_floats(&mut source, 100)
    }

    #[test]
    fn every_type_and_both_byte_orders() {
        for (descr, data) in [
            ("<f4", (-3.0_f32).to_le_bytes().to_vec()),
            (">f4", (-3.0_f32).to_be_bytes().to_vec()),
            ("<f8", (-3.0_f64).to_le_bytes().to_vec()),
            (">f8", (-3.0_f64).to_be_bytes().to_vec()),
            ("|i1", (-3_i8).to_le_bytes().to_vec()),
            (">i2", (-3_i16).to_be_bytes().to_vec()),
            ("<i4", (-3_i32).to_le_bytes().to_vec()),
            (">i4", (-3_i32).to_be_bytes().to_vec()),
            ("<i8", (-3_i64).to_le_bytes().to_vec()),
            (">i8", (-3_i64).to_be_bytes().to_vec()),
        ] {
            assert_eq!(floats(&file(descr, "False", "(1,)", &data)), Ok(vec![-3.0]), "{descr}");
        }
        assert_eq!(floats(&file("|u1", "False", "(2,)", &[253, 3])), Ok(vec![253.0, 3.0]));
        assert_eq!(floats(&file(">u4", "False", "()", &[0, 0, 1, 0])), Ok(vec![256.0]));
    }

    #[test]
    fn fortran_order_is_turned() {
        // [[0, 1, 2], [3, 4, 5]] column by column.
        assert_eq!(
            floats(&file("|u1", "True", "(2, 3)", &[0, 3, 1, 4, 2, 5])),
            Ok(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        );
    }

    #[test]
    fn lies_are_refused() {
        let huge = file("<f8", "False", "(18446744073709551615, 18446744073709551615)", &[]);
        assert_eq!(floats(&huge), Err(NpyError::TooLarge { found: u64::MAX, limit: 100 }));
        assert!(matches!(floats(&file("<f8", "False", "(4,)", &[0; 31])), Err(NpyError::Read(_))));
        assert!(matches!(floats(&file("<f8", "False", "(4,)", &[0; 33])), Err(NpyError::Malformed(_))));
        for (descr, order, shape) in [
            ("|O", "False", "(1,)"),
            ("<U3", "False", "(1,)"),
            ("f4", "False", "(1,)"),
            ("<f4", "Maybe", "(1,)"),
            ("<f4", "False", "(-1,)"),
            ("<f4", "False", "1"),
            ("<f4", "False", "(1,1,1,1,1,1,1,1,1)"),
        ] {
            let answer = floats(&file(descr, order, shape, &[0; 4]));
            assert!(matches!(answer, Err(NpyError::Malformed(_))), "{descr} {order} {shape}: {answer:?}");
        }
        let mut long = MAGIC.to_vec();
        long.extend([2, 0, 255, 255, 255, 255]);
        assert!(matches!(floats(&long), Err(NpyError::Malformed(_))));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
            let _ = floats(&bytes);
        }

        #[test]
        fn arbitrary_headers_never_panic(descr in ".{0,6}", order in "True|False|.{0,3}", shape in "[(), 0-9]{0,24}") {
            let _ = floats(&file(&descr, &order, &shape, &[0; 64]));
        }
    }
}
