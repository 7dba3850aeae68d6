//! What a running daemon says of itself: a small file, replaced every few seconds, for people, for service
//! managers and for whoever deploys it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::live::DeviceAccount;

/// The file's name in the output folder.
pub const STATUS_FILE: &str = "status.json";
/// Largest status that is read.
const MAX_STATUS_BYTES: u64 = 1 << 20;
/// A status older than this is not that of a running daemon, in seconds.
pub const STALE_S: f64 = 15.0;

/// How a daemon is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// The bundle's name.
    pub bundle: String,
    /// Its SHA-256.
    pub bundle_digest: String,
    /// The board, where one is read.
    pub board: Option<String>,
    /// The process.
    pub pid: u32,
    /// When it began, in seconds since 1970.
    pub started_unix_s: f64,
    /// When this was written, in seconds since 1970.
    pub written_unix_s: f64,
    /// How long it has run, in seconds.
    pub uptime_s: f64,
    /// Frames or windows embedded, earlier sessions included.
    pub embeddings: u64,
    /// Time since the last embedding of this session; null before the first.
    pub last_embedding_age_s: Option<f64>,
    /// What adaptation came to.
    pub adapting: AdaptingStatus,
    /// Temperature, where the board says it.
    pub celsius: Option<f32>,
    /// Whether the firmware holds the machine back, where the board says it.
    pub throttled: Option<bool>,
    /// Resident memory in bytes, where the system says it.
    pub rss_bytes: Option<u64>,
    /// Time since the last checkpoint of this session; null before the first.
    pub checkpoint_age_s: Option<f64>,
    /// Records dropped because the disk did not take them.
    pub lost_records: u64,
    /// Whether the session is over.
    pub stopped: bool,
    /// Cameras and sensors of the board.
    pub sensors: Vec<DeviceAccount>,
}

/// What adaptation came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptingStatus {
    /// Steps taken.
    pub steps: u64,
    /// Candidates served.
    pub accepted: u64,
    /// Candidates rejected.
    pub rejected: u64,
    /// Why no step is taken now: `off`, `few-pairs`, `budget`, `heat`, `throttled`, `memory`, or what stopped it
    /// for good; null while one is under way.
    pub resting: Option<String>,
}

/// A status that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// There is none.
    #[error("`{}` is not there; does sedged run with this --out?", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no status, or one of another version.
    #[error("`{}` is no status of this version of sedged: {source}; wait for it to be written again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Status {
    /// Reads the status in an output folder.
    ///
    /// # Errors
    /// [`StatusError`].
    pub fn read(folder: &Path) -> Result<Self, StatusError> {
        let path = folder.join(STATUS_FILE);
        let mut bytes = vec![];
        let read =
            std::fs::File::open(&path).and_then(|file| file.take(MAX_STATUS_BYTES).read_to_end(&mut bytes));
        match read {
            Ok(_) => serde_json::from_slice(&bytes).map_err(|source| StatusError::Damaged { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(StatusError::Missing { path }),
            Err(source) => Err(StatusError::Io { path, source }),
        }
    }

    /// Time since it was written, in seconds; zero where the machine's clock went back.
    pub fn age_s(&self) -> f64 {
        (unix_s() - self.written_unix_s).max(0.0)
    }

    /// Whether a daemon runs, as far as its status tells.
    pub fn is_running(&self) -> bool {
        !self.stopped && self.age_s() < STALE_S
    }
}

/// Seconds since 1970 by the machine's clock.
pub(crate) fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match (self.stopped, self.is_running()) {
            (true, _) => "stopped".to_owned(),
            (_, true) => format!("running as process {} for {:.0} s", self.pid, self.uptime_s),
            (_, false) => format!("silent for {:.0} s: it has died, or hangs", self.age_s()),
        };
        writeln!(f, "sedged {}: {state}", self.version)?;
        let board = self.board.as_deref().unwrap_or("none");
        let digest = self.bundle_digest.get(..12).unwrap_or(&self.bundle_digest);
        writeln!(f, "  bundle      {} ({digest}), board {board}", self.bundle)?;
        let last = self.last_embedding_age_s.map_or("none yet".to_owned(), |age| format!("{age:.1} s ago"));
        writeln!(f, "  embeddings  {}, the last {last}", self.embeddings)?;
        let AdaptingStatus { steps, accepted, rejected, resting } = &self.adapting;
        let resting = resting.as_ref().map(|why| format!("; resting: {why}")).unwrap_or_default();
        writeln!(f, "  adapting    {steps} steps, {accepted} served, {rejected} rejected{resting}")?;
        let celsius = self.celsius.map_or("unknown".to_owned(), |celsius| format!("{celsius:.1} °C"));
        let held = if self.throttled == Some(true) { ", held back by the firmware" } else { "" };
        let memory = self.rss_bytes.map_or("unknown".to_owned(), |b| format!("{:.1} MB", b as f64 / 1e6));
        write!(f, "  machine     {celsius}{held}, memory {memory}")?;
        if self.lost_records > 0 {
            write!(f, "\n  disk        {} records could not be written", self.lost_records)?;
        }
        for DeviceAccount { name, condition, readings, failures, dropped } in &self.sensors {
            let dropped = if *dropped > 0 { format!(", {dropped} dropped") } else { String::new() };
            write!(f, "\n  {name:<11} {condition}, {readings} readings, {failures} failures{dropped}")?;
        }
        Ok(())
    }
}
