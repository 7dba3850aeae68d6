//! An encoder run by tract: samples in, embeddings out.

use ndarray::{Array2, ArrayViewD};

use crate::EngineError;

/// An encoder prepared for one batch size.
pub struct Encoder {
    batch: usize,
}

impl Encoder {
    /// Prepares the ONNX encoder for batches of `batch` samples.
    pub fn new(_onnx: &[u8], _batch: usize) -> Result<Self, EngineError> {
        todo!()
    }

    /// The batch size prepared for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Shape of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        todo!()
    }

    /// Values in one embedding.
    pub fn dim(&self) -> usize {
        todo!()
    }

    /// Embeds `samples` `[n, ...sample]`, any `n`; gives `[n, dim]`. The last partial batch is padded.
    pub fn embed(&mut self, _samples: ArrayViewD<'_, f32>) -> Result<Array2<f32>, EngineError> {
        todo!()
    }
}
