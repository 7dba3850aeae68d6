//! What the tests share: goldens, the shared recordings, and a writer of small ROS 2 recordings.
//! The CDR here is written from the specification and shares no code with the reader.
#![allow(clippy::print_stderr)]

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use ::mcap::records::MessageHeader;
use ::mcap::{Compression, WriteOptions};
use sedge_readings::Event;
use sedge_recordings::{Limits, McapCounts, McapOptions, McapStream, RecordingError};

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

/// The `name = value` lines of a golden.
pub fn golden_values(name: &str) -> HashMap<String, String> {
    let text = std::fs::read_to_string(golden(name)).unwrap();
    text.lines().map(|line| line.split_once(" = ").unwrap()).map(|(k, v)| (k.into(), v.into())).collect()
}

pub fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split_whitespace().map(|number| number.parse().ok().unwrap()).collect()
}

/// A file of the shared data, or `None` and a line that says so.
pub fn shared(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SEDGE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let file = folder.join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("skipped: {} is not there (set SEDGE_SHARED)", file.display());
    None
}

/// A writer of plain CDR in either byte order.
pub struct Cdr {
    bytes: Vec<u8>,
    big: bool,
}

impl Cdr {
    pub fn new(big: bool) -> Self {
        Self { bytes: vec![0, u8::from(!big), 0, 0], big }
    }

    fn number(mut self, little: &[u8]) -> Self {
        while !(self.bytes.len() - 4).is_multiple_of(little.len()) {
            self.bytes.push(0xEE);
        }
        let start = self.bytes.len();
        self.bytes.extend(little);
        if self.big {
            self.bytes[start..].reverse();
        }
        self
    }

    pub fn u8(self, value: u8) -> Self {
        self.number(&[value])
    }

    pub fn u32(self, value: u32) -> Self {
        self.number(&value.to_le_bytes())
    }

    pub fn f64s(self, values: &[f64]) -> Self {
        values.iter().fold(self, |cdr, value| cdr.number(&value.to_le_bytes()))
    }

    pub fn octets(self, octets: &[u8]) -> Self {
        let mut cdr = self.u32(octets.len() as u32);
        cdr.bytes.extend(octets);
        cdr
    }

    pub fn string(self, text: &str) -> Self {
        self.octets(format!("{text}\0").as_bytes())
    }

    pub fn header(self, frame: &str) -> Self {
        self.u32(7).u32(8).string(frame)
    }

    pub fn done(self) -> Vec<u8> {
        self.bytes
    }
}

pub fn imu(big: bool, frame: &str, accel: [f64; 3], gyro: [f64; 3]) -> Vec<u8> {
    let cdr = Cdr::new(big).header(frame).f64s(&[0.0, 0.0, 0.0, 1.0]).f64s(&[-1.0; 9]);
    cdr.f64s(&gyro).f64s(&[0.0; 9]).f64s(&accel).f64s(&[0.0; 9]).done()
}

pub fn compressed(big: bool, data: &[u8]) -> Vec<u8> {
    Cdr::new(big).header("cam").string("jpeg").octets(data).done()
}

pub fn image(big: bool, width: u32, height: u32, encoding: &str, step: u32, data: &[u8]) -> Vec<u8> {
    let cdr = Cdr::new(big).header("camera").u32(height).u32(width).string(encoding);
    cdr.u8(0).u32(step).octets(data).done()
}

#[derive(Clone, Copy)]
pub enum Layout {
    Flat,
    Chunks(Option<Compression>),
}

pub const LAYOUTS: [Layout; 4] = [
    Layout::Flat,
    Layout::Chunks(None),
    Layout::Chunks(Some(Compression::Zstd)),
    Layout::Chunks(Some(Compression::Lz4)),
];

/// Topic, type, log time and data of one message.
pub type Written<'a> = (&'a str, &'a str, u64, Vec<u8>);

/// An MCAP file with `messages` in the order given, in chunks of about 600 bytes.
pub fn recording(layout: Layout, messages: &[Written<'_>]) -> Vec<u8> {
    let options = match layout {
        Layout::Flat => WriteOptions::new().use_chunks(false),
        Layout::Chunks(compression) => WriteOptions::new().compression(compression).chunk_size(Some(600)),
    };
    recording_with(options, messages)
}

/// An MCAP file with `messages` in the order given.
pub fn recording_with(options: WriteOptions, messages: &[Written<'_>]) -> Vec<u8> {
    let mut writer = options.create(Cursor::new(Vec::new())).unwrap();
    for (sequence, (topic, schema, log_time, data)) in messages.iter().enumerate() {
        let schema = writer.add_schema(schema, "ros2msg", b"").unwrap();
        let channel_id = writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap();
        let header =
            MessageHeader { channel_id, sequence: sequence as u32, log_time: *log_time, publish_time: 0 };
        writer.write_to_known_channel(&header, data).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().into_inner()
}

pub struct Read {
    pub events: Vec<Event>,
    pub end: Option<RecordingError>,
    pub counts: McapCounts,
}

/// Reads a recording from memory to its end.
pub fn read(bytes: &[u8], options: McapOptions, limits: &Limits) -> Read {
    let mut read = Read { events: Vec::new(), end: None, counts: McapCounts::default() };
    match McapStream::from_reader(Cursor::new(bytes.to_vec()), "memory.mcap", options, limits) {
        Err(error) => read.end = Some(error),
        Ok(mut stream) => {
            for item in &mut stream {
                assert!(read.end.is_none(), "an item came after the end");
                match item {
                    Ok(event) => read.events.push(event),
                    Err(error) => read.end = Some(error),
                }
            }
            read.counts = stream.counts().clone();
        }
    }
    read
}

pub fn read_plain(bytes: &[u8]) -> Read {
    read(bytes, McapOptions::default(), &Limits::default())
}

/// A reproducible stream of numbers (SplitMix64; Steele, Lea and Flood, 2014).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// `bytes` with one to four of them changed, and now and then a stretch removed or repeated.
    pub fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(damaged.len());
            damaged[at] = match self.below(3) {
                0 => damaged[at] ^ (1 << self.below(8)),
                1 => 0xFF,
                _ => self.below(256) as u8,
            };
        }
        if self.below(8) == 0 {
            let start = self.below(damaged.len());
            let end = (start + self.below(64)).min(damaged.len());
            let piece: Vec<u8> = damaged.drain(start..end).collect();
            if self.below(2) == 0 {
                damaged.extend(piece);
            }
        }
        damaged
    }
}
