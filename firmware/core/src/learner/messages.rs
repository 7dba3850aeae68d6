//! What passes between the learner and the shell around it.

use sedge_readings::{ImuSample, Reading, Span, Timestamp};

use crate::{Evidence, Motion, ReplayError, StopReason, Verdict, Warmth};

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A camera frame by the number the shell gave it (rising), or the reason for none.
    Frame(Reading<u64>),
    /// An inertial sample, or the reason for none.
    Imu(Reading<ImuSample>),
    /// The embedding asked for by the action of this index.
    Embedded {
        /// The frame's or window's number.
        index: u64,
        /// Its embedding.
        embedding: &'a [f32],
    },
    /// The encoder failed on it.
    NotEmbedded {
        /// The frame's or window's number.
        index: u64,
    },
    /// The step asked for is done.
    Stepped {
        /// What it took.
        took: Span,
    },
    /// The step asked for failed, and left the training copy as it was or not finite.
    StepFailed {
        /// What it took.
        took: Span,
    },
    /// The evaluation asked for is done.
    Evaluated {
        /// The numbers.
        evidence: Evidence,
        /// What it took.
        took: Span,
    },
    /// How hot the machine is.
    Heat(Warmth),
    /// How many bytes the process holds.
    Memory {
        /// Resident bytes.
        bytes: u64,
    },
    /// Nothing more comes.
    End,
}

/// Which memory a pair belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Set {
    /// Trained on.
    Training,
    /// Only ever measured on.
    HeldOut,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Action {
    /// Embed and publish the frame of this number; answer with [`Input::Embedded`].
    EmbedFrame {
        /// The shell's number for it.
        index: u64,
        /// When it was taken.
        at: Timestamp,
        /// How the device moved since the frame before.
        motion: Motion,
    },
    /// Embed and publish the window in [`Learner::window`](crate::Learner::window); answer with [`Input::Embedded`].
    EmbedWindow {
        /// The learner's number for it, rising.
        index: u64,
        /// When its last sample was taken.
        at: Timestamp,
    },
    /// Keep two samples as a pair; what the slot held is forgotten.
    Keep {
        /// Which memory.
        set: Set,
        /// The slot in it.
        slot: u16,
        /// The earlier sample's number.
        anchor: u64,
        /// The later sample's number.
        neighbour: u64,
    },
    /// Train one step on the pairs of [`Learner::batch`](crate::Learner::batch); answer with [`Input::Stepped`].
    Adapt {
        /// Factor on the learning rate.
        lr_scale: f32,
        /// Seed for the step's augmentations.
        seed: u64,
    },
    /// Measure the training copy, the incumbent and the origin on the held-out pairs; answer with
    /// [`Input::Evaluated`].
    Evaluate,
    /// The guard has spoken: do what the verdict says.
    Decide(Verdict),
    /// Adaptation stops for good; embedding goes on.
    Stop(StopReason),
    /// Nothing to do until the next input.
    Rest(Rest),
}

/// Why no step is taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Rest {
    /// Adaptation is switched off.
    Off,
    /// The guard stopped it.
    Stopped(StopReason),
    /// A step or an evaluation is under way.
    Busy,
    /// Too few training or held-out pairs yet.
    FewPairs,
    /// The time allowed is spent.
    Budget,
    /// The machine is too hot.
    Heat,
    /// The firmware throttles the machine, or did a moment ago.
    Throttled,
    /// The process holds as much memory as it may.
    Memory,
    /// The stream has ended.
    Ended,
}

/// An input that was refused; the state is as if it had not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// An answer to nothing that was asked.
    NotAsked,
    /// An embedding that cannot be used; the sample counts as failed.
    Embedding(ReplayError),
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAsked => f.write_str("an answer came to nothing that was asked"),
            Self::Embedding(ReplayError::NotFinite) => f.write_str("the embedding holds NaN or infinity"),
            Self::Embedding(ReplayError::Dimensions { found, wanted }) => {
                write!(f, "the embedding has {found} dimensions, {wanted} were expected")
            }
        }
    }
}

impl core::error::Error for Refusal {}

/// Steps and verdicts so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Progress {
    /// Steps taken.
    pub steps: u64,
    /// Steps that failed.
    pub failed_steps: u64,
    /// Candidates measured.
    pub evaluations: u64,
    /// Candidates served.
    pub accepted: u64,
    /// Candidates rejected, failed steps included.
    pub rejected: u64,
    /// Times the origin went back into service.
    pub restored: u64,
    /// Looks that decided nothing.
    pub held: u64,
}
