//! Where training takes its samples from: a data set in memory, or a stream that need not fit there.

use std::sync::Arc;

use sedge_models::{InputSpec, Modality};

use super::dataset::Dataset;
use super::stream::Stream;

/// A data set in memory or a stream.
#[derive(Clone, Debug)]
pub enum Origin {
    /// In memory.
    Held(Arc<Dataset>),
    /// Read again in every epoch.
    Streamed(Arc<Stream>),
}

impl Origin {
    /// All samples, or those that a stream surveyed: enough for shapes and for measuring.
    pub fn known(&self) -> &Dataset {
        match self {
            Self::Held(data) => data,
            Self::Streamed(stream) => stream.survey(),
        }
    }

    /// Samples of an epoch.
    pub fn samples(&self) -> u64 {
        match self {
            Self::Held(data) => data.len() as u64,
            Self::Streamed(stream) => stream.samples(),
        }
    }

    /// What the samples are.
    pub fn modality(&self) -> Modality {
        self.known().modality()
    }

    /// What an encoder for this data reads, normalised by what is known of the data; see
    /// [`Dataset::input_spec`].
    pub fn input_spec(&self, image_size: Option<usize>) -> InputSpec {
        self.known().input_spec(image_size)
    }

    /// SHA-256 in hexadecimal by which the data is known again; see [`Dataset::digest`] and
    /// [`Stream::digest`].
    pub fn digest(&self) -> String {
        match self {
            Self::Held(data) => data.digest(),
            Self::Streamed(stream) => stream.digest().to_owned(),
        }
    }
}

impl From<Arc<Dataset>> for Origin {
    fn from(data: Arc<Dataset>) -> Self {
        Self::Held(data)
    }
}

impl From<Arc<Stream>> for Origin {
    fn from(stream: Arc<Stream>) -> Self {
        Self::Streamed(stream)
    }
}
