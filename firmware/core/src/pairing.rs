//! Picks which sightings become positive pairs: two views of the same place, near enough in time to
//! show the same things and far enough apart to teach something (temporal neighbours as positives: S.
//! Sermanet et al., "Time-Contrastive Networks", 2018).
//!
//! One anchor waits at a time. The first sighting far enough from it, without a gap or too large a turn
//! between, becomes its neighbour, and both are spent; so no sighting is in two pairs, and what is
//! held out of training shares no image with what is trained on.

use sedge_readings::{Span, Timestamp};

use crate::motion::norm;

/// Limits on a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PairingConfig {
    /// Shortest time between the two.
    pub min: Span,
    /// Longest time between the two.
    pub max: Span,
    /// Sightings further apart than this are not neighbours.
    pub max_gap: Span,
    /// Largest rotation between the two in rad, where it is known.
    pub max_rotation: f32,
}

impl Default for PairingConfig {
    fn default() -> Self {
        Self {
            min: Span::from_millis(200),
            max: Span::from_millis(1_000),
            max_gap: Span::from_millis(500),
            max_rotation: 0.5,
        }
    }
}

/// One embedded frame or window, as far as pairing cares.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sighting {
    /// The owner's number.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// Rotation since the sighting before in rad; `None` where it is not known.
    pub rotation: Option<[f32; 3]>,
    /// Whether this device measures rotation at all. Where it does, an unknown rotation breaks a pair;
    /// where it does not, pairs are made by time alone.
    pub senses_rotation: bool,
    /// A number that changes wherever the stream broke.
    pub segment: u32,
}

/// What became of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// It waits for its neighbour.
    Anchored,
    /// It lies too near to the anchor, which goes on waiting.
    PassedOver,
    /// It is the neighbour of the anchor of this number.
    Paired {
        /// The anchor's number.
        anchor: u64,
    },
}

/// Sightings by what became of them: `offered = 2 pairs + passed_over + the lost + (one anchor)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PairingTally {
    /// Sightings offered.
    pub offered: u64,
    /// Pairs made, of two sightings each.
    pub pairs: u64,
    /// Sightings nearer to an anchor than the shortest distance.
    pub passed_over: u64,
    /// Anchors lost to a gap or a break in the stream.
    pub lost_to_gap: u64,
    /// Anchors that the device turned away from before a neighbour came.
    pub lost_to_rotation: u64,
    /// Anchors after which the rotation could not be told.
    pub lost_to_unknown_rotation: u64,
    /// Anchors whose next sighting came after the longest distance.
    pub lost_to_distance: u64,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Anchor {
    index: u64,
    at: Timestamp,
    turned: [f32; 3],
}

/// Makes pairs of sightings.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pairing {
    config: PairingConfig,
    anchor: Option<Anchor>,
    last: Option<(Timestamp, u32)>,
    tally: PairingTally,
}

impl Pairing {
    /// Without an anchor.
    pub fn new(config: PairingConfig) -> Self {
        Self { config, anchor: None, last: None, tally: PairingTally::default() }
    }

    /// The number of the sighting that waits for a neighbour.
    pub fn anchor(&self) -> Option<u64> {
        self.anchor.map(|anchor| anchor.index)
    }

    /// What became of the sightings.
    pub fn tally(&self) -> &PairingTally {
        &self.tally
    }

    /// Gives up the waiting anchor, counted as lost to a gap.
    pub fn forget_anchor(&mut self) {
        self.tally.lost_to_gap += u64::from(self.anchor.take().is_some());
    }

    /// Takes the next sighting in time order.
    pub fn offer(&mut self, sighting: Sighting) -> Outcome {
        self.tally.offered += 1;
        let last = self.last.replace((sighting.at, sighting.segment));
        let Some(mut anchor) = self.anchor.take() else { return self.start(sighting) };
        let together = last.is_some_and(|(at, segment)| {
            segment == sighting.segment
                && sighting.at.checked_since(at).is_some_and(|gap| gap <= self.config.max_gap)
        });
        if !together {
            self.tally.lost_to_gap += 1;
            return self.start(sighting);
        }
        match sighting.rotation {
            Some(rotation) => {
                for (sum, turn) in anchor.turned.iter_mut().zip(rotation) {
                    *sum += turn;
                }
            }
            None if sighting.senses_rotation => {
                self.tally.lost_to_unknown_rotation += 1;
                return self.start(sighting);
            }
            None => {}
        }
        let turned = norm(anchor.turned);
        if turned > self.config.max_rotation || turned.is_nan() {
            self.tally.lost_to_rotation += 1;
            return self.start(sighting);
        }
        let distance = sighting.at.since(anchor.at);
        if distance > self.config.max {
            self.tally.lost_to_distance += 1;
            return self.start(sighting);
        }
        if distance < self.config.min {
            self.tally.passed_over += 1;
            self.anchor = Some(anchor);
            return Outcome::PassedOver;
        }
        self.tally.pairs += 1;
        Outcome::Paired { anchor: anchor.index }
    }

    fn start(&mut self, sighting: Sighting) -> Outcome {
        self.anchor = Some(Anchor { index: sighting.index, at: sighting.at, turned: [0.0; 3] });
        Outcome::Anchored
    }
}
