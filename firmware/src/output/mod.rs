//! Results: what is recorded, and where it goes.
//!
//! While a run goes on, embeddings and events are appended to two files of JSON lines, which a reader
//! can follow. The lines are the one authority: a checkpoint notes how long the files were, a resumed
//! run cuts them back to that, and the MCAP file is made from them, whole, at the end of each session.
//! So a record is neither lost nor written twice, whatever ended the session before.

mod lines;
mod mcap;
mod record;
mod replace;

pub use lines::{LineFile, MAX_OUTPUT_BYTES};
pub use mcap::write_mcap;
pub use record::{EmbeddingRecord, EventRecord, Happening, MotionRecord, SensorRecord};
pub use replace::replace_file;
pub(crate) use replace::{remove_leftovers, show_file};

use crate::OutputError;

/// Takes a device's results as they come.
pub trait Sink {
    /// A frame or window was embedded.
    fn embedding(&mut self, record: &EmbeddingRecord<'_>) -> Result<(), OutputError>;

    /// Something else happened.
    fn event(&mut self, record: &EventRecord) -> Result<(), OutputError>;
}

/// Keeps results in memory, for rehearsals and tests.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Time in nanoseconds, number and embedding of every frame or window.
    pub embeddings: Vec<(u64, u64, Vec<f32>)>,
    /// Everything else that happened.
    pub events: Vec<EventRecord>,
}

impl Sink for Collected {
    fn embedding(&mut self, record: &EmbeddingRecord<'_>) -> Result<(), OutputError> {
        self.embeddings.push((record.t_ns, record.index, record.embedding.to_vec()));
        Ok(())
    }

    fn event(&mut self, record: &EventRecord) -> Result<(), OutputError> {
        self.events.push(record.clone());
        Ok(())
    }
}
