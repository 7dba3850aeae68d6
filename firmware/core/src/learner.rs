//! The learner: one state machine over the parts, stepped with what happened and polled for what to do.
//!
//! The shell calls [`Learner::on`] with each input and then [`Learner::poll`] until it answers
//! [`Action::Rest`]. Embedding is asked for one sample at a time and answered at once; a training step
//! or an evaluation may take as long as it takes, and meanwhile samples go on being embedded. Answers
//! that nobody asked for are refused, so a shell cannot bring the machine out of step.

use heapless::{Deque, Vec};
use sedge_readings::{ImuSample, Span, Timestamp};

mod config;
mod messages;
mod senses;

pub use config::{ConfigError, LearnerConfig, Senses};
pub use messages::{Action, Input, Progress, Refusal, Rest, Set};
use senses::Front;

use crate::{
    Budget, Cost, Guard, Outcome, Pairing, PairingTally, Pcg32, Replay, Restraint, Sighting, Tally, Verdict,
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Stepping,
    Evaluating,
}

/// The learner, with room for `PAIRS` training and `HELD_OUT` held-out pairs of embeddings of at most
/// `DIM` dimensions, and for `IMU` inertial samples.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Learner<const PAIRS: usize, const HELD_OUT: usize, const DIM: usize, const IMU: usize> {
    config: LearnerConfig,
    front: Front<IMU>,
    pairing: Pairing,
    anchor: Vec<f32, DIM>,
    training: Replay<PAIRS, DIM>,
    held_out: Replay<HELD_OUT, DIM>,
    budget: Budget,
    guard: Guard,
    rng: Pcg32,
    progress: Progress,
    since_candidate: u32,
    ended: bool,
    /// What follows is empty whenever the shell has polled to a rest with no work under way, which is
    /// when a learner may be saved.
    #[cfg_attr(feature = "serde", serde(skip))]
    phase: Phase,
    #[cfg_attr(feature = "serde", serde(skip))]
    asked: Option<Sighting>,
    #[cfg_attr(feature = "serde", serde(skip))]
    outbox: Deque<Action, 4>,
    #[cfg_attr(feature = "serde", serde(skip))]
    batch: Vec<u16, PAIRS>,
    /// Of the machine as it is now, not as it was when the learner was saved; absent until it is told.
    #[cfg_attr(feature = "serde", serde(skip))]
    restraint: Option<Restraint>,
}

impl<const PAIRS: usize, const HELD_OUT: usize, const DIM: usize, const IMU: usize>
    Learner<PAIRS, HELD_OUT, DIM, IMU>
{
    /// A learner that has seen nothing, or what is wrong with its configuration.
    pub fn new(config: LearnerConfig) -> Result<Self, ConfigError> {
        config.check(PAIRS, HELD_OUT, DIM, IMU)?;
        Ok(Self {
            front: Front::new(&config.senses).map_err(ConfigError::Window)?,
            pairing: Pairing::new(config.pairing),
            anchor: Vec::new(),
            training: Replay::new(config.eviction, config.pairs, config.dimensions),
            held_out: Replay::new(config.held_out_eviction, config.held_out_pairs, config.dimensions),
            budget: Budget::new(config.budget),
            guard: Guard::new(config.guard),
            rng: Pcg32::new(config.seed, 0x5ed6e),
            progress: Progress::default(),
            since_candidate: 0,
            ended: false,
            phase: Phase::Idle,
            asked: None,
            outbox: Deque::new(),
            batch: Vec::new(),
            restraint: None,
            config,
        })
    }

    /// Takes an input at the time `now` of the stream's clock.
    pub fn on(&mut self, now: Timestamp, input: Input<'_>) -> Result<(), Refusal> {
        match input {
            Input::Frame(reading) => self.front.frame(reading),
            Input::Imu(reading) => self.front.imu(reading),
            Input::Embedded { index, embedding } => return self.embedded(index, embedding),
            Input::NotEmbedded { index } => {
                self.answered(index)?;
                self.front.looked_at().failed += 1;
            }
            Input::Stepped { took } => {
                self.finish(Phase::Stepping)?;
                self.budget.spend(now, Cost::Step, took);
                self.progress.steps += 1;
                self.since_candidate = self.since_candidate.saturating_add(1);
            }
            Input::StepFailed { took } => {
                self.finish(Phase::Stepping)?;
                self.budget.spend(now, Cost::Step, took);
                self.progress.failed_steps += 1;
                let verdict = self.guard.step_failed();
                self.decide(verdict);
            }
            Input::Evaluated { evidence, took } => {
                self.finish(Phase::Evaluating)?;
                self.budget.spend(now, Cost::Evaluation, took);
                self.progress.evaluations += 1;
                let verdict = self.guard.judge(&evidence);
                self.decide(verdict);
            }
            Input::Heat(warmth) => {
                self.restraint().feel(now, warmth);
                self.slow(now);
            }
            Input::Memory { bytes } => {
                self.restraint().weigh(bytes);
                self.slow(now);
            }
            Input::End => {
                self.ended = true;
                self.front.end();
            }
        }
        Ok(())
    }

    /// What to do next at the time `now`.
    pub fn poll(&mut self, now: Timestamp) -> Action {
        self.deliver(now).unwrap_or_else(|| self.train(now))
    }

    /// What to do next at the time `now`, apart from new steps and evaluations: for a shell that is
    /// about to save the learner and wants it settled.
    pub fn deliver(&mut self, now: Timestamp) -> Option<Action> {
        if let Some(action) = self.outbox.pop_front() {
            return Some(action);
        }
        if self.asked.is_some() {
            return None;
        }
        let (sighting, action) = self.front.next(now)?;
        self.asked = Some(sighting);
        Some(action)
    }

    /// The window to embed, oldest sample first; empty unless [`Action::EmbedWindow`] was the last
    /// action to embed and no sample has come since.
    pub fn window(&self) -> impl Iterator<Item = &ImuSample> {
        self.front.window()
    }

    /// Training slots of the step asked for last.
    pub fn batch(&self) -> &[u16] {
        &self.batch
    }

    /// Whether the sample of this number may still be asked for; the shell may forget any other.
    pub fn holds(&self, index: u64) -> bool {
        self.front.waits_for(index)
            || self.asked.is_some_and(|sighting| sighting.index == index)
            || self.pairing.anchor() == Some(index)
            || self.outbox.iter().any(|action| {
                matches!(action, Action::Keep { anchor, neighbour, .. } if index == *anchor || index == *neighbour)
            })
    }

    /// Whether no answer is awaited and no action waits, so that the learner may be saved.
    pub fn is_settled(&self) -> bool {
        self.phase == Phase::Idle && self.asked.is_none() && self.outbox.is_empty()
    }

    /// Forgets every pair and anchor, for a shell that could not keep their samples.
    pub fn forget_pairs(&mut self) {
        self.training.clear();
        self.held_out.clear();
        self.pairing.forget_anchor();
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &LearnerConfig {
        &self.config
    }

    /// What became of the frames.
    pub fn frames(&self) -> &Tally {
        self.front.frames()
    }

    /// What became of the inertial samples.
    pub fn imu(&self) -> &Tally {
        self.front.samples()
    }

    /// What became of the windows; all zero where frames are embedded.
    pub fn windows(&self) -> Tally {
        self.front.windows()
    }

    /// What became of the embedded samples as pairs.
    pub fn pairs(&self) -> &PairingTally {
        self.pairing.tally()
    }

    /// Steps and verdicts so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The training memory.
    pub fn training(&self) -> &Replay<PAIRS, DIM> {
        &self.training
    }

    /// The held-out memory.
    pub fn held_out(&self) -> &Replay<HELD_OUT, DIM> {
        &self.held_out
    }

    /// The guard.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Time charged for adapting so far.
    pub fn spent(&self) -> Span {
        self.budget.spent()
    }

    fn embedded(&mut self, index: u64, embedding: &[f32]) -> Result<(), Refusal> {
        let sighting = self.answered(index)?;
        if let Err(error) = self.training.check(embedding) {
            self.front.looked_at().failed += 1;
            return Err(Refusal::Embedding(error));
        }
        self.front.looked_at().used += 1;
        match self.pairing.offer(sighting) {
            Outcome::Anchored => {
                self.anchor.clear();
                // The dimensions were checked against the capacity.
                let _ = self.anchor.extend_from_slice(embedding);
            }
            Outcome::PassedOver => {}
            Outcome::Paired { anchor } => self.keep(anchor, index)?,
        }
        Ok(())
    }

    fn keep(&mut self, anchor: u64, neighbour: u64) -> Result<(), Refusal> {
        let pairs = self.pairing.tally().pairs;
        let held_out = pairs.is_multiple_of(u64::from(self.config.hold_out_every));
        let (set, slot) = if held_out {
            (Set::HeldOut, self.held_out.insert(&self.anchor, &mut self.rng))
        } else {
            (Set::Training, self.training.insert(&self.anchor, &mut self.rng))
        };
        if let Some(slot) = slot.map_err(Refusal::Embedding)? {
            self.send(Action::Keep { set, slot, anchor, neighbour });
        }
        Ok(())
    }

    fn train(&mut self, now: Timestamp) -> Action {
        if !self.config.adapt {
            return Action::Rest(Rest::Off);
        }
        if let Some(reason) = self.guard.stopped() {
            return Action::Rest(Rest::Stopped(reason));
        }
        if self.phase != Phase::Idle {
            return Action::Rest(Rest::Busy);
        }
        if self.ended {
            return Action::Rest(Rest::Ended);
        }
        let few = self.training.len() < self.config.min_pairs.max(self.config.batch_pairs)
            || self.held_out.len() < self.config.guard.min_pairs as usize;
        if few {
            return Action::Rest(Rest::FewPairs);
        }
        if let Some(reason) = self.restraint.as_ref().and_then(|restraint| restraint.rest(now)) {
            return Action::Rest(reason);
        }
        let due = self.since_candidate >= self.config.steps_per_candidate;
        let cost = if due { Cost::Evaluation } else { Cost::Step };
        if !self.budget.allow(now, cost) {
            return Action::Rest(Rest::Budget);
        }
        if due {
            self.phase = Phase::Evaluating;
            return Action::Evaluate;
        }
        self.phase = Phase::Stepping;
        self.training.sample(self.config.batch_pairs, &mut self.rng, &mut self.batch);
        let warm = self.progress.steps.saturating_add(1) as f32 / self.config.warm_up_steps.max(1) as f32;
        Action::Adapt { lr_scale: warm.min(1.0) * self.guard.lr_scale(), seed: self.rng.next_u64() }
    }

    fn restraint(&mut self) -> &mut Restraint {
        let config = self.config.restraint;
        self.restraint.get_or_insert_with(|| Restraint::new(config))
    }

    /// Has the budget follow what the machine allows.
    fn slow(&mut self, now: Timestamp) {
        let share = self.restraint().share_ppm(now);
        self.budget.slow(now, share);
    }

    fn decide(&mut self, verdict: Verdict) {
        self.since_candidate = 0;
        let counter = match verdict {
            Verdict::Accept => &mut self.progress.accepted,
            Verdict::Hold(_) => &mut self.progress.held,
            Verdict::Reject(_) => &mut self.progress.rejected,
            Verdict::Restore(_) => {
                self.progress.rejected += 1;
                &mut self.progress.restored
            }
        };
        *counter += 1;
        self.send(Action::Decide(verdict));
        if let Some(reason) = self.guard.stopped() {
            self.send(Action::Stop(reason));
        }
    }

    /// Queues an action. At most three wait at once: a pair kept, a verdict and a stop.
    fn send(&mut self, action: Action) {
        let _ = self.outbox.push_back(action);
    }

    fn answered(&mut self, index: u64) -> Result<Sighting, Refusal> {
        match self.asked {
            Some(sighting) if sighting.index == index => {
                self.asked = None;
                Ok(sighting)
            }
            _ => Err(Refusal::NotAsked),
        }
    }

    fn finish(&mut self, phase: Phase) -> Result<(), Refusal> {
        if self.phase != phase {
            return Err(Refusal::NotAsked);
        }
        self.phase = Phase::Idle;
        Ok(())
    }
}
