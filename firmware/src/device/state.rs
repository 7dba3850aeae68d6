//! A device at rest: all that a later process needs to go on as if nothing had happened.

use std::sync::Arc;

use sedge_core::{Rest, Set};
use sedge_models::Tensors;
use sedge_models::bundle::Bundle;
use sedge_readings::Timestamp;
use serde::{Deserialize, Serialize};

use super::hands::{Done, Job};
use super::samples::{Pair, Sample, is_image};
use super::{Device, on_large_stack};
use crate::checkpoint::CheckpointError;
use crate::config::{Learner, bytes_of_a_sample};
use crate::output::Sink;
use crate::{DeviceConfig, DeviceError};

/// Prefixes of the two states among the tensors.
const TRAINING: &str = "training/";
const SERVED: &str = "served/";

/// A device at rest.
#[derive(Clone, Debug)]
pub(crate) struct DeviceState {
    pub(crate) figures: Figures,
    /// The learner as JSON.
    pub(crate) learner: Vec<u8>,
    /// The training copy's state under `training/`, the incumbent's under `served/`.
    pub(crate) tensors: Tensors,
    /// Anchor and neighbour of every pair, then the open samples; each of one size.
    pub(crate) samples: Vec<u8>,
}

/// The small part of a state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    served: u64,
    now_ns: u64,
    next_frame: u64,
    next_pair: u64,
    pairs: Vec<SavedPair>,
    open: Vec<u64>,
    resting: Option<Rest>,
    /// The samples of the pairs were too large to save.
    forgotten: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPair {
    held_out: bool,
    slot: u16,
    id: u64,
}

impl Device {
    /// Waits for the work under way and takes down the whole state. Pairs whose samples take more than
    /// `most_bytes` are left out; the device that goes on gathers new ones.
    pub(crate) fn save(
        &mut self,
        most_bytes: usize,
        sink: &mut dyn Sink,
    ) -> Result<DeviceState, DeviceError> {
        self.settle(sink)?;
        let Done::States { training, incumbent } = self.ask(Job::States)? else {
            return Err(DeviceError::Worker("answered another question than was asked".into()));
        };
        let (pairs, open) = self.samples.all();
        let (pairs, open): (Vec<_>, Vec<_>) = (pairs.collect(), open.collect());
        let bytes = bytes_of_a_sample(self.preparation.input()).saturating_mul(2 * pairs.len());
        let forgotten = bytes > most_bytes;
        let mut samples = Vec::new();
        if !forgotten {
            pairs.iter().for_each(|(_, _, pair)| {
                write_sample(&pair.anchor, &mut samples);
                write_sample(&pair.neighbour, &mut samples);
            });
        }
        open.iter().for_each(|(_, sample)| write_sample(sample, &mut samples));
        let saved = |(set, slot, pair): &(Set, u16, &Pair)| SavedPair {
            held_out: *set == Set::HeldOut,
            slot: *slot,
            id: pair.id,
        };
        let figures = Figures {
            served: self.served,
            now_ns: self.now.nanos(),
            next_frame: self.next_frame,
            next_pair: self.samples.next_pair(),
            pairs: if forgotten { Vec::new() } else { pairs.iter().map(saved).collect() },
            open: open.iter().map(|(index, _)| *index).collect(),
            resting: self.resting,
            forgotten,
        };
        let learner = serde_json::to_vec(&*self.learner).map_err(CheckpointError::from)?;
        let named = |prefix: &'static str, state: Tensors| {
            state.into_iter().map(move |(name, array)| (format!("{prefix}{name}"), array))
        };
        let tensors = named(TRAINING, training).chain(named(SERVED, incumbent)).collect();
        Ok(DeviceState { figures, learner, tensors, samples })
    }

    /// A device that goes on from a state saved with the same bundle and configuration.
    pub(crate) fn resume(
        bundle: &Bundle,
        config: &DeviceConfig,
        state: DeviceState,
    ) -> Result<Self, DeviceError> {
        let mut device = Self::new(bundle, config)?;
        let learner = on_large_stack(|| serde_json::from_slice::<Learner>(&state.learner).map(Box::new))?;
        let mut learner = learner.map_err(CheckpointError::from)?;
        if learner.config() != device.learner.config() {
            return Err(CheckpointError::OtherConfig { field: "the learner's configuration".into() }.into());
        }
        let Figures { served, now_ns, next_frame, next_pair, pairs, open, resting, forgotten } =
            state.figures;
        if forgotten {
            learner.forget_pairs();
        }
        device.restore_samples(&pairs, &open, &state.samples)?;
        let kept = pairs.iter().filter(|pair| pair.held_out).count();
        if (pairs.len() - kept, kept) != (learner.training().len(), learner.held_out().len()) {
            return Err(damaged("it holds other pairs than its learner knows").into());
        }
        let of = |prefix: &str| -> Tensors {
            let named = state.tensors.iter();
            named.filter_map(|(n, v)| Some((n.strip_prefix(prefix)?.to_owned(), v.clone()))).collect()
        };
        let job = Job::Restore { training: of(TRAINING), incumbent: of(SERVED) };
        if let Done::Restored(serving) = device.ask(job)?
            && served > 0
        {
            device.serve(serving);
        }
        device.samples.set_next_pair(next_pair);
        device.learner = learner;
        (device.served, device.next_frame, device.resting) = (served, next_frame, resting);
        device.now = Timestamp::from_nanos(now_ns);
        Ok(device)
    }

    fn restore_samples(
        &mut self,
        pairs: &[SavedPair],
        open: &[u64],
        bytes: &[u8],
    ) -> Result<(), CheckpointError> {
        let size = bytes_of_a_sample(self.preparation.input()).max(1);
        let image = is_image(self.preparation.input());
        let mut samples = bytes.chunks_exact(size).map(|bytes| read_sample(bytes, image));
        if bytes.len() != size.saturating_mul(2 * pairs.len() + open.len()) {
            return Err(damaged("its samples are not of the size that the encoder reads"));
        }
        for saved in pairs {
            // As many samples as places: the length was compared above.
            let (Some(anchor), Some(neighbour)) = (samples.next(), samples.next()) else { break };
            let set = if saved.held_out { Set::HeldOut } else { Set::Training };
            self.samples.restore(set, saved.slot, Pair { id: saved.id, anchor, neighbour });
        }
        open.iter().zip(samples).for_each(|(index, sample)| self.samples.hold(*index, sample));
        Ok(())
    }
}

fn damaged(what: &str) -> CheckpointError {
    CheckpointError::Damaged { what: what.into() }
}

fn write_sample(sample: &Sample, out: &mut Vec<u8>) {
    match sample {
        Sample::Image(bytes) => out.extend_from_slice(bytes),
        Sample::Window(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
    }
}

fn read_sample(bytes: &[u8], image: bool) -> Sample {
    if image {
        return Sample::Image(bytes.into());
    }
    let values: Arc<[f32]> =
        bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    Sample::Window(values)
}
