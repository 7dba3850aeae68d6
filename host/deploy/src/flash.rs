//! A version put on a board: looked at first, copied beside what runs, tried, and confirmed or taken back.
//!
//! Up to the trial nothing that is in service is written, so a connection that breaks leaves the board as it was. The
//! trial is one script on the board, which the host only watches: it ends whether or not anyone listens. Should the
//! machine itself lose power in it, the unit `sedge-prepare.service` goes back at the next boot.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::elf::{Architecture, MAX_PROGRAM_BYTES, Program};
use crate::payload::{BoardFile, BundleFile, Content, Daemon, MAX_BUNDLE_BYTES};
use crate::remote::{Connection, Facts, Input, Remote};
use crate::slot::{BOARD, BUNDLE, DAEMON, RECORD, SUMS, UNIT, sha256, state_folder};
use crate::status::{SlotState, Status, log_in, survey};
pub use crate::step::Step;
use crate::trial::trial;
pub use crate::trial::{Health, Reverted};
use crate::units::{prepare_unit, unit};
use crate::{DeployError, Prefix, Slot, SlotRecord, cross};

/// What is to be put where.
#[derive(Clone, Debug)]
pub struct FlashOptions {
    /// The board's machine.
    pub connection: Connection,
    /// The folder of the slots.
    pub prefix: Prefix,
    /// The board.
    pub board: BoardFile,
    /// The daemon.
    pub daemon: Daemon,
    /// The bundle; the one in service is kept where there is none.
    pub bundle: Option<BundleFile>,
    /// When it counts as healthy.
    pub health: Health,
    /// Begins with nothing learned, where this bundle ran on this board before.
    pub fresh: bool,
}

/// Told of each step, with what it works on.
pub type Progress<'a> = &'a mut dyn FnMut(Step, &str);

/// A slot that was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Flashed {
    /// The slot in service now.
    pub slot: Slot,
    /// The one before.
    pub before: Option<Slot>,
    /// What it holds.
    pub record: SlotRecord,
    /// Seconds until it was confirmed.
    pub seconds: u32,
}

/// A deployment whose every check has passed and that has written nothing yet.
pub struct Deployment {
    remote: Remote,
    prefix: Prefix,
    board: BoardFile,
    daemon: Content,
    bundle: BundlePlan,
    health: Health,
    state: String,
    flashed_unix_s: u64,
    /// What the machine said of itself.
    pub facts: Facts,
    /// The processor.
    pub architecture: Architecture,
    /// What lies on it.
    pub status: Status,
    /// The slot that will be written.
    pub slot: Slot,
}

/// Where the bundle comes from.
enum BundlePlan {
    Send(Content, String),
    Keep { from: Slot, sha256: String, digest: String },
}

impl BundlePlan {
    fn digest(&self) -> &str {
        match self {
            Self::Send(_, digest) | Self::Keep { digest, .. } => digest,
        }
    }
}

impl Deployment {
    /// Logs in, builds the daemon where it is to be built, and checks everything that can be checked without
    /// writing.
    ///
    /// # Errors
    /// [`DeployError`], saying what is wanting.
    pub fn prepare(options: FlashOptions, progress: Progress<'_>) -> Result<Self, DeployError> {
        let FlashOptions { connection, prefix, board, daemon, bundle, health, fresh } = options;
        progress(Step::Probe, connection.host.as_str());
        let (remote, facts) = log_in(connection, &prefix)?;
        let architecture = facts.architecture(remote.host())?;
        progress(Step::Survey, prefix.as_str());
        let status = survey(&remote, &prefix)?;
        let path = match daemon {
            Daemon::Prebuilt(path) => path,
            Daemon::Build(folder) => cross::build(architecture, &folder)?,
        };
        let program = Program::read(&path)?;
        let daemon = Content::open(&path, MAX_PROGRAM_BYTES)?;
        let serving = status.serving();
        let bundle = match (bundle, serving.map(|slot| (slot, status.slot(slot)))) {
            (Some(bundle), _) => {
                BundlePlan::Send(Content::open(&bundle.path, MAX_BUNDLE_BYTES)?, bundle.digest)
            }
            (None, Some((from, SlotState::Whole(record)))) => BundlePlan::Keep {
                from,
                sha256: record.bundle_sha256.clone(),
                digest: record.bundle_digest.clone(),
            },
            (None, _) => return Err(DeployError::NoBundle { host: remote.host().to_owned() }),
        };
        let bundle_bytes = match &bundle {
            BundlePlan::Send(content, _) => content.bytes,
            BundlePlan::Keep { .. } => 0,
        };
        let bytes = daemon.bytes + bundle_bytes + board.text.len() as u64;
        facts.can_carry(remote.host(), &program, &board.board, bundle_bytes, bytes, prefix.as_str())?;
        let slot = serving.map_or(Slot::A, Slot::other);
        let flashed_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let state =
            state_folder(bundle.digest(), &sha256(board.text.as_bytes()), fresh.then_some(flashed_unix_s));
        Ok(Self {
            state,
            flashed_unix_s,
            remote,
            prefix,
            board,
            daemon,
            bundle,
            health,
            facts,
            architecture,
            status,
            slot,
        })
    }

    /// The unit that will be installed.
    pub fn unit(&self) -> String {
        unit(&self.board.board, &self.prefix, &self.state)
    }

    /// Copies, tries, and confirms or goes back.
    ///
    /// # Errors
    /// [`DeployError::Reverted`] where the new slot was not healthy, [`DeployError::ConnectionLost`] and others,
    /// which say what is in service then.
    pub fn apply(self, progress: Progress<'_>) -> Result<Flashed, DeployError> {
        let unit_text = self.unit();
        let Self {
            remote, prefix, board, daemon, bundle, health, state, flashed_unix_s, slot, status, ..
        } = self;
        let before = status.serving();
        let token = token();
        let sender = Sender { remote: &remote, prefix: prefix.as_str(), token: &token, slot };
        progress(Step::Clear, slot.name());
        let arguments = [prefix.as_str(), &token, slot.name()];
        remote.run(Step::Clear, include_str!("scripts/begin.sh"), &arguments, Input::Nothing)?;

        let daemon_sha256 = sender.send(DAEMON, "755", daemon, progress)?;
        let board_sha256 = sender.send(BOARD, "644", Content::of_text(&board.text)?, progress)?;
        let unit_sha256 = sender.send(UNIT, "644", Content::of_text(&unit_text)?, progress)?;
        let (bundle_sha256, bundle_digest) = match bundle {
            BundlePlan::Send(content, digest) => (sender.send(BUNDLE, "644", content, progress)?, digest),
            BundlePlan::Keep { from, sha256, digest } => {
                sender.copy(BUNDLE, from, &sha256, progress)?;
                (sha256, digest)
            }
        };
        progress(Step::Version, DAEMON);
        let arguments = [prefix.as_str(), slot.name()];
        let version =
            remote.run(Step::Version, include_str!("scripts/version.sh"), &arguments, Input::Nothing)?;
        let version = version.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control());
        let record = SlotRecord {
            format: SlotRecord::FORMAT,
            version: version.take(64).collect(),
            board: board.board.name.clone(),
            bundle_digest,
            state_folder: state,
            daemon_sha256,
            board_sha256,
            bundle_sha256,
            unit_sha256,
            flashed_unix_s,
        };
        let line = record.to_line()?;
        sender.send(RECORD, "644", Content::of_text(&line)?, progress)?;
        progress(Step::Install, crate::units::PREPARE_UNIT);
        let prepare = prepare_unit(&prefix);
        let arguments = [prefix.as_str(), settle_script(), &prepare];
        remote.run(Step::Install, include_str!("scripts/install.sh"), &arguments, Input::Nothing)?;
        // Last, as it makes the slot whole.
        sender.send(SUMS, "644", Content::of_text(&record.sums(&line))?, progress)?;
        progress(Step::Trial, slot.name());
        let seconds = trial(&remote, &prefix, slot, &token, &record, health)?;
        Ok(Flashed { slot, before, record, seconds })
    }
}

/// Puts the other slot back in service, with the same trial as a new one.
///
/// # Errors
/// [`DeployError::NothingBefore`] where the other slot is not whole, [`DeployError::Reverted`] where it is not healthy.
pub fn rollback(
    connection: Connection,
    prefix: &Prefix,
    health: Health,
    progress: Progress<'_>,
) -> Result<Flashed, DeployError> {
    progress(Step::Probe, connection.host.as_str());
    let (remote, _) = log_in(connection, prefix)?;
    progress(Step::Survey, prefix.as_str());
    let status = survey(&remote, prefix)?;
    let slot = status.current.map_or(Slot::A, Slot::other);
    let SlotState::Whole(record) = status.slot(slot).clone() else {
        return Err(DeployError::NothingBefore { host: remote.host().to_owned(), slot });
    };
    progress(Step::Trial, slot.name());
    let seconds = trial(&remote, prefix, slot, "-", &record, health)?;
    Ok(Flashed { slot, before: status.current, record, seconds })
}

/// The script that runs at boot, whole.
pub(crate) fn settle_script() -> &'static str {
    concat!(include_str!("scripts/common.sh"), include_str!("scripts/settle.sh"))
}

/// Sends files into one slot.
struct Sender<'a> {
    remote: &'a Remote,
    prefix: &'a str,
    token: &'a str,
    slot: Slot,
}

impl Sender<'_> {
    fn send(
        &self,
        name: &str,
        mode: &str,
        content: Content,
        progress: Progress<'_>,
    ) -> Result<String, DeployError> {
        progress(Step::Send, name);
        self.receive(name, mode, &content.sha256, "-", Input::File(content.file))?;
        Ok(content.sha256)
    }

    fn copy(&self, name: &str, from: Slot, sha256: &str, progress: Progress<'_>) -> Result<(), DeployError> {
        progress(Step::Send, name);
        self.receive(name, "644", sha256, from.name(), Input::Nothing)
    }

    fn receive(
        &self,
        name: &str,
        mode: &str,
        sha256: &str,
        from: &str,
        input: Input,
    ) -> Result<(), DeployError> {
        let arguments = [self.prefix, self.token, self.slot.name(), name, mode, sha256, from];
        self.remote.run(Step::Send, include_str!("scripts/receive.sh"), &arguments, input).map(drop)
    }
}

/// Names one deployment among those that may write to a board at the same time.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let text = format!("{now} {}", std::process::id());
    sha256(text.as_bytes()).chars().take(16).collect()
}
