//! A bundle: one file with all that a board needs to embed and to adapt, and all that it needs to
//! distrust what it was given. The layout is written down in `FORMAT.md`; [`Bundle::from_bytes`]
//! treats every byte as hostile.

mod archive;
mod check;
mod error;
mod manifest;
mod reference;
mod save;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ndarray::ArrayD;

use crate::step::{StateRole, StepSpec, TrainingStep};
use crate::tensors::Tensors;
use crate::weights::{self, TensorLimits, WeightsError};

pub use error::BundleError;
pub use manifest::{AdaptationDefaults, FORMAT, MadeBy, Manifest, PartDigest};
pub use reference::Reference;

/// The parts, in their order.
pub const PARTS: [&str; 5] = [MANIFEST, ENCODER, STEP, WEIGHTS, reference::PART];
const MANIFEST: &str = "manifest.json";
const ENCODER: &str = "encoder.onnx";
const STEP: &str = "step.onnx";
const WEIGHTS: &str = "weights.bin";

/// Largest bundle.
pub const MAX_BUNDLE_BYTES: u64 = 256 << 20;
/// Most tensors that a training step may name.
pub const MAX_STATE_TENSORS: usize = 20_000;
/// Most values in the state and inputs of a training step.
pub const MAX_STATE_VALUES: usize = 64 << 20;
/// Most reference inputs.
pub const MAX_REFERENCES: usize = 1024;

/// Largest size of a part.
const fn part_limit(name: &str) -> u64 {
    match name.as_bytes() {
        b"manifest.json" => 2 << 20,
        b"encoder.onnx" | b"step.onnx" => crate::onnx::read::MAX_MODEL_BYTES as u64,
        b"weights.bin" => 128 << 20,
        _ => 32 << 20,
    }
}

/// A bundle in memory.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What it is and where it comes from. `parts` is what the file said; packing writes it anew.
    pub manifest: Manifest,
    /// The encoder: ONNX, normalised samples `[batch, ...sample]` in, `[batch, embedding_dim]` out.
    pub encoder: Vec<u8>,
    /// The training step with its initial state; optimiser state is zero.
    pub step: TrainingStep,
    /// Inputs with known embeddings.
    pub reference: Reference,
}

impl Bundle {
    /// Reads a bundle file.
    ///
    /// # Errors
    ///
    /// [`BundleError::File`] with the path, around what [`Bundle::from_bytes`] says or the system's
    /// reason.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        read_limited(path)
            .and_then(|bytes| Self::from_bytes(&bytes))
            .map_err(|source| BundleError::File { path: path.into(), source: Box::new(source) })
    }

    /// Reads a bundle from memory.
    ///
    /// # Errors
    ///
    /// [`BundleError`] when the archive holds anything but the five parts in their order, when a
    /// part does not have the size and digest that the manifest states, when the parts contradict
    /// each other, or when a weight is not finite. Memory taken is within a small multiple of the
    /// limits of this module.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let [manifest, encoder, step, weights, reference] = archive::unpack(bytes)?;
        let manifest = Manifest::parse(manifest)?;
        check_digests(&manifest.parts, [encoder, step, weights, reference])?;
        manifest.check()?;
        let initial = initial_state(&manifest.training, weights)?;
        let limits = TensorLimits { bytes: reference.len(), header_bytes: 4096, tensors: 2 };
        let bundle = Self {
            encoder: encoder.to_vec(),
            step: TrainingStep { spec: manifest.training.clone(), onnx: step.to_vec(), initial },
            reference: Reference::decode(reference, manifest.input.modality, limits)?,
            manifest,
        };
        bundle.check()?;
        Ok(bundle)
    }

    /// Packs the bundle. The same bundle gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`BundleError`] when the parts contradict each other, a weight is not finite, the optimiser
    /// state is not zero, or a part is too large: whatever [`Bundle::from_bytes`] would refuse.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let encoded = self.encode_parts()?;
        let Encoded { manifest, weights, reference } = &encoded;
        archive::pack([manifest, &self.encoder, &self.step.onnx, weights, reference])
    }

    /// Writes the bundle to `path`, replacing what is there in one step.
    ///
    /// # Errors
    ///
    /// [`BundleError::File`] with the path, around what [`Bundle::to_bytes`] says or the system's
    /// reason; what was there before is then untouched.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        self.to_bytes()
            .and_then(|bytes| save::replace(path, &bytes))
            .map_err(|source| BundleError::File { path: path.into(), source: Box::new(source) })
    }

    /// SHA-256 of `manifest.json` in hexadecimal. The manifest states the digest of every other
    /// part, so this one stands for the whole bundle.
    ///
    /// # Errors
    ///
    /// As [`Bundle::to_bytes`].
    pub fn digest(&self) -> Result<String, BundleError> {
        Ok(archive::sha256(&self.encode_parts()?.manifest))
    }

    /// The parts that are not kept as bytes, after checking that everything fits.
    fn encode_parts(&self) -> Result<Encoded, BundleError> {
        self.check()?;
        let stored = self.step.spec.state.iter().filter(|s| s.role != StateRole::Optimizer);
        let stored: Tensors = stored
            .filter_map(|s| self.step.initial.get(&s.name).map(|array| (s.name.clone(), array.clone())))
            .collect();
        let weights = weights::encode(&stored).map_err(in_weights)?;
        let reference = self.reference.encode(self.manifest.input.modality)?;
        let parts = [self.encoder.as_slice(), &self.step.onnx, &weights, &reference];
        let parts = PARTS.iter().skip(1).zip(parts).map(|(name, part)| PartDigest {
            name: (*name).into(),
            bytes: part.len() as u64,
            sha256: archive::sha256(part),
        });
        let manifest = Manifest { parts: parts.collect(), ..self.manifest.clone() }.encode()?;
        Ok(Encoded { manifest, weights, reference })
    }
}

/// What packing makes anew.
struct Encoded {
    manifest: Vec<u8>,
    weights: Vec<u8>,
    reference: Vec<u8>,
}

fn in_weights(source: WeightsError) -> BundleError {
    BundleError::Weights { part: WEIGHTS, source }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, BundleError> {
    let failed = |step| move |source| BundleError::Io { step, source };
    let metadata = std::fs::metadata(path).map_err(failed("opening"))?;
    if !metadata.is_file() {
        return Err(BundleError::NotAFile);
    }
    let too_large =
        |found| BundleError::TooLarge { what: "the bundle".into(), found, limit: MAX_BUNDLE_BYTES };
    if metadata.len() > MAX_BUNDLE_BYTES {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    File::open(path)
        .and_then(|file| file.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed("reading"))?;
    if bytes.len() as u64 > MAX_BUNDLE_BYTES { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

fn check_digests(stated: &[PartDigest], found: [&[u8]; PARTS.len() - 1]) -> Result<(), BundleError> {
    let wanted = || PARTS.into_iter().skip(1);
    if !stated.iter().map(|part| part.name.as_str()).eq(wanted()) {
        let found = stated.iter().map(|part| part.name.clone()).collect();
        return Err(BundleError::PartList { found, wanted: wanted().collect() });
    }
    for ((name, stated), part) in wanted().zip(stated).zip(found) {
        if stated.bytes != part.len() as u64 {
            return Err(BundleError::PartSize { name, found: part.len() as u64, stated: stated.bytes });
        }
        let found = archive::sha256(part);
        if stated.sha256 != found {
            return Err(BundleError::Digest { name, found, stated: stated.sha256.clone() });
        }
    }
    Ok(())
}

/// Stored weights and statistics, with the optimiser's zeros added. `spec` was checked, so that the
/// zeros are bounded.
fn initial_state(spec: &StepSpec, weights: &[u8]) -> Result<Tensors, BundleError> {
    let limits = TensorLimits { bytes: weights.len(), header_bytes: 4 << 20, tensors: MAX_STATE_TENSORS };
    let mut initial = weights::decode(weights, limits).map_err(in_weights)?;
    for state in spec.state_of(StateRole::Optimizer) {
        let zeros = ArrayD::zeros(state.shape.as_slice());
        if initial.insert(state.name.clone(), zeros).is_some() {
            return Err(BundleError::UnknownTensor { part: WEIGHTS, name: state.name.clone() });
        }
    }
    Ok(initial)
}

#[cfg(test)]
mod tests;
