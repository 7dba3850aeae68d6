//! A node's thread: its port kept open, its readings in a bounded queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sedge_boards::board::NodeSpec;
use sedge_readings::{ImuSample, NoData, Reading, Timestamp};
use sedge_wire::{Hello, PROTOCOL};

use super::log::NodeLog;
use super::port::{Opener, Port, opener, read, write};
use super::session::Session;
use super::{NodeError, settings};

/// Readings that wait for whoever takes them: four seconds of 1000 Hz.
const WAITING: usize = 4096;
/// Time between two attempts to open a port, at first and at most.
const REOPEN: Duration = Duration::from_millis(200);
const REOPEN_AT_MOST: Duration = Duration::from_secs(5);

/// A node's figures since its link was opened.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NodeAccount {
    /// Whether its port is open.
    pub is_open: bool,
    /// Who it last said it is.
    pub hello: Option<Hello>,
    /// Why it gives nothing, where that is known.
    pub error: Option<String>,
    /// Samples that came with a value.
    pub samples: u64,
    /// Samples that the node had none for, each with its reason.
    pub missing: u64,
    /// Samples whose numbers never came: lost at the node or on the line.
    pub lost: u64,
    /// Samples that came before the node's clock was known, and were left out.
    pub undated: u64,
    /// Readings that nobody took in time.
    pub dropped: u64,
    /// Times that the node began anew.
    pub restarts: u64,
    /// Times that its port was opened.
    pub opened: u64,
    /// Frames that did not pass their check, or were too long.
    pub bad_frames: u64,
    /// Messages of another version.
    pub unknown_messages: u64,
    /// Answers about the node's clock that were used.
    pub clock_answers: u64,
    /// How far samples' times can be off by the line's delay, in milliseconds.
    pub clock_bound_ms: Option<f64>,
    /// By how many parts in a million this machine's clock is faster than the node's.
    pub drift_ppm: Option<f64>,
    /// Bytes of its log, and messages in them that were read.
    pub log_bytes: u64,
    /// Messages of its log.
    pub log_messages: u64,
}

/// A node at its port, served by a thread of its own until this is dropped.
#[derive(Debug)]
pub struct NodeLink {
    readings: Receiver<Reading<ImuSample>>,
    account: Arc<Mutex<NodeAccount>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NodeLink {
    /// Serves the node that `spec` says. Its readings carry times of `clock`, which must not go backwards. A
    /// port that is not there is waited for.
    ///
    /// # Errors
    /// [`NodeError::Log`] where the program that the log is read with cannot be.
    pub fn open(
        spec: &NodeSpec,
        clock: impl FnMut() -> Timestamp + Send + 'static,
    ) -> Result<Self, NodeError> {
        Self::over(spec, opener(spec), clock)
    }

    /// As [`NodeLink::open`], over whatever line `opener` opens.
    ///
    /// # Errors
    /// As [`NodeLink::open`].
    pub fn over(
        spec: &NodeSpec,
        opener: Opener,
        clock: impl FnMut() -> Timestamp + Send + 'static,
    ) -> Result<Self, NodeError> {
        let node = || spec.name.clone();
        let log = spec.elf.as_deref().map(NodeLog::open).transpose();
        let log = log.map_err(|source| NodeError::Log { node: node(), source })?;
        let (sender, readings) = sync_channel(WAITING);
        let (account, stop) =
            (Arc::new(Mutex::new(NodeAccount::default())), Arc::new(AtomicBool::new(false)));
        let mut worker = Worker {
            spec: spec.clone(),
            session: Session::new(settings(spec)),
            log,
            clock: Box::new(clock),
            sender,
            account: Arc::clone(&account),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name(format!("node-{}", spec.name));
        let started = thread.spawn(move || worker.run(opener));
        let thread = Some(started.map_err(|source| NodeError::Line { node: node(), source })?);
        Ok(Self { readings, account, stop, thread })
    }

    /// The next reading, or `None` where none comes within `timeout`. A node that is gone or silent gives a
    /// reading of [`NoData::Lost`] each time it is looked for in vain.
    pub fn next(&mut self, timeout: Duration) -> Option<Reading<ImuSample>> {
        match self.readings.recv_timeout(timeout) {
            Ok(reading) => Some(reading),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // The thread has ended, which it does only when it is asked to or dies: not faster than asked.
                std::thread::park_timeout(timeout);
                None
            }
        }
    }

    /// The node's figures.
    pub fn account(&self) -> NodeAccount {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for NodeLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that died has nothing more to say.
            let _ = thread.join();
        }
    }
}

struct Worker {
    spec: NodeSpec,
    session: Session,
    log: Option<NodeLog>,
    clock: Box<dyn FnMut() -> Timestamp + Send>,
    sender: SyncSender<Reading<ImuSample>>,
    account: Arc<Mutex<NodeAccount>>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(&mut self, mut opener: Opener) {
        let mut wait = REOPEN;
        while !self.is_stopped() {
            let error = match opener() {
                Ok(port) => {
                    let begin = Instant::now();
                    let ended = self.serve(port);
                    if begin.elapsed() > REOPEN_AT_MOST {
                        wait = REOPEN;
                    }
                    ended.err().map(|source| NodeError::Line { node: self.spec.name.clone(), source })
                }
                Err(source) => {
                    let (node, device) = (self.spec.name.clone(), self.spec.device.clone());
                    Some(NodeError::Open { node, device, source })
                }
            };
            if let Some(error) = error {
                self.lose(&error);
                let begin = Instant::now();
                while let Some(left) = wait.checked_sub(begin.elapsed())
                    && !self.is_stopped()
                {
                    // Unparked when it is to stop.
                    std::thread::park_timeout(left);
                }
                wait = (wait * 2).min(REOPEN_AT_MOST);
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Serves an open line until it fails or is not wanted any more.
    fn serve(&mut self, mut port: Box<dyn Port>) -> std::io::Result<()> {
        self.session.reopened((self.clock)());
        if let Some(log) = &mut self.log {
            log.restart();
        }
        self.update(|account| {
            account.is_open = true;
            account.error = None;
            account.opened += 1;
        });
        let (mut buffer, mut out) = ([0; 4096], vec![]);
        while !self.is_stopped() {
            let now = (self.clock)();
            self.session.ask(now, &mut out);
            if !out.is_empty() {
                write(&mut port, &out)?;
                out.clear();
            }
            let came = read(&mut port, &mut buffer)?;
            let now = (self.clock)();
            self.session.receive(now, came);
            self.deliver();
            if self.session.is_silent(now) {
                let NodeSpec { name, device, baud, .. } = &self.spec;
                let (node, device, baud) = (name.clone(), device.clone(), *baud);
                self.lose(&NodeError::Silent { node, device, baud, bytes: 0 });
                self.session.reopened(now);
            }
        }
        Ok(())
    }

    /// Says that the node is gone: in the log the first time, as a reading each time.
    fn lose(&mut self, error: &NodeError) {
        let text = error.to_string();
        let is_open = matches!(error, NodeError::Silent { .. });
        let at = (self.clock)();
        let mut is_news = false;
        self.update(|account| {
            is_news = account.error.as_ref() != Some(&text);
            (account.is_open, account.error) = (is_open, Some(text.clone()));
        });
        if is_news {
            tracing::warn!("{text}");
        }
        self.send(Reading { at, value: Err(NoData::Lost) });
    }

    fn send(&mut self, reading: Reading<ImuSample>) {
        // Whoever took readings is gone when this is: the link joins its thread as it goes.
        if let Err(TrySendError::Full(_)) = self.sender.try_send(reading) {
            self.update(|account| account.dropped += 1);
        }
    }

    /// Passes on what the session has.
    fn deliver(&mut self) {
        let readings: Vec<_> = self.session.readings().collect();
        readings.into_iter().for_each(|reading| self.send(reading));
        let (bytes, mut messages) = (self.session.take_log(), 0);
        if let Some(log) = &mut self.log {
            log.push(&bytes, |line| {
                messages += 1;
                line.say(&self.spec.name);
            });
        }
        let error = self.complaint();
        let (session, account) = (&self.session, &self.account);
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, line) = (session.counts, session.line());
        account.hello = session.hello().cloned().or(account.hello.take());
        if session.hello().is_some() {
            account.error = error;
        }
        account.samples = counts.samples;
        account.missing = counts.missing;
        account.lost = counts.lost;
        account.undated = counts.undated;
        account.restarts = counts.restarts;
        account.bad_frames = u64::from(line.bad) + u64::from(line.oversize);
        account.unknown_messages = u64::from(line.unknown);
        account.clock_answers = counts.clock_answers;
        account.clock_bound_ms = session.clock().bound().map(|bound| bound.as_secs_f64() * 1e3);
        account.drift_ppm = session.clock().drift_ppm();
        account.log_bytes = counts.log_bytes;
        account.log_messages += messages;
    }

    /// What is wrong with a node that has said hello.
    fn complaint(&self) -> Option<String> {
        let hello = self.session.hello()?;
        let node = self.spec.name.clone();
        if hello.protocol != PROTOCOL {
            return Some(NodeError::Protocol { node, found: hello.protocol }.to_string());
        }
        hello.fault.map(|fault| NodeError::Fault { node, fault }.to_string())
    }

    fn update(&self, change: impl FnOnce(&mut NodeAccount)) {
        change(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
