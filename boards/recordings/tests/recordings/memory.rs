//! Memory stays within the limits, whatever a file claims and however long it is. Allocations are
//! counted by thread, since other tests run beside these and no reader starts threads.
#![allow(unsafe_code, reason = "counting allocations needs an allocator, and its trait is unsafe")]

use std::alloc::{GlobalAlloc, Layout as Request, System};
use std::cell::Cell;
use std::io::{Read, Write};

use crate::common::*;
use sedge_recordings::{
    Limits, McapOptions, McapStream, RecordingError, SeriesOptions, decode_image, read_npz,
};

thread_local! {
    // Constants without a destructor: reading them allocates nothing.
    static USED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let used = USED.get() + change;
    USED.set(used);
    PEAK.set(PEAK.get().max(used));
}

struct Counting;

// Safety: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, request: Request) -> *mut u8 {
        count(request.size() as isize);
        // Safety: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(request) }
    }

    unsafe fn dealloc(&self, place: *mut u8, request: Request) {
        count(-(request.size() as isize));
        // Safety: as above.
        unsafe { System.dealloc(place, request) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes that `work` held at once beyond what was held before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (isize, T) {
    let before = USED.get();
    PEAK.set(before);
    let result = work();
    (PEAK.get() - before, result)
}

const MIB: isize = 1 << 20;

#[test]
fn claims_reserve_nothing() {
    let mut flood = b"\x89MCAP0\r\n\x06".to_vec();
    flood.extend((60_u64 << 20).to_le_bytes());
    let (peak, read) = peak_of(|| read_plain(&flood));
    assert!(matches!(read.end, Some(RecordingError::Truncated { .. })));
    assert!(peak < MIB, "a record's claim: {peak}");

    for name in ["rgb.png", "rgb.jpg", "progressive.jpg"] {
        let mut bytes = std::fs::read(golden(name)).unwrap();
        let at = if name == "rgb.png" {
            16
        } else {
            // The frame header's marker, then length, depth, height and width.
            bytes.windows(2).position(|pair| pair == [0xFF, 0xC0] || pair == [0xFF, 0xC2]).unwrap() + 5
        };
        let claim: &[u8] = if name == "rgb.png" { &[0, 1, 0, 0, 0, 1, 0, 0] } else { &[0xFF; 4] };
        bytes[at..at + claim.len()].copy_from_slice(claim);
        let (peak, answer) = peak_of(|| decode_image(&bytes, &Limits::default()));
        assert!(answer.is_err());
        assert!(peak < MIB, "{name}: {peak}");
    }
}

/// A recording that is made while it is read: `left` messages of a raw picture each.
struct Endless {
    message: Vec<u8>,
    left: usize,
    ready: std::io::Cursor<Vec<u8>>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.ready.read(buffer)?;
        if count > 0 || self.left == 0 {
            return Ok(count);
        }
        self.left -= 1;
        self.ready = std::io::Cursor::new(self.message.clone());
        self.ready.read(buffer)
    }
}

#[test]
fn a_long_recording_is_streamed() {
    let picture = image(false, 256, 256, "rgb8", 768, &vec![9; 256 * 256 * 3]);
    let file = recording(Layout::Flat, &[("/cam", "sensor_msgs/msg/Image", 1, picture.clone())]);
    // Everything before the message's record, then that record again and again.
    let record = 9 + 22 + picture.len();
    let start = file.windows(picture.len()).position(|bytes| bytes == picture).unwrap() - 31;
    let source = Endless {
        message: file[start..start + record].to_vec(),
        left: 500,
        ready: std::io::Cursor::new(file[..start].to_vec()),
    };
    let limits = Limits { reorder_bytes: 4 << 20, ..Limits::default() };
    let (peak, events) = peak_of(|| {
        let stream = McapStream::from_reader(source, "endless", McapOptions::default(), &limits).unwrap();
        stream.filter(Result::is_ok).count()
    });
    assert_eq!(events, 500);
    // 94 MiB went through; 4 were to be held back.
    assert!(peak < 7 * MIB, "{peak}");
}

#[test]
fn a_bomb_is_not_inflated() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = zip::ZipWriter::new(file.as_file_mut());
    writer.start_file("x.npy", zip::write::SimpleFileOptions::default()).unwrap();
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 6), }\n";
    writer.write_all(b"\x93NUMPY\x01\x00").unwrap();
    writer.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    writer.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..100 {
        writer.write_all(&zeros).unwrap();
    }
    writer.finish().unwrap();
    let (peak, answer) = peak_of(|| read_npz(file.path(), &SeriesOptions::default(), &Limits::default()));
    assert!(matches!(answer, Err(RecordingError::Malformed { .. })), "{answer:?}");
    assert!(peak < MIB, "{peak}");
}
