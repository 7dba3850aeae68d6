//! What is said on a node's line, without the line: bytes and times in, readings and questions out.
//!
//! A node is asked who it is, then for its clock, then set up and started; it is asked again every few
//! seconds, so that one that began anew is set up anew, however it came to.

use std::collections::VecDeque;

use sedge_readings::{ImuSample, NoData, Reading, Span, Timestamp};
use sedge_wire::{
    Batch, ClockSync, Decoder, Exchange, FromNode, Gap, Hello, LineCounts, Missing, NodeClock, Observed,
    PROTOCOL, SampleFault, Sequence, Settings, ToNode, encode,
};

/// Time between two questions to a node that has not said hello.
const GREET: Span = Span::from_millis(300);
/// Time between two questions to one that runs as it should.
const CHECK: Span = Span::from_millis(2_000);
/// Time between two attempts to set up a node that refuses, or speaks another version.
const REFUSED: Span = Span::from_millis(5_000);
/// Time between two questions for the clock, at first and then.
const CLOCK_FIRST: Span = Span::from_millis(20);
const CLOCK_THEN: Span = Span::from_millis(250);
/// Answers about the clock that are wanted before the node starts.
const CLOCK_ENOUGH: u32 = 8;
/// Questions about the clock that may be under way at once, and the time after which one is lost.
const UNDER_WAY: usize = 8;
const OVERDUE: Span = Span::from_millis(1_000);
/// A line from which nothing came for so long is silent.
const SILENT: Span = Span::from_millis(2_000);
/// How far back a better estimate of the clock may put a sample without its being held in order.
const IN_ORDER: Span = Span::from_millis(20);

/// What has come over a line since it was opened first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) samples: u64,
    pub(crate) missing: u64,
    /// Samples whose numbers never came.
    pub(crate) lost: u64,
    /// Samples that came before the clock was known.
    pub(crate) undated: u64,
    /// Times that the node began anew, or its clock stepped.
    pub(crate) restarts: u64,
    pub(crate) clock_answers: u64,
    pub(crate) log_bytes: u64,
}

/// A node as its line tells it.
pub(crate) struct Session {
    wanted: Settings,
    decoder: Decoder<FromNode>,
    clock: ClockSync,
    clock_answers: u32,
    sequence: Sequence,
    hello: Option<Hello>,
    refused: Option<SampleFault>,
    heard: Option<Timestamp>,
    ask_at: Timestamp,
    clock_at: Timestamp,
    under_way: VecDeque<(u32, Timestamp)>,
    next_number: u32,
    last: Option<Timestamp>,
    readings: VecDeque<Reading<ImuSample>>,
    log: Vec<u8>,
    pub(crate) counts: Counts,
}

impl Session {
    /// A line that was just opened, to a node that is to be set so.
    pub(crate) fn new(wanted: Settings) -> Self {
        Self {
            wanted,
            decoder: Decoder::new(),
            clock: ClockSync::new(),
            clock_answers: 0,
            sequence: Sequence::default(),
            hello: None,
            refused: None,
            heard: None,
            ask_at: Timestamp::default(),
            clock_at: Timestamp::default(),
            under_way: VecDeque::new(),
            next_number: 0,
            last: None,
            readings: VecDeque::new(),
            log: vec![],
            counts: Counts::default(),
        }
    }

    /// The line was opened now: what is known of the node is of before.
    pub(crate) fn reopened(&mut self, now: Timestamp) {
        self.clock.restart();
        self.sequence.restart();
        self.under_way.clear();
        (self.clock_answers, self.hello, self.refused, self.heard) = (0, None, None, Some(now));
        (self.ask_at, self.clock_at) = (Timestamp::default(), Timestamp::default());
    }

    /// Puts what is to be said by now into `out`.
    pub(crate) fn ask(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if now >= self.ask_at {
            self.ask_about_itself(now, out);
        }
        if self.hello.is_some() && now >= self.clock_at {
            let soon = if self.clock_answers < CLOCK_ENOUGH { CLOCK_FIRST } else { CLOCK_THEN };
            self.clock_at = now + soon;
            while self.under_way.front().is_some_and(|&(_, sent)| now.since(sent) > OVERDUE) {
                self.under_way.pop_front();
            }
            if self.under_way.len() < UNDER_WAY {
                self.under_way.push_back((self.next_number, now));
                out.extend(encode(&ToNode::Clock { number: self.next_number }));
                self.next_number = self.next_number.wrapping_add(1);
            }
        }
    }

    fn ask_about_itself(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        let Some(hello) = &self.hello else {
            // Whatever was under way ends with a zero.
            out.push(0);
            out.extend(encode(&ToNode::Identify));
            self.ask_at = now + GREET;
            return;
        };
        if hello.settings == self.wanted && !hello.running && self.clock_answers < CLOCK_ENOUGH {
            self.ask_at = now + CLOCK_FIRST;
            return;
        }
        let (question, again) = if hello.protocol != PROTOCOL {
            (ToNode::Identify, REFUSED)
        } else if hello.settings != self.wanted {
            (ToNode::Configure(self.wanted), if self.refused.is_some() { REFUSED } else { GREET })
        } else if !hello.running {
            (ToNode::Start, GREET)
        } else {
            (ToNode::Identify, CHECK)
        };
        out.extend(encode(&question));
        self.ask_at = now + again;
    }

    /// Takes bytes that came by `now`.
    pub(crate) fn receive(&mut self, now: Timestamp, bytes: &[u8]) {
        let mut messages = vec![];
        self.decoder.push(bytes, |message| messages.push(message));
        for message in messages {
            self.heard = Some(now);
            match message {
                FromNode::Hello(hello) => self.take_hello(now, hello),
                FromNode::Clock(clock) => self.take_clock(now, clock),
                FromNode::Batch(batch) => self.take_batch(now, &batch),
                FromNode::Missing(missing) => self.take_missing(now, missing),
                FromNode::Log(bytes) => {
                    self.counts.log_bytes += bytes.len() as u64;
                    self.log.extend(bytes);
                }
            }
        }
    }

    fn take_hello(&mut self, now: Timestamp, hello: Hello) {
        let was_running = self.hello.as_ref().is_some_and(|before| before.running);
        if was_running && !hello.running {
            self.restart();
        }
        self.refused = hello.fault.filter(|fault| *fault == SampleFault::Setting);
        let is_set = hello.settings == self.wanted && hello.running;
        self.hello = Some(hello);
        // What is not as it should be is asked for at once, and what was refused is not.
        self.ask_at = if is_set {
            now + CHECK
        } else if self.refused.is_some() {
            now + REFUSED
        } else {
            now + CLOCK_FIRST
        };
    }

    fn restart(&mut self) {
        self.counts.restarts += 1;
        self.clock.restart();
        self.sequence.restart();
        self.under_way.clear();
        self.clock_answers = 0;
    }

    fn take_clock(&mut self, now: Timestamp, answer: NodeClock) {
        let Some(at) = self.under_way.iter().position(|&(number, _)| number == answer.number) else { return };
        let Some((_, sent)) = self.under_way.remove(at) else { return };
        let exchange = Exchange {
            sent,
            node_received_us: answer.received_us,
            node_sent_us: answer.sent_us,
            received: now,
        };
        match self.clock.observe(&exchange) {
            Observed::Taken => {}
            Observed::Stepped => self.counts.restarts += 1,
            Observed::Impossible | Observed::Contradiction => return,
        }
        self.counts.clock_answers += 1;
        self.clock_answers = self.clock_answers.saturating_add(1);
    }

    fn follow(&mut self, first: u32, count: u32) {
        match self.sequence.take(first, count) {
            Gap::None => {}
            Gap::Lost(lost) => self.counts.lost += u64::from(lost),
            Gap::Back => self.counts.restarts += 1,
        }
    }

    /// The moment of a count of the node's, in order with those before and not ahead of now.
    fn moment(&mut self, now: Timestamp, node_us: u32) -> Option<Timestamp> {
        let estimated = self.clock.host_time(node_us)?.min(now);
        let after = self.last.map(|last| last + Span::from_nanos(1));
        let at = match after {
            Some(after) if after > estimated && after.since(estimated) < IN_ORDER => after,
            _ => estimated,
        };
        self.last = Some(at);
        Some(at)
    }

    fn take_batch(&mut self, now: Timestamp, batch: &Batch) {
        self.follow(batch.first, batch.samples.len() as u32);
        for timed in &batch.samples {
            let Some(at) = self.moment(now, batch.at_us.wrapping_add(timed.after_us)) else {
                self.counts.undated += 1;
                continue;
            };
            self.counts.samples += 1;
            let value = if timed.sample.is_finite() { Ok(timed.sample) } else { Err(NoData::NotFinite) };
            self.readings.push_back(Reading { at, value });
        }
    }

    fn take_missing(&mut self, now: Timestamp, missing: Missing) {
        self.follow(missing.number, 1);
        self.counts.missing += 1;
        let at = self.moment(now, missing.at_us).unwrap_or(now);
        self.readings.push_back(Reading { at, value: Err(missing.fault.no_data()) });
    }

    /// Readings that have come, the oldest first.
    pub(crate) fn readings(&mut self) -> impl Iterator<Item = Reading<ImuSample>> {
        self.readings.drain(..)
    }

    /// Bytes of the node's log that have come.
    pub(crate) fn take_log(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.log)
    }

    /// Whether a node says nothing, since it was heard last or the line was opened.
    pub(crate) fn is_silent(&self, now: Timestamp) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) > SILENT)
    }

    /// Who the node last said it is.
    pub(crate) fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// What the line has carried.
    pub(crate) fn line(&self) -> LineCounts {
        self.decoder.counts()
    }

    /// What is known of its clock.
    pub(crate) fn clock(&self) -> &ClockSync {
        &self.clock
    }
}

#[cfg(test)]
mod tests;
