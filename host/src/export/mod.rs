//! From a trained encoder to what a board runs: ONNX with batch norm folded, checked against the form
//! it was trained in, and a bundle around it.

use ndarray::{Array2, ArrayD, Axis};
use sedge_engine::{Encoder, EngineError, TractStep};
use sedge_models::architecture::Form;
use sedge_models::bundle::{AdaptationDefaults, Bundle, BundleError, FORMAT, MadeBy, Manifest, Reference};
use sedge_models::selection::Selection;
use sedge_models::{InputSpec, StateRole};
use serde::Serialize;

use crate::data::{DataError, Dataset};
use crate::encoder::{self, EncoderError, Trained};

/// Largest relative difference between the training form's and the exported file's embeddings.
pub const PARITY: f32 = 1e-4;
/// Bytes of reference inputs in a bundle, about.
const REFERENCE_BYTES: usize = 48 << 10;
/// Most reference inputs.
const MAX_REFERENCES: usize = 32;

/// How the board adapts, and what the bundle is called.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// One line.
    pub name: String,
    /// Which weights the board trains.
    pub train: Selection,
    /// Rows of a step on the board: twice its pairs.
    pub batch: usize,
    /// Learning rate on the board.
    pub lr: f32,
    /// Temperature of its loss.
    pub temperature: f32,
    /// Weight decay on the board.
    pub weight_decay: f32,
    /// What the bundle says of its origin.
    pub made_by: MadeBy,
}

/// How close two forms of one encoder came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Parity {
    /// Samples compared.
    pub samples: usize,
    /// Largest difference over the largest value.
    pub relative: f32,
}

/// Why an encoder could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A graph could not be built or run.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The bundle would not be valid.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The data does not fit the encoder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The exported file does not compute what the trained encoder does.
    #[error(
        "the exported encoder differs from the trained one by {:e} of its largest value, more than {PARITY:e}; \
         its running statistics may be degenerate: train longer, or look at the data's scale",
        .0.relative
    )]
    Parity(Parity),
}

impl From<EngineError> for ExportError {
    fn from(error: EngineError) -> Self {
        Self::Encoder(error.into())
    }
}

/// Packs `trained` with reference samples taken evenly from `data`.
///
/// # Errors
/// [`ExportError`]; in particular when the exported file, run by the board's engine, and the encoder
/// with batch norm unfolded disagree by more than [`PARITY`].
pub fn pack(
    trained: &Trained,
    data: &Dataset,
    options: &ExportOptions,
) -> Result<(Bundle, Parity), ExportError> {
    let onnx = encoder::onnx(trained, Form::Folded)?;
    let indices = reference_indices(data, &trained.input);
    let inputs = natural(&data.subset(&indices)?, &trained.input)?;
    let samples = normalised(inputs.clone(), &trained.input);
    let run = |onnx: &[u8]| Encoder::new(onnx, indices.len())?.embed(samples.view());
    let embeddings = run(&onnx)?;
    let unfolded = run(&encoder::onnx(trained, Form::Inference)?)?;
    let parity = compare(&embeddings, &unfolded);
    if parity.relative > PARITY || parity.relative.is_nan() {
        return Err(ExportError::Parity(parity));
    }
    let rates = (options.lr, options.weight_decay, options.temperature);
    let step = encoder::board_step(trained, &options.train, options.batch, rates, options.made_by.seed)?;
    // A step that the engine refuses must not reach a board.
    let plan = TractStep::new(&step)?.plan().clone();
    let manifest = Manifest {
        format: FORMAT,
        name: options.name.clone(),
        made_by: options.made_by.clone(),
        input: trained.input.clone(),
        embedding_dim: trained.architecture.embedding_dim(),
        training: step.spec.clone(),
        adaptation: AdaptationDefaults {
            lr: options.lr,
            temperature: options.temperature,
            weight_decay: options.weight_decay,
            batch: options.batch,
            trains: trains(&options.train, &step.spec),
        },
        selection: Some(options.train.clone()),
        plan: Some(plan),
        parts: vec![],
    };
    let reference = Reference { inputs, embeddings };
    Ok((Bundle { manifest, encoder: onnx, step, reference }, parity))
}

/// Largest difference of two sets of embeddings, relative to the largest value.
pub fn compare(a: &Array2<f32>, b: &Array2<f32>) -> Parity {
    let scale = b.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    // A NaN must not be lost in the maximum.
    let worst = a.iter().zip(b).fold(0f32, |m, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_nan() { f32::NAN } else { m.max(difference) }
    });
    Parity { samples: a.nrows(), relative: worst / scale }
}

fn trains(selection: &Selection, spec: &sedge_models::StepSpec) -> String {
    let values: usize = spec.state_of(StateRole::Parameter).map(|s| s.shape.iter().product::<usize>()).sum();
    let part = match selection {
        Selection::Head => "the projection head".to_string(),
        Selection::Last(n) => format!("the projection head and the last {n} stages"),
        Selection::All => "the projection head and the whole encoder".to_string(),
        _ => "the projection head and part of the encoder".to_string(),
    };
    format!("{part} ({selection}), {values} values")
}

/// Which samples a board checks itself by, evenly over the data, as many as take little room.
pub(crate) fn reference_indices(data: &Dataset, input: &InputSpec) -> Vec<usize> {
    let bytes = match input.modality {
        sedge_models::Modality::Image => input.values(),
        sedge_models::Modality::Imu | sedge_models::Modality::Text => 4 * input.values(),
    };
    let count = (REFERENCE_BYTES / bytes.max(1)).clamp(1, MAX_REFERENCES).min(data.len());
    (0..count).map(|i| i * data.len() / count.max(1)).collect()
}

/// The samples at the encoder's size in natural units, images rounded to bytes so that the file holds
/// exactly what was embedded.
pub(crate) fn natural(references: &Dataset, input: &InputSpec) -> Result<ArrayD<f32>, ExportError> {
    let plain =
        InputSpec { mean: vec![0.0; input.channels()], std: vec![1.0; input.channels()], ..input.clone() };
    let indices: Vec<usize> = (0..references.len()).collect();
    let values = references.batch_f32(&indices, &plain)?;
    Ok(match input.modality {
        sedge_models::Modality::Image => values.mapv(|v| (v * 255.0).round().clamp(0.0, 255.0) / 255.0),
        sedge_models::Modality::Imu | sedge_models::Modality::Text => values,
    })
}

/// `(value - mean) / std` for each channel of `[n, channels, ...]`; the tokens of texts stay as they are.
pub(crate) fn normalised(mut samples: ArrayD<f32>, input: &InputSpec) -> ArrayD<f32> {
    if input.modality == sedge_models::Modality::Text {
        return samples;
    }
    for ((mut channel, mean), std) in samples.axis_iter_mut(Axis(1)).zip(&input.mean).zip(&input.std) {
        channel.mapv_inplace(|v| (v - mean) / std);
    }
    samples
}
