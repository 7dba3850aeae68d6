//! The front of the learner: either frames with inertial samples beside them, or inertial windows.

use sedge_readings::{ImuSample, Reading, Timestamp};

use super::{Action, Senses};
use crate::{Sighting, Synchroniser, Tally, Windower};

/// What comes in is turned into sightings to embed.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Front<const IMU: usize> {
    Frames(Synchroniser<IMU>),
    Windows {
        windower: Windower<IMU>,
        frames: Tally,
        windows: Tally,
        next: u64,
        /// A complete window nobody has asked for yet.
        waiting: bool,
    },
}

impl<const IMU: usize> Front<IMU> {
    pub(super) fn new(senses: &Senses) -> Result<Self, &'static str> {
        Ok(match senses {
            Senses::Frames(config) => Self::Frames(Synchroniser::new(*config)),
            Senses::Windows(config) => Self::Windows {
                windower: Windower::new(*config)?,
                frames: Tally::default(),
                windows: Tally::default(),
                next: 0,
                waiting: false,
            },
        })
    }

    pub(super) fn frame(&mut self, reading: Reading<u64>) {
        match self {
            Self::Frames(synchroniser) => {
                synchroniser.frame(reading);
            }
            Self::Windows { frames, .. } => {
                frames.offered += 1;
                frames.unused += 1;
            }
        }
    }

    pub(super) fn imu(&mut self, reading: Reading<ImuSample>) {
        match self {
            Self::Frames(synchroniser) => synchroniser.imu(reading),
            Self::Windows { windower, windows, waiting, .. } => {
                windows.skipped += u64::from(core::mem::take(waiting));
                *waiting = windower.push(reading);
                windows.offered += u64::from(*waiting);
            }
        }
    }

    pub(super) fn end(&mut self) {
        match self {
            Self::Frames(synchroniser) => synchroniser.end(),
            Self::Windows { windower, windows, waiting, .. } => {
                windows.skipped += u64::from(core::mem::take(waiting));
                windower.end();
            }
        }
    }

    /// The next sample to embed, if one is ready.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(Sighting, Action)> {
        match self {
            Self::Frames(synchroniser) => {
                let (stamp, motion) = synchroniser.answer(now)?;
                let (index, at) = (stamp.index, stamp.at);
                let senses_rotation = synchroniser.has_imu();
                let sighting = Sighting { index, at, rotation: motion.rotation, senses_rotation, segment: 0 };
                Some((sighting, Action::EmbedFrame { index, at, motion }))
            }
            Self::Windows { windower, next, waiting, .. } => {
                if !core::mem::take(waiting) {
                    return None;
                }
                let (at, segment) = windower.stamp()?;
                let index = *next;
                *next += 1;
                // A turn is what an inertial window shows, not what spoils a pair of them.
                let sighting = Sighting { index, at, rotation: None, senses_rotation: false, segment };
                Some((sighting, Action::EmbedWindow { index, at }))
            }
        }
    }

    pub(super) fn window(&self) -> impl Iterator<Item = &ImuSample> {
        let windower = match self {
            Self::Frames(_) => None,
            Self::Windows { windower, .. } => Some(windower),
        };
        windower.into_iter().flat_map(|windower| windower.window())
    }

    pub(super) fn waits_for(&self, index: u64) -> bool {
        match self {
            Self::Frames(synchroniser) => synchroniser.waits_for(index),
            Self::Windows { .. } => false,
        }
    }

    /// The tally of what is embedded.
    pub(super) fn looked_at(&mut self) -> &mut Tally {
        match self {
            Self::Frames(synchroniser) => &mut synchroniser.frames,
            Self::Windows { windows, .. } => windows,
        }
    }

    pub(super) fn frames(&self) -> &Tally {
        match self {
            Self::Frames(synchroniser) => synchroniser.frames(),
            Self::Windows { frames, .. } => frames,
        }
    }

    pub(super) fn samples(&self) -> &Tally {
        match self {
            Self::Frames(synchroniser) => synchroniser.samples(),
            Self::Windows { windower, .. } => windower.tally(),
        }
    }

    pub(super) fn windows(&self) -> Tally {
        match self {
            Self::Frames(_) => Tally::default(),
            Self::Windows { windows, .. } => *windows,
        }
    }
}
