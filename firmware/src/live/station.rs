//! One thread's devices, and the supervisor that says which to ask when.
//!
//! A [`Station`] has no clock: it is stepped, reads the time from whoever steps it, and answers how long
//! nothing is to be done. So a test runs hours of it in simulated time, and a thread runs it in real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sedge_boards::fault::{Faulty, FlipBit};
use sedge_boards::sensor::Sensor;
use sedge_boards::supervisor::{Action, Change, Condition, Patience, Supervisor, SupervisorError};
use sedge_readings::{NoData, Reading, Span, Timestamp};

use super::ledger::{DeviceCondition, Entry};
use super::outbox::{DeviceChange, Outbox, Said};

/// Failures in a row from which a failing device is worth a word: single drop-outs are counted, not told.
const WORTH_A_WORD: u32 = 3;
/// How long a camera in reserve waits before it looks again whether it is needed.
const RESERVE: Span = Span::from_millis(250);

/// A device that can be opened, asked and closed.
pub(super) trait Slot: Sensor {
    /// Opens it, or says in words why that failed.
    fn open(&mut self, now: Timestamp) -> Result<(), String>;

    /// Closes it.
    fn close(&mut self);

    /// Fetches what there is and answers how many readings can be taken. May wait for the device's own sign,
    /// at most about its period.
    fn gather(&mut self, now: Timestamp) -> usize;

    /// Why the last reading held no value, where there are more words for it than a reading has.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A device at its place: with its faults, its figures, and what its readings are for.
pub(super) struct Post<S: Slot> {
    pub(super) device: Faulty<S>,
    pub(super) entry: Arc<Entry>,
    /// Time between two looks at it.
    pub(super) period: Span,
    /// What a reading becomes.
    pub(super) say: fn(Arc<Entry>, Reading<S::Value>) -> Said,
    open: bool,
    told: bool,
    reason: Option<String>,
}

impl<S: Slot> Post<S> {
    pub(super) fn new(
        device: Faulty<S>,
        entry: Arc<Entry>,
        period: Span,
        say: fn(Arc<Entry>, Reading<S::Value>) -> Said,
    ) -> Self {
        Self { device, entry, period, say, open: false, told: false, reason: None }
    }
}

/// Which of several cameras is on duty: the first in the board's order that is not lost.
#[derive(Clone, Debug)]
pub(super) struct Rota {
    pub(super) lost: Arc<[AtomicBool]>,
    pub(super) own: usize,
}

impl Rota {
    fn is_on_duty(&self) -> bool {
        self.lost.iter().take(self.own).all(|lost| lost.load(Ordering::Acquire))
    }

    fn tell(&self, is_lost: bool) {
        if let Some(lost) = self.lost.get(self.own) {
            lost.store(is_lost, Ordering::Release);
        }
    }
}

/// Devices that one thread reads.
pub(super) struct Station<S: Slot> {
    posts: Vec<Post<S>>,
    supervisor: Supervisor,
    rota: Option<Rota>,
}

impl<S: Slot> Station<S>
where
    S::Value: Clone + FlipBit,
{
    pub(super) fn new(
        posts: Vec<Post<S>>,
        rota: Option<Rota>,
        start: Timestamp,
        seed: u64,
    ) -> Result<Self, SupervisorError> {
        let periods: Vec<Span> = posts.iter().map(|post| post.period).collect();
        let supervisor = Supervisor::new(&periods, Patience::default(), start, seed)?;
        Ok(Self { posts, supervisor, rota })
    }

    /// Does what is due, and answers until when nothing is.
    pub(super) fn step(&mut self, clock: &dyn Fn() -> Timestamp, outbox: &mut Outbox) -> Timestamp {
        let now = clock();
        if self.rota.as_ref().is_some_and(|rota| !rota.is_on_duty()) {
            self.stand_by();
            return now + RESERVE;
        }
        let (at, reopen) = match self.supervisor.next(now) {
            Action::Rest(until) => return until,
            Action::Read(at) => (at, false),
            Action::Reopen(at) => (at, true),
        };
        let Some(post) = self.posts.get_mut(at) else { return now + RESERVE };
        let first = !post.open && post.entry.condition() == DeviceCondition::Starting;
        let worked = if reopen { post.reopen(now) } else { post.read(clock, outbox) };
        let ended = clock();
        let change = self.supervisor.report(at, ended, worked);
        if worked && first {
            post.entry.is(DeviceCondition::Live);
            post.tell(ended, DeviceChange::Opened, outbox);
        }
        let condition = self.supervisor.condition(at);
        post.note(condition, change, ended, outbox);
        if let Some(rota) = &self.rota {
            rota.tell(condition == Some(Condition::Lost));
        }
        ended
    }

    fn stand_by(&mut self) {
        for post in &mut self.posts {
            if post.open || post.entry.condition() != DeviceCondition::Standby {
                post.device.sensor_mut().close();
                post.open = false;
                post.entry.is(DeviceCondition::Standby);
            }
        }
    }
}

impl<S: Slot> Post<S>
where
    S::Value: Clone + FlipBit,
{
    fn open(&mut self, now: Timestamp) -> bool {
        if self.device.is_unplugged(now) {
            self.reason = Some("unplugged".into());
            self.entry.read(false);
            return false;
        }
        match self.device.sensor_mut().open(now) {
            Ok(()) => self.open = true,
            Err(reason) => {
                self.reason = Some(reason);
                self.entry.read(false);
            }
        }
        self.open
    }

    fn reopen(&mut self, now: Timestamp) -> bool {
        self.device.sensor_mut().close();
        self.open = false;
        self.open(now)
    }

    /// Takes the readings there are; whether the device worked, which it does too where it had nothing yet.
    fn read(&mut self, clock: &dyn Fn() -> Timestamp, outbox: &mut Outbox) -> bool {
        let now = clock();
        if !self.open && !self.open(now) {
            return false;
        }
        let unplugged = self.device.is_unplugged(now);
        let count = if unplugged { 1 } else { self.device.sensor_mut().gather(now) };
        let now = clock();
        let mut worked = count == 0;
        for _ in 0..count {
            let reading = self.device.read(now);
            match &reading.value {
                Ok(_) => worked = true,
                Err(reason) => {
                    let trouble = self.device.sensor_mut().trouble().filter(|_| !unplugged);
                    self.reason = Some(trouble.unwrap_or_else(|| reason.to_string()));
                }
            }
            self.entry.read(reading.value.is_ok());
            outbox.say(&self.entry, (self.say)(self.entry.clone(), reading));
        }
        worked
    }

    /// Takes in what the supervisor makes of it.
    fn note(
        &mut self,
        condition: Option<Condition>,
        change: Option<Change>,
        now: Timestamp,
        outbox: &mut Outbox,
    ) {
        match condition {
            Some(Condition::Live) if change.is_some() => self.entry.is(DeviceCondition::Live),
            // A camera called from reserve.
            Some(Condition::Live) if self.entry.condition() == DeviceCondition::Standby => {
                self.entry.is(DeviceCondition::Live);
            }
            Some(Condition::Failing(times)) => {
                if self.entry.condition() != DeviceCondition::Starting {
                    self.entry.is(DeviceCondition::Failing);
                }
                if times == WORTH_A_WORD {
                    self.told = true;
                    self.tell(now, DeviceChange::Failing, outbox);
                }
            }
            Some(Condition::Lost) => self.entry.is(DeviceCondition::Lost),
            _ => {}
        }
        match change {
            Some(Change::Recovered) if self.told => self.tell(now, DeviceChange::Recovered, outbox),
            Some(Change::Returned) => self.tell(now, DeviceChange::Returned, outbox),
            Some(Change::Lost) => {
                self.tell(now, DeviceChange::Lost, outbox);
                let reading = Reading { at: now, value: Err(NoData::Lost) };
                outbox.say(&self.entry, (self.say)(self.entry.clone(), reading));
            }
            _ => {}
        }
        if condition == Some(Condition::Live) {
            (self.told, self.reason) = (false, None);
        }
    }

    fn tell(&self, at: Timestamp, change: DeviceChange, outbox: &mut Outbox) {
        let worse = matches!(change, DeviceChange::Failing | DeviceChange::Lost);
        let reason = self.reason.clone().filter(|_| worse);
        outbox.say(&self.entry, Said::Changed { device: self.entry.clone(), at, change, reason });
    }
}
