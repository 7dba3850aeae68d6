//! The messages, each of a size that is known when this is compiled.
//!
//! The node counts microseconds in 32 bits, which wrap after 71 minutes; [`WideMicros`](crate::WideMicros)
//! undoes that at the host. Samples and missing ones share one sequence number, which wraps too.

use heapless::{String, Vec};
use sedge_readings::{ImuSample, NoData};
use serde::{Deserialize, Serialize};

use crate::frame::MAX_PAYLOAD;

/// Most samples of a batch.
pub const MAX_BATCH: usize = 8;
/// Most bytes of a log in one message.
pub const LOG_BYTES: usize = 128;
/// Longest name of a chip or a node's firmware, in bytes.
pub const NAME_BYTES: usize = 24;

/// How the node is to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings {
    /// Samples a second; which ones there are is the chip's to say.
    pub rate_hz: u16,
    /// Full scale of the accelerometer in g: 2, 4, 8 or 16.
    pub accel_full_scale_g: u8,
    /// Full scale of the gyroscope in degrees per second: 250, 500, 1000 or 2000.
    pub gyro_full_scale_dps: u16,
    /// What says when a sample is taken.
    pub pacing: Pacing,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rate_hz: 100, accel_full_scale_g: 4, gyro_full_scale_dps: 500, pacing: Pacing::Timer }
    }
}

/// What says when a sample is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Pacing {
    /// The node's timer: each sample is read when it is due.
    Timer,
    /// The chip's own clock: samples wait in its queue and are read in bursts, so that none is missed or
    /// read twice.
    Queue,
}

/// What the host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ToNode {
    /// Say who you are: answered by [`FromNode::Hello`].
    Identify,
    /// Say what time it is: answered by [`FromNode::Clock`] with the same number.
    Clock {
        /// Tells one request from another.
        number: u32,
    },
    /// Sample so: answered by [`FromNode::Hello`] with what holds from now on.
    Configure(Settings),
    /// Sample: answered by [`FromNode::Hello`].
    Start,
    /// Sample no more: answered by [`FromNode::Hello`].
    Stop,
}

/// What the node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromNode {
    /// Who it is and what it does.
    Hello(Hello),
    /// Samples.
    Batch(Batch),
    /// A sample that is not there.
    Missing(Missing),
    /// What time it is.
    Clock(NodeClock),
    /// Bytes of its log, as defmt encodes them, cut anywhere.
    Log(Vec<u8, LOG_BYTES>),
}

/// Who the node is and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol that it speaks.
    pub protocol: u16,
    /// Its inertial chip.
    pub chip: String<NAME_BYTES>,
    /// How it samples.
    pub settings: Settings,
    /// Whether it samples.
    pub running: bool,
    /// What is wrong with its chip, where something is.
    pub fault: Option<SampleFault>,
    /// What it has lost since it began.
    pub losses: NodeLosses,
}

/// What a node has lost since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NodeLosses {
    /// Samples that the line had no room for, the oldest first.
    pub samples: u32,
    /// Moments at which a sample was due and the node was late by a period or more.
    pub late: u32,
    /// Frames of the host that did not pass their check.
    pub frames: u32,
}

/// Samples that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Number of the first one; each further one has the next.
    pub first: u32,
    /// The node's microseconds at the first one.
    pub at_us: u32,
    /// The samples.
    pub samples: Vec<TimedSample, MAX_BATCH>,
}

/// A sample of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimedSample {
    /// Microseconds after [`Batch::at_us`].
    pub after_us: u32,
    /// In SI units.
    pub sample: ImuSample,
}

/// A sample that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Missing {
    /// Its number.
    pub number: u32,
    /// The node's microseconds at which it was due.
    pub at_us: u32,
    /// Why.
    pub fault: SampleFault,
}

/// Why a node has no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SampleFault {
    /// The bus reported a failure.
    Bus,
    /// Another chip answers than the node is built for.
    WrongChip,
    /// The chip cannot sample as it is asked to.
    Setting,
    /// The chip did not take a setting, or is not ready.
    NotReady,
    /// The chip's queue ran over, and an unknown number of samples is lost.
    Overrun,
}

impl SampleFault {
    /// The reason for no reading that this is.
    pub const fn no_data(self) -> NoData {
        match self {
            Self::Overrun => NoData::DropOut,
            Self::WrongChip | Self::Setting => NoData::Lost,
            Self::Bus | Self::NotReady => NoData::Bus,
        }
    }
}

impl core::fmt::Display for SampleFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Bus => "its bus reports a failure; look at its wires",
            Self::WrongChip => "another chip answers than it is built for; flash the image for that chip",
            Self::Setting => "its chip cannot sample as it is asked to; ask for another rate or range",
            Self::NotReady => "its chip does not take a setting; take its power away and give it back",
            Self::Overrun => "the chip's queue ran over",
        })
    }
}

/// What time it is at the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NodeClock {
    /// The request's number.
    pub number: u32,
    /// The node's microseconds when the request came.
    pub received_us: u32,
    /// The node's microseconds when this answer left.
    pub sent_us: u32,
}

/// Most bytes of a number of 16 and 32 bits, as postcard writes them.
const U16: usize = 3;
const U32: usize = 5;
/// Which message it is.
const KIND: usize = 1;
const SAMPLE: usize = U32 + size_of::<ImuSample>();
const SETTINGS: usize = U16 + 1 + U16 + 1;
/// Bytes of the longest message of each kind.
pub(crate) const LONGEST: [usize; 5] = [
    KIND + U16 + (1 + NAME_BYTES) + SETTINGS + 1 + 2 + 3 * U32,
    KIND + 2 * U32 + 1 + MAX_BATCH * SAMPLE,
    KIND + 2 * U32 + 1,
    KIND + 3 * U32,
    KIND + 2 + LOG_BYTES,
];

// The longest message fits a frame, and what a node keeps of them its memory.
const _: () = {
    let mut kind = 0;
    while kind < LONGEST.len() {
        assert!(LONGEST[kind] <= MAX_PAYLOAD);
        kind += 1;
    }
    assert!(KIND + SETTINGS <= MAX_PAYLOAD && KIND + U32 <= MAX_PAYLOAD);
    assert!(size_of::<FromNode>() <= 256);
    assert!(size_of::<ToNode>() <= 12);
};
