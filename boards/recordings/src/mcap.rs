//! A ROS 2 recording in an MCAP file as a stream of camera and IMU events.
//!
//! The file is read front to back, one record or chunk in memory at a time, so it may be of any
//! length and may lack its end: a robot that lost power leaves a file whose data are good up to the
//! cut. Messages wait in a heap until enough later bytes have been read, and leave it in order of
//! time.
//!
//! Times are the messages' *log times*, the recorder's one clock. Header stamps come from as many
//! clocks as there are drivers, and a synchroniser could not compare them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ::mcap::records::op;
use sedge_readings::{Event, Reading, Timestamp};

use crate::file::open_regular;
use crate::mcap_chunk::{ChunkError, for_each_record};
use crate::mcap_records::{Channel, RecordReader, Step, parse_message, parse_schema, too_large};
use crate::{Limits, McapCounts, RecordingError, StreamKind, TopicCounts, ros2};

/// Memory that a held-back message takes beside its bytes.
const PENDING_OVERHEAD: u64 = 64;

/// Topics that are told apart; a file that names more is not a recording. Messages of the others are
/// counted as lost.
const MOST_TOPICS: usize = 4096;

/// Which topics to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McapOptions {
    /// Topic of `sensor_msgs/msg/Imu`; by default the first one with a message.
    pub imu_topic: Option<String>,
    /// Topic of `sensor_msgs/msg/CompressedImage` or `Image`; by default the first one with a
    /// message.
    pub camera_topic: Option<String>,
}

/// Camera and IMU events of an MCAP file, in order of log time.
///
/// A message that cannot be decoded is an event that says so. An error ends the stream: it comes
/// after everything that could be read, once, and then nothing more. [`McapStream::counts`] tells
/// what became of each message.
pub struct McapStream {
    records: RecordReader,
    body: Vec<u8>,
    inbox: Inbox,
    /// How reading ended, until that has been told.
    end: Option<Result<(), RecordingError>>,
    latest: Timestamp,
}

impl McapStream {
    /// Opens `path` with the first IMU and the first camera topic.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, RecordingError> {
        Self::open_with(path, McapOptions::default(), limits)
    }

    /// Opens `path` with chosen topics.
    pub fn open_with(
        path: impl AsRef<Path>,
        options: McapOptions,
        limits: &Limits,
    ) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let (file, _) = open_regular(path)?;
        Self::from_reader(BufReader::with_capacity(1 << 16, file), path, options, limits)
    }

    /// Reads a recording from any source of bytes; `name` stands for the path in errors.
    pub fn from_reader(
        source: impl Read + Send + 'static,
        name: impl Into<PathBuf>,
        options: McapOptions,
        limits: &Limits,
    ) -> Result<Self, RecordingError> {
        Ok(Self {
            records: RecordReader::new(Box::new(source), name.into(), limits)?,
            body: Vec::new(),
            inbox: Inbox::new(options, *limits),
            end: None,
            latest: Timestamp::default(),
        })
    }

    /// What has been read so far, and what became of it.
    pub fn counts(&self) -> &McapCounts {
        &self.inbox.counts
    }

    /// Kind and log time of the next event, which stays the next. `None` when the data are over or
    /// an error comes next.
    pub fn peek(&mut self) -> Option<(StreamKind, Timestamp)> {
        self.fill();
        let Reverse(pending) = self.inbox.waiting.peek()?;
        Some((pending.decoder.feeds(), Timestamp::from_nanos(pending.log_time)))
    }

    /// Drops the next event undecoded, which is what costs time of a picture. It stays counted as a
    /// message, but neither as decoded nor as failed.
    pub fn pass_over(&mut self) {
        self.fill();
        if let Some(Reverse(pending)) = self.inbox.waiting.pop() {
            self.inbox.held_bytes -= pending.bytes();
        }
    }

    /// Reads on until enough messages wait that the earliest can be given, or the data end.
    fn fill(&mut self) {
        while self.end.is_none() && self.inbox.held_bytes <= self.inbox.limits.reorder_bytes {
            self.end = match self.read_record() {
                Ok(true) => None,
                Ok(false) => Some(self.inbox.check_topics(&self.records.path)),
                Err(error) => Some(Err(error)),
            };
        }
    }

    /// Reads one record; `false` when the data ended as they should.
    fn read_record(&mut self) -> Result<bool, RecordingError> {
        let step = self.records.next(&mut self.body)?;
        let cut = match step {
            Step::End => return Ok(false),
            Step::Record(op::CHUNK) => false,
            Step::CutChunk => true,
            Step::Record(opcode) => {
                self.inbox.take(opcode, &self.body);
                return self.inbox.check_messages(&self.records.path).map(|()| true);
            }
        };
        let limit = self.inbox.limits.record_bytes;
        let inbox = &mut self.inbox;
        match for_each_record(&self.body, cut, limit, |opcode, body| inbox.take(opcode, body)) {
            Ok(()) => {}
            Err(ChunkError::Damaged) => inbox.counts.damaged_chunks += 1,
            Err(ChunkError::TooLarge(found)) => {
                let what = "a chunk's size once decompressed".to_owned();
                return Err(too_large(&self.records.path, what, found, limit));
            }
        }
        if cut {
            return Err(self.records.truncated("a chunk"));
        }
        self.inbox.check_messages(&self.records.path).map(|()| true)
    }
}

impl Iterator for McapStream {
    type Item = Result<Event, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        let Some(event) = self.inbox.release() else {
            // Told once: afterwards the stream has ended in order.
            return self.end.replace(Ok(()))?.err().map(Err);
        };
        if event.at() < self.latest {
            self.inbox.counts.unordered_events += 1;
        }
        self.latest = self.latest.max(event.at());
        Some(Ok(event))
    }
}

/// How a topic's messages are decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Decoder {
    Imu,
    CompressedImage,
    Image,
}

impl Decoder {
    fn of(schema: &str) -> Option<Self> {
        match schema {
            ros2::IMU => Some(Self::Imu),
            ros2::COMPRESSED_IMAGE => Some(Self::CompressedImage),
            ros2::IMAGE => Some(Self::Image),
            _ => None,
        }
    }

    fn feeds(self) -> StreamKind {
        match self {
            Self::Imu => StreamKind::Imu,
            Self::CompressedImage | Self::Image => StreamKind::Camera,
        }
    }
}

/// A message that waits for its time: ordered by log time, then by its place in the file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    log_time: u64,
    place: u64,
    topic: usize,
    decoder: Decoder,
    data: Vec<u8>,
}

impl Pending {
    fn bytes(&self) -> u64 {
        self.data.len() as u64 + PENDING_OVERHEAD
    }
}

/// Sorts records into topics and holds the messages of the chosen ones.
struct Inbox {
    options: McapOptions,
    limits: Limits,
    schemas: HashMap<u16, String>,
    channels: HashMap<u16, Channel>,
    /// Place in `counts.topics` by topic and schema.
    topics: BTreeMap<(String, String), usize>,
    counts: McapCounts,
    messages: u64,
    waiting: BinaryHeap<Reverse<Pending>>,
    held_bytes: u64,
}

impl Inbox {
    fn new(options: McapOptions, limits: Limits) -> Self {
        Self {
            options,
            limits,
            schemas: HashMap::new(),
            channels: HashMap::new(),
            topics: BTreeMap::new(),
            counts: McapCounts::default(),
            messages: 0,
            waiting: BinaryHeap::new(),
            held_bytes: 0,
        }
    }

    fn take(&mut self, opcode: u8, body: &[u8]) {
        match opcode {
            op::SCHEMA => match parse_schema(body) {
                Some((id, name)) => drop(self.schemas.insert(id, name)),
                None => self.counts.damaged_records += 1,
            },
            op::CHANNEL => match Channel::parse(body) {
                Some(channel) => drop(self.channels.insert(channel.id, channel)),
                None => self.counts.damaged_records += 1,
            },
            op::MESSAGE => {
                self.messages += 1;
                let message = parse_message(body);
                if message
                    .and_then(|(channel, log_time, data)| self.take_message(channel, log_time, data))
                    .is_none()
                {
                    self.counts.lost_messages += 1;
                }
            }
            _ => {}
        }
    }

    /// `None` when the message belongs to no channel that is told apart.
    fn take_message(&mut self, channel: u16, log_time: u64, data: &[u8]) -> Option<()> {
        let channel = self.channels.get(&channel)?;
        let schema = self.schemas.get(&channel.schema).map(String::as_str).unwrap_or_default();
        let decoder = Decoder::of(schema).filter(|_| channel.encoding == "cdr");
        let decoder = decoder.filter(|decoder| {
            let chosen = match decoder.feeds() {
                StreamKind::Imu => &mut self.options.imu_topic,
                StreamKind::Camera => &mut self.options.camera_topic,
            };
            *chosen.get_or_insert_with(|| channel.topic.clone()) == channel.topic
        });
        let key = (channel.topic.clone(), schema.to_owned());
        if self.counts.topics.len() >= MOST_TOPICS && !self.topics.contains_key(&key) {
            return None;
        }
        let topic = *self.topics.entry(key).or_insert_with_key(|(topic, schema)| {
            self.counts.topics.push(TopicCounts {
                topic: topic.clone(),
                schema: schema.clone(),
                feeds: None,
                messages: 0,
                decoded: 0,
                failures: BTreeMap::new(),
            });
            self.counts.topics.len() - 1
        });
        let counts = self.counts.topics.get_mut(topic)?;
        counts.messages += 1;
        if let Some(decoder) = decoder {
            counts.feeds = Some(decoder.feeds());
            let pending = Pending { log_time, place: self.messages, topic, decoder, data: data.to_owned() };
            self.held_bytes += pending.bytes();
            self.waiting.push(Reverse(pending));
        }
        Some(())
    }

    /// Decodes the earliest message that waits.
    fn release(&mut self) -> Option<Event> {
        let Reverse(pending) = self.waiting.pop()?;
        self.held_bytes -= pending.bytes();
        let at = Timestamp::from_nanos(pending.log_time);
        let (event, failure) = match pending.decoder {
            Decoder::Imu => {
                let value = ros2::imu(&pending.data);
                (Event::Imu(Reading { at, value: value.map_err(|why| why.no_data()) }), value.err())
            }
            Decoder::CompressedImage | Decoder::Image => {
                let value = match pending.decoder {
                    Decoder::Image => ros2::image(&pending.data, &self.limits),
                    _ => ros2::compressed_image(&pending.data, &self.limits),
                };
                let failure = value.as_ref().err().copied();
                (Event::Frame(Reading { at, value: value.map_err(|why| why.no_data()) }), failure)
            }
        };
        if let Some(counts) = self.counts.topics.get_mut(pending.topic) {
            match failure {
                None => counts.decoded += 1,
                Some(why) => *counts.failures.entry(why).or_default() += 1,
            }
        }
        Some(event)
    }

    fn check_messages(&self, path: &Path) -> Result<(), RecordingError> {
        if self.messages <= self.limits.messages {
            return Ok(());
        }
        Err(RecordingError::TooLarge {
            path: path.to_owned(),
            what: "the number of messages".to_owned(),
            found: self.messages,
            limit: self.limits.messages,
            field: "messages",
        })
    }

    /// At the end of the data: whether the topics asked for were there, or any at all.
    fn check_topics(&self, path: &Path) -> Result<(), RecordingError> {
        let fed = |kind| self.counts.topics.iter().any(|topic| topic.feeds == Some(kind));
        for (kind, topic, wanted) in [
            (StreamKind::Imu, &self.options.imu_topic, ros2::IMU),
            (StreamKind::Camera, &self.options.camera_topic, "sensor_msgs/msg/CompressedImage or Image"),
        ] {
            if let Some(topic) = topic.as_ref().filter(|_| !fed(kind)) {
                return Err(RecordingError::MissingTopic {
                    path: path.to_owned(),
                    topic: topic.clone(),
                    wanted,
                    found: self.counts.found(),
                });
            }
        }
        if fed(StreamKind::Imu) || fed(StreamKind::Camera) || self.counts.damaged_chunks > 0 {
            return Ok(());
        }
        Err(RecordingError::NoStreams { path: path.to_owned(), found: self.counts.found() })
    }
}
