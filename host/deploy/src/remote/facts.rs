//! What a machine says of itself before anything is written to it, and whether it can carry what it is to be given.

use sedge_boards::Board;

use crate::DeployError;
use crate::elf::{Architecture, Glibc, Program};

/// MiB that the rest of a system needs beside the daemon.
const SYSTEM_MB: u64 = 64;
/// KiB left free on the disk beyond what is copied.
const SPARE_KIB: u64 = 8 * 1024;

/// How a login becomes root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// It is root.
    Root,
    /// By sudo, without a password.
    Sudo,
    /// By sudo, with one.
    Password,
    /// In no way that is known.
    None,
}

/// A machine as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How the login becomes root.
    pub privileges: Privileges,
    /// `uname -s`.
    pub system: String,
    /// `uname -m`.
    pub machine: String,
    /// Width of its programs.
    pub bits: Option<u32>,
    /// Its C library, where it is GNU's.
    pub glibc: Option<Glibc>,
    /// Free space where the prefix is or will be, in KiB.
    pub free_kib: Option<u64>,
    /// All memory, in KiB.
    pub memory_kib: Option<u64>,
    /// Programs that are not there.
    pub missing: String,
}

/// The value of a line `key=value`, the first of them.
pub(crate) fn value<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
}

impl Facts {
    /// From the answer of `probe.sh`.
    pub(crate) fn parse(answer: &str) -> Option<Self> {
        let text = |key| value(answer, key).map(str::to_owned);
        let number = |key| value(answer, key).and_then(|text| text.parse::<u64>().ok());
        let privileges = match value(answer, "privileges")? {
            "root" => Privileges::Root,
            "sudo" => Privileges::Sudo,
            "password" => Privileges::Password,
            _ => Privileges::None,
        };
        Some(Self {
            privileges,
            system: text("system")?,
            machine: text("machine")?,
            bits: value(answer, "bits").and_then(|text| text.parse().ok()),
            glibc: value(answer, "glibc").and_then(Glibc::from_line),
            free_kib: number("free_kib"),
            memory_kib: number("memory_kib"),
            missing: text("missing")?,
        })
    }

    /// The processor that its programs are for.
    ///
    /// # Errors
    /// [`DeployError::Machine`], [`DeployError::Lacks`].
    pub fn architecture(&self, host: &str) -> Result<Architecture, DeployError> {
        let host = host.to_owned();
        if self.system != "Linux" {
            let machine = format!("{} of {}", self.system, self.machine);
            return Err(DeployError::Machine { host, machine });
        }
        if !self.missing.is_empty() {
            return Err(DeployError::Lacks { host, missing: self.missing.clone() });
        }
        let machine = self.machine.clone();
        Architecture::from_uname(&self.machine, self.bits).ok_or(DeployError::Machine { host, machine })
    }

    /// Whether this machine can run the program as this board with a bundle of so many bytes, and has room for
    /// `bytes` more on its disk.
    ///
    /// A board whose memory the file states may show a quarter less of it, which its graphics or firmware keeps.
    ///
    /// # Errors
    /// Which of them is wanting.
    pub fn can_carry(
        &self,
        host: &str,
        program: &Program,
        board: &Board,
        bundle_bytes: u64,
        bytes: u64,
        prefix: &str,
    ) -> Result<(), DeployError> {
        let wanted = self.architecture(host)?;
        let host = host.to_owned();
        if program.architecture != wanted {
            return Err(DeployError::Architecture { host, built: program.architecture, wanted });
        }
        if let Some(needed) = program.needs_glibc
            && self.glibc.is_none_or(|found| found < needed)
        {
            return Err(DeployError::Glibc { host, needed, found: self.glibc });
        }
        let needed_kib = bytes.div_ceil(1024) + SPARE_KIB;
        if let Some(found_kib) = self.free_kib
            && found_kib < needed_kib
        {
            return Err(DeployError::Space { host, prefix: prefix.to_owned(), needed_kib, found_kib });
        }
        let Some(memory_kib) = self.memory_kib else { return Ok(()) };
        let found_mb = memory_kib / 1024;
        let budget_mb = u64::from(board.budget.memory_mb);
        let stated_mb = board.memory.map_or(0, |memory| u64::from(memory.least_mb) * 3 / 4);
        let needs = [
            (stated_mb, found_mb, "the board file states at least (three quarters of memory.least_mb)"),
            (budget_mb + SYSTEM_MB, found_mb, "the daemon's budget and the system take"),
            // A bundle is held once as bytes and once as weights.
            (
                bundle_bytes.div_ceil(1 << 20) * 2,
                budget_mb,
                "of them in the daemon's budget, the bundle takes",
            ),
        ];
        for (needed_mb, found_mb, what) in needs {
            if found_mb < needed_mb {
                return Err(DeployError::Memory { host, what, needed_mb, found_mb });
            }
        }
        Ok(())
    }
}
