//! What is known of a value without running anything: how many elements it has at most, its shape where
//! that is certain, and its numbers where it is a small constant that may become a shape.

use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

use super::{LimitError, MAX_RANK};

/// Largest constant whose numbers are kept: shapes, pads and indices are far smaller.
const MAX_KEPT: usize = 1024;

/// The numbers of a small constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    Ints(Vec<i64>),
    Floats(Vec<f32>),
}

/// A value, bounded.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Elements, from above; an axis of extent zero counts as one, as buffers of others may be sized by it.
    pub elements: usize,
    pub shape: Option<Vec<usize>>,
    pub numbers: Option<Numbers>,
    /// Whether it depends on stored tensors and shapes alone.
    pub constant: bool,
}

impl Value {
    pub fn of_shape(shape: Vec<usize>) -> Self {
        let elements = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d.max(1)));
        Self { elements, shape: Some(shape), numbers: None, constant: false }
    }

    /// A value of at most `elements` elements and unknown shape.
    pub fn unshaped(elements: usize) -> Self {
        Self { elements, shape: None, numbers: None, constant: false }
    }

    /// A constant list, or a scalar when `shape` is empty.
    pub fn of_ints(ints: Vec<i64>, shape: Vec<usize>) -> Self {
        Self { constant: true, ..Self::of_shape(shape) }.with_numbers(Some(Numbers::Ints(ints)))
    }

    pub fn of_tensor(tensor: &TensorProto) -> Self {
        let shape = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
        let value = Self { constant: true, ..Self::of_shape(shape) };
        let numbers = if value.elements <= MAX_KEPT { numbers(tensor) } else { None };
        Self { numbers, ..value }
    }

    pub fn with_numbers(self, numbers: Option<Numbers>) -> Self {
        let numbers = numbers.filter(|numbers| match numbers {
            Numbers::Ints(ints) => ints.len() <= MAX_KEPT,
            Numbers::Floats(floats) => floats.len() <= MAX_KEPT,
        });
        Self { numbers, ..self }
    }

    pub fn ints(&self) -> Option<&[i64]> {
        match &self.numbers {
            Some(Numbers::Ints(ints)) => Some(ints),
            _ => None,
        }
    }

    /// The numbers as floats, whatever they are stored as.
    pub fn floats(&self) -> Option<Vec<f64>> {
        Some(match self.numbers.as_ref()? {
            Numbers::Ints(ints) => ints.iter().map(|&i| i as f64).collect(),
            Numbers::Floats(floats) => floats.iter().map(|&f| f64::from(f)).collect(),
        })
    }

    pub fn check_rank(&self, place: impl Fn() -> String) -> Result<(), LimitError> {
        let found = self.shape.as_ref().map_or(0, Vec::len);
        if found > MAX_RANK {
            return Err(LimitError::Rank { place: place(), found, limit: MAX_RANK });
        }
        Ok(())
    }
}

fn numbers(tensor: &TensorProto) -> Option<Numbers> {
    let raw = &tensor.raw_data;
    match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int64 if raw.is_empty() => Some(Numbers::Ints(tensor.int64_data.clone())),
        DataType::Int64 => {
            Some(Numbers::Ints(raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()))
        }
        DataType::Int32 if raw.is_empty() => {
            Some(Numbers::Ints(tensor.int32_data.iter().map(|&i| i.into()).collect()))
        }
        DataType::Int32 => {
            let ints = raw.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect();
            Some(Numbers::Ints(ints))
        }
        DataType::Float if raw.is_empty() => Some(Numbers::Floats(tensor.float_data.clone())),
        DataType::Float => {
            Some(Numbers::Floats(raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()))
        }
        _ => None,
    }
}

/// The shape of operands stretched to each other, `None` where they do not fit.
pub(super) fn stretched(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).and_then(|i| shape.get(i).copied()).unwrap_or(1)
    };
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        })
        .collect()
}

/// The bound of `values` stretched to each other, `None` where known shapes do not fit.
pub(super) fn broadcast<'v>(values: impl Iterator<Item = &'v Value>) -> Option<Value> {
    let mut all = Value::of_shape(vec![]);
    for value in values {
        all = match (&all.shape, &value.shape) {
            (Some(a), Some(b)) => Value::of_shape(stretched(a, b)?),
            _ => Value::unshaped(all.elements.saturating_mul(value.elements)),
        };
    }
    Some(all)
}
