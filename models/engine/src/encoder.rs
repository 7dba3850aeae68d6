//! An encoder run by tract: samples in, embeddings out.

use std::time::Duration;

use ndarray::{Array2, ArrayD, ArrayViewD, Axis, IxDyn, Slice, s};
use tract_onnx::prelude::*;

use crate::graph::{Graph, Result, finite, floats, value};
use crate::{EngineError, Options};

const WHAT: &str = "encoder";

/// An encoder prepared for one batch size.
pub struct Encoder {
    graph: Graph,
    batch: usize,
    sample: Vec<usize>,
    dim: usize,
}

impl Encoder {
    /// Prepares the ONNX encoder for batches of `batch` samples. A file whose batch is fixed keeps its
    /// own, which [`Encoder::batch`] then tells.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the file is not valid ONNX, uses an operator that tract lacks, or is
    /// not an encoder: one float input `[batch, ...]`, first output `[batch, dim]`.
    pub fn new(onnx: &[u8], batch: usize) -> Result<Self> {
        Self::with_options(onnx, batch, Options::default())
    }

    /// [`Encoder::new`], run as `options` say.
    ///
    /// # Errors
    /// As [`Encoder::new`], and when the threads cannot be had.
    pub fn with_options(onnx: &[u8], batch: usize, options: Options) -> Result<Self> {
        let graph = Graph::load(WHAT, onnx, Some(batch.max(1)), options)?;
        let wrong = |reason: String| EngineError::Load { what: WHAT, reason };
        let [(_, input)] = graph.inputs.as_slice() else {
            return Err(wrong(format!("an encoder has one input, this has {}", graph.inputs.len())));
        };
        let [batch, sample @ ..] = input.as_slice() else {
            return Err(wrong("its input has no batch axis".into()));
        };
        let (batch, sample) = (*batch, sample.to_vec());
        let output = graph.outputs.first().map(Vec::as_slice);
        let dim = match output {
            Some([n, dim]) if *n == batch && *dim > 0 => *dim,
            other => {
                let reason = format!("the first output must be [{batch}, dim], it is {other:?}");
                return Err(wrong(reason));
            }
        };
        if sample.is_empty() || sample.contains(&0) {
            return Err(wrong(format!("one sample has shape {sample:?}")));
        }
        Ok(Self { graph, batch, sample, dim })
    }

    /// The batch size prepared for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Shape of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample
    }

    /// Values in one embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Embeds `samples` `[n, ...sample]`, any `n`; gives `[n, dim]`. The last partial batch is padded.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when samples have another shape, [`EngineError::NotFinite`] when a sample
    /// or an embedding holds NaN or infinity, [`EngineError::Run`] when the graph fails.
    pub fn embed(&mut self, samples: ArrayViewD<'_, f32>) -> Result<Array2<f32>> {
        let wanted: Vec<usize> = std::iter::once(self.batch).chain(self.sample.iter().copied()).collect();
        if samples.ndim() != wanted.len() || samples.shape()[1..] != wanted[1..] {
            return Err(EngineError::Shape { name: "samples".into(), found: samples.shape().into(), wanted });
        }
        finite("samples", &samples)?;
        let n = samples.shape()[0];
        let mut embeddings = Array2::zeros((n, self.dim));
        for start in (0..n).step_by(self.batch) {
            let end = (start + self.batch).min(n);
            let chunk = samples.slice_axis(Axis(0), Slice::from(start..end));
            let output = if end - start == self.batch {
                self.run(chunk)?
            } else {
                let mut padded = ArrayD::zeros(IxDyn(&wanted));
                padded.slice_axis_mut(Axis(0), Slice::from(0..end - start)).assign(&chunk);
                self.run(padded.view())?
            };
            let values = floats(WHAT, &output)?;
            let rows = values.values().chunks_exact(self.dim);
            for (mut row, values) in embeddings.slice_mut(s![start..end, ..]).outer_iter_mut().zip(rows) {
                if values.iter().any(|v| !v.is_finite()) {
                    return Err(EngineError::NotFinite { name: "embedding".into() });
                }
                row.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
            }
        }
        Ok(embeddings)
    }

    /// Runs one batch, forgets its embeddings, and tells how long the operators of each kind took.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when `samples` are not one batch, otherwise as [`Encoder::embed`].
    pub fn profile(&mut self, samples: ArrayViewD<'_, f32>) -> Result<Vec<(String, Duration)>> {
        let wanted: Vec<usize> = std::iter::once(self.batch).chain(self.sample.iter().copied()).collect();
        if samples.shape() != wanted {
            return Err(EngineError::Shape { name: "samples".into(), found: samples.shape().into(), wanted });
        }
        finite("samples", &samples)?;
        let input = value(samples).map_err(|e| EngineError::Run { what: WHAT, reason: format!("{e:#}") })?;
        self.graph.profile(tvec!(input))
    }

    fn run(&mut self, batch: ArrayViewD<'_, f32>) -> Result<TValue> {
        let failed = |reason: String| EngineError::Run { what: WHAT, reason };
        let input = value(batch).map_err(|e| failed(format!("{e:#}")))?;
        let outputs = self.graph.run(tvec!(input))?;
        outputs.into_iter().next().ok_or_else(|| failed("it gave no output".into()))
    }
}
