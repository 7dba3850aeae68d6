//! Why a bundle was refused. A bundle travels by network and card to boards that nobody watches, so
//! each way in which one can be wrong has a variant that names the part and says what to do.

use std::io;
use std::path::PathBuf;

use crate::input::InputSpecError;
use crate::onnx::OnnxError;
use crate::weights::WeightsError;

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Something was wrong with the file of this path.
    #[error("bundle `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        source: Box<BundleError>,
    },
    /// The file could not be read or written.
    #[error("{step} failed")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a folder, a pipe or a device.
    #[error("not a plain file; give the path of a .sedge file")]
    NotAFile,
    /// The file or one of its parts is larger than is read.
    #[error("{what} holds {found} bytes; at most {limit} are read")]
    TooLarge {
        /// `the bundle`, or the part.
        what: String,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is not a tar archive, or a damaged one.
    #[error("not a bundle: {reason}. Copy or export it again")]
    Archive {
        /// What was found.
        reason: String,
    },
    /// The file ends early.
    #[error("the bundle is cut short in {place}; copy it again")]
    Truncated {
        /// The part, or `its end mark`.
        place: String,
    },
    /// Something follows the last part.
    #[error("bytes follow the end of the bundle, from byte {offset}; copy or export it again")]
    TrailingBytes {
        /// Where they begin.
        offset: u64,
    },
    /// A name with a folder, a drive or a step upwards in it.
    #[error("the entry `{path}` names a place outside the bundle; a bundle holds plain names only")]
    UnsafePath {
        /// The path as written.
        path: String,
    },
    /// A link, folder, device or extension header.
    #[error("the entry `{path}` is {kind}; a bundle holds plain files only. Pack it with `sedge export`")]
    NotPlain {
        /// The path as written.
        path: String,
        /// What it is.
        kind: String,
    },
    /// A part that this version does not know.
    #[error("`{name}` is not a part of a bundle; the parts are {}", super::PARTS.join(", "))]
    UnknownPart {
        /// Its name.
        name: String,
    },
    /// A part that is there twice.
    #[error("the part `{name}` is there twice")]
    DuplicatePart {
        /// Its name.
        name: String,
    },
    /// A part that is not there.
    #[error("the part `{name}` is missing; copy or export the bundle again")]
    MissingPart {
        /// Its name.
        name: &'static str,
    },
    /// A part that is not where it should be.
    #[error("the part `{found}` comes where `{wanted}` should; pack the bundle with `sedge export`")]
    PartOrder {
        /// The part found.
        found: &'static str,
        /// The part wanted there.
        wanted: &'static str,
    },
    /// A bundle of a later format.
    #[error("format version {found} is newer than this program, which reads version {reads}; update Sedge")]
    Version {
        /// The version stated.
        found: u64,
        /// The version read.
        reads: u32,
    },
    /// The manifest is not what it should be.
    #[error("manifest.json is not read: {reason}")]
    Manifest {
        /// What the parser said, with line and column.
        reason: String,
    },
    /// The manifest lists other parts than there are.
    #[error("manifest.json lists the parts {found:?}; they are {wanted:?}")]
    PartList {
        /// The names listed.
        found: Vec<String>,
        /// The names wanted, in order.
        wanted: Vec<&'static str>,
    },
    /// A part has another size than the manifest says.
    #[error("the part `{name}` holds {found} bytes; manifest.json says {stated}. Copy the bundle again")]
    PartSize {
        /// The part.
        name: &'static str,
        /// Its size.
        found: u64,
        /// The size stated.
        stated: u64,
    },
    /// A part's digest is not the one in the manifest.
    #[error("the part `{name}` has SHA-256 {found}; manifest.json says {stated}. Copy the bundle again")]
    Digest {
        /// The part.
        name: &'static str,
        /// The digest of what is there, in hexadecimal.
        found: String,
        /// The digest stated.
        stated: String,
    },
    /// A field whose value cannot be used.
    #[error("`{field}` is {found}; it must be {wanted}")]
    Field {
        /// The field, as in the manifest (`adaptation.lr`).
        field: String,
        /// Its value.
        found: String,
        /// What is allowed.
        wanted: String,
    },
    /// The input specification contradicts itself.
    #[error("`input`: {0}")]
    Input(#[from] InputSpecError),
    /// A name that is twice among the inputs, scalars and state of the training step.
    #[error("`training` names `{name}` twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A shape other than the specification's.
    #[error("{what} has shape {found:?}; {wanted:?} is wanted by {by}")]
    Shape {
        /// What has it.
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape wanted.
        wanted: Vec<usize>,
        /// Who wants it.
        by: &'static str,
    },
    /// A tensor of `training.state` without an initial value.
    #[error("`{part}` lacks the tensor `{name}`, which manifest.json names")]
    MissingTensor {
        /// The part.
        part: &'static str,
        /// The tensor.
        name: String,
    },
    /// A tensor that nothing asks for.
    #[error("`{part}` holds a tensor `{name}`, which manifest.json does not name")]
    UnknownTensor {
        /// The part.
        part: &'static str,
        /// The tensor.
        name: String,
    },
    /// NaN or infinity where a number is needed.
    #[error("`{name}` in `{part}` holds NaN or infinity; train or export again")]
    NotFinite {
        /// The part.
        part: &'static str,
        /// The tensor.
        name: String,
    },
    /// An image value of the reference that eight bits cannot hold.
    #[error(
        "the reference image value {value} is not a multiple of 1/255; give images as decoded, before normalisation"
    )]
    ReferenceValue {
        /// The value.
        value: String,
    },
    /// A reference value of a text that is the number of no token.
    #[error("the reference value {value} is the number of no token; texts hold whole numbers from 0 to 258")]
    ReferenceToken {
        /// The value.
        value: String,
    },
    /// Optimiser state that is not zero, which a bundle does not keep.
    #[error(
        "the optimiser state `{name}` is not zero; a bundle starts afresh, so set it to zero before packing"
    )]
    OptimizerState {
        /// The state tensor.
        name: String,
    },
    /// A tensor part that is not in the tensor layout.
    #[error("`{part}`: {source}")]
    Weights {
        /// The part.
        part: &'static str,
        /// What is wrong.
        source: WeightsError,
    },
    /// A graph that is not read.
    #[error("`{part}`: {source}")]
    Onnx {
        /// The part.
        part: &'static str,
        /// What is wrong.
        source: OnnxError,
    },
    /// A graph whose inputs or outputs are not those of the manifest.
    #[error("the graph in `{part}` does not fit manifest.json: {reason}")]
    Graph {
        /// The part.
        part: &'static str,
        /// What does not fit.
        reason: String,
    },
}
