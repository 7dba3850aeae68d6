//! Weights as plain data: name, shape, what they are and where they lie. Whoever reads a graph can say
//! that best; here it is told from names and shapes alone, as our architectures and PyTorch give them.

use std::collections::{BTreeMap, BTreeSet};

/// What a weight is to its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Of a convolution, `[out, in, ...]`.
    Kernel,
    /// Of a matrix product, two axes.
    Matrix,
    /// Added for each output.
    Bias,
    /// Scale of a norm.
    NormScale,
    /// Shift of a norm.
    NormShift,
    /// Tokens and positions.
    Embedding,
    /// Anything else, running statistics among it; not trained by any word but a name's.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Kernel,
        Self::Matrix,
        Self::Bias,
        Self::NormScale,
        Self::NormShift,
        Self::Embedding,
        Self::Other,
    ];
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Matrix => "matrix",
            Self::Bias => "bias",
            Self::NormScale => "norm scale",
            Self::NormShift => "norm shift",
            Self::Embedding => "embedding",
            Self::Other => "other",
        })
    }
}

/// One weight of an encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Its name in the graph.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: Kind,
    /// The block it lies in, counted from the input.
    pub block: usize,
}

impl Weight {
    /// Values in it.
    pub fn values(&self) -> usize {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    pub(super) fn is_trainable(&self) -> bool {
        self.kind != Kind::Other
    }

    /// Whether it maps inputs to outputs, which is what a low-rank delta can be added to.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Kernel | Kind::Matrix)
    }

    pub(super) fn is_in_last(&self, count: usize, blocks: usize) -> bool {
        self.block >= blocks.saturating_sub(count)
    }
}

/// Weights and block names of an encoder whose layers are called as PyTorch calls them, given from input
/// to output: a block is a numbered module (`features.3`, `layer1.0`), or a module that no number
/// is above (`conv1`).
pub fn describe<'n>(named: impl Iterator<Item = (&'n str, &'n [usize])>) -> (Vec<Weight>, Vec<String>) {
    let named: Vec<(&str, &[usize])> = named.collect();
    let mut blocks: Vec<String> = vec![];
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in &named {
        let block = block_name(name);
        places.entry(block).or_insert_with(|| {
            blocks.push(block.into());
            blocks.len() - 1
        });
    }
    let place = |name: &str| places.get(block_name(name)).copied().unwrap_or(0);
    (weights(&named, place), blocks)
}

/// Weights of an architecture of ours whose blocks are the name prefixes `stages`; a weight of no stage
/// is left out.
pub fn describe_stages<'n>(
    stages: &[String],
    named: impl Iterator<Item = (&'n str, &'n [usize])>,
) -> (Vec<Weight>, Vec<String>) {
    let stage = |name: &str| stages.iter().position(|prefix| name.starts_with(prefix.as_str()));
    let named: Vec<(&str, &[usize])> = named.filter(|(name, _)| stage(name).is_some()).collect();
    let blocks = stages.iter().map(|stage| stage.trim_end_matches('.').to_owned()).collect();
    (weights(&named, |name| stage(name).unwrap_or(0)), blocks)
}

fn weights(named: &[(&str, &[usize])], place: impl Fn(&str) -> usize) -> Vec<Weight> {
    let norms: BTreeSet<&str> = named.iter().filter_map(|(name, shape)| norm_of(name, shape)).collect();
    let weight = |(name, shape): &(&str, &[usize])| Weight {
        name: (*name).into(),
        shape: shape.to_vec(),
        kind: kind(name, shape, &norms),
        block: place(name),
    };
    named.iter().map(weight).collect()
}

/// A name's module and leaf.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once(['.', '/']).unwrap_or(("", name))
}

/// The module, where this weight shows it to be a norm: by the scale's single axis, by running
/// statistics, or by what our architectures call it.
fn norm_of<'n>(name: &'n str, shape: &[usize]) -> Option<&'n str> {
    let (module, leaf) = split(name);
    let told = match leaf {
        "weight" => shape.len() == 1 || split(module).1 == "bn",
        "running_mean" | "running_var" | "gamma" => true,
        _ => false,
    };
    told.then_some(module)
}

fn kind(name: &str, shape: &[usize], norms: &BTreeSet<&str>) -> Kind {
    let (module, leaf) = split(name);
    let in_norm = norms.contains(module);
    let embeds = ["embed", "token", "position"].iter().any(|word| leaf.contains(word));
    match leaf {
        "running_mean" | "running_var" | "num_batches_tracked" => Kind::Other,
        "gamma" => Kind::NormScale,
        "weight" | "scale" if in_norm => Kind::NormScale,
        "beta" => Kind::NormShift,
        _ if leaf.ends_with("bias") => {
            if in_norm {
                Kind::NormShift
            } else {
                Kind::Bias
            }
        }
        _ if embeds || (leaf == "weight" && split(module).1.contains("embedding")) => Kind::Embedding,
        // Names alone come without shapes; our architectures then have convolutions only.
        "weight" if shape.is_empty() => Kind::Kernel,
        _ => match shape.len() {
            2 => Kind::Matrix,
            3.. => Kind::Kernel,
            1 if leaf.contains("bias") || leaf.contains("shift") => Kind::Bias,
            _ => Kind::Other,
        },
    }
}

/// The part of a name that says its block.
fn block_name(name: &str) -> &str {
    let (module, _) = split(name);
    let mut end = 0;
    for part in module.split(['.', '/']) {
        end += part.len();
        let number = part.rsplit('_').next().unwrap_or(part);
        if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
            return &module[..end];
        }
        end += 1;
    }
    module
}
