//! Which weights a step trains, in words. The fewer, the less memory and time the board needs: the
//! backward pass stops at the earliest trained layer, and activations are kept only for kernels and
//! scales that move.
//!
//! | words | what is trained |
//! |---|---|
//! | `head` | the projection head only |
//! | `last:N` | the last N blocks of the encoder |
//! | `bias` | biases and the shifts of norms (Zaken et al. 2022, BitFit) |
//! | `norm` | scales and shifts of norms |
//! | `lora:R` | deltas of rank R on kernels and matrices (Hu et al. 2022), see [`crate::lora`] |
//! | `lora:R@last:N`, `lora:R@PATTERNS` | the same within the last blocks, or on the weights named |
//! | `all` | everything |
//! | `PATTERNS` | names with `*` and `?`, separated by commas: `features.1?.*,classifier*` |
//! | `A+B` | what either selects |
//!
//! The projection head, which objectives bring along, is always trained.

mod pattern;
mod weight;

use serde::{Deserialize, Serialize};

pub use pattern::Pattern;
pub use weight::{Kind, Weight, describe, describe_stages};

/// Longest selection in bytes.
pub const MAX_SELECTION_BYTES: usize = 1 << 16;
/// Largest rank of a low-rank delta.
pub const MAX_RANK: usize = 1024;
/// Names listed in an error; the rest is counted.
const LISTED: usize = 24;

/// A choice of trained weights of an encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selection {
    /// The projection head only.
    Head,
    /// The last `n` blocks of the encoder, one or more.
    Last(usize),
    /// Biases and norm shifts.
    Bias,
    /// Norm scales and shifts.
    Norm,
    /// Low-rank deltas of `rank` on the kernels and matrices within `scope`.
    Lora {
        /// Rank, 1 to [`MAX_RANK`].
        rank: usize,
        /// Where.
        scope: Scope,
    },
    /// Everything.
    All,
    /// Weights by name.
    Names(Vec<Pattern>),
    /// Two or more of the above together.
    Union(Vec<Selection>),
}

/// Where low-rank deltas are laid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the whole encoder.
    Encoder,
    /// In its last `n` blocks.
    Last(usize),
    /// On the weights named.
    Names(Vec<Pattern>),
}

/// What a selection picked of an encoder's weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Weights trained as they are, in the encoder's order.
    pub trained: Vec<String>,
    /// Weights that get a delta, and its rank; none of them is in `trained`.
    pub low_rank: Vec<(String, usize)>,
}

/// A selection that is not one, or that picks nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// Not in the grammar.
    #[error(
        "`{found}` names no part to train: {reason}. Use `head`, `last:N`, `bias`, `norm`, `lora:R` \
         (`lora:R@last:N`), `all`, or names with * and ?, separated by commas; `+` joins several"
    )]
    Unknown {
        /// What was written, cut to a line.
        found: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pattern that no weight's name fits.
    #[error("no weight of the encoder is called `{pattern}`; its trainable weights are {known}")]
    NoName {
        /// The pattern.
        pattern: String,
        /// The names there are, cut to some.
        known: String,
    },
    /// No weight of the kind asked for.
    #[error("`{selection}` selects no weight: the encoder has {known}. {mend}")]
    NoKind {
        /// The part of the selection that selects nothing.
        selection: String,
        /// Numbers of weights by kind.
        known: String,
        /// What to do about it.
        mend: &'static str,
    },
}

impl Selection {
    /// What is selected of `weights`, which lie in the blocks called `blocks`, from input to output.
    /// `last:N` with an N beyond their number selects every block.
    ///
    /// # Errors
    /// [`SelectionError::NoName`] or [`SelectionError::NoKind`] when a part of the selection picks nothing,
    /// listing what there is. `head` picks nothing by intent.
    pub fn choose(&self, weights: &[Weight], blocks: &[String]) -> Result<Choice, SelectionError> {
        let mut picked = vec![Pick::No; weights.len()];
        self.mark(weights, blocks.len(), &mut picked)?;
        let mut choice = Choice::default();
        for (weight, pick) in weights.iter().zip(picked) {
            match pick {
                Pick::No => {}
                Pick::LowRank(rank) => choice.low_rank.push((weight.name.clone(), rank)),
                Pick::Whole => choice.trained.push(weight.name.clone()),
            }
        }
        Ok(choice)
    }

    /// Of weight names alone, those that are selected, whole or by a delta; `stages` are the name prefixes
    /// of the blocks (see [`crate::architecture::Architecture::stages`]). Where nothing is selected
    /// the list is empty.
    pub fn pick<'n>(&self, stages: &[String], names: impl Iterator<Item = &'n String>) -> Vec<String> {
        let (weights, blocks) = describe_stages(stages, names.map(|name| (name.as_str(), &[][..])));
        let choice = self.choose(&weights, &blocks).unwrap_or_default();
        choice.trained.into_iter().chain(choice.low_rank.into_iter().map(|(name, _)| name)).collect()
    }

    fn mark(&self, weights: &[Weight], blocks: usize, picked: &mut [Pick]) -> Result<(), SelectionError> {
        let whole = Pick::Whole;
        let mend = "Select by `last:N`, or by name";
        let mut kinds = |is: &dyn Fn(&Weight) -> bool, pick, mend| {
            let found = mark(weights, picked, pick, is);
            if found { Ok(()) } else { Err(self.no_kind(weights, mend)) }
        };
        match self {
            Self::Head => Ok(()),
            Self::All => kinds(&Weight::is_trainable, whole, mend),
            Self::Last(n) => kinds(&|w| w.is_trainable() && w.is_in_last(*n, blocks), whole, mend),
            Self::Bias => kinds(&|w| matches!(w.kind, Kind::Bias | Kind::NormShift), whole, mend),
            Self::Norm => {
                let mend = "Batch norms of an exported encoder are folded into its kernels; train `bias`";
                kinds(&|w| matches!(w.kind, Kind::NormScale | Kind::NormShift), whole, mend)
            }
            Self::Lora { rank, scope: Scope::Encoder } => kinds(&Weight::is_map, Pick::LowRank(*rank), mend),
            Self::Lora { rank, scope: Scope::Last(n) } => {
                kinds(&|w| w.is_map() && w.is_in_last(*n, blocks), Pick::LowRank(*rank), mend)
            }
            Self::Lora { rank, scope: Scope::Names(patterns) } => {
                mark_names(patterns, weights, picked, Pick::LowRank(*rank), &Weight::is_map)
            }
            Self::Names(patterns) => mark_names(patterns, weights, picked, whole, &Weight::is_trainable),
            Self::Union(parts) => parts.iter().try_for_each(|part| part.mark(weights, blocks, picked)),
        }
    }

    fn no_kind(&self, weights: &[Weight], mend: &'static str) -> SelectionError {
        let known = Kind::ALL.iter().filter_map(|kind| {
            let count = weights.iter().filter(|w| w.kind == *kind).count();
            (count > 0).then(|| format!("{count} of kind {kind}"))
        });
        let known = known.collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "no weights".into() } else { known };
        SelectionError::NoKind { selection: self.to_string(), known, mend }
    }
}

/// How one weight is picked; a later mark never takes back an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pick {
    No,
    LowRank(usize),
    Whole,
}

/// Marks the weights that `is` says; whether there was any.
fn mark(weights: &[Weight], picked: &mut [Pick], pick: Pick, is: &dyn Fn(&Weight) -> bool) -> bool {
    let mut found = false;
    for (_, picked) in weights.iter().zip(picked).filter(|(weight, _)| is(weight)) {
        *picked = pick.max(*picked);
        found = true;
    }
    found
}

fn mark_names(
    patterns: &[Pattern],
    weights: &[Weight],
    picked: &mut [Pick],
    pick: Pick,
    is: &dyn Fn(&Weight) -> bool,
) -> Result<(), SelectionError> {
    for pattern in patterns {
        if !mark(weights, picked, pick, &|w| is(w) && pattern.fits(&w.name)) {
            let names: Vec<&str> = weights.iter().filter(|w| is(w)).map(|w| w.name.as_str()).collect();
            let mut known =
                names.iter().take(LISTED).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            match names.len().saturating_sub(LISTED) {
                0 if known.is_empty() => known.push_str("none"),
                0 => {}
                rest => known.push_str(&format!(" and {rest} more")),
            }
            return Err(SelectionError::NoName { pattern: pattern.to_string(), known });
        }
    }
    Ok(())
}

impl std::str::FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let unknown = |reason| SelectionError::Unknown { found: text.chars().take(80).collect(), reason };
        if text.len() > MAX_SELECTION_BYTES {
            return Err(unknown("it is too long"));
        }
        let mut parts = text.split('+').map(part).collect::<Result<Vec<_>, _>>().map_err(unknown)?;
        match parts.len() {
            1 => parts.pop().ok_or_else(|| unknown("it is empty")),
            _ => Ok(Self::Union(parts)),
        }
    }
}

/// One part between plus signs.
fn part(text: &str) -> Result<Selection, &'static str> {
    Ok(match text {
        "head" => Selection::Head,
        "bias" => Selection::Bias,
        "norm" => Selection::Norm,
        "all" => Selection::All,
        _ => {
            if let Some(count) = text.strip_prefix("last:") {
                Selection::Last(last(count)?)
            } else if let Some(rest) = text.strip_prefix("lora:") {
                let (rank, scope) = rest.split_once('@').map_or((rest, None), |(r, s)| (r, Some(s)));
                let rank = rank.parse().ok().filter(|r| (1..=MAX_RANK).contains(r));
                let rank = rank.ok_or("the rank of `lora:R` must be 1 to 1024")?;
                Selection::Lora { rank, scope: scope.map_or(Ok(Scope::Encoder), within)? }
            } else {
                Selection::Names(pattern::parse_list(text)?)
            }
        }
    })
}

fn last(count: &str) -> Result<usize, &'static str> {
    count.parse().ok().filter(|&n| n > 0).ok_or("the N of `last:N` must be a number of one or more")
}

fn within(text: &str) -> Result<Scope, &'static str> {
    match text.strip_prefix("last:") {
        Some(count) => Ok(Scope::Last(last(count)?)),
        None if text == "all" => Ok(Scope::Encoder),
        None => Ok(Scope::Names(pattern::parse_list(text)?)),
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Last(n) => write!(f, "last:{n}"),
            Self::Bias => f.write_str("bias"),
            Self::Norm => f.write_str("norm"),
            Self::Lora { rank, scope: Scope::Encoder } => write!(f, "lora:{rank}"),
            Self::Lora { rank, scope: Scope::Last(n) } => write!(f, "lora:{rank}@last:{n}"),
            Self::Lora { rank, scope: Scope::Names(patterns) } => {
                write!(f, "lora:{rank}@")?;
                pattern::write_list(f, patterns)
            }
            Self::All => f.write_str("all"),
            Self::Names(patterns) => pattern::write_list(f, patterns),
            Self::Union(parts) => {
                for (i, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if i > 0 { "+" } else { "" })?;
                }
                Ok(())
            }
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

#[cfg(test)]
mod tests;
