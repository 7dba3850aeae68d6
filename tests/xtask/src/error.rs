//! Why a task ended without having been done.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A task that was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TaskError {
    /// A tool that this machine lacks.
    #[error("{what} is missing; {mend}")]
    Missing {
        /// The tool.
        what: String,
        /// How to have it.
        mend: &'static str,
    },
    /// A file could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed ({status}): {said}")]
    Program {
        /// The program with its arguments.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote.
        said: String,
    },
    /// The emulated machine did not do something in time.
    #[error("the emulated machine did not {what} within {} s; the end of its console:\n{console}", within.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The end of its console.
        console: String,
    },
    /// QEMU's monitor refused.
    #[error("QEMU's monitor answered `{said}` to `{command}`")]
    Monitor {
        /// The command.
        command: String,
        /// Its answer.
        said: String,
    },
    /// A command failed on the emulated machine.
    #[error("on the emulated machine `{command}` ended with {status}:\n{said}")]
    Guest {
        /// The command.
        command: String,
        /// Its exit status.
        status: i32,
        /// What it wrote.
        said: String,
    },
    /// Something does not hold on the emulated machine.
    #[error("{claim}: {found}")]
    Claim {
        /// What was to hold.
        claim: &'static str,
        /// What was found instead.
        found: String,
    },
}

impl TaskError {
    /// A failure with a file.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Fails with what was found unless `holds`.
pub(crate) fn claim(claim: &'static str, holds: bool, found: impl ToString) -> Result<(), TaskError> {
    if holds { Ok(()) } else { Err(TaskError::Claim { claim, found: found.to_string() }) }
}
