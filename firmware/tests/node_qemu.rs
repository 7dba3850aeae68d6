//! The node on an emulated Cortex-M3, its UART on this machine, and the daemon's side of it: the same program as
//! on a board but for clock, UART and chip, over a line that this test disturbs.
//!
//! The chip turns at 2 rad/s about its y axis, so each sample's acceleration tells the node's time at which it was
//! taken, and its angle over our time is a straight line as far as our times are right.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod image;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use image::Machine;
use sedge_boards::Board;
use sedge_boards::board::NodeSpec;
use sedge_firmware::probe::{Part, probe};
use sedge_firmware::serial::{NodeAccount, NodeLink, Opener, Port, ask};
use sedge_readings::{ImuSample, NoData, Timestamp};

const TURN: f64 = 2.0;

/// The image, built once; `None`, said visibly, where it cannot be.
fn program() -> Option<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BUILT.get_or_init(image::build) {
        Ok(path) => Some(path),
        Err(reason) => {
            eprintln!("SKIPPED: the node under QEMU: {reason}");
            None
        }
    }
}

fn boot(serial: &str) -> Option<Machine> {
    let machine = Machine::boot(program()?, serial);
    if machine.is_none() {
        eprintln!("SKIPPED: the node under QEMU: qemu-system-arm is not installed");
    }
    machine
}

fn spec(device: PathBuf, rate_hz: u16, queue: bool) -> NodeSpec {
    NodeSpec {
        name: "wrist".into(),
        device,
        baud: 921_600,
        elf: program().map(Path::to_owned),
        rate_hz,
        accel_full_scale_g: 4,
        gyro_full_scale_dps: 250,
        queue,
    }
}

/// What befalls the line: one bit in this many bytes is flipped, or none; and how often it is cut.
#[derive(Default)]
struct Weather {
    one_in: AtomicU64,
    cuts: AtomicU64,
}

struct Disturbed {
    line: UnixStream,
    weather: Arc<Weather>,
    cuts: u64,
    state: u64,
}

impl Disturbed {
    fn random(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    fn disturb(&mut self, bytes: &mut [u8]) {
        let one_in = self.weather.one_in.load(Ordering::Relaxed);
        for byte in bytes {
            if one_in > 0 && self.random().is_multiple_of(one_in) {
                *byte ^= 1 << (self.random() % 8);
            }
        }
    }
}

impl Read for Disturbed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.weather.cuts.load(Ordering::Relaxed) != self.cuts {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = self.line.read(into)?;
        self.disturb(&mut into[..count]);
        Ok(count)
    }
}

impl Write for Disturbed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut bytes = bytes.to_vec();
        self.disturb(&mut bytes);
        self.line.write_all(&bytes)?;
        if self.weather.one_in.load(Ordering::Relaxed) > 0 {
            // And bytes that nobody sent, between frames and within them.
            let noise: Vec<u8> = (0..self.random() % 40).map(|_| self.random() as u8).collect();
            self.line.write_all(&noise)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.line.flush()
    }
}

fn opener(socket: PathBuf, weather: Arc<Weather>) -> Opener {
    Box::new(move || {
        let line = UnixStream::connect(&socket)?;
        line.set_read_timeout(Some(Duration::from_millis(5)))?;
        let cuts = weather.cuts.load(Ordering::Relaxed);
        Ok(Box::new(Disturbed { line, weather: Arc::clone(&weather), cuts, state: 3 }) as Box<dyn Port>)
    })
}

/// A link to a machine, and its samples with the times at which they came, on one clock.
struct Bench {
    link: NodeLink,
    begin: Instant,
    weather: Arc<Weather>,
    _machine: Machine,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(rate_hz: u16, queue: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("node");
        let machine = boot(&format!("unix:{},server=on,wait=off", socket.display()))?;
        let (begin, weather) = (Instant::now(), Arc::new(Weather::default()));
        let clock = move || Timestamp::from_nanos(begin.elapsed().as_nanos() as u64);
        let spec = spec(PathBuf::from("/dev/null"), rate_hz, queue);
        let link = NodeLink::over(&spec, opener(socket, Arc::clone(&weather)), clock).unwrap();
        Some(Self { link, begin, weather, _machine: machine, _folder: folder })
    }

    /// Samples of the next `seconds` as (arrival, time, value), and how often the node was lost.
    fn listen(&mut self, seconds: f64) -> (Vec<(f64, f64, ImuSample)>, usize) {
        let (end, mut samples, mut lost) = (self.begin.elapsed().as_secs_f64() + seconds, vec![], 0);
        while self.begin.elapsed().as_secs_f64() < end {
            let Some(reading) = self.link.next(Duration::from_millis(50)) else { continue };
            match reading.value {
                Ok(sample) => {
                    samples.push((
                        self.begin.elapsed().as_secs_f64(),
                        reading.at.nanos() as f64 * 1e-9,
                        sample,
                    ));
                }
                Err(NoData::Lost) => lost += 1,
                Err(_) => {}
            }
        }
        (samples, lost)
    }

    /// Waits until samples come.
    fn wait(&mut self) -> NodeAccount {
        let begin = Instant::now();
        while self.link.next(Duration::from_millis(100)).is_none_or(|reading| reading.value.is_err()) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", self.link.account());
        }
        self.link.account()
    }
}

/// That every sample is one of the motion, and the turn over time is the chip's: answers how many milliseconds the
/// times of samples are off the line through them, as the median and the worst of 99 in 100.
fn check_motion(samples: &[(f64, f64, ImuSample)]) -> (f64, f64) {
    let mut angles: Vec<(f64, f64)> = vec![];
    for (arrived, at, sample) in samples {
        let [x, y, z] = sample.accel.map(f64::from);
        assert!(((x * x + z * z).sqrt() - 9.80665).abs() < 0.01 && y.abs() < 1e-6, "{sample:?}");
        assert!((f64::from(sample.gyro[1]) - TURN).abs() < 0.001 && sample.gyro[0] == 0.0, "{sample:?}");
        assert!(at <= arrived, "{at} came at {arrived}");
        let turned = x.atan2(z);
        let before = angles.last().map_or(turned, |(at_before, angle)| angle + TURN * (at - at_before));
        let turns = ((before - turned) / std::f64::consts::TAU).round();
        angles.push((*at, turned + turns * std::f64::consts::TAU));
    }
    let count = angles.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| angles.iter().map(pick).sum::<f64>() / count;
    let (at_mean, angle_mean) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let slope = angles.iter().map(|(at, angle)| (at - at_mean) * (angle - angle_mean)).sum::<f64>()
        / angles.iter().map(|(at, _)| (at - at_mean).powi(2)).sum::<f64>();
    assert!((slope - TURN).abs() < 0.01, "{slope} rad/s");
    let off = |(at, angle): &(f64, f64)| (angle - angle_mean - TURN * (at - at_mean)).abs() / TURN * 1e3;
    let mut off: Vec<f64> = angles.iter().map(off).collect();
    off.sort_by(f64::total_cmp);
    (off[off.len() / 2], off[off.len() * 99 / 100])
}

/// Our log, kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn samples_are_true_steady_and_in_time_and_the_log_is_in_words() {
    let kept = Kept::default();
    let writer = kept.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let Some(mut bench) = Bench::new(100, false) else { return };
    bench.wait();
    let (samples, lost) = bench.listen(6.0);
    let account = bench.link.account();
    let hello = account.hello.as_ref().unwrap();
    assert_eq!((hello.chip.as_str(), hello.settings.rate_hz, hello.fault), ("MPU-6050", 100, None));
    let (median, most) = check_motion(&samples);
    let span = samples.last().unwrap().1 - samples[0].1;
    let rate = (samples.len() - 1) as f64 / span;
    let mut late: Vec<f64> = samples.iter().map(|(arrived, at, _)| (arrived - at) * 1e3).collect();
    late.sort_by(f64::total_cmp);
    println!(
        "{} samples at {rate:.2} Hz; times off by {median:.3} ms, 99 % by less than {most:.3}; late by {:.1} ms; {account:?}",
        samples.len(),
        late[late.len() / 2]
    );
    assert_eq!((lost, account.missing, account.bad_frames, account.unknown_messages), (0, 0, 0, 0));
    // A machine that stands still while others run misses samples, and says so by their numbers.
    let all = samples.len() as f64 + account.lost as f64;
    assert!((all / span - 100.0).abs() < 3.0, "{all} in {span} s");
    assert!(median < 1.0 && most < 10.0, "{median} {most}");
    assert!(late[late.len() / 2] < 100.0, "{late:?}");
    assert!(account.clock_answers >= 20 && account.drift_ppm.unwrap().abs() < 1_000.0, "{account:?}");
    let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(account.log_messages >= 2, "{account:?}");
    assert!(log.contains("INFO") && log.contains("sampling: true"), "{log}");
    assert!(log.contains("MPU-6050 opened: Settings { rate_hz: 100"), "{log}");
}

#[test]
fn the_chips_queue_is_emptied_at_its_own_pace() {
    let Some(mut bench) = Bench::new(200, true) else { return };
    bench.wait();
    let (samples, _) = bench.listen(4.0);
    let account = bench.link.account();
    let (median, most) = check_motion(&samples);
    println!(
        "{} samples; times off by {median:.3} ms, 99 % by less than {most:.3}; {account:?}",
        samples.len()
    );
    assert_eq!(account.hello.as_ref().unwrap().settings.rate_hz, 200);
    assert!(samples.len() > 700, "{account:?}");
    // A sample's time is known to within its period.
    assert!(median < 6.0 && most < 20.0, "{median} {most}");
}

#[test]
fn a_disturbed_line_loses_frames_and_invents_none_and_a_cut_one_comes_back() {
    let Some(mut bench) = Bench::new(100, false) else { return };
    bench.wait();
    bench.weather.one_in.store(400, Ordering::Relaxed);
    let (samples, _) = bench.listen(4.0);
    let disturbed = bench.link.account();
    assert!(disturbed.bad_frames > 10 && disturbed.lost > 10, "{disturbed:?}");
    assert!(!samples.is_empty());
    check_motion(&samples);
    bench.weather.one_in.store(0, Ordering::Relaxed);
    bench.weather.cuts.store(1, Ordering::Relaxed);
    let (samples, lost) = bench.listen(4.0);
    let account = bench.link.account();
    assert!(lost > 0 && account.opened == 2, "{account:?}");
    assert!(samples.len() > 100, "{} {account:?}", samples.len());
    check_motion(&samples[samples.len() - 100..]);
    // The node has counted what did not reach it whole.
    assert!(account.hello.as_ref().unwrap().losses.frames > 0, "{account:?}");
}

#[test]
fn a_node_at_a_port_answers_who_it_is_and_an_empty_port_why_not() {
    let Some(mut machine) = boot("pty") else { return };
    // QEMU looks once a second whether someone has opened its terminal.
    let spec = spec(machine.terminal(), 100, false);
    let hello = ask(&spec, Duration::from_secs(10)).unwrap();
    assert_eq!((hello.chip.as_str(), hello.running), ("MPU-6050", false));
    let begin = Instant::now();
    let clock = move || Timestamp::from_nanos(begin.elapsed().as_nanos() as u64);
    let mut link = NodeLink::open(&spec, clock).unwrap();
    while link.next(Duration::from_millis(100)).is_none_or(|reading| reading.value.is_err()) {
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", link.account());
    }
    drop(link);
    let board = format!(
        "{}\n[[nodes]]\nname = \"wrist\"\ndevice = \"{}\"\nbaud = 921600\nrate_hz = 100\n\
         accel_full_scale_g = 4\ngyro_full_scale_dps = 250\n",
        Board::text_of("generic-linux").unwrap(),
        spec.device.display()
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, board).unwrap();
    let report = probe(Path::new("/"), Some(file.to_str().unwrap())).unwrap();
    let probed = report.devices.iter().find(|device| device.part == Part::Node).unwrap();
    assert!(probed.answer.as_ref().unwrap().contains("MPU-6050 at a node that samples"), "{probed:?}");
    let absent = NodeSpec { device: "/dev/ttyNONE9".into(), ..spec };
    let error = ask(&absent, Duration::from_secs(1)).unwrap_err().to_string();
    assert!(error.contains("/dev/ttyNONE9") && error.contains("dialout"), "{error}");
}
