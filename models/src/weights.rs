//! Named tensors as bytes, in the safetensors layout: eight bytes of little-endian header length, a
//! JSON header that names each tensor with its type, shape and place, and the raw little-endian
//! data. The layout is the one of the `safetensors` package, so that weights open in Python as they
//! are; reading and writing are ours, so that every size is checked before memory is reserved.

use std::borrow::Cow;

use ndarray::{ArrayD, IxDyn};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::tensors::Tensors;

/// What [`decode`] accepts.
#[derive(Clone, Copy, Debug)]
pub struct TensorLimits {
    /// Bytes of the whole file.
    pub bytes: usize,
    /// Bytes of the JSON header.
    pub header_bytes: usize,
    /// Number of tensors.
    pub tensors: usize,
}

impl Default for TensorLimits {
    /// 256 MiB, 4 MiB of header, 20 000 tensors.
    fn default() -> Self {
        Self { bytes: 256 << 20, header_bytes: 4 << 20, tensors: 20_000 }
    }
}

/// Most dimensions of one tensor.
const MAX_RANK: usize = 8;
/// Longest name of a tensor in bytes.
const MAX_NAME: usize = 512;
/// The one header key that names no tensor.
const METADATA: &str = "__metadata__";

/// What is wrong with a tensor file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file, its header or its number of tensors is beyond the limit.
    #[error("the tensor file has {found} {what}; at most {limit} are read")]
    TooLarge {
        /// `bytes`, `bytes of header` or `tensors`.
        what: &'static str,
        /// What was found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The file ends before its header does.
    #[error("the tensor file ends after {found} bytes, inside its header; it is cut short")]
    Truncated {
        /// Bytes there are.
        found: usize,
    },
    /// The header is not the JSON that it should be.
    #[error("the tensor file's header is damaged: {reason}")]
    Header {
        /// What the parser said, with the line and column.
        reason: String,
    },
    /// One name twice.
    #[error("the tensor file names `{name}` twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that is empty, too long, or kept for the format itself.
    #[error("`{name}` cannot name a tensor; use 1 to {MAX_NAME} bytes, and not `{METADATA}`")]
    Name {
        /// The name, cut to its limit.
        name: String,
    },
    /// A type that is not read here.
    #[error("tensor `{name}` has type {found}; {wanted} is wanted. Convert it before saving")]
    DataType {
        /// The tensor.
        name: String,
        /// Its type as written.
        found: String,
        /// What is read.
        wanted: &'static str,
    },
    /// A shape of too many dimensions, or one whose size overflows.
    #[error("tensor `{name}` has shape {shape:?}, which is too large or has more than {MAX_RANK} dimensions")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape as written.
        shape: Vec<usize>,
    },
    /// The tensor's place does not fit its shape, or leaves a hole, overlaps, or passes the end.
    #[error(
        "tensor `{name}` should lie at bytes {wanted_start} to {wanted_end} of the data, not {start} to {end}"
    )]
    Place {
        /// The tensor.
        name: String,
        /// Where it should begin, right behind the one before.
        wanted_start: usize,
        /// Where it should end by its shape.
        wanted_end: usize,
        /// Where the header says it begins.
        start: usize,
        /// Where the header says it ends.
        end: usize,
    },
    /// Data beyond or short of what the header describes.
    #[error("the tensor file holds {found} bytes of data where its header describes {wanted}; it is damaged")]
    DataLength {
        /// Bytes described.
        wanted: usize,
        /// Bytes found.
        found: usize,
    },
}

/// Element types that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElementType {
    F32,
    U8,
}

impl ElementType {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::U8 => "U8",
        }
    }

    fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U8 => 1,
        }
    }
}

/// One tensor as it lies in a file.
pub(crate) struct Entry<'a> {
    pub name: String,
    pub element: ElementType,
    pub shape: Vec<usize>,
    pub data: Cow<'a, [u8]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// Encodes tensors in name order. The same tensors give the same bytes.
///
/// # Errors
///
/// [`WeightsError::Name`] for a name that the layout cannot hold.
pub fn encode(tensors: &Tensors) -> Result<Vec<u8>, WeightsError> {
    let entries: Vec<Entry<'_>> = tensors.iter().map(|(name, array)| float_entry(name, array)).collect();
    encode_entries(&entries)
}

/// Decodes a file of `F32` tensors.
///
/// # Errors
///
/// [`WeightsError`] when the file is beyond `limits`, cut short or damaged, or holds another type.
/// NaN and infinities are values here; whoever cannot use them must look
/// ([`first_non_finite`](crate::tensors::first_non_finite)).
pub fn decode(bytes: &[u8], limits: TensorLimits) -> Result<Tensors, WeightsError> {
    decode_entries(bytes, limits)?
        .into_iter()
        .map(|entry| {
            let array = floats(&entry)?;
            Ok((entry.name, array))
        })
        .collect()
}

/// `array` as an entry, row-major.
pub(crate) fn float_entry<'a>(name: &str, array: &ArrayD<f32>) -> Entry<'a> {
    let data: Vec<u8> = array.iter().flat_map(|v| v.to_le_bytes()).collect();
    Entry { name: name.into(), element: ElementType::F32, shape: array.shape().to_vec(), data: data.into() }
}

/// The values of an `F32` entry.
pub(crate) fn floats(entry: &Entry<'_>) -> Result<ArrayD<f32>, WeightsError> {
    if entry.element != ElementType::F32 {
        let (name, found) = (entry.name.clone(), entry.element.name().into());
        return Err(WeightsError::DataType { name, found, wanted: "F32" });
    }
    let (words, _) = entry.data.as_chunks::<4>();
    let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    ArrayD::from_shape_vec(IxDyn(&entry.shape), values)
        .map_err(|_| WeightsError::Shape { name: entry.name.clone(), shape: entry.shape.clone() })
}

pub(crate) fn encode_entries(entries: &[Entry<'_>]) -> Result<Vec<u8>, WeightsError> {
    let mut header = String::from("{");
    let mut end = 0usize;
    for entry in entries {
        check_name(&entry.name)?;
        let start = end;
        end += entry.data.len();
        let described = Described {
            dtype: entry.element.name().into(),
            shape: entry.shape.clone(),
            data_offsets: (start, end),
        };
        let text = |e: serde_json::Error| WeightsError::Header { reason: e.to_string() };
        if start > 0 || header.len() > 1 {
            header.push(',');
        }
        header.push_str(&serde_json::to_string(&entry.name).map_err(text)?);
        header.push(':');
        header.push_str(&serde_json::to_string(&described).map_err(text)?);
    }
    header.push('}');
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    for entry in entries {
        bytes.extend_from_slice(&entry.data);
    }
    Ok(bytes)
}

pub(crate) fn decode_entries(bytes: &[u8], limits: TensorLimits) -> Result<Vec<Entry<'_>>, WeightsError> {
    within("bytes", bytes.len(), limits.bytes)?;
    let truncated = WeightsError::Truncated { found: bytes.len() };
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| truncated.clone())?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    within("bytes of header", length, limits.header_bytes)?;
    let (header, data) = rest.split_at_checked(length).ok_or(truncated)?;
    let Header(mut described) =
        serde_json::from_slice(header).map_err(|e| WeightsError::Header { reason: e.to_string() })?;
    within("tensors", described.len(), limits.tensors)?;
    let mut names: Vec<&str> = described.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some((name, _)) = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
        return Err(WeightsError::Duplicate { name: (*name).into() });
    }
    described.sort_by_key(|(_, d)| d.data_offsets);
    let mut at = 0usize;
    let mut entries = Vec::with_capacity(described.len());
    for (name, described) in described {
        let entry = place(name, described, at, data)?;
        at += entry.data.len();
        entries.push(entry);
    }
    if at != data.len() {
        return Err(WeightsError::DataLength { wanted: at, found: data.len() });
    }
    Ok(entries)
}

/// The entry that begins at `at` of `data`.
fn place(name: String, described: Described, at: usize, data: &[u8]) -> Result<Entry<'_>, WeightsError> {
    check_name(&name)?;
    let element = match described.dtype.as_str() {
        "F32" => ElementType::F32,
        "U8" => ElementType::U8,
        _ => return Err(WeightsError::DataType { name, found: described.dtype, wanted: "F32 or U8" }),
    };
    let shape = described.shape;
    // The product without zeros is bounded too, because arrays cannot be made otherwise.
    let bound = shape.iter().try_fold(element.width(), |n, &d| n.checked_mul(d.max(1)));
    let bytes = match bound {
        Some(bound) if shape.len() <= MAX_RANK && bound <= isize::MAX as usize => {
            if shape.contains(&0) {
                0
            } else {
                bound
            }
        }
        _ => return Err(WeightsError::Shape { name, shape }),
    };
    let (start, end) = described.data_offsets;
    let wanted_end = at.saturating_add(bytes);
    if (start, end) != (at, wanted_end) {
        return Err(WeightsError::Place { name, wanted_start: at, wanted_end, start, end });
    }
    let Some(data) = data.get(start..end) else {
        return Err(WeightsError::DataLength { wanted: end, found: data.len() });
    };
    Ok(Entry { name, element, shape, data: data.into() })
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), WeightsError> {
    if found > limit { Err(WeightsError::TooLarge { what, found, limit }) } else { Ok(()) }
}

fn check_name(name: &str) -> Result<(), WeightsError> {
    if name.is_empty() || name.len() > MAX_NAME || name == METADATA {
        return Err(WeightsError::Name { name: name.chars().take(MAX_NAME).collect() });
    }
    Ok(())
}

/// The header as a list, so that a name given twice is seen; free-form metadata is dropped.
struct Header(Vec<(String, Described)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut described = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<std::collections::BTreeMap<String, String>>()?;
                    } else {
                        described.push((name, map.next_value()?));
                    }
                }
                Ok(Header(described))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
