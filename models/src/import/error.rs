//! Why an encoder could not be imported, or a trained state not be written back: what is at fault in
//! the file, and how its owner can mend it.

use crate::onnx::OnnxError;

/// What stands between a file and a trainable encoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is no ONNX that is read.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// Not exactly one input without a stored value.
    #[error("an encoder has one input, this file has {names:?}; export it with one, the others as constants")]
    Inputs {
        /// The inputs found.
        names: Vec<String>,
    },
    /// The input's type or shape does not do.
    #[error("input `{input}` has shape {found:?}: {reason}")]
    InputShape {
        /// The input.
        input: String,
        /// Its dimensions as stated.
        found: Vec<String>,
        /// What is wrong, and what would do.
        reason: String,
    },
    /// A batch outside the range.
    #[error("a batch of {found} is not possible; choose 1 to {limit}")]
    Batch {
        /// The batch asked for.
        found: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// A graph inside a node.
    #[error(
        "node `{node}` ({operator}) holds a graph of its own, which cannot be trained; \
         export with fixed shapes, so that the exporter resolves it"
    )]
    ControlFlow {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
    },
    /// No value of the name asked for.
    #[error("no value is called `{name}`; the file's outputs are {known:?}")]
    Output {
        /// The name.
        name: String,
        /// The graph's outputs.
        known: Vec<String>,
    },
    /// The graph is written for its own batch in a way that cannot be changed.
    #[error(
        "node `{node}` ({operator}, output shape {shape:?}) {reason}; export the encoder with a dynamic \
         batch, or import it at the batch it was exported with"
    )]
    Baked {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// Shape of its first output at the file's batch.
        shape: Vec<usize>,
        /// Why.
        reason: String,
    },
    /// The output cannot serve as embedding.
    #[error("output `{output}` of shape {shape:?} is no embedding: {reason}")]
    Embedding {
        /// The output.
        output: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Why, and what would be one.
        reason: String,
    },
    /// The graph library could not follow the graph.
    #[error("the shapes of the encoder do not fit together ({stage}): {reason}")]
    Shapes {
        /// What was being done.
        stage: &'static str,
        /// What was said.
        reason: String,
    },
    /// The graph library panicked, which was contained.
    #[error(
        "the encoder made the graph library panic ({stage}); the file is malformed or hits a defect in it"
    )]
    Panicked {
        /// What was being done.
        stage: &'static str,
    },
    /// Weights read from many places would take too much memory once each reader has its own.
    #[error(
        "the shared weights would hold more than {limit} values once every layer has its own; \
         import with shared weights kept tied"
    )]
    Unshared {
        /// The limit.
        limit: usize,
    },
    /// A trained weight does not fit the one it should replace.
    #[error("the state holds `{name}` with shape {found:?}; the encoder has it with shape {wanted:?}")]
    State {
        /// The weight.
        name: String,
        /// Shape in the state.
        found: Vec<usize>,
        /// Shape in the encoder.
        wanted: Vec<usize>,
    },
    /// The file given to write into is another than the one imported.
    #[error("the file has no weight at input {input} of node `{node}`; give the very file that was imported")]
    OtherFile {
        /// First output of the node looked for.
        node: String,
        /// Which of its inputs.
        input: usize,
    },
}
