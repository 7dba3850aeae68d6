//! A bounded memory of pairs that stays diverse.
//!
//! A camera on a robot sees the same corridor a thousand times and a new room once. A queue of the
//! latest pairs forgets the room; a uniform sample holds a thousand corridors. [`Eviction::MinRed`]
//! drops, when full, a member of the closest two, by the cosine distance of their embeddings
//! (S. Purushwalkam, P. Morgado, A. Gupta, "The Challenges of Continuous Self-Supervised Learning",
//! 2022); of the two the older goes. The newcomer is always kept.
//!
//! Each member carries the distance to its nearest neighbour. When that neighbour leaves, the distance
//! is a lower bound, and is made exact only once it is the smallest of all; at most [`REFRESHES`]
//! times an insertion, so one costs at most `(1 + REFRESHES) * members * dimensions`. Were more
//! needed, the member with the smallest exact distance would go; [`Replay::inexact`] counts those.
//!
//! The memory knows slots, not pixels: a slot is where the owner keeps the pair.

use heapless::Vec;

use crate::Pcg32;

/// Distances made exact in one insertion at most.
const REFRESHES: usize = 16;

/// Further than any cosine distance, which is two at most.
const FAR: f32 = 4.0;

/// Which member makes room for a newcomer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Eviction {
    /// The older of the two members that are closest to each other.
    #[default]
    MinRed,
    /// The oldest.
    Fifo,
    /// A uniform sample of all that was ever offered (algorithm R, J. S. Vitter, 1985).
    Reservoir,
}

/// An embedding that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReplayError {
    /// It has another number of dimensions than the memory's.
    Dimensions {
        /// Dimensions given.
        found: usize,
        /// Dimensions wanted.
        wanted: usize,
    },
    /// It holds NaN or infinity.
    NotFinite,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Member<const D: usize> {
    /// Of length one, or all zero.
    embedding: Vec<f32, D>,
    /// Rank in the order of arrival.
    arrival: u64,
    /// Distance to the nearest other member, or a lower bound of it.
    nearest: f32,
    /// Whose distance it is; `None` where `nearest` is only a bound.
    neighbour: Option<u16>,
}

/// At most `N` pairs by their embeddings of at most `D` dimensions. `N` must fit 16 bits.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Replay<const N: usize, const D: usize> {
    eviction: Eviction,
    capacity: usize,
    dimensions: usize,
    members: Vec<Member<D>, N>,
    offered: u64,
    inexact: u64,
}

impl<const N: usize, const D: usize> Replay<N, D> {
    /// An empty memory of `capacity` pairs (at most `N` are used) with embeddings of `dimensions`
    /// (at most `D`).
    pub fn new(eviction: Eviction, capacity: usize, dimensions: usize) -> Self {
        const { assert!(N <= u16::MAX as usize, "a slot number has 16 bits") };
        Self {
            eviction,
            capacity: capacity.min(N),
            dimensions: dimensions.min(D),
            members: Vec::new(),
            offered: 0,
            inexact: 0,
        }
    }

    /// Pairs held.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether no pair is held.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Pairs offered so far.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Evictions decided without the exact smallest distance; zero but for embeddings made to defeat
    /// the bound.
    pub fn inexact(&self) -> u64 {
        self.inexact
    }

    /// The embedding kept in `slot`, scaled to length one.
    pub fn embedding(&self, slot: u16) -> Option<&[f32]> {
        self.members.get(usize::from(slot)).map(|member| member.embedding.as_slice())
    }

    /// Offers a pair by its anchor's embedding. Gives the slot it now occupies, whose former pair is
    /// gone, or `None` when the policy declines it.
    pub fn insert(&mut self, embedding: &[f32], rng: &mut Pcg32) -> Result<Option<u16>, ReplayError> {
        let embedding = self.normalised(embedding)?;
        self.offered += 1;
        if self.members.len() < self.capacity {
            let slot = self.members.len();
            let member = self.member(embedding, slot);
            // There is room: `len < capacity <= N`.
            return Ok(self.members.push(member).is_ok().then_some(slot as u16));
        }
        let slot = match self.eviction {
            Eviction::MinRed => self.most_redundant(),
            Eviction::Fifo => self.oldest(),
            Eviction::Reservoir => {
                // Beyond 2^32 offers the chance of being kept no longer falls; it is nil already.
                let draw = rng.below(u32::try_from(self.offered).unwrap_or(u32::MAX)) as usize;
                (draw < self.capacity).then_some(draw)
            }
        };
        let Some(slot) = slot else { return Ok(None) };
        self.leave(slot);
        let member = self.member(embedding, slot);
        if let Some(place) = self.members.get_mut(slot) {
            *place = member;
        }
        Ok(Some(slot as u16))
    }

    /// Forgets every pair; what was offered stays counted.
    pub fn clear(&mut self) {
        self.members.clear();
    }

    /// Draws `count` different slots uniformly into `out`, or nothing when there are fewer.
    pub fn sample(&self, count: usize, rng: &mut Pcg32, out: &mut Vec<u16, N>) {
        out.clear();
        if count > self.members.len() {
            return;
        }
        out.extend((0..self.members.len()).map(|slot| slot as u16));
        for i in 0..count {
            let rest = (out.len() - i) as u32;
            out.swap(i, i + rng.below(rest) as usize);
        }
        out.truncate(count);
    }

    /// Whether an embedding can be kept; gives its length.
    pub fn check(&self, embedding: &[f32]) -> Result<f64, ReplayError> {
        if embedding.len() != self.dimensions {
            return Err(ReplayError::Dimensions { found: embedding.len(), wanted: self.dimensions });
        }
        // In f64, where the square of no finite f32 overflows.
        let norm = libm::sqrt(embedding.iter().map(|&v| f64::from(v) * f64::from(v)).sum());
        if norm.is_finite() { Ok(norm) } else { Err(ReplayError::NotFinite) }
    }

    fn normalised(&self, embedding: &[f32]) -> Result<Vec<f32, D>, ReplayError> {
        let norm = self.check(embedding)?;
        let scale = |v: &f32| if norm > 0.0 { (f64::from(*v) / norm) as f32 } else { 0.0 };
        // Room for all: `dimensions <= D`.
        Ok(embedding.iter().take(D).map(scale).collect())
    }

    /// Makes the newcomer for `slot`, and lets every other member know of it.
    fn member(&mut self, embedding: Vec<f32, D>, slot: usize) -> Member<D> {
        let mut member = Member { embedding, arrival: self.offered, nearest: FAR, neighbour: None };
        if self.eviction != Eviction::MinRed {
            return member;
        }
        for (other_slot, other) in self.members.iter_mut().enumerate().filter(|(i, _)| *i != slot) {
            let distance = cosine_distance(&member.embedding, &other.embedding);
            if distance < member.nearest {
                (member.nearest, member.neighbour) = (distance, Some(other_slot as u16));
            }
            // Below a lower bound lies the minimum itself.
            if distance < other.nearest {
                (other.nearest, other.neighbour) = (distance, Some(slot as u16));
            }
        }
        member
    }

    /// Turns the distances that end at `slot` into bounds.
    fn leave(&mut self, slot: usize) {
        for member in self.members.iter_mut().filter(|m| m.neighbour == Some(slot as u16)) {
            member.neighbour = None;
        }
    }

    fn oldest(&self) -> Option<usize> {
        let (slot, _) = self.members.iter().enumerate().min_by_key(|(_, member)| member.arrival)?;
        Some(slot)
    }

    fn most_redundant(&mut self) -> Option<usize> {
        for _ in 0..REFRESHES {
            let slot = self.smallest(|_| true)?;
            if self.members.get(slot)?.neighbour.is_some() {
                return Some(slot);
            }
            self.refresh(slot);
        }
        let slot = self.smallest(|_| true)?;
        if self.members.get(slot)?.neighbour.is_some() {
            return Some(slot);
        }
        if self.members.len() > 1 {
            self.inexact += 1;
        }
        self.smallest(|member| member.neighbour.is_some()).or(Some(slot))
    }

    /// The slot of the smallest distance, the oldest where equal; a bound comes before an equal exact
    /// distance, for it may hide an older member.
    fn smallest(&self, of: impl Fn(&Member<D>) -> bool) -> Option<usize> {
        let key = |member: &Member<D>| (member.neighbour.is_some(), member.arrival);
        let chosen = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| of(member))
            .min_by(|(_, a), (_, b)| a.nearest.total_cmp(&b.nearest).then_with(|| key(a).cmp(&key(b))));
        chosen.map(|(slot, _)| slot)
    }

    fn refresh(&mut self, slot: usize) {
        let Some(member) = self.members.get(slot) else { return };
        let mut best = (FAR, None);
        for (i, other) in self.members.iter().enumerate().filter(|(i, _)| *i != slot) {
            let distance = cosine_distance(&member.embedding, &other.embedding);
            if distance < best.0 {
                best = (distance, Some(i as u16));
            }
        }
        if let Some(member) = self.members.get_mut(slot) {
            (member.nearest, member.neighbour) = best;
        }
    }
}

/// One minus the cosine of two vectors of length one.
fn cosine_distance(a: &[f32], b: &[f32]) -> f32 {
    // Always in this order of summation: the distance from either side must be the same number.
    1.0 - a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>()
}
