//! The records of a run, as they stand in the JSON lines and in the MCAP file.

use sedge_core::{Evidence, Motion, Rest, StopReason, Verdict};
use serde::Serialize;

/// One embedded frame or window.
#[derive(Clone, Debug, Serialize)]
pub struct EmbeddingRecord<'a> {
    /// When the frame, or the window's last sample, was taken: nanoseconds of the stream's clock.
    pub t_ns: u64,
    /// The frame's number in the stream, or the window's among the windows, from zero.
    pub index: u64,
    /// Which weights made it: 0 as shipped, one more at each change.
    pub weights: u64,
    /// The embedding.
    pub embedding: &'a [f32],
    /// How the device moved since the frame before; absent for windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionRecord>,
}

/// Inertial summary beside a frame.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MotionRecord {
    /// Inertial samples since the frame before.
    pub samples: u32,
    /// Mean specific force in m/s².
    pub accel_mean: [f32; 3],
    /// Mean angular rate in rad/s.
    pub gyro_mean: [f32; 3],
    /// Root mean square of the angular rate in rad/s.
    pub gyro_rms: f32,
    /// Rotation since the frame before in rad; null where the samples do not cover the time.
    pub rotation: Option<[f32; 3]>,
    /// Its part about the vertical.
    pub yaw: Option<f32>,
}

impl From<Motion> for MotionRecord {
    fn from(motion: Motion) -> Self {
        let Motion { samples, accel_mean, gyro_mean, gyro_rms, rotation, .. } = motion;
        Self { samples, accel_mean, gyro_mean, gyro_rms, rotation, yaw: motion.yaw() }
    }
}

/// Something that happened, with its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRecord {
    /// When, in nanoseconds of the stream's clock.
    pub t_ns: u64,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Happening {
    /// A session began.
    Started {
        /// Version of the daemon.
        version: String,
        /// SHA-256 of the bundle.
        bundle: String,
        /// Events that earlier sessions had consumed.
        resumed_after: u64,
    },
    /// A training step was taken.
    Adapted {
        /// Steps so far.
        step: u64,
        /// Its loss.
        loss: f32,
        /// Its learning rate.
        lr: f32,
        /// What it took in milliseconds; only at the pace of a clock, for it differs between machines.
        #[serde(skip_serializing_if = "Option::is_none")]
        took_ms: Option<f64>,
    },
    /// A training step failed; the training copy goes back to the weights in service.
    StepFailed {
        /// Why.
        reason: String,
    },
    /// A candidate was measured and judged.
    Judged {
        /// The verdict.
        verdict: Verdict,
        /// The numbers; a number that is not finite is null.
        evidence: Evidence,
        /// Why it could not be measured, if so.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// Other weights went into service.
    Serving {
        /// Their number.
        weights: u64,
    },
    /// Adaptation stopped for good.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// No steps are taken for now.
    Resting {
        /// Why.
        reason: Rest,
    },
    /// A frame or window could not be embedded.
    NotEmbedded {
        /// Its number.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The source failed; what came before is complete.
    SourceFailed {
        /// Why.
        reason: String,
    },
    /// A session ended.
    Ended {
        /// Whether the stream had ended too.
        stream: bool,
    },
}
