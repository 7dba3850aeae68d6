//! A first walk over the bytes of a model, before anything is decoded. Protobuf lets two bytes of
//! input stand for a message of some hundred bytes in memory and lets graphs nest without end, so
//! the walk follows the nesting of ONNX messages and adds up what decoding them would take. Only a
//! model within the limits reaches the decoder.

use std::mem::size_of;

use tract_onnx::pb;

use super::error::OnnxError;

/// What the walk allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireLimits {
    /// Bytes of memory that the decoded model may take, estimated from above within a factor of two.
    pub decoded_bytes: usize,
    /// Graphs inside graphs; the outermost is depth one.
    pub graph_depth: usize,
}

/// Walks the whole of `bytes` as a `ModelProto`.
pub(super) fn walk(bytes: &[u8], limits: WireLimits) -> Result<(), OnnxError> {
    let mut walk = Walk { decoded: 0, limits };
    walk.message(bytes, 0, Message::Model, 0)
}

/// The messages of `onnx.proto` that hold other messages or repeated fields.
#[derive(Clone, Copy, PartialEq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    TensorType,
    Shape,
    Dimension,
    Annotation,
    Training,
    Function,
    /// A pair of strings, an operator set, a segment.
    Entry,
}

/// What a length-delimited field holds.
enum Field {
    Message(Message),
    /// A string, bytes, or packed fixed-width numbers: as long in memory as in the file.
    Bytes,
    /// Packed varints: up to eight times as long in memory.
    Varints,
    /// Not of this message; the decoder skips it.
    Skipped,
}

impl Message {
    /// Field numbers as in `onnx.proto` of ONNX 1.16.
    fn field(self, number: u64) -> Field {
        use Field::{Bytes, Message as Sub, Varints};
        match (self, number) {
            (Self::Model, 7) => Sub(Self::Graph),
            (Self::Model, 8 | 14) => Sub(Self::Entry),
            (Self::Model, 20) => Sub(Self::Training),
            (Self::Model, 25) => Sub(Self::Function),
            (Self::Training, 1 | 2) => Sub(Self::Graph),
            (Self::Training, 3 | 4) => Sub(Self::Entry),
            (Self::Function, 7) => Sub(Self::Node),
            (Self::Function, 9) => Sub(Self::Entry),
            (Self::Graph, 1) => Sub(Self::Node),
            (Self::Graph, 5) => Sub(Self::Tensor),
            (Self::Graph, 11..=13) => Sub(Self::Value),
            (Self::Graph, 14) => Sub(Self::Annotation),
            (Self::Graph, 15) => Sub(Self::Sparse),
            (Self::Annotation, 2) => Sub(Self::Entry),
            (Self::Node, 5) => Sub(Self::Attribute),
            (Self::Attribute, 5 | 10) => Sub(Self::Tensor),
            (Self::Attribute, 6 | 11) => Sub(Self::Graph),
            (Self::Attribute, 8) => Varints,
            (Self::Attribute, 14 | 15) => Sub(Self::Type),
            (Self::Attribute, 22 | 23) => Sub(Self::Sparse),
            (Self::Tensor, 1 | 5 | 7 | 11) => Varints,
            (Self::Tensor, 3 | 13) => Sub(Self::Entry),
            (Self::Sparse, 1 | 2) => Sub(Self::Tensor),
            (Self::Sparse, 3) => Varints,
            (Self::Value, 2) => Sub(Self::Type),
            (Self::Type, 1) => Sub(Self::TensorType),
            (Self::TensorType, 2) => Sub(Self::Shape),
            (Self::Shape, 1) => Sub(Self::Dimension),
            (_, 1..=25) => Bytes,
            _ => Field::Skipped,
        }
    }

    /// Bytes that one such message takes in memory, without what it points at.
    fn size(self) -> usize {
        match self {
            Self::Model => size_of::<pb::ModelProto>(),
            Self::Graph => size_of::<pb::GraphProto>(),
            Self::Node => size_of::<pb::NodeProto>(),
            Self::Attribute => size_of::<pb::AttributeProto>(),
            Self::Tensor => size_of::<pb::TensorProto>(),
            Self::Sparse => size_of::<pb::SparseTensorProto>(),
            Self::Value => size_of::<pb::ValueInfoProto>(),
            Self::Type => size_of::<pb::TypeProto>(),
            Self::TensorType => size_of::<pb::type_proto::Tensor>(),
            Self::Shape => size_of::<pb::TensorShapeProto>(),
            Self::Dimension => size_of::<pb::tensor_shape_proto::Dimension>(),
            Self::Annotation => size_of::<pb::TensorAnnotation>(),
            Self::Training => size_of::<pb::TrainingInfoProto>(),
            Self::Function => size_of::<pb::FunctionProto>(),
            Self::Entry => size_of::<pb::StringStringEntryProto>(),
        }
    }
}

struct Walk {
    decoded: usize,
    limits: WireLimits,
}

impl Walk {
    fn charge(&mut self, bytes: usize) -> Result<(), OnnxError> {
        self.decoded = self.decoded.saturating_add(bytes);
        if self.decoded > self.limits.decoded_bytes {
            return Err(OnnxError::Memory { limit: self.limits.decoded_bytes });
        }
        Ok(())
    }

    /// Walks one message that begins at byte `base` of the file. Recursion is bounded: the only
    /// cycle among the messages passes through `Graph`, whose depth is limited.
    fn message(&mut self, bytes: &[u8], base: usize, kind: Message, depth: usize) -> Result<(), OnnxError> {
        let depth = depth + usize::from(kind == Message::Graph);
        if depth > self.limits.graph_depth {
            return Err(OnnxError::TooDeep { limit: self.limits.graph_depth });
        }
        self.charge(kind.size())?;
        let mut cursor = Cursor { bytes, at: 0, base };
        while cursor.at < bytes.len() {
            let key = cursor.varint()?;
            match key & 7 {
                0 => {
                    cursor.varint()?;
                    // A repeated number written unpacked.
                    self.charge(size_of::<u64>())?;
                }
                1 => {
                    cursor.take(8)?;
                    self.charge(8)?;
                }
                5 => {
                    cursor.take(4)?;
                    self.charge(4)?;
                }
                2 => self.delimited(&mut cursor, kind, key >> 3, depth)?,
                3 | 4 => return Err(cursor.fault("a protobuf group")),
                _ => return Err(cursor.fault("an unknown wire type")),
            }
        }
        Ok(())
    }

    fn delimited(
        &mut self,
        cursor: &mut Cursor<'_>,
        kind: Message,
        number: u64,
        depth: usize,
    ) -> Result<(), OnnxError> {
        let length = cursor.varint()?;
        let length = usize::try_from(length).map_err(|_| cursor.fault("a length beyond the file"))?;
        let base = cursor.base + cursor.at;
        let body = cursor.take(length)?;
        match kind.field(number) {
            Field::Message(inner) => self.message(body, base, inner, depth),
            Field::Bytes => self.charge(length + size_of::<Vec<u8>>()),
            Field::Varints => self.charge(length.saturating_mul(8)),
            Field::Skipped => Ok(()),
        }
    }
}

/// Reads forward over one message.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Cursor<'a> {
    fn fault(&self, reason: &'static str) -> OnnxError {
        OnnxError::Wire { offset: self.base + self.at, reason }
    }

    fn varint(&mut self) -> Result<u64, OnnxError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.fault("the end inside a number"))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fault("a number of more than ten bytes"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], OnnxError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let body = rest.get(..length).ok_or_else(|| self.fault("the end inside a field"))?;
        self.at += length;
        Ok(body)
    }
}
