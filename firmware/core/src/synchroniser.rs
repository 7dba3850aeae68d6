//! Joins each frame with the inertial samples of its interval.
//!
//! Frames and samples come on one clock but not at one rate, and the samples of a frame's interval
//! may arrive after the frame. So a frame waits, as a stamp without pixels, until a sample at or past
//! its time has come, or a timeout says that none will. Samples live in a ring of fixed capacity; the
//! last one before the previous frame is kept, so that the rotation is integrated across the boundary.
//!
//! A clock is expected to be monotonic. A reading older than its predecessor is counted and dropped,
//! however far back it lies; nothing is reordered.

use heapless::Deque;
use sedge_readings::{ImuSample, Reading, Span, Timestamp};

use crate::motion::{Mean, integrate};
use crate::{Motion, Tally};

/// Frames that can wait for their samples; the oldest is answered early rather than one more lost.
const WAITING_FRAMES: usize = 16;

/// How long frames wait and what counts as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SynchroniserConfig {
    /// A frame this old is answered with the samples there are.
    pub timeout: Span,
    /// Samples further apart than this do not cover the time between them.
    pub max_gap: Span,
}

impl Default for SynchroniserConfig {
    fn default() -> Self {
        Self { timeout: Span::from_millis(100), max_gap: Span::from_millis(50) }
    }
}

/// A frame without its pixels: the number its owner gave it, and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FrameStamp {
    /// The owner's number for the frame, rising.
    pub index: u64,
    /// When it was taken.
    pub at: Timestamp,
}

/// Joins frames and samples; `IMU` samples are held at most.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Synchroniser<const IMU: usize> {
    config: SynchroniserConfig,
    waiting: Deque<FrameStamp, WAITING_FRAMES>,
    samples: Deque<(Timestamp, ImuSample), IMU>,
    last_frame: Option<Timestamp>,
    last_sample: Option<Timestamp>,
    answered: Option<Timestamp>,
    ended: bool,
    /// The learner counts a frame as used once it is embedded.
    pub(crate) frames: Tally,
    pub(crate) imu: Tally,
}

impl<const IMU: usize> Synchroniser<IMU> {
    /// An empty synchroniser.
    pub fn new(config: SynchroniserConfig) -> Self {
        Self {
            config,
            waiting: Deque::new(),
            samples: Deque::new(),
            last_frame: None,
            last_sample: None,
            answered: None,
            ended: false,
            frames: Tally::default(),
            imu: Tally::default(),
        }
    }

    /// Takes a frame's stamp (the owner's index), or the reason why there is no frame.
    /// Gives whether the frame waits for an answer; otherwise it was dropped and counted.
    pub fn frame(&mut self, reading: Reading<u64>) -> bool {
        self.frames.offered += 1;
        let index = match reading.value {
            Ok(index) => index,
            Err(reason) => {
                self.frames.no_data(reason);
                return false;
            }
        };
        if let Some(last) = self.last_frame
            && reading.at <= last
        {
            let reason =
                if reading.at == last { &mut self.frames.duplicate } else { &mut self.frames.backwards };
            *reason += 1;
            return false;
        }
        self.last_frame = Some(reading.at);
        if self.waiting.push_back(FrameStamp { index, at: reading.at }).is_err() {
            self.frames.overflow += 1;
            return false;
        }
        true
    }

    /// Takes an inertial sample, or the reason for none.
    pub fn imu(&mut self, reading: Reading<ImuSample>) {
        self.imu.offered += 1;
        let sample = match reading.value {
            Ok(sample) if sample.is_finite() => sample,
            Ok(_) => {
                self.imu.not_finite += 1;
                return;
            }
            Err(reason) => {
                self.imu.no_data(reason);
                return;
            }
        };
        match self.last_sample {
            Some(last) if reading.at < last => self.imu.backwards += 1,
            Some(last) if reading.at == last => self.imu.duplicate += 1,
            _ if self.answered.is_some_and(|answered| reading.at <= answered) => self.imu.late += 1,
            _ => {
                self.last_sample = Some(reading.at);
                if self.samples.is_full() {
                    self.make_room();
                }
                if self.samples.push_back((reading.at, sample)).is_err() {
                    // Only a ring of no capacity is full after making room.
                    self.imu.overflow += 1;
                }
            }
        }
    }

    /// The next frame whose samples are there or whose time is up, oldest first.
    pub fn answer(&mut self, now: Timestamp) -> Option<(FrameStamp, Motion)> {
        let stamp = *self.waiting.front()?;
        let passed = self.last_sample.is_some_and(|last| last >= stamp.at);
        let timed_out = now >= stamp.at + self.config.timeout;
        if !(passed || timed_out || self.waiting.is_full() || self.ended) {
            return None;
        }
        self.waiting.pop_front();
        let rotation = self
            .answered
            .and_then(|from| integrate(self.samples.iter(), from, stamp.at, self.config.max_gap));
        let mut mean = Mean::default();
        for (at, sample) in &self.samples {
            if *at <= stamp.at && self.answered.is_none_or(|from| *at > from) {
                mean.add(sample);
                self.imu.used += 1;
            }
        }
        let span = self.answered.map_or(Span::default(), |from| stamp.at.since(from));
        self.answered = Some(stamp.at);
        self.forget_before(stamp.at);
        if self.ended {
            self.give_up();
        }
        Some((stamp, mean.motion(rotation, span)))
    }

    /// Says that nothing more comes: every waiting frame can be answered now, and once it is, the
    /// samples after it are given up.
    pub fn end(&mut self) {
        self.ended = true;
        self.give_up();
    }

    /// What became of the frames; the used are counted by whoever embeds them.
    pub fn frames(&self) -> &Tally {
        &self.frames
    }

    /// What became of the samples.
    pub fn samples(&self) -> &Tally {
        &self.imu
    }

    /// Whether the frame numbered `index` still waits for its answer.
    pub fn waits_for(&self, index: u64) -> bool {
        self.waiting.iter().any(|stamp| stamp.index == index)
    }

    /// Whether any sample was ever taken.
    pub(crate) fn has_imu(&self) -> bool {
        self.last_sample.is_some()
    }

    fn give_up(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        while let Some((at, _)) = self.samples.pop_front() {
            self.imu.broken += u64::from(self.answered.is_none_or(|answered| at > answered));
        }
    }

    fn make_room(&mut self) {
        if let Some((at, _)) = self.samples.pop_front() {
            let counted = self.answered.is_some_and(|answered| at <= answered);
            self.imu.overflow += u64::from(!counted);
        }
    }

    /// Drops samples up to `time`, except the last of them.
    fn forget_before(&mut self, time: Timestamp) {
        while self.samples.get(1).is_some_and(|(next, _)| *next <= time) {
            self.samples.pop_front();
        }
    }
}
