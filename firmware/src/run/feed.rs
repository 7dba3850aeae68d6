//! Events on their way from a source to a device: one after the other as fast as they are taken, or at
//! the stream's own pace from a thread of their own, where what is not taken in time is dropped and
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sedge_readings::{Event, Span, Timestamp};
use sedge_recordings::RecordingError;

use crate::source::{SourceAccount, Stream};
use crate::{Pace, RunError};

/// Events that can wait for a device at the pace of a clock: about half a second of a fast camera and
/// IMU together.
const QUEUE: usize = 128;
/// Longest time without looking whether to stop.
const LOOK: Duration = Duration::from_millis(20);

/// What comes from a feed.
pub(super) enum Fed {
    /// An event and how many came before it.
    Event(u64, Event),
    /// Nothing for now; the stream's clock stands here.
    Nothing(Timestamp),
    /// The source failed and gives no more.
    Failed(RecordingError),
    /// The source has no more.
    End,
}

/// A source under way.
pub(super) enum Feed {
    Inline { stream: Box<Stream>, next: u64 },
    Paced(Paced),
}

impl Feed {
    /// Feeds `stream`, whose first `consumed` events were consumed by earlier sessions.
    pub(super) fn new(mut stream: Stream, consumed: u64, pace: Pace) -> Result<Self, RunError> {
        for _ in 0..consumed {
            if !matches!(stream.next(), Some(Ok(_))) {
                break;
            }
        }
        match pace {
            Pace::Fast => Ok(Self::Inline { stream: Box::new(stream), next: consumed }),
            Pace::Realtime => Paced::start(stream, consumed).map(Self::Paced),
        }
    }

    pub(super) fn next(&mut self) -> Fed {
        match self {
            Self::Inline { stream, next } => match stream.next() {
                Some(Ok(event)) => {
                    *next += 1;
                    Fed::Event(*next - 1, event)
                }
                Some(Err(error)) => Fed::Failed(error),
                None => Fed::End,
            },
            Self::Paced(paced) => paced.next(),
        }
    }

    /// Frames and samples dropped because the device was behind.
    pub(super) fn overrun(&self) -> [u64; 2] {
        match self {
            Self::Inline { .. } => [0, 0],
            Self::Paced(paced) => paced.overrun.each_ref().map(|count| count.load(Ordering::Acquire)),
        }
    }

    /// Ends it and gives the source's own account.
    pub(super) fn finish(self) -> SourceAccount {
        match self {
            Self::Inline { stream, .. } => stream.account(),
            Self::Paced(mut paced) => paced.join().map(|stream| stream.account()).unwrap_or_default(),
        }
    }
}

/// A source read by a thread of its own.
pub(super) struct Paced {
    inbox: Option<Receiver<Fed>>,
    overrun: Arc<[AtomicU64; 2]>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Box<Stream>>>,
    /// Time of the stream and of the machine at the first event.
    start: Option<(Timestamp, Instant)>,
}

impl Paced {
    fn start(stream: Stream, consumed: u64) -> Result<Self, RunError> {
        let (outbox, inbox) = sync_channel(QUEUE);
        let overrun = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader { outbox, overrun: overrun.clone(), stop: stop.clone() };
        let thread = std::thread::Builder::new()
            .name("sedged-read".into())
            .spawn(move || reader.read(stream, consumed))
            .map_err(RunError::Thread)?;
        Ok(Self { inbox: Some(inbox), overrun, stop, thread: Some(thread), start: None })
    }

    fn next(&mut self) -> Fed {
        let Some(inbox) = &self.inbox else { return Fed::End };
        match inbox.recv_timeout(LOOK) {
            Ok(fed) => {
                if let (None, Fed::Event(_, event)) = (self.start, &fed) {
                    self.start = Some((event.at(), Instant::now()));
                }
                fed
            }
            Err(RecvTimeoutError::Timeout) => match self.start {
                Some((at, then)) => Fed::Nothing(at + span(then.elapsed())),
                None => Fed::Nothing(Timestamp::default()),
            },
            Err(RecvTimeoutError::Disconnected) => Fed::End,
        }
    }

    fn join(&mut self) -> Option<Box<Stream>> {
        self.stop.store(true, Ordering::Release);
        // A reader that waits for room hears that no one will take more.
        self.inbox = None;
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.join();
    }
}

struct Reader {
    outbox: SyncSender<Fed>,
    overrun: Arc<[AtomicU64; 2]>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn read(self, stream: Stream, consumed: u64) -> Box<Stream> {
        let mut stream = Box::new(stream);
        let mut start: Option<(Timestamp, Instant)> = None;
        let mut number = consumed;
        loop {
            let fed = match stream.next() {
                Some(Ok(event)) => {
                    let (first, then) = *start.get_or_insert_with(|| (event.at(), Instant::now()));
                    self.wait_until(then + Duration::from_nanos(event.at().since(first).nanos()));
                    number += 1;
                    Fed::Event(number - 1, event)
                }
                Some(Err(error)) => Fed::Failed(error),
                None => Fed::End,
            };
            if self.stop.load(Ordering::Acquire) || !self.send(fed) {
                return stream;
            }
        }
    }

    /// Sends an event if there is room, and an end in any case; `false` when nothing more is to be sent.
    fn send(&self, fed: Fed) -> bool {
        if !matches!(fed, Fed::Event(..)) {
            let _ = self.outbox.send(fed);
            return false;
        }
        match self.outbox.try_send(fed) {
            Ok(()) => true,
            Err(TrySendError::Full(fed)) => {
                let [frames, samples] = &*self.overrun;
                let of = if matches!(fed, Fed::Event(_, Event::Frame(_))) { frames } else { samples };
                of.fetch_add(1, Ordering::AcqRel);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    fn wait_until(&self, moment: Instant) {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.load(Ordering::Acquire) {
                return;
            }
            std::thread::park_timeout(left.min(LOOK));
        }
    }
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
