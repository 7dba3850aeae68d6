//! The memory against a naive one that compares every pair of members afresh.

#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use sedge_core::{Eviction, Pcg32, Replay, ReplayError};

const DIM: usize = 6;

/// Drops, when full, the older of the two members closest to each other.
#[derive(Default)]
struct Naive {
    members: Vec<(u64, Vec<f32>)>,
    arrivals: u64,
}

fn unit(v: &[f32]) -> Vec<f32> {
    let norm = v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    v.iter().map(|&x| if norm > 0.0 { (f64::from(x) / norm) as f32 } else { 0.0 }).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    1.0 - a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>()
}

impl Naive {
    fn insert(&mut self, embedding: &[f32], capacity: usize) -> usize {
        self.arrivals += 1;
        let newcomer = (self.arrivals, unit(embedding));
        if self.members.len() < capacity {
            self.members.push(newcomer);
            return self.members.len() - 1;
        }
        let nearest = |i: usize| {
            let others = (0..capacity).filter(|j| *j != i);
            others.map(|j| distance(&self.members[i].1, &self.members[j].1)).fold(4.0, f32::min)
        };
        let slot = (0..capacity)
            .min_by(|&a, &b| {
                nearest(a).total_cmp(&nearest(b)).then(self.members[a].0.cmp(&self.members[b].0))
            })
            .unwrap();
        self.members[slot] = newcomer;
        slot
    }
}

fn embeddings() -> impl Strategy<Value = Vec<Vec<f32>>> {
    // Few distinct values, so that ties and repeats are common; and vectors of nothing.
    let value = prop_oneof![3 => -1.0f32..1.0, 1 => Just(0.0), 1 => Just(1.0)];
    proptest::collection::vec(proptest::collection::vec(value, DIM), 1..120)
}

proptest! {
    #[test]
    fn keeps_what_the_naive_rule_keeps(stream in embeddings(), capacity in 1usize..=16) {
        let mut replay = Replay::<16, DIM>::new(Eviction::MinRed, capacity, DIM);
        let (mut naive, mut rng) = (Naive::default(), Pcg32::new(1, 1));
        for embedding in &stream {
            let slot = replay.insert(embedding, &mut rng).unwrap();
            let wanted = naive.insert(embedding, capacity);
            if replay.inexact() > 0 {
                return Ok(());
            }
            prop_assert_eq!(slot, Some(wanted as u16));
            for (slot, (_, member)) in naive.members.iter().enumerate() {
                prop_assert_eq!(replay.embedding(slot as u16).unwrap(), &member[..]);
            }
        }
        prop_assert_eq!(replay.len(), stream.len().min(capacity));
        prop_assert_eq!(replay.offered(), stream.len() as u64);
    }
}

fn gaussian_like(rng: &mut Pcg32) -> Vec<f32> {
    (0..32).map(|_| (0..4).map(|_| rng.next_u32() as f32 / u32::MAX as f32 - 0.5).sum()).collect()
}

#[test]
fn the_bound_on_refreshes_is_not_reached_by_ordinary_embeddings() {
    let mut replay = Replay::<64, 32>::new(Eviction::MinRed, 64, 32);
    let mut rng = Pcg32::new(7, 1);
    for _ in 0..2_000 {
        let embedding = gaussian_like(&mut rng);
        replay.insert(&embedding, &mut rng).unwrap();
    }
    assert_eq!(replay.inexact(), 0);
}

#[test]
fn a_rare_room_survives_a_long_corridor() {
    let survivors = |eviction| {
        let mut replay = Replay::<16, 8>::new(eviction, 16, 8);
        let mut rng = Pcg32::new(3, 1);
        let mut place = |axis: usize, rng: &mut Pcg32| {
            let mut v = vec![0.0f32; 8];
            v[axis] = 1.0;
            v.iter_mut().for_each(|x| *x += 0.05 * (rng.next_u32() as f32 / u32::MAX as f32));
            replay.insert(&v, rng).unwrap();
        };
        for _ in 0..4 {
            place(1, &mut rng);
        }
        for _ in 0..500 {
            place(0, &mut rng);
        }
        (0..16).filter(|&slot| replay.embedding(slot).unwrap()[1] > 0.5).count()
    };
    assert!(survivors(Eviction::MinRed) >= 1);
    assert_eq!(survivors(Eviction::Fifo), 0);
}

#[test]
fn a_reservoir_is_uniform_over_the_stream() {
    let mut kept = [0u32; 4];
    for seed in 0..400 {
        let mut replay = Replay::<10, 1>::new(Eviction::Reservoir, 10, 1);
        let mut rng = Pcg32::new(seed, 1);
        let mut slots = [0u64; 10];
        for i in 0..100 {
            if let Some(slot) = replay.insert(&[1.0], &mut rng).unwrap() {
                slots[slot as usize] = i;
            }
        }
        slots.iter().for_each(|i| kept[*i as usize / 25] += 1);
    }
    assert!(kept.iter().all(|c| (900..1_100).contains(c)), "{kept:?} of 1000 each");
}

#[test]
fn a_batch_holds_no_slot_twice() {
    let mut replay = Replay::<16, 1>::new(Eviction::Fifo, 16, 1);
    let mut rng = Pcg32::new(9, 1);
    for _ in 0..12 {
        replay.insert(&[1.0], &mut rng).unwrap();
    }
    let (mut out, mut seen) = (heapless::Vec::new(), [0u32; 12]);
    for _ in 0..600 {
        replay.sample(6, &mut rng, &mut out);
        let mut sorted: Vec<u16> = out.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 6);
        sorted.iter().for_each(|&slot| seen[slot as usize] += 1);
    }
    assert!(seen.iter().all(|c| (230..370).contains(c)), "{seen:?} of 300 each");
    replay.sample(13, &mut rng, &mut out);
    assert!(out.is_empty());
}

#[test]
fn unusable_embeddings_are_refused() {
    let mut replay = Replay::<4, 2>::new(Eviction::MinRed, 4, 2);
    let mut rng = Pcg32::new(0, 0);
    assert_eq!(replay.insert(&[1.0], &mut rng), Err(ReplayError::Dimensions { found: 1, wanted: 2 }));
    assert_eq!(replay.insert(&[1.0, f32::NAN], &mut rng), Err(ReplayError::NotFinite));
    assert!(replay.insert(&[f32::MAX, f32::MAX], &mut rng).is_ok());
    assert!((replay.embedding(0).unwrap()[0] - 0.70710677).abs() < 1e-6);
}
