//! Reading ONNX that may be damaged or hostile. [`parse`] is the one way in: it walks the bytes
//! before decoding them, and checks the decoded model before anyone else sees it, so that whoever
//! runs a graph can rely on names, shapes and data lengths.

use prost::Message;
use tract_onnx::pb::ModelProto;

use super::check;
use super::error::OnnxError;
use super::wire::{self, WireLimits};

/// Largest file read.
pub const MAX_MODEL_BYTES: usize = 128 << 20;
/// Most memory that the decoded model may take, as estimated before decoding.
pub const MAX_DECODED_BYTES: usize = 320 << 20;
/// Deepest nesting of graphs, the outermost counted.
pub const MAX_GRAPH_DEPTH: usize = 8;
/// Most nodes, those of subgraphs included.
pub const MAX_NODES: usize = 100_000;
/// Most values in one tensor or in the stated shape of one input.
pub const MAX_ELEMENTS: usize = 1 << 28;
/// Versions of the default operator set that are read.
pub const OPSETS: std::ops::RangeInclusive<i64> = 9..=22;
/// IR versions that are read.
pub const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=11;

/// Decodes an ONNX model after checking that it is safe to.
///
/// # Errors
///
/// [`OnnxError`] when the file is too large, truncated, nested too deep or would take too much
/// memory; when its operator set or a data type is not read; when a tensor's data lies elsewhere or
/// has not the length its shape asks for; or when a name is given twice or read but never made.
pub fn parse(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    if bytes.len() > MAX_MODEL_BYTES {
        return Err(OnnxError::TooLarge { bytes: bytes.len(), limit: MAX_MODEL_BYTES });
    }
    wire::walk(bytes, WireLimits { decoded_bytes: MAX_DECODED_BYTES, graph_depth: MAX_GRAPH_DEPTH })?;
    let model = ModelProto::decode(bytes).map_err(|e| OnnxError::Decode { reason: e.to_string() })?;
    check::model(&model)?;
    Ok(model)
}
