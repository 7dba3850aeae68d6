//! Events on their way from a source to a device: one after the other as fast as they are taken, at the
//! stream's own pace from a thread of their own, or as a board's devices give them. Of the last two, what is
//! not taken in time is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sedge_readings::{Event, Span, Timestamp};
use sedge_recordings::RecordingError;

use crate::live::{Heard, Live, Said};
use crate::source::{SourceAccount, Stream};
use crate::{Pace, RunError};

/// Events that can wait for a device at the pace of a clock: about half a second of a fast camera and
/// IMU together.
const QUEUE: usize = 128;
/// Longest time without looking whether to stop.
const LOOK: Duration = Duration::from_millis(20);

/// What comes from a feed.
pub(super) enum Fed {
    Event(Event),
    /// A board's news or another sensor's reading.
    Said(Said),
    /// Nothing for now; the stream's clock stands here.
    Nothing(Timestamp),
    /// The source failed and gives no more.
    Failed(RecordingError),
    /// The source has no more.
    End,
}

/// How far into its source a feed is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Events taken from the source, the last one given included.
    pub(super) consumed: u64,
    /// Frames and samples among them that were dropped because the device was behind.
    pub(super) overrun: [u64; 2],
}

/// A source under way.
pub(super) struct Feed {
    way: Way,
    position: Position,
}

enum Way {
    Inline(Box<Stream>),
    Paced(Paced),
    Live(Board),
}

/// A board under way.
struct Board {
    live: Live,
    /// Where the session began.
    from: Position,
    /// Events taken since.
    taken: u64,
}

impl Feed {
    /// Feeds `stream` from `position`, up to which earlier sessions consumed it.
    pub(super) fn new(mut stream: Stream, position: Position, pace: Pace) -> Result<Self, RunError> {
        for _ in 0..position.consumed {
            if !matches!(stream.next(), Some(Ok(_))) {
                break;
            }
        }
        let way = match pace {
            Pace::Fast => Way::Inline(Box::new(stream)),
            Pace::Realtime => Way::Paced(Paced::start(stream, position)?),
        };
        Ok(Self { way, position })
    }

    /// Feeds what a board's devices give, on from `position`.
    pub(super) fn live(live: Live, position: Position) -> Self {
        Self { way: Way::Live(Board { live, from: position, taken: 0 }), position }
    }

    /// The board, if it is one.
    pub(super) fn board(&self) -> Option<&Live> {
        if let Way::Live(board) = &self.way { Some(&board.live) } else { None }
    }

    pub(super) fn next(&mut self) -> Fed {
        match &mut self.way {
            Way::Live(board) => {
                let (position, fed) = board.next();
                self.position = position;
                fed
            }
            Way::Inline(stream) => match stream.next() {
                Some(Ok(event)) => {
                    self.position.consumed += 1;
                    Fed::Event(event)
                }
                Some(Err(error)) => Fed::Failed(error),
                None => Fed::End,
            },
            Way::Paced(paced) => {
                let (position, fed) = paced.next();
                self.position = position.unwrap_or(self.position);
                fed
            }
        }
    }

    /// How far it is.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Ends it and gives the source's own account.
    pub(super) fn finish(self) -> SourceAccount {
        match self.way {
            Way::Inline(stream) => stream.account(),
            Way::Live(board) => SourceAccount { devices: board.live.accounts(), ..SourceAccount::default() },
            Way::Paced(mut paced) => paced.join().map(|stream| stream.account()).unwrap_or_default(),
        }
    }
}

impl Board {
    fn next(&mut self) -> (Position, Fed) {
        let fed = match self.live.next() {
            Heard::Said(Said::Event(event)) => {
                self.taken += 1;
                Fed::Event(event)
            }
            Heard::Said(said) => Fed::Said(said),
            Heard::Nothing(now) => Fed::Nothing(now),
            Heard::Ended => Fed::End,
        };
        let [frames, samples] = self.live.overrun();
        let Position { consumed, overrun } = self.from;
        let position = Position {
            consumed: consumed + self.taken + frames + samples,
            overrun: [overrun[0] + frames, overrun[1] + samples],
        };
        (position, fed)
    }
}

/// A source read by a thread of its own.
pub(super) struct Paced {
    inbox: Option<Receiver<(Position, Fed)>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Box<Stream>>>,
    /// Time of the stream and of the machine at the first event.
    start: Option<(Timestamp, Instant)>,
}

impl Paced {
    fn start(stream: Stream, position: Position) -> Result<Self, RunError> {
        let (outbox, inbox) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader { outbox, position, stop: stop.clone() };
        let thread = std::thread::Builder::new()
            .name("sedged-read".into())
            .spawn(move || reader.read(stream))
            .map_err(RunError::Thread)?;
        Ok(Self { inbox: Some(inbox), stop, thread: Some(thread), start: None })
    }

    fn next(&mut self) -> (Option<Position>, Fed) {
        let Some(inbox) = &self.inbox else { return (None, Fed::End) };
        match inbox.recv_timeout(LOOK) {
            Ok((position, fed)) => {
                if let (None, Fed::Event(event)) = (self.start, &fed) {
                    self.start = Some((event.at(), Instant::now()));
                }
                (Some(position), fed)
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = self.start.map(|(at, then)| at + span(then.elapsed()));
                (None, Fed::Nothing(now.unwrap_or_default()))
            }
            Err(RecvTimeoutError::Disconnected) => (None, Fed::End),
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
    outbox: SyncSender<(Position, Fed)>,
    position: Position,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn read(mut self, stream: Stream) -> Box<Stream> {
        let mut stream = Box::new(stream);
        let mut start: Option<(Timestamp, Instant)> = None;
        loop {
            let fed = match stream.next() {
                Some(Ok(event)) => {
                    let (first, then) = *start.get_or_insert_with(|| (event.at(), Instant::now()));
                    self.wait_until(then + Duration::from_nanos(event.at().since(first).nanos()));
                    self.position.consumed += 1;
                    Fed::Event(event)
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
    /// What is dropped is told with whatever is sent next, so that a run stopped in between has not
    /// counted it yet and reads it again.
    fn send(&mut self, fed: Fed) -> bool {
        if !matches!(fed, Fed::Event(_)) {
            let _ = self.outbox.send((self.position, fed));
            return false;
        }
        match self.outbox.try_send((self.position, fed)) {
            Ok(()) => true,
            Err(TrySendError::Full((_, fed))) => {
                let [frames, samples] = &mut self.position.overrun;
                *(if matches!(fed, Fed::Event(Event::Frame(_))) { frames } else { samples }) += 1;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Source, SourceOptions};

    /// Takes everything, the first `slow` events after a pause each; gives the position and what came.
    fn drain(mut feed: Feed, slow: u64) -> (Position, u64) {
        let mut taken = 0;
        loop {
            match feed.next() {
                Fed::Event(_) => {
                    taken += 1;
                    if taken <= slow {
                        std::thread::park_timeout(Duration::from_millis(40));
                    }
                }
                Fed::Nothing(_) | Fed::Said(_) => {}
                Fed::Failed(_) | Fed::End => return (feed.position(), taken),
            }
        }
    }

    fn stream() -> Stream {
        Source::parse("sim:rooms=1,seconds=2").unwrap().open(&SourceOptions::default(), 0.0).unwrap()
    }

    #[test]
    fn a_device_that_keeps_up_gets_everything() {
        for (pace, consumed, wanted) in
            [(Pace::Fast, 0, 240), (Pace::Fast, 100, 140), (Pace::Realtime, 200, 40)]
        {
            let position = Position { consumed, overrun: [1, 2] };
            let (end, taken) = drain(Feed::new(stream(), position, pace).unwrap(), 0);
            assert_eq!((end, taken), (Position { consumed: 240, overrun: [1, 2] }, wanted));
        }
    }

    #[test]
    fn what_a_slow_device_misses_is_counted_by_sensor() {
        let feed = Feed::new(stream(), Position::default(), Pace::Realtime).unwrap();
        let (end, taken) = drain(feed, 50);
        let [frames, samples] = end.overrun;
        assert_eq!((end.consumed, taken + frames + samples), (240, 240));
        assert!(frames > 0 && samples > frames, "{end:?}");
    }
}
