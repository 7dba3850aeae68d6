//! One session of a run: from where the last one stopped to where this one does.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sd_notify::NotifyState;
use sedge_boards::Board;
use sedge_core::Rest;
use sedge_models::bundle::Bundle;
use sedge_readings::{Span, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::feed::{Fed, Feed, Position};
use super::files::Files;
use super::upkeep::{Upkeep, notify};
use super::{RunConfig, checkpoint};
use crate::checkpoint::{Checkpoint, Header};
use crate::device::Device;
use crate::live::{BETWEEN_SESSIONS, DeviceCondition, Live, LivePlan, Said, Shown};
use crate::output::{
    EventRecord, Happening, LineFile, SensorRecord, Sink, remove_leftovers, replace_file, show_file,
    write_mcap,
};
use crate::source::Stream;
use crate::status::{AdaptingStatus, STATUS_FILE, Status, unix_s};
use crate::summary::{Report, Summary, peak_rss_bytes, rss_bytes};
use crate::{DeviceError, OutputError, Pace, RunError, SourceAccount, SourceIdentity};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) struct Session<'a> {
    config: &'a RunConfig,
    bundle: &'a Bundle,
    digest: String,
    identity: SourceIdentity,
    device: Device,
    files: Files,
    sessions: u64,
    labels: u64,
    position: Position,
    first: Option<Timestamp>,
    saved: Timestamp,
    /// When a checkpoint of this session was written.
    checkpointed: Option<Instant>,
    start: Instant,
    upkeep: Upkeep,
    board: Option<String>,
    /// Held open for its lock.
    _lock: File,
}

/// Where a session's events come from.
pub(super) enum Origin {
    Stream(Stream),
    Board(LivePlan),
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
        board: Option<&Board>,
        start: Instant,
    ) -> Result<Self, RunError> {
        let digest = bundle.digest()?;
        let lock = lock(&config.out)?;
        remove_leftovers(&config.out);
        let checkpoint = checkpoint(config, &digest, &identity)?;
        let header = checkpoint.as_ref().map(|checkpoint| checkpoint.header.clone());
        let device = match checkpoint {
            Some(checkpoint) => Device::resume(bundle, &config.device, checkpoint.into_device())?,
            None => Device::new(bundle, &config.device)?,
        };
        let keep = header.as_ref().map_or([0; 3], |h| [h.embeddings_bytes, h.events_bytes, h.sensors_bytes]);
        let open = |name: &str, keep| LineFile::open(&config.out.join(name), keep, config.max_output_bytes);
        let files = Files {
            embeddings: open("embeddings.jsonl", keep[0])?,
            events: open("events.jsonl", keep[1])?,
            sensors: board.map(|_| open("sensors.jsonl", keep[2])).transpose()?,
            goes_on: board.is_some(),
            lost: 0,
            failing: false,
            embedded: None,
        };
        let saved = device.now();
        Ok(Self {
            config,
            bundle,
            digest,
            identity,
            device,
            files,
            sessions: header.as_ref().map_or(0, |h| h.sessions) + 1,
            labels: header.as_ref().map_or(0, |h| h.labels),
            position: header
                .as_ref()
                .map_or(Position::default(), |h| Position { consumed: h.consumed, overrun: h.overrun }),
            first: header.as_ref().and_then(|h| h.first_ns).map(Timestamp::from_nanos),
            saved,
            checkpointed: None,
            start,
            upkeep: Upkeep::new(config.live.root.clone(), board),
            board: board.map(|board| board.name.clone()),
            _lock: lock,
        })
    }

    pub(super) fn run(mut self, origin: Origin) -> Result<Summary, RunError> {
        let (resumed_after, bundle) = (self.position.consumed, self.digest.clone());
        self.tell(Happening::Started { version: VERSION.into(), bundle, resumed_after })?;
        tracing::info!(bundle = %self.bundle.manifest.name, source = %self.identity, resumed_after, "running");
        let mut feed = match origin {
            Origin::Stream(stream) => Feed::new(stream, self.position, self.config.device.pace)?,
            Origin::Board(plan) => self.start_board(plan)?,
        };
        notify(&[NotifyState::Ready]);
        let stop = self.follow(&mut feed)?;
        notify(&[NotifyState::Stopping]);
        self.show(&feed, true);
        self.finish(stop, feed.finish())
    }

    /// Starts a board's devices, on a clock that goes on after what an earlier session saw.
    fn start_board(&mut self, plan: LivePlan) -> Result<Feed, RunError> {
        let earlier = self.device.now();
        let base = if self.sessions > 1 { earlier + BETWEEN_SESSIONS } else { earlier };
        let board = plan.board.name.clone();
        let live = Live::start(plan, base, self.labels)?;
        self.device.tick(base, &mut self.files)?;
        self.first.get_or_insert(base);
        self.tell(Happening::Live { board, unix_s: unix_s() })?;
        Ok(Feed::live(live, self.position))
    }

    fn follow(&mut self, feed: &mut Feed) -> Result<Stop, RunError> {
        loop {
            if self.config.stop.load(Ordering::Acquire) {
                return Ok(Stop::Told);
            }
            if self.upkeep.is_due() {
                self.keep_up(feed)?;
            }
            match feed.next() {
                Fed::Event(event) => {
                    if self.is_past_the_end(event.at()) {
                        return Ok(Stop::Seconds);
                    }
                    self.position = feed.position();
                    self.device.push(event, &mut self.files)?;
                    self.save_if_due()?;
                }
                Fed::Said(said) => self.hear(said)?,
                Fed::Nothing(now) => {
                    // A stream at its own pace may yet bring an event of before the end; a board is at it.
                    if feed.board().is_some() && self.is_past_the_end(now) {
                        return Ok(Stop::Seconds);
                    }
                    self.device.tick(now, &mut self.files)?;
                    self.save_if_due()?;
                }
                ended @ (Fed::Failed(_) | Fed::End) => {
                    self.position = feed.position();
                    let error = if let Fed::Failed(error) = ended { Some(error.to_string()) } else { None };
                    return Ok(Stop::Source(error));
                }
            }
        }
    }

    /// Takes in a board's news.
    fn hear(&mut self, said: Said) -> Result<(), RunError> {
        let (at, what) = match said {
            Said::Event(event) => return Ok(self.device.push(event, &mut self.files)?),
            Said::Measured(sensor, reading) => {
                return Ok(self.files.sensor(&SensorRecord::new(sensor.name(), &reading))?);
            }
            Said::Changed { device, at, change, reason } => {
                let device = device.name().to_owned();
                tracing::info!(device, ?change, reason, "a device");
                (at, Happening::Device { device, change, reason })
            }
            Said::Label { at, press } => {
                self.labels = press;
                (at, Happening::Label { press })
            }
        };
        Ok(self.files.event(&EventRecord { t_ns: at.nanos(), what })?)
    }

    /// What is due about once a second of the machine's clock.
    fn keep_up(&mut self, feed: &Feed) -> Result<(), RunError> {
        self.upkeep.alive();
        if self.config.device.pace == Pace::Realtime {
            self.files.flush()?;
        }
        if let Some(live) = feed.board() {
            if let Some(warmth) = self.upkeep.warmth() {
                self.device.heat(warmth)?;
            }
            if let Some(bytes) = rss_bytes() {
                self.device.memory(bytes)?;
            }
            let fails = self.files.failing || !live.is_well();
            live.light().show(match (fails, self.device.is_adapting()) {
                (true, _) => Shown::Failing,
                (false, true) => Shown::Adapting,
                (false, false) => Shown::Running,
            });
        }
        if self.upkeep.is_status_due() {
            self.show(feed, false);
        }
        Ok(())
    }

    /// Shows the session's state in the status file and to the service manager.
    fn show(&mut self, feed: &Feed, stopped: bool) {
        let status = self.status(feed, stopped);
        let path = self.config.out.join(STATUS_FILE);
        // A status that cannot be written is no reason to stop: readers see its age.
        if let Err(error) = show_file(&path, |file| write_pretty(file, &path, &status)) {
            tracing::warn!(%error, "the status stays as it was");
        }
        let live = status.sensors.iter().filter(|device| device.condition == DeviceCondition::Live).count();
        let devices = match status.sensors.len() {
            0 => String::new(),
            all => format!(", {live} of {all} devices live"),
        };
        notify(&[NotifyState::Status(&format!(
            "{} embeddings, {} steps{devices}",
            status.embeddings, status.adapting.steps
        ))]);
    }

    fn status(&self, feed: &Feed, stopped: bool) -> Status {
        let progress = self.device.progress();
        let (celsius, throttled) = self.upkeep.read();
        let resting = self.device.resting().filter(|_| !self.device.is_adapting());
        Status {
            version: VERSION.into(),
            bundle: self.bundle.manifest.name.clone(),
            bundle_digest: self.digest.clone(),
            board: self.board.clone(),
            pid: std::process::id(),
            started_unix_s: self.upkeep.started_unix_s(),
            written_unix_s: unix_s(),
            uptime_s: self.start.elapsed().as_secs_f64(),
            embeddings: self.device.embedded(),
            last_embedding_age_s: self.files.embedded.map(|(_, last)| last.elapsed().as_secs_f64()),
            adapting: AdaptingStatus {
                steps: progress.steps,
                accepted: progress.accepted,
                rejected: progress.rejected,
                resting: resting.map(in_words),
            },
            celsius,
            throttled,
            rss_bytes: rss_bytes(),
            checkpoint_age_s: self.checkpointed.map(|then| then.elapsed().as_secs_f64()),
            lost_records: self.files.lost,
            stopped,
            sensors: feed.board().map(Live::accounts).unwrap_or_default(),
        }
    }

    /// Whether the event lies beyond the seconds asked for; it is then left for the next session.
    fn is_past_the_end(&mut self, at: Timestamp) -> bool {
        let first = *self.first.get_or_insert(at);
        self.config.seconds.is_some_and(|seconds| at.since(first).as_secs_f64() >= seconds)
    }

    fn save_if_due(&mut self) -> Result<(), RunError> {
        let since: Span = self.device.now().since(self.saved);
        if since.as_secs_f64() < self.config.checkpoint_seconds {
            return Ok(());
        }
        self.save()
    }

    /// Saves. A board goes on without a checkpoint where the disk does not take one, and tries again when the
    /// next is due.
    fn save(&mut self) -> Result<(), RunError> {
        let error = match self.write_checkpoint() {
            Ok(()) => {
                self.checkpointed = Some(Instant::now());
                return Ok(());
            }
            Err(error) => error,
        };
        let of_the_disk = match &error {
            RunError::Output(error) | RunError::Device(DeviceError::Output(error)) => error.is_of_the_disk(),
            _ => false,
        };
        if !self.files.goes_on || !of_the_disk {
            return Err(error);
        }
        self.saved = self.device.now();
        tracing::error!(%error, "no checkpoint was written; the last one stays");
        self.tell(Happening::NotSaved { reason: error.to_string() })?;
        Ok(())
    }

    /// Has the results on disk, then the checkpoint that speaks of them.
    fn write_checkpoint(&mut self) -> Result<(), RunError> {
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
            sensors_bytes: self.files.sensors.as_mut().map_or(Ok(0), LineFile::sync)?,
            labels: self.labels,
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
        // Months of a board's lines would take minutes that a service has not when it is stopped.
        if self.board.is_none() {
            write_mcap(&out.join("stream.mcap"), self.files.embeddings.path(), self.files.events.path())?;
        }
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
            first_embedding_s: self
                .files
                .embedded
                .map(|(first, _)| first.duration_since(self.start).as_secs_f64()),
            lost_records: self.files.lost,
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
    replace_file(path, |file| write_pretty(file, path, summary))
}

fn write_pretty(file: &mut File, path: &Path, value: &impl Serialize) -> Result<(), OutputError> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    std::io::Write::write_all(file, &bytes).map_err(|source| OutputError::Io {
        step: "writing",
        path: path.to_owned(),
        source,
    })
}

/// A reason for resting as it stands in the events.
fn in_words(reason: Rest) -> String {
    match serde_json::to_value(reason) {
        Ok(Value::String(word)) => word,
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    }
}
