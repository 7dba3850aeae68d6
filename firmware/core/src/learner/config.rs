//! What a learner can be told, and whether it makes sense.

use crate::{
    BudgetConfig, Eviction, GuardConfig, PairingConfig, RestraintConfig, SynchroniserConfig, WindowConfig,
};

/// Which sensor the encoder reads.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Senses {
    /// Frames, with the inertial samples beside them.
    Frames(SynchroniserConfig),
    /// Windows of inertial samples; frames are counted as unused.
    Windows(WindowConfig),
}

/// Everything a learner is told.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LearnerConfig {
    /// Seed of batches, reservoirs and augmentations.
    pub seed: u64,
    /// What is read.
    pub senses: Senses,
    /// Which samples become pairs.
    pub pairing: PairingConfig,
    /// Dimensions of an embedding.
    pub dimensions: usize,
    /// Training pairs kept.
    pub pairs: usize,
    /// How the training memory makes room.
    pub eviction: Eviction,
    /// Held-out pairs kept.
    pub held_out_pairs: usize,
    /// How the held-out memory makes room.
    pub held_out_eviction: Eviction,
    /// Every pair of this number is held out; at least two.
    pub hold_out_every: u32,
    /// Whether to adapt at all.
    pub adapt: bool,
    /// Training pairs below which no step is taken (a batch is needed in any case).
    pub min_pairs: usize,
    /// Pairs in a batch.
    pub batch_pairs: usize,
    /// Steps between two looks at the training copy.
    pub steps_per_candidate: u32,
    /// Steps over which the learning rate rises.
    pub warm_up_steps: u32,
    /// Time for adapting.
    pub budget: BudgetConfig,
    /// What the machine's heat and memory allow.
    #[cfg_attr(feature = "serde", serde(default))]
    pub restraint: RestraintConfig,
    /// What may be served.
    pub guard: GuardConfig,
}

/// A configuration that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// A size is zero or above the learner's capacity.
    Size {
        /// Which field.
        field: &'static str,
        /// The value given.
        found: usize,
        /// The least that works.
        least: usize,
        /// The most that fits.
        most: usize,
    },
    /// The windows cannot be cut.
    Window(&'static str),
    /// The shortest distance of a pair exceeds the longest.
    Distances,
    /// A number is NaN, infinite, or outside its range.
    Number {
        /// Which field.
        field: &'static str,
        /// Its range in words.
        wanted: &'static str,
    },
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Size { field, found, least, most } => {
                write!(f, "`{field}` is {found}; it must lie between {least} and {most}")
            }
            Self::Window(reason) => write!(f, "the windows cannot be cut: {reason}"),
            Self::Distances => f.write_str("`pairing.min` exceeds `pairing.max`"),
            Self::Number { field, wanted } => write!(f, "`{field}` must be {wanted}"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl LearnerConfig {
    /// Whether it makes sense for a learner of these capacities.
    pub(super) fn check(
        &self,
        pairs: usize,
        held_out: usize,
        dimensions: usize,
        imu: usize,
    ) -> Result<(), ConfigError> {
        let sizes = [
            ("pairs", self.pairs, 1, pairs),
            ("held_out_pairs", self.held_out_pairs, 1, held_out),
            ("dimensions", self.dimensions, 1, dimensions),
            ("batch_pairs", self.batch_pairs, 1, self.pairs),
            ("min_pairs", self.min_pairs, 0, self.pairs),
            ("hold_out_every", self.hold_out_every as usize, 2, u32::MAX as usize),
            ("steps_per_candidate", self.steps_per_candidate as usize, 1, u32::MAX as usize),
            ("guard.min_pairs", self.guard.min_pairs as usize, 2, self.held_out_pairs),
            ("guard.patience", self.guard.patience as usize, 1, u32::MAX as usize),
            ("guard.max_harmful", self.guard.max_harmful as usize, 1, u32::MAX as usize),
            ("budget.duty_ppm", self.budget.duty_ppm as usize, 0, 1_000_000),
            ("the ring of inertial samples", imu, 2, usize::MAX),
        ];
        for (field, found, least, most) in sizes {
            if !(least..=most).contains(&found) {
                return Err(ConfigError::Size { field, found, least, most });
            }
        }
        if self.pairing.min > self.pairing.max {
            return Err(ConfigError::Distances);
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let guard = &self.guard;
        let numbers = [
            ("pairing.max_rotation", self.pairing.max_rotation, 0.0, f32::MAX, "zero or more"),
            ("guard.z", guard.z, 0.0, f32::MAX, "zero or more"),
            ("guard.harm_z", guard.harm_z, 0.0, f32::MAX, "zero or more"),
            ("guard.min_spread", guard.min_spread, 0.0, 1.0, "between zero and one"),
            ("guard.max_drift", guard.max_drift, 0.0, 2.0, "between zero and two"),
            ("guard.backoff", guard.backoff, f32::MIN_POSITIVE, 1.0, "above zero and at most one"),
            ("guard.min_lr_scale", guard.min_lr_scale, 0.0, 1.0, "between zero and one"),
        ];
        for (field, found, least, most, wanted) in numbers {
            if !(least..=most).contains(&found) {
                return Err(ConfigError::Number { field, wanted });
            }
        }
        Ok(())
    }
}
