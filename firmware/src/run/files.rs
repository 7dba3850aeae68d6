//! The files of results, and what happens when the disk has no more room for them.
//!
//! Over a recording that is an error: the run is repeated when there is room. A board's moments do not come
//! again, and what the daemon computes is for others too, so there what cannot be written is dropped and
//! counted, and the daemon goes on.

use std::time::Instant;

use crate::OutputError;
use crate::output::{EmbeddingRecord, EventRecord, LineFile, SensorRecord, Sink};

/// Where results go.
pub(super) struct Files {
    pub(super) embeddings: LineFile,
    pub(super) events: LineFile,
    /// Readings of a board's other sensors.
    pub(super) sensors: Option<LineFile>,
    /// Whether the daemon goes on when the disk does not take what it is given.
    pub(super) goes_on: bool,
    /// Records dropped because the disk did not take them.
    pub(super) lost: u64,
    /// Whether the last record was dropped.
    pub(super) failing: bool,
    /// When the first and the last embedding of this session was made.
    pub(super) embedded: Option<(Instant, Instant)>,
}

impl Files {
    /// Takes a failure for what it is; see [`Files::goes_on`].
    pub(super) fn tolerate(&mut self, written: Result<(), OutputError>) -> Result<(), OutputError> {
        match written {
            Err(error) if self.goes_on && error.is_of_the_disk() => {
                if !self.failing {
                    tracing::error!(%error, "records are dropped until this is mended");
                }
                self.failing = true;
                self.lost += 1;
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.failing = false;
                Ok(())
            }
        }
    }

    /// Appends a sensor's reading.
    pub(super) fn sensor(&mut self, record: &SensorRecord<'_>) -> Result<(), OutputError> {
        let written = self.sensors.as_mut().map_or(Ok(()), |sensors| sensors.append(record));
        self.tolerate(written)
    }

    /// Hands every line to the system, for readers that follow the files.
    pub(super) fn flush(&mut self) -> Result<(), OutputError> {
        let files = [Some(&mut self.embeddings), Some(&mut self.events), self.sensors.as_mut()];
        let flushed = files.into_iter().flatten().try_for_each(LineFile::flush);
        // A record that cannot be handed on yet is not lost.
        let lost = self.lost;
        let tolerated = self.tolerate(flushed);
        self.lost = lost;
        tolerated
    }
}

impl Sink for Files {
    fn embedding(&mut self, record: &EmbeddingRecord<'_>) -> Result<(), OutputError> {
        let now = Instant::now();
        self.embedded = Some((self.embedded.map_or(now, |(first, _)| first), now));
        let written = self.embeddings.append(record);
        self.tolerate(written)
    }

    fn event(&mut self, record: &EventRecord) -> Result<(), OutputError> {
        tracing::debug!(t_ns = record.t_ns, event = ?record.what);
        let written = self.events.append(record);
        self.tolerate(written)
    }
}
