//! Which weights a step trains. The fewer, the less memory and time the board needs: the backward
//! pass stops at the first trained layer.

use serde::{Deserialize, Serialize};

/// A choice of trained weights of an encoder; the projection head is always trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selection {
    /// The projection head only.
    Head,
    /// The last `n` stages of the encoder (see [`crate::architecture::Architecture::stages`]).
    Last(usize),
    /// Everything.
    All,
}

/// A selection that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// Not one of the known words.
    #[error("`{found}` names no part to train; use `head`, `last:N` with N of one or more, or `all`")]
    Unknown {
        /// What was written.
        found: String,
    },
}

impl std::str::FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let unknown = || SelectionError::Unknown { found: text.into() };
        match text {
            "head" => Ok(Self::Head),
            "all" => Ok(Self::All),
            _ => {
                let count = text.strip_prefix("last:").and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                count.map(Self::Last).ok_or_else(unknown)
            }
        }
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Last(n) => write!(f, "last:{n}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl TryFrom<String> for Selection {
    type Error = SelectionError;

    fn try_from(text: String) -> Result<Self, SelectionError> {
        text.parse()
    }
}

impl From<Selection> for String {
    fn from(selection: Selection) -> Self {
        selection.to_string()
    }
}

impl Selection {
    /// Of the weight names `names`, those that belong to the selected ones of `stages` (name prefixes,
    /// from input to output).
    pub fn pick<'n>(&self, stages: &[String], names: impl Iterator<Item = &'n String>) -> Vec<String> {
        let chosen = match *self {
            Self::Head => &[],
            Self::Last(n) => &stages[stages.len().saturating_sub(n)..],
            Self::All => stages,
        };
        names.filter(|name| chosen.iter().any(|prefix| name.starts_with(prefix))).cloned().collect()
    }
}
