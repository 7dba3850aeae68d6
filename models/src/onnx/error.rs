//! Why an ONNX file was refused. Every variant names the tensor, node or field at fault and what
//! would mend it, because the person who reads it did not write the exporter.

/// What is wrong with an ONNX file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file is larger than [`super::read::MAX_MODEL_BYTES`].
    #[error("the model holds {bytes} bytes; at most {limit} are read. Quantise it, or choose a smaller one")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The file is not protobuf, or is cut short.
    #[error("not an ONNX file: {reason} at byte {offset}. It may be truncated; fetch or export it again")]
    Wire {
        /// Where reading stopped.
        offset: usize,
        /// What was found there.
        reason: &'static str,
    },
    /// The bytes are protobuf, but not an ONNX model.
    #[error("not an ONNX model: {reason}. Fetch or export it again")]
    Decode {
        /// What the decoder said.
        reason: String,
    },
    /// Decoded, the model would take more memory than [`super::read::MAX_DECODED_BYTES`].
    #[error("decoding the model would take more than {limit} bytes of memory; it holds too many small parts")]
    Memory {
        /// The limit.
        limit: usize,
    },
    /// Graphs inside graphs, deeper than [`super::read::MAX_GRAPH_DEPTH`].
    #[error(
        "graphs are nested more than {limit} deep; export without control flow (If, Loop, Scan), or flatten it"
    )]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The model has no graph.
    #[error("the model holds no graph; export it again")]
    NoGraph,
    /// The IR version is not one that is read.
    #[error("IR version {found} is not read; versions {min} to {max} are")]
    IrVersion {
        /// The version stated.
        found: i64,
        /// The least read.
        min: i64,
        /// The greatest read.
        max: i64,
    },
    /// The default operator set is missing or not one that is read.
    #[error(
        "operator set {} is not read; versions {min} to {max} are. Export with opset 17",
        match .found { Some(version) => version.to_string(), None => "of no stated version".into() }
    )]
    Opset {
        /// The version stated, if any was.
        found: Option<i64>,
        /// The least read.
        min: i64,
        /// The greatest read.
        max: i64,
    },
    /// More nodes than [`super::read::MAX_NODES`].
    #[error("the model has {found} nodes; at most {limit} are read")]
    TooManyNodes {
        /// Nodes found, subgraphs included.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Something of ONNX that is not read.
    #[error("{place} uses {what}, which is not read. {mend}")]
    Unsupported {
        /// Where it is used.
        place: String,
        /// What is used.
        what: &'static str,
        /// How to avoid it.
        mend: &'static str,
    },
    /// A tensor whose data lies in another file.
    #[error(
        "tensor `{tensor}` keeps its data in another file; only models of one file are read. \
         Save it again with the data inside (`onnx.save(model, path, save_as_external_data=False)`)"
    )]
    ExternalData {
        /// The tensor.
        tensor: String,
    },
    /// A tensor of a data type that is not read.
    #[error("`{tensor}` has data type {data_type}, which is not read; use FLOAT, or an integer type")]
    DataType {
        /// The tensor or value.
        tensor: String,
        /// The type by its ONNX name, or its number when it has none.
        data_type: String,
    },
    /// A dimension below zero, or dimensions whose product is beyond [`super::read::MAX_ELEMENTS`].
    #[error("`{tensor}` has shape {dims:?}; dimensions must be zero or more and hold at most {limit} values")]
    Dims {
        /// The tensor or value.
        tensor: String,
        /// The dimensions stated.
        dims: Vec<i64>,
        /// Largest number of values.
        limit: usize,
    },
    /// A tensor whose data does not have the length its shape and type ask for.
    #[error(
        "tensor `{tensor}` of shape {dims:?} and type {data_type} wants {wanted} bytes or entries of data \
         and has {found}; the file is damaged, export it again"
    )]
    DataLength {
        /// The tensor.
        tensor: String,
        /// The dimensions stated.
        dims: Vec<i64>,
        /// The type by its ONNX name.
        data_type: &'static str,
        /// Bytes of raw data, or entries of typed data, wanted.
        wanted: usize,
        /// What was found.
        found: usize,
    },
    /// A graph input or output without the tensor type that the standard demands.
    #[error("the graph's {what} `{name}` states no tensor type; export it again")]
    NoType {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A value, initializer or attribute without a name.
    #[error("{place} has no name; export the model again")]
    NoName {
        /// What has none.
        place: String,
    },
    /// Two values of one name.
    #[error("the name `{name}` is given twice ({place}); every value of a graph needs a name of its own")]
    Duplicate {
        /// The name.
        name: String,
        /// Where it was met again.
        place: String,
    },
    /// A node or graph output reads a value that nothing before it makes.
    #[error(
        "{place} reads `{value}`, which no input, initializer or earlier node makes; \
         nodes must be in topological order"
    )]
    Undefined {
        /// The reader.
        place: String,
        /// The value.
        value: String,
    },
    /// A new weight that does not fit the initializer it should replace.
    #[error("the new weight for `{name}` has shape {found:?}; the model wants {wanted:?} of type FLOAT")]
    Replacement {
        /// The initializer.
        name: String,
        /// Shape of the new weight.
        found: Vec<usize>,
        /// Shape of the initializer.
        wanted: Vec<usize>,
    },
}
