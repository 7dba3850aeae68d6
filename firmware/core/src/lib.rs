//! The learner: everything a device decides, and nothing it does.
//!
//! A [`Learner`] is stepped with the time and an [`Input`] (a frame's stamp, an inertial sample, an
//! embedding, a finished step) and polled for an [`Action`] (embed this, keep that pair, adapt on
//! these pairs, serve the candidate, put the old weights back). It reads no clock, file, device or
//! network, allocates nothing and holds no pixel: the shell around it keeps the images, runs the
//! graphs and writes the files. So the simulator, a replay and the robot run the same decisions, and
//! a test can drive them through any fault in any order.
//!
//! The parts, in the order data meets them:
//!
//! - [`Synchroniser`] joins frames with the inertial samples of their interval; [`Windower`] cuts the
//!   inertial stream into windows. Both count what they cannot use, by reason ([`Tally`]).
//! - [`Pairing`] picks the neighbours that become positive pairs.
//! - [`Replay`] keeps a bounded, diverse memory of pairs; every k-th pair is held out of training.
//! - [`Budget`] says when there is time to adapt, and [`Restraint`] when the machine is too hot or full for it.
//! - [`Guard`] decides whether a candidate may replace the weights in service.
//!
//! Nothing here sees ground truth or labels.
#![no_std]

mod budget;
mod guard;
mod learner;
mod motion;
mod pairing;
mod replay;
mod restraint;
mod rng;
mod synchroniser;
mod tally;
mod window;

pub use budget::{Budget, BudgetConfig, Cost};
pub use guard::{
    Evidence, Guard, GuardConfig, Hold, Measure, PairedDifference, Rejection, StopReason, Verdict,
};
pub use learner::{Action, ConfigError, Input, Learner, LearnerConfig, Progress, Refusal, Rest, Senses, Set};
pub use motion::Motion;
pub use pairing::{Outcome, Pairing, PairingConfig, PairingTally, Sighting};
pub use replay::{Eviction, Replay, ReplayError};
pub use restraint::{Restraint, RestraintConfig, Warmth};
pub use rng::Pcg32;
pub use synchroniser::{FrameStamp, Synchroniser, SynchroniserConfig};
pub use tally::Tally;
pub use window::{WindowConfig, Windower};
