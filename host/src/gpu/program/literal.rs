//! The constants of a file as plain numbers.

use sedge_models::onnx::pb::TensorProto;
use sedge_models::onnx::pb::tensor_proto::DataType;

use super::value::Result;

/// Values of one of the three kinds that the engine knows.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gpu) enum Numbers {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Bools(Vec<bool>),
}

/// One constant.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gpu) struct Literal {
    pub(in crate::gpu) numbers: Numbers,
    /// Empty for a scalar.
    pub(in crate::gpu) shape: Vec<usize>,
}

impl Literal {
    /// Reads a tensor; its length was checked against its shape when the file was parsed, and is again.
    pub(super) fn read(tensor: &TensorProto) -> Result<Self> {
        let shape: Vec<usize> = tensor
            .dims
            .iter()
            .map(|&d| usize::try_from(d).map_err(|_| format!("a constant of extent {d}")))
            .collect::<Result<_>>()?;
        let raw = tensor.raw_data.as_slice();
        let bytes = |values: &[i32]| values.iter().map(|&v| v != 0).collect();
        let numbers = match DataType::try_from(tensor.data_type) {
            Ok(DataType::Float) if raw.is_empty() => Numbers::Floats(tensor.float_data.clone()),
            Ok(DataType::Float) => Numbers::Floats(words(raw, f32::from_le_bytes)),
            Ok(DataType::Int64) if raw.is_empty() => Numbers::Ints(tensor.int64_data.clone()),
            Ok(DataType::Int64) => Numbers::Ints(words(raw, i64::from_le_bytes)),
            Ok(DataType::Int32) if raw.is_empty() => {
                Numbers::Ints(tensor.int32_data.iter().map(|&v| i64::from(v)).collect())
            }
            Ok(DataType::Int32) => Numbers::Ints(words(raw, |w| i64::from(i32::from_le_bytes(w)))),
            Ok(DataType::Bool) if raw.is_empty() => Numbers::Bools(bytes(&tensor.int32_data)),
            Ok(DataType::Bool) => Numbers::Bools(raw.iter().map(|&v| v != 0).collect()),
            other => {
                return Err(format!("constants of type {other:?} are not read, only float, int and bool"));
            }
        };
        let this = Self { numbers, shape };
        if this.len() != this.shape.iter().product::<usize>() {
            return Err(format!("a constant of shape {:?} holds {} values", this.shape, this.len()));
        }
        Ok(this)
    }

    fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Floats(values) => values.len(),
            Numbers::Ints(values) => values.len(),
            Numbers::Bools(values) => values.len(),
        }
    }

    /// Its value, where it is a single float.
    pub(in crate::gpu) fn number(&self) -> Option<f32> {
        match &self.numbers {
            Numbers::Floats(values) if values.len() == 1 => values.first().copied(),
            _ => None,
        }
    }
}

fn words<const N: usize, T>(raw: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    // What `chunks_exact` gives has the length asked for.
    raw.chunks_exact(N).filter_map(|word| word.try_into().ok()).map(of).collect()
}
