//! One session of a run: from where the last one stopped to where this one does.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sedge_models::bundle::Bundle;
use sedge_readings::{Event, Span, Timestamp};

use super::feed::{Fed, Feed, Position};
use super::{RunConfig, checkpoint};
use crate::checkpoint::{Checkpoint, Header};
use crate::device::Device;
use crate::output::{EmbeddingRecord, EventRecord, Happening, LineFile, Sink, replace_file, write_mcap};
use crate::source::Stream;
use crate::summary::{Report, Summary, peak_rss_bytes};
use crate::{OutputError, RunError, SourceAccount, SourceIdentity};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The two files of results.
struct Files {
    embeddings: LineFile,
    events: LineFile,
}

impl Sink for Files {
    fn embedding(&mut self, record: &EmbeddingRecord<'_>) -> Result<(), OutputError> {
        self.embeddings.append(record)
    }

    fn event(&mut self, record: &EventRecord) -> Result<(), OutputError> {
        tracing::debug!(t_ns = record.t_ns, event = ?record.what);
        self.events.append(record)
    }
}

pub(super) struct Session<'a> {
    config: &'a RunConfig,
    bundle: &'a Bundle,
    digest: String,
    identity: SourceIdentity,
    device: Device,
    files: Files,
    sessions: u64,
    position: Position,
    first: Option<Timestamp>,
    saved: Timestamp,
    start: Instant,
    /// Held open for its lock.
    _lock: File,
}

/// Why a session ends.
enum Stop {
    Told,
    Seconds,
    Source(Option<String>),
}

impl<'a> Session<'a> {
    pub(super) fn open(
        config: &'a RunConfig,
        bundle: &'a Bundle,
        identity: SourceIdentity,
    ) -> Result<Self, RunError> {
        let start = Instant::now();
        let digest = bundle.digest()?;
        let lock = lock(&config.out)?;
        let checkpoint = checkpoint(config, &digest, &identity)?;
        let header = checkpoint.as_ref().map(|checkpoint| checkpoint.header.clone());
        let device = match checkpoint {
            Some(checkpoint) => Device::resume(bundle, &config.device, checkpoint.into_device())?,
            None => Device::new(bundle, &config.device)?,
        };
        let keep = header.as_ref().map_or([0, 0], |h| [h.embeddings_bytes, h.events_bytes]);
        let open = |name: &str, keep| LineFile::open(&config.out.join(name), keep, config.max_output_bytes);
        let files =
            Files { embeddings: open("embeddings.jsonl", keep[0])?, events: open("events.jsonl", keep[1])? };
        let saved = device.now();
        Ok(Self {
            config,
            bundle,
            digest,
            identity,
            device,
            files,
            sessions: header.as_ref().map_or(0, |h| h.sessions) + 1,
            position: header
                .as_ref()
                .map_or(Position::default(), |h| Position { consumed: h.consumed, overrun: h.overrun }),
            first: header.as_ref().and_then(|h| h.first_ns).map(Timestamp::from_nanos),
            saved,
            start,
            _lock: lock,
        })
    }

    pub(super) fn run(mut self, stream: Stream) -> Result<Summary, RunError> {
        let (resumed_after, bundle) = (self.position.consumed, self.digest.clone());
        self.tell(Happening::Started { version: VERSION.into(), bundle, resumed_after })?;
        tracing::info!(bundle = %self.bundle.manifest.name, source = %self.identity, resumed_after, "running");
        let mut feed = Feed::new(stream, self.position, self.config.device.pace)?;
        let stop = self.follow(&mut feed)?;
        self.finish(stop, feed.finish())
    }

    fn follow(&mut self, feed: &mut Feed) -> Result<Stop, RunError> {
        loop {
            if self.config.stop.load(Ordering::Acquire) {
                return Ok(Stop::Told);
            }
            match feed.next() {
                Fed::Event(event) => {
                    if self.is_past_the_end(&event) {
                        return Ok(Stop::Seconds);
                    }
                    self.position = feed.position();
                    self.device.push(event, &mut self.files)?;
                    self.save_if_due()?;
                }
                Fed::Nothing(now) => self.device.tick(now, &mut self.files)?,
                ended @ (Fed::Failed(_) | Fed::End) => {
                    self.position = feed.position();
                    let error = if let Fed::Failed(error) = ended { Some(error.to_string()) } else { None };
                    return Ok(Stop::Source(error));
                }
            }
        }
    }

    /// Whether the event lies beyond the seconds asked for; it is then left for the next session.
    fn is_past_the_end(&mut self, event: &Event) -> bool {
        let first = *self.first.get_or_insert(event.at());
        self.config.seconds.is_some_and(|seconds| event.at().since(first).as_secs_f64() >= seconds)
    }

    fn save_if_due(&mut self) -> Result<(), RunError> {
        let since: Span = self.device.now().since(self.saved);
        if since.as_secs_f64() < self.config.checkpoint_seconds {
            return Ok(());
        }
        self.save()
    }

    /// Has the results on disk, then the checkpoint that speaks of them.
    fn save(&mut self) -> Result<(), RunError> {
        let most = self.config.checkpoint_sample_bytes;
        let state = self.device.save(most, &mut self.files)?;
        let header = Header {
            version: VERSION.into(),
            bundle: self.digest.clone(),
            config: self.config.device.clone(),
            source: self.identity.clone(),
            sessions: self.sessions,
            consumed: self.position.consumed,
            overrun: self.position.overrun,
            first_ns: self.first.map(Timestamp::nanos),
            embeddings_bytes: self.files.embeddings.sync()?,
            events_bytes: self.files.events.sync()?,
            device: state.figures,
        };
        let (learner, tensors, samples) = (state.learner, state.tensors, state.samples);
        Checkpoint { header, learner, tensors, samples }.write(&self.config.out)?;
        self.saved = self.device.now();
        Ok(())
    }

    fn finish(mut self, stop: Stop, source_account: SourceAccount) -> Result<Summary, RunError> {
        let (ended, source_error) = match stop {
            Stop::Source(error) => (true, error),
            Stop::Told | Stop::Seconds => (false, None),
        };
        if let Some(reason) = &source_error {
            tracing::error!(%reason, "the source failed");
            self.tell(Happening::SourceFailed { reason: reason.clone() })?;
        }
        // A stream that goes on later keeps its waiting frames for then.
        let report =
            if ended { self.device.finish(&mut self.files)? } else { self.device.report(&mut self.files)? };
        self.tell(Happening::Ended { stream: ended })?;
        self.save()?;
        let summary = self.summarise(ended, source_error, source_account, report);
        let out = &self.config.out;
        write_mcap(&out.join("stream.mcap"), self.files.embeddings.path(), self.files.events.path())?;
        write_json(&out.join("summary.json"), &summary)?;
        if let Some(path) = &self.config.json {
            write_json(path, &summary)?;
        }
        Ok(summary)
    }

    fn summarise(
        &self,
        ended: bool,
        source_error: Option<String>,
        source_account: SourceAccount,
        mut report: Report,
    ) -> Summary {
        let device = &self.device;
        let [frames, samples] = self.position.overrun;
        report.frames.overrun(frames);
        report.imu.overrun(samples);
        let first = self.first.unwrap_or(device.now());
        Summary {
            version: VERSION,
            bundle: self.bundle.manifest.name.clone(),
            bundle_digest: self.digest.clone(),
            source: self.config.source.clone(),
            seed: self.config.device.seed,
            config: self.config.device.clone(),
            sessions: self.sessions,
            events: self.position.consumed,
            stream_s: device.now().since(first).as_secs_f64(),
            ended,
            source_error,
            source_account,
            report,
            wall_s: self.start.elapsed().as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
        }
    }

    fn tell(&mut self, what: Happening) -> Result<(), OutputError> {
        self.files.event(&EventRecord { t_ns: self.device.now().nanos(), what })
    }
}

/// Makes the folder and takes it for this process.
fn lock(out: &Path) -> Result<File, OutputError> {
    let failed = |step| move |source| OutputError::Io { step, path: out.to_owned(), source };
    std::fs::create_dir_all(out).map_err(failed("making the folder"))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(out.join("lock"))
        .map_err(failed("locking"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OutputError::InUse { path: out.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed("locking")(source)),
    }
}

fn write_json(path: &Path, summary: &Summary) -> Result<(), OutputError> {
    replace_file(path, |file| {
        let mut bytes = serde_json::to_vec_pretty(summary)?;
        bytes.push(b'\n');
        std::io::Write::write_all(file, &bytes).map_err(|source| OutputError::Io {
            step: "writing",
            path: path.to_owned(),
            source,
        })
    })
}
