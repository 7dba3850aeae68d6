//! The node: stepped with the time and the bytes that came, it answers with bytes to send.

use heapless::{Deque, String, Vec};
use sedge_readings::ImuSample;
use sedge_wire::{
    Decoder, FromNode, Hello, LOG_BYTES, NodeClock, NodeLosses, PROTOCOL, Pacing, SampleFault, Settings,
    ToNode, encode,
};

use crate::imu::Imu;
use crate::outgoing::Outgoing;
use crate::say;
use crate::schedule::{Schedule, Stamps};

/// Most questions taken in one poll; more than a host ever has under way.
const REQUESTS: usize = 8;
/// Failures in a row after which the chip is opened anew.
const FAILURES: u8 = 3;
/// Microseconds between two attempts to open the chip.
const REOPEN_US: u64 = 500_000;
/// Looks at a chip's queue a second.
const LOOKS_HZ: u16 = 50;
/// Samples taken from a chip's queue in one look: at 50 looks a second, more than any chip here makes.
const BURST: usize = 32;

/// A node around its chip.
#[derive(Debug)]
pub struct Node<I> {
    imu: I,
    settings: Settings,
    is_open: bool,
    is_running: bool,
    fault: Option<SampleFault>,
    failures: u8,
    reopen_at: u64,
    schedule: Schedule,
    stamps: Stamps,
    late: u32,
    crowded: u32,
    decoder: Decoder<ToNode>,
    hello_due: bool,
    answers: Deque<(u32, u64), 4>,
    outgoing: Outgoing,
    take_log: fn(&mut [u8]) -> usize,
}

impl<I: Imu> Node<I> {
    /// A node that waits for its host to start it, and says hello. `take_log` fills a buffer with as much as
    /// there is of the log and answers how much that was; it is asked only when there is room on the line.
    pub fn new(imu: I, settings: Settings, take_log: fn(&mut [u8]) -> usize) -> Self {
        Self {
            imu,
            settings,
            is_open: false,
            is_running: false,
            fault: None,
            failures: 0,
            reopen_at: 0,
            schedule: Schedule::new(0, settings.rate_hz),
            stamps: Stamps::new(settings.rate_hz),
            late: 0,
            crowded: 0,
            decoder: Decoder::new(),
            hello_due: true,
            answers: Deque::new(),
            outgoing: Outgoing::default(),
            take_log,
        }
    }

    /// One step at `now_us`, microseconds since the node began, with the bytes that came since the last
    /// one. Fills `out` with whole frames and answers with how many bytes; what does not fit waits. `out`
    /// must hold [`MAX_FRAME`](sedge_wire::MAX_FRAME) bytes for everything to get through.
    pub fn poll(&mut self, now_us: u64, received: &[u8], out: &mut [u8]) -> usize {
        let (mut requests, crowded) = (Vec::<ToNode, REQUESTS>::new(), &mut self.crowded);
        self.decoder.push(received, |request| {
            *crowded = crowded.wrapping_add(u32::from(requests.push(request).is_err()));
        });
        for request in requests {
            self.answer(now_us, request);
        }
        if self.is_running {
            self.read(now_us);
        }
        self.send(now_us, out)
    }

    fn answer(&mut self, now_us: u64, request: ToNode) {
        if let ToNode::Clock { number } = request {
            if self.answers.is_full() {
                self.answers.pop_front();
            }
            // Room was made above.
            let _ = self.answers.push_back((number, now_us));
            return;
        }
        self.hello_due = true;
        match request {
            ToNode::Configure(settings) => self.configure(now_us, settings),
            ToNode::Start if !self.is_running => {
                self.is_running = true;
                if self.settings.pacing == Pacing::Queue {
                    // What its queue holds is of before; opening the chip empties it.
                    (self.is_open, self.reopen_at) = (false, now_us);
                }
                self.begin(now_us);
                say::running(true);
            }
            ToNode::Stop if self.is_running => {
                self.is_running = false;
                say::running(false);
            }
            _ => {}
        }
    }

    /// Opens the chip anew. Settings that it does not have are not kept; it is opened as before when it is
    /// next read.
    fn configure(&mut self, now_us: u64, settings: Settings) {
        let before = core::mem::replace(&mut self.settings, settings);
        if self.open(now_us) == Err(SampleFault::Setting) {
            self.settings = before;
            // After the hello that says so.
            self.reopen_at = now_us.saturating_add(1);
        }
    }

    fn open(&mut self, now_us: u64) -> Result<(), SampleFault> {
        self.reopen_at = now_us.saturating_add(REOPEN_US);
        let opened = self.imu.open(&self.settings);
        self.is_open = opened.is_ok();
        self.fault = opened.err();
        self.failures = 0;
        match self.fault {
            None => say::opened(self.imu.name(), &self.settings),
            Some(fault) => say::closed(self.imu.name(), fault),
        }
        self.begin(now_us);
        opened
    }

    fn begin(&mut self, now_us: u64) {
        let rate_hz = self.settings.rate_hz;
        let looks = if self.settings.pacing == Pacing::Queue { LOOKS_HZ } else { rate_hz };
        self.schedule = Schedule::new(now_us, looks);
        self.stamps = Stamps::new(rate_hz);
    }

    fn read(&mut self, now_us: u64) {
        if !self.is_open {
            if now_us < self.reopen_at {
                return;
            }
            if let Err(fault) = self.open(now_us) {
                self.outgoing.push(now_us, Err(fault));
                return;
            }
        }
        let due = self.schedule.take(now_us);
        if due == 0 {
            return;
        }
        let result = match self.settings.pacing {
            Pacing::Timer => {
                // Those before the present one were missed; their numbers show it.
                let missed = u32::try_from(due - 1).unwrap_or(u32::MAX);
                self.late = self.late.wrapping_add(missed);
                self.outgoing.skip(missed);
                self.imu.sample().map(|sample| self.outgoing.push(now_us, Ok(sample)))
            }
            Pacing::Queue => self.drain(now_us),
        };
        match result {
            Ok(()) => self.failures = 0,
            Err(fault) => self.failed(now_us, fault),
        }
    }

    fn drain(&mut self, now_us: u64) -> Result<(), SampleFault> {
        let mut samples = [ImuSample::default(); BURST];
        let count = self.imu.drain(&mut samples)?.min(BURST);
        if count == 0 {
            return Ok(());
        }
        let (newest, apart) = self.stamps.take(now_us, count as u64, count < BURST);
        for (sample, back) in samples.into_iter().zip((0..count as u64).rev()) {
            self.outgoing.push(newest.saturating_sub(back * apart), Ok(sample));
        }
        Ok(())
    }

    fn failed(&mut self, now_us: u64, fault: SampleFault) {
        self.outgoing.push(now_us, Err(fault));
        self.stamps.restart();
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.is_open = false;
            self.fault = Some(fault);
            self.reopen_at = now_us.saturating_add(REOPEN_US);
            say::closed(self.imu.name(), fault);
        }
    }

    /// The most urgent first: an answer that waits behind samples tells a wrong time.
    fn send(&mut self, now_us: u64, out: &mut [u8]) -> usize {
        let mut line = Line { out, used: 0 };
        while let Some(&(number, received_us)) = self.answers.front() {
            let clock = NodeClock { number, received_us: received_us as u32, sent_us: now_us as u32 };
            if !line.put(&FromNode::Clock(clock)) {
                return line.used;
            }
            self.answers.pop_front();
        }
        if self.hello_due {
            if !line.put(&FromNode::Hello(self.hello())) {
                return line.used;
            }
            self.hello_due = false;
        }
        while let Some((message, count)) = self.outgoing.next(now_us) {
            if !line.put(&message) {
                return line.used;
            }
            self.outgoing.sent(count);
        }
        self.send_log(&mut line);
        line.used
    }

    fn send_log(&mut self, line: &mut Line<'_>) {
        let mut log = Vec::<u8, LOG_BYTES>::from_array([0; LOG_BYTES]);
        while line.room() >= sedge_wire::MAX_FRAME {
            let count = (self.take_log)(&mut log);
            log.truncate(count);
            if count == 0 || !line.put(&FromNode::Log(log)) {
                return;
            }
            log = Vec::from_array([0; LOG_BYTES]);
        }
    }

    fn hello(&self) -> Hello {
        let counts = self.decoder.counts();
        let frames = [counts.bad, counts.oversize, counts.unknown, self.crowded];
        let losses = NodeLosses {
            samples: self.outgoing.dropped(),
            late: self.late,
            frames: frames.into_iter().fold(0, u32::wrapping_add),
        };
        Hello {
            protocol: PROTOCOL,
            // Names are short; one that were not would be left out.
            chip: String::try_from(self.imu.name()).unwrap_or_default(),
            settings: self.settings,
            running: self.is_running,
            fault: self.fault,
            losses,
        }
    }

    /// The chip, for a test to move the world behind it.
    pub fn imu_mut(&mut self) -> &mut I {
        &mut self.imu
    }
}

/// What is sent in one step.
struct Line<'a> {
    out: &'a mut [u8],
    used: usize,
}

impl Line<'_> {
    fn room(&self) -> usize {
        self.out.len() - self.used
    }

    /// Appends a frame if all of it fits.
    fn put(&mut self, message: &FromNode) -> bool {
        let packet = encode(message);
        let end = self.used + packet.len();
        let Some(room) = self.out.get_mut(self.used..end) else { return false };
        room.copy_from_slice(&packet);
        self.used = end;
        true
    }
}

#[cfg(test)]
mod tests;
