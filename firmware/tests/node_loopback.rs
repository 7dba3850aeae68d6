//! The node's core and the daemon's side of it over a line that flips bits: threads, buffers and time as it
//! passes, but no microcontroller.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sedge_boards::board::NodeSpec;
use sedge_firmware::serial::{NodeLink, Opener, Port};
use sedge_node::{Imu, Node};
use sedge_readings::{ImuSample, NoData, Timestamp};
use sedge_wire::{SampleFault, Settings};

struct Counting(u32);

impl Imu for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }
    fn open(&mut self, _: &Settings) -> Result<(), SampleFault> {
        Ok(())
    }
    fn sample(&mut self) -> Result<ImuSample, SampleFault> {
        self.0 += 1;
        Ok(ImuSample::from_channels([self.0 as f32, 1.0, 2.0, 3.0, 4.0, 5.0]))
    }
    fn drain(&mut self, _: &mut [ImuSample]) -> Result<usize, SampleFault> {
        Err(SampleFault::NotReady)
    }
}

/// Flips about one bit in `one_in` bytes.
fn disturb(bytes: &mut [u8], state: &mut u64, one_in: u64) {
    for byte in bytes {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (*state >> 33).is_multiple_of(one_in) {
            *byte ^= 1 << ((*state >> 29) & 7);
        }
    }
}

/// A node at this end of a line, until it is told to stop or the line is gone.
fn run_node(mut port: UnixStream, stop: &AtomicBool) {
    let begin = Instant::now();
    let mut node = Node::new(Counting(0), Settings::default(), |_| 0);
    let (mut came, mut out, mut state) = ([0; 256], [0; 1024], 9);
    while !stop.load(Ordering::Relaxed) {
        let count = match port.read(&mut came) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return,
        };
        disturb(&mut came[..count], &mut state, 500);
        let made = node.poll(begin.elapsed().as_micros() as u64, &came[..count], &mut out);
        disturb(&mut out[..made], &mut state, 3_000);
        if port.write_all(&out[..made]).is_err() {
            return;
        }
    }
}

#[test]
fn over_a_line_with_bit_errors_and_an_unplugging_what_comes_is_true() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // Each opening is a new line with a new node; the first is unplugged after a while.
    let unplug = Arc::new(AtomicBool::new(false));
    let unplugged = Arc::clone(&unplug);
    let mut opened = 0;
    let opener: Opener = Box::new(move || {
        let (host, node) = UnixStream::pair()?;
        host.set_read_timeout(Some(Duration::from_millis(5)))?;
        node.set_read_timeout(Some(Duration::from_millis(1)))?;
        let stop = if opened == 0 { Arc::clone(&unplugged) } else { Arc::clone(&stopped) };
        opened += 1;
        std::thread::spawn(move || run_node(node, &stop));
        Ok(Box::new(host) as Box<dyn Port>)
    });
    let spec = NodeSpec {
        name: "loop".into(),
        device: PathBuf::from("/dev/null"),
        baud: 921_600,
        elf: None,
        rate_hz: 200,
        accel_full_scale_g: 4,
        gyro_full_scale_dps: 500,
        queue: false,
    };
    let begin = Instant::now();
    let clock = move || Timestamp::from_nanos(begin.elapsed().as_nanos() as u64);
    let mut link = NodeLink::over(&spec, opener, clock).unwrap();
    let (mut before, mut after, mut lost) = (0, 0, 0);
    while begin.elapsed() < Duration::from_secs(8) {
        unplug.fetch_or(begin.elapsed() > Duration::from_secs(3), Ordering::Relaxed);
        let Some(reading) = link.next(Duration::from_millis(100)) else { continue };
        match reading.value {
            Ok(sample) => {
                assert_eq!(sample.channels()[1..], [1.0, 2.0, 3.0, 4.0, 5.0]);
                let late = begin.elapsed().as_nanos() as i64 - reading.at.nanos() as i64;
                assert!((0..1_000_000_000).contains(&late), "{late}");
                *(if lost == 0 { &mut before } else { &mut after }) += 1;
            }
            Err(NoData::Lost) => lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let account = link.account();
    assert!(before > 250 && after > 250 && lost > 0, "{before} before, {after} after, {lost}: {account:?}");
    assert!(account.bad_frames > 0 && account.lost > 0, "{account:?}");
    assert!(account.opened >= 2 && account.is_open, "{account:?}");
}
