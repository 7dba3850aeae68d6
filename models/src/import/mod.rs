//! A stranger's encoder, read into a form that the compiler can train. ONNX files of one net differ by
//! exporter, by version, and by what the exporter thought nobody would want to change: the batch, the
//! names of weights, norms, which weights are one. Here all that is undone, proto to proto: the result is
//! again ONNX, with a fixed batch, one row a sample, every weight an initializer of its own under a name
//! that is known again, and batch norms in the form asked for. What was changed is said in words, and
//! [`Imported::write_back`] goes the whole way back, into the very file.

mod batch;
mod blocks;
mod channels;
mod draft;
mod embedding;
mod error;
mod floats;
mod fold;
mod names;
mod naming;
mod norm;
mod restore;
mod roles;
mod shapes;
#[cfg(test)]
mod tests;
mod trace;
mod trim;
mod weights;

use std::collections::BTreeMap;

use tract_onnx::pb;

pub use batch::MAX_BATCH;
pub use error::ImportError;

use crate::onnx::{default_opset, read};
use crate::selection::Weight;
use crate::tensors::Tensors;
use draft::Draft;
use fold::Folded;
use weights::Origin;

/// How an encoder is to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Samples in a batch, fixed in the imported graph; 1 to [`MAX_BATCH`].
    pub batch: usize,
    /// What becomes of batch norms.
    pub norm: NormForm,
    /// Shape of one sample as the file takes it, without the batch; needed where the file leaves axes open.
    pub input_shape: Option<Vec<usize>>,
    /// The value that is the embedding, an output or any other; the first output when `None`.
    pub output: Option<String>,
    /// Whether an array that the file stores once and several layers read stays one weight. Exporters store
    /// equal arrays once even when their layers share nothing, so this is asked for only when they do.
    pub keep_tied: bool,
}

impl ImportOptions {
    /// Everything as the file has it, at this batch and with norms in this form.
    pub fn new(batch: usize, norm: NormForm) -> Self {
        Self { batch, norm, input_shape: None, output: None, keep_tied: false }
    }
}

/// What becomes of batch norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormForm {
    /// Folded into the convolution or matrix before; where there is none, as [`NormForm::Affine`].
    Folded,
    /// By the stored statistics, which stay fixed, with trained scale and shift.
    Affine,
    /// By the statistics of the batch, which leave as outputs `<norm>.batch_mean` and `<norm>.batch_var`
    /// `[1, c, 1...]`; the running ones are state.
    Statistics,
}

/// Where the file has a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What the file stores it as; empty for a bias that folding made.
    pub original: String,
    /// Axis `i` of the imported weight is axis `axes[i]` of the array of the framework that exported it, as
    /// far as the file tells: exporters store the matrix of a linear layer transposed.
    pub axes: Vec<usize>,
}

/// An encoder in the form that [`crate::compile::compile`] takes.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The graph: one input `[batch, ...sample]`; outputs `[batch, width]`, then batch statistics.
    pub model: pb::ModelProto,
    /// Its weights from input to output.
    pub weights: Vec<Weight>,
    /// Where the file has each weight, by the weight's name.
    pub sources: BTreeMap<String, Source>,
    /// Its blocks from input to output, each a stretch that begins behind a value through which everything
    /// passes, by the layers' common name in the file, or `block<n>`.
    pub blocks: Vec<String>,
    /// Running statistics at the start, for [`NormForm::Statistics`].
    pub statistics: Tensors,
    /// Shape of the input, the batch included.
    pub input_shape: Vec<usize>,
    /// Values of one embedding.
    pub width: usize,
    /// What was changed, in words.
    pub notes: Vec<String>,
    origins: BTreeMap<String, Origin>,
    folded: Vec<Folded>,
}

/// Imports the encoder in `bytes`.
///
/// # Errors
/// See [`ImportError`]; bytes of any kind give an error or an encoder, never a panic.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, ImportError> {
    let model = read::parse(bytes)?;
    let opset = default_opset(&model).unwrap_or(0);
    let mut draft = Draft::new(model.graph.unwrap_or_default(), opset);
    let converted = floats::to_single(&mut draft.graph);
    if converted > 0 {
        draft.note(format!("{converted} arrays of doubles or halves were converted to floats"));
    }
    trim::inputs(&mut draft);
    trim::outputs(&mut draft, options.output.as_deref())?;
    let mut input = batch::input(&mut draft, options)?;
    let (mut found, mut origins) = weights::find(&mut draft, options.keep_tied)?;
    trim::passages(&mut draft);
    channels::first(&mut draft, &mut input);
    let mut shapes = batch::fix(&mut draft, &input, options.batch)?;
    let width = embedding::row(&mut draft, &mut shapes, &found)?;
    let normed = norm::rewrite(&mut draft, options.norm, &shapes, &mut found, &mut origins)?;
    draft.sweep();
    let left: std::collections::HashSet<&String> = draft.graph.initializer.iter().map(|t| &t.name).collect();
    found.retain(|w| left.contains(&w.name));
    let (blocks, numbers) = blocks::of(&draft, &found);
    let model = batch::model(&draft);
    let last = shapes::of(&model, "with the imported form of its norms")?;
    let embedding = draft.graph.output.first().map(|o| o.name.clone()).unwrap_or_default();
    if last.get(&embedding).is_some_and(|shape| *shape != [options.batch, width]) {
        let shape = last.get(&embedding).cloned().unwrap_or_default();
        let reason = "it changed its shape while norms were rewritten; import with `NormForm::Affine`".into();
        return Err(ImportError::Embedding { output: embedding, shape, reason });
    }
    let (mut weights, mut sources) = (vec![], BTreeMap::new());
    for (found, block) in found.into_iter().zip(numbers) {
        sources.insert(found.name.clone(), Source { original: found.original, axes: found.axes });
        weights.push(Weight { name: found.name, shape: found.shape, kind: found.kind, block });
    }
    Ok(Imported {
        weights,
        sources,
        model,
        blocks,
        statistics: normed.statistics,
        input_shape: [&[options.batch], input.sample.as_slice()].concat(),
        width,
        notes: draft.notes,
        origins,
        folded: normed.folded,
    })
}

impl Imported {
    /// `original`, the file that was imported, with the weights and running statistics that `state` holds
    /// under the imported names. What `state` lacks stays, what the encoder does not have is skipped. A norm
    /// that was folded becomes the identity plus the layer's new bias.
    ///
    /// # Errors
    /// When `original` is another file, or a value of `state` has another shape.
    pub fn write_back(&self, original: &[u8], state: &Tensors) -> Result<Vec<u8>, ImportError> {
        restore::write(self, original, state)
    }
}
