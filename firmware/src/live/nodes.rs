//! A microcontroller at its place: its link has a thread of its own, and this one takes what that has.

use std::collections::VecDeque;
use std::time::Duration;

use sedge_boards::board::NodeSpec;
use sedge_boards::sensor::Sensor;
use sedge_readings::{Measurement, NoData, Reading, Span, Timestamp};

use super::clock::Clock;
use super::station::Slot;
use crate::serial::{NodeLink, ask};

/// Time between two looks at a link: a node sends a batch as often.
const PERIOD: Span = Span::from_millis(20);
/// How long a node that is opened is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks without a reading after which each further one is a failure: two seconds.
const QUIET: u32 = 100;
/// Most readings taken in one look: a second of the fastest node.
const MOST: usize = 1000;

/// A microcontroller of a board.
pub(super) struct NodeSlot {
    spec: NodeSpec,
    clock: Clock,
    link: Option<NodeLink>,
    waiting: VecDeque<Reading<Measurement>>,
    /// Looks since the last reading.
    quiet: u32,
}

impl NodeSlot {
    pub(super) fn new(spec: NodeSpec, clock: Clock) -> Self {
        Self { spec, clock, link: None, waiting: VecDeque::new(), quiet: 0 }
    }

    pub(super) fn period() -> Span {
        PERIOD
    }
}

impl Sensor for NodeSlot {
    type Value = Measurement;

    fn read(&mut self, now: Timestamp) -> Reading<Measurement> {
        self.waiting.pop_front().unwrap_or(Reading { at: now, value: Err(NoData::DropOut) })
    }
}

impl Slot for NodeSlot {
    /// Only a node that answers is open: its link would wait for one that does not.
    fn open(&mut self, _: Timestamp) -> Result<(), String> {
        let hello = ask(&self.spec, PATIENCE).map_err(|error| error.to_string())?;
        tracing::info!(node = self.spec.name, chip = hello.chip.as_str(), "a node says hello");
        let clock = self.clock;
        let link = NodeLink::open(&self.spec, move || clock.now()).map_err(|error| error.to_string())?;
        (self.link, self.quiet) = (Some(link), 0);
        Ok(())
    }

    fn close(&mut self) {
        self.waiting.clear();
        if let Some(link) = self.link.take() {
            let account = link.account();
            tracing::info!(
                node = self.spec.name,
                samples = account.samples,
                missing = account.missing,
                lost = account.lost,
                bad_frames = account.bad_frames,
                "a node's line is closed"
            );
        }
    }

    fn gather(&mut self, now: Timestamp) -> usize {
        let Some(link) = &mut self.link else { return 1 };
        while self.waiting.len() < MOST
            && let Some(Reading { at, value }) = link.next(Duration::ZERO)
        {
            self.waiting.push_back(Reading { at, value: value.map(Measurement::Imu) });
        }
        self.quiet = if self.waiting.is_empty() { self.quiet.saturating_add(1) } else { 0 };
        if self.quiet > QUIET {
            self.waiting.push_back(Reading { at: now, value: Err(NoData::Lost) });
        }
        self.waiting.len()
    }
}
