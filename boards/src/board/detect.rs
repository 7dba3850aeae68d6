//! Which board this machine is, by what the kernel says of it.
//!
//! The files are read below a root, `/` on a real machine, so that a folder with a device tree in it
//! can stand for any board.

use std::io::Read;
use std::path::Path;

use super::Board;

/// Longest kernel file that is read, in bytes.
const MAX_KERNEL_FILE: u64 = 64 * 1024;

/// A board and why it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Detected {
    /// The built-in board.
    pub board: Board,
    /// What said so.
    pub evidence: Evidence,
}

/// Why a machine was taken for a board, the surest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// A word of the kernel's command line.
    KernelArgument(String),
    /// An entry of the device tree's `compatible`.
    Compatible(String),
    /// The device tree's `model`.
    Model(String),
    /// Nothing is known of it but that it runs.
    Fallback,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KernelArgument(word) => write!(f, "the kernel was started with {word}"),
            Self::Compatible(entry) => write!(f, "its device tree is compatible with {entry}"),
            Self::Model(model) => write!(f, "its device tree calls it {model:?}"),
            Self::Fallback => f.write_str("no built-in board is known by what this kernel says"),
        }
    }
}

/// The built-in board that the machine below `root` is, `generic-linux` where none is known. `None` only
/// were that board not there, and a test says that it is.
pub fn detect(root: &Path) -> Option<Detected> {
    let machine = Machine::read(root);
    let boards = Board::names().filter_map(|name| Board::named(name).ok());
    let known =
        boards.filter_map(|board| machine.evidence_for(&board).map(|evidence| Detected { board, evidence }));
    let best = known.min_by(|one, other| one.evidence.cmp(&other.evidence));
    best.or_else(|| {
        let board = Board::named("generic-linux").ok()?;
        Some(Detected { board, evidence: Evidence::Fallback })
    })
}

/// What the kernel says of a machine.
struct Machine {
    arguments: Vec<String>,
    compatible: Vec<String>,
    model: String,
}

impl Machine {
    fn read(root: &Path) -> Self {
        let text = |path: &str| read_text(&root.join(path)).unwrap_or_default();
        let words = |text: String, end: fn(char) -> bool| {
            text.split(end).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        Self {
            arguments: words(text("proc/cmdline"), char::is_whitespace),
            // Strings of a device tree end in a zero byte.
            compatible: words(text("proc/device-tree/compatible"), |c| c == '\0'),
            model: text("proc/device-tree/model").trim_end_matches(['\0', '\n']).to_owned(),
        }
    }

    fn evidence_for(&self, board: &Board) -> Option<Evidence> {
        let shared =
            |known: &[String], said: &[String]| known.iter().find(|word| said.contains(word)).cloned();
        let is_model = |known: &&String| {
            self.model
                .strip_prefix(known.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let argument = shared(&board.detect.kernel_arguments, &self.arguments).map(Evidence::KernelArgument);
        argument
            .or_else(|| shared(&board.detect.compatible, &self.compatible).map(Evidence::Compatible))
            .or_else(|| {
                board.detect.models.iter().find(is_model).map(|_| Evidence::Model(self.model.clone()))
            })
    }
}

/// A small file of the kernel's as text; what is no UTF-8 is replaced.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_KERNEL_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
