//! The two slots of a board and what lies in them.
//!
//! ```text
//! /opt/sedge/a/           sedged, board.toml, bundle.sedge, sedged.service, slot.json, SHA256SUMS
//! /opt/sedge/b/           the same of another version
//! /opt/sedge/current      a link to the one in service
//! /opt/sedge/trial        there while a slot is on trial: which slot to go back to
//! /opt/sedge/outcome      how the last trial ended
//! ```
//!
//! `SHA256SUMS` is written last and taken away first, so a slot without it, or one that it does not fit, is
//! never put in service. Only the slot that is not in service is ever written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names of the files of a slot. `SHA256SUMS` names all but itself.
pub(crate) const DAEMON: &str = "sedged";
pub(crate) const BOARD: &str = "board.toml";
pub(crate) const BUNDLE: &str = "bundle.sedge";
pub(crate) const UNIT: &str = "sedged.service";
pub(crate) const RECORD: &str = "slot.json";
pub(crate) const SUMS: &str = "SHA256SUMS";

/// Version of `slot.json`.
const FORMAT: u32 = 1;

/// One of the two places for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its folder below the prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The slot whose folder this is.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|slot| slot.name() == name)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `slot.json`: what a slot holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SlotRecord {
    /// Version of this file's format.
    pub format: u32,
    /// What `sedged --version` answered on the board.
    pub version: String,
    /// The board's name.
    pub board: String,
    /// The bundle's own digest, by which the daemon names it in `status.json`.
    pub bundle_digest: String,
    /// Folder below `/var/lib/sedge` of results and of what was learned.
    pub state_folder: String,
    /// SHA-256 of the daemon.
    pub daemon_sha256: String,
    /// SHA-256 of the board file.
    pub board_sha256: String,
    /// SHA-256 of the bundle's file.
    pub bundle_sha256: String,
    /// SHA-256 of the unit.
    pub unit_sha256: String,
    /// When it was written, by the host's clock, in seconds since 1970.
    pub flashed_unix_s: u64,
}

impl SlotRecord {
    /// A record of this version's format.
    pub(crate) const FORMAT: u32 = FORMAT;

    /// `slot.json`: one line, as a status is sent by lines.
    pub(crate) fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| line + "\n")
    }

    /// `SHA256SUMS` of a slot whose `slot.json` is `record_line`.
    pub(crate) fn sums(&self, record_line: &str) -> String {
        let record_sha256 = sha256(record_line.as_bytes());
        let files = [
            (&self.daemon_sha256, DAEMON),
            (&self.board_sha256, BOARD),
            (&self.bundle_sha256, BUNDLE),
            (&self.unit_sha256, UNIT),
            (&record_sha256, RECORD),
        ];
        files.map(|(digest, name)| format!("{digest}  {name}\n")).concat()
    }
}

/// The folder of results and of what was learned with a bundle on a board. A checkpoint belongs to one bundle, board and
/// budget, and a daemon refuses that of another, so each pair has its own: going back finds what was learned before.
/// `fresh` begins again with nothing learned.
pub(crate) fn state_folder(bundle_digest: &str, board_sha256: &str, fresh: Option<u64>) -> String {
    let part = |digest: &str| digest.chars().filter(char::is_ascii_hexdigit).take(12).collect::<String>();
    let folder = format!("{}-{}", part(bundle_digest), part(board_sha256));
    match fresh {
        Some(unix_s) => format!("{folder}-{unix_s}"),
        None => folder,
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hexadecimal(&Sha256::digest(bytes))
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
