//! What can go wrong between a host and a board.

use std::path::PathBuf;

use crate::elf::{Architecture, Glibc};
use crate::flash::Step;

/// A deployment that failed. Whatever it is, the slot in service is whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// A name that cannot be passed on safely.
    #[error("{what} {found:?} cannot be used; allowed is {allowed}")]
    Name {
        /// Which name.
        what: &'static str,
        /// As it was given.
        found: String,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// A file of this machine cannot be read or written.
    #[error("cannot read or write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{} is over {limit} bytes; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is accepted, in bytes.
        limit: u64,
    },
    /// The daemon is no program that a board could run.
    #[error("{} cannot be the daemon: {reason}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The board file cannot be used.
    #[error(transparent)]
    Board(#[from] sedge_boards::BoardError),
    /// A program that does the work is not there.
    #[error("cannot start {program}: {source}. {remedy}")]
    Tool {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
        /// Where it comes from.
        remedy: &'static str,
    },
    /// No connection.
    #[error("cannot log in at {host}: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// What ssh said.
        reason: String,
    },
    /// The connection ended in the middle.
    #[error("the connection to {host} was lost {step}: {reason}. {}", step.left_behind())]
    ConnectionLost {
        /// The host.
        host: String,
        /// In which step.
        step: Step,
        /// What ssh said.
        reason: String,
    },
    /// The board refused a step.
    #[error("{host} failed {step}: {reason}")]
    Refused {
        /// The host.
        host: String,
        /// In which step.
        step: Step,
        /// What it said.
        reason: String,
    },
    /// It answered what no board answers.
    #[error("{host} answered {step} in a way that is not understood: {found:?}")]
    Answer {
        /// The host.
        host: String,
        /// In which step.
        step: Step,
        /// The answer's beginning.
        found: String,
    },
    /// Not root, and no way to become it.
    #[error("{host} must be written as root. {remedy}")]
    Privileges {
        /// The host.
        host: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The machine lacks something that every board needs.
    #[error("{host} lacks {missing}; Sedge needs Linux with systemd, and coreutils or busybox 1.33")]
    Lacks {
        /// The host.
        host: String,
        /// What is missing.
        missing: String,
    },
    /// A machine that Sedge is not built for.
    #[error("{host} is a {machine}, which no build of Sedge runs on; there are aarch64, armv7 and x86-64")]
    Machine {
        /// The host.
        host: String,
        /// What `uname` says.
        machine: String,
    },
    /// The daemon is for another processor.
    #[error(
        "the daemon is for {built}, {host} runs programs for {wanted}; build it with `cargo build --release -p \
         sedge-firmware --target {}`, or leave --binary out", wanted.triple()
    )]
    Architecture {
        /// The host.
        host: String,
        /// What the daemon is for.
        built: Architecture,
        /// What the board runs.
        wanted: Architecture,
    },
    /// The daemon needs a newer C library.
    #[error(
        "the daemon needs glibc {needed}, {host} has {}; build it on a system with that version or an older one, or \
         update the board", found.map_or("none that is known".to_owned(), |found| found.to_string())
    )]
    Glibc {
        /// The host.
        host: String,
        /// The newest version needed.
        needed: Glibc,
        /// The board's.
        found: Option<Glibc>,
    },
    /// The disk is too full.
    #[error(
        "{host} has {found_kib} KiB free for {prefix}, needed are {needed_kib}; make room or give another --prefix"
    )]
    Space {
        /// The host.
        host: String,
        /// Where it is needed.
        prefix: String,
        /// What is needed.
        needed_kib: u64,
        /// What there is.
        found_kib: u64,
    },
    /// The memory is too small.
    #[error("{host} has {found_mb} MiB of memory, but {what} {needed_mb}")]
    Memory {
        /// The host.
        host: String,
        /// What needs it.
        what: &'static str,
        /// What is needed.
        needed_mb: u64,
        /// What there is.
        found_mb: u64,
    },
    /// No bundle given, and none on the board.
    #[error("{host} has no bundle in service to keep; give one with --bundle")]
    NoBundle {
        /// The host.
        host: String,
    },
    /// Nothing to go back to.
    #[error("{host} has nothing whole to go back to in its slot {slot}; flash it")]
    NothingBefore {
        /// The host.
        host: String,
        /// The slot that is not in service.
        slot: crate::Slot,
    },
    /// The new slot was not healthy, and the old one is in service again.
    #[error("{0}")]
    Reverted(Box<crate::flash::Reverted>),
    /// The daemon cannot be built.
    #[error(transparent)]
    Build(#[from] crate::cross::BuildError),
    /// A record cannot be written as JSON.
    #[error("a slot's record cannot be written: {0}")]
    Record(#[from] serde_json::Error),
}
