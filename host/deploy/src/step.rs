//! The steps of a deployment, as progress and errors name them.

use std::fmt;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Asking what the machine is.
    Probe,
    /// Asking what lies on it.
    Survey,
    /// Clearing the slot that is not in service.
    Clear,
    /// Copying a file into it.
    Send,
    /// Starting the daemon once, for its version.
    Version,
    /// Making the user and the unit that runs at boot.
    Install,
    /// Putting the slot in service and watching it.
    Trial,
}

impl Step {
    /// The step as a heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Probe => "looking at",
            Self::Survey => "reading the slots of",
            Self::Clear => "clearing slot",
            Self::Send => "sending",
            Self::Version => "starting once",
            Self::Install => "setting up",
            Self::Trial => "trying slot",
        }
    }

    /// What a connection that broke here left on the board.
    pub const fn left_behind(self) -> &'static str {
        match self {
            Self::Trial => {
                "The board ends the trial by itself, and confirms the new slot or goes back; see `sedge status`"
            }
            _ => "What was in service is untouched; run the command again",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "while telling what it is",
            Self::Survey => "while telling what lies on it",
            Self::Clear => "while clearing the slot that is not in service",
            Self::Send => "while taking a file",
            Self::Version => "while starting the daemon once",
            Self::Install => "while being set up",
            Self::Trial => "while trying the new slot",
        })
    }
}
