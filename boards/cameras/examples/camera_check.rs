//! Looks at one Video4Linux device as a board would use it: streams frames, closes and opens it again, tries every
//! format, and on request unplugs it and asks the kernel's test driver `vivid` for faults.
//!
//! `camera_check DEVICE [FORMAT WIDTH HEIGHT RATE]`, and with `--vivid` as the last word also what only vivid can
//! do, as root. It prints what it sees and ends with 0 where all of it was as it should be.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use sedge_boards::board::{CameraKind, CameraSpec, PixelFormat};
use sedge_boards::sensor::Sensor;
use sedge_cameras::BoardCamera;
use sedge_readings::{NoData, Timestamp};

const FORMATS: [(&str, PixelFormat); 4] = [
    ("mjpeg", PixelFormat::Mjpeg),
    ("yuyv", PixelFormat::Yuyv),
    ("nv12", PixelFormat::Nv12),
    ("grey", PixelFormat::Grey),
];
/// Controls by which the test driver makes faults (`vivid-ctrls.c`).
const LOST_PERCENT: u32 = 0x00F0_F000 + 64;
const DAMAGED_FRAME: u32 = 0x00F0_F000 + 66;
const FAILED_START: u32 = 0x00F0_F000 + 69;
const FAILED_STREAM: u32 = 0x00F0_F000 + 70;
/// The folder by which the test driver is unplugged and plugged in.
const VIVID: &str = "/sys/bus/platform/drivers/vivid";

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let vivid = words.last().is_some_and(|word| word == "--vivid");
    words.truncate(words.len() - usize::from(vivid));
    let word = |at: usize, usual: &str| words.get(at).cloned().unwrap_or_else(|| usual.to_owned());
    let number = |at, usual| word(at, usual).parse::<u32>().expect("a number");
    let named = word(1, "yuyv");
    let format = FORMATS.iter().find(|(name, _)| *name == named).expect("mjpeg, yuyv, nv12 or grey").1;
    let spec = CameraSpec {
        name: "check".to_owned(),
        kind: CameraKind::V4l2,
        device: Some(word(0, "/dev/video0").into()),
        command: None,
        format: Some(format),
        width: number(2, "320"),
        height: number(3, "180"),
        rate_hz: number(4, "10"),
        exposure_us: None,
    };
    let begun = Instant::now();
    let now = || Timestamp::from_nanos(begun.elapsed().as_nanos() as u64);

    let mut camera = BoardCamera::open(&spec).expect("the camera opens");
    println!("opened: {}", camera.describe());
    stream(&mut camera, 30, &now);
    let again = BoardCamera::open(&spec).expect_err("a second stream is refused");
    println!("opened twice: {again}");
    camera.reopen().expect("it opens again");
    stream(&mut camera, 5, &now);
    stale(&mut camera, &spec, &now);
    drop(camera);
    every_format(&spec, &now);
    refusals(&spec);
    if vivid {
        faults(&spec, &now);
        unplugged(&spec, &now);
    }
    println!("all is well");
}

/// Reads frames and prints rate, ages and colours.
fn stream(camera: &mut BoardCamera, count: usize, now: &dyn Fn() -> Timestamp) {
    let (mut times, mut ages, mut last, mut missed) = (vec![], vec![], None, 0);
    while times.len() < count {
        let reading = camera.read(now());
        let Ok(frame) = reading.value else {
            missed += 1;
            let trouble = camera.trouble().map(ToString::to_string).unwrap_or_default();
            assert!(camera.is_open() && missed <= count, "{missed} of {count}: {trouble}");
            continue;
        };
        ages.push(now().since(reading.at).as_secs_f64() * 1e3);
        times.push(reading.at);
        last = Some(frame);
    }
    let frame = last.expect("a frame");
    let spans: Vec<f64> = times.array_windows().map(|[a, b]| b.since(*a).as_secs_f64()).collect();
    let rate = spans.len() as f64 / spans.iter().sum::<f64>();
    let (least, most) =
        spans.iter().fold((f64::MAX, 0f64), |(least, most), &span| (least.min(span), most.max(span)));
    println!(
        "{count} frames of {}x{}, {missed} missed, at {rate:.2} Hz (apart {:.1} to {:.1} ms), read {:.1} ms after they were taken, mean colour {}",
        frame.width(),
        frame.height(),
        least * 1e3,
        most * 1e3,
        ages.iter().sum::<f64>() / ages.len() as f64,
        colour(&frame, 0, frame.width()),
    );
}

/// Mean colour of the columns `from` to `to`.
fn colour(frame: &sedge_readings::Frame, from: u32, to: u32) -> String {
    let mut sums = [0u64; 3];
    for (at, pixel) in frame.rgb().as_chunks::<3>().0.iter().enumerate() {
        if (from..to).contains(&(at as u32 % frame.width())) {
            sums.iter_mut().zip(pixel).for_each(|(sum, &part)| *sum += u64::from(part));
        }
    }
    let count = u64::from(to - from) * u64::from(frame.height());
    let [r, g, b] = sums.map(|sum| sum / count.max(1));
    format!("{r},{g},{b}")
}

/// After a pause in which all buffers were filled, a frame is fresh.
fn stale(camera: &mut BoardCamera, spec: &CameraSpec, now: &dyn Fn() -> Timestamp) {
    pause(Duration::from_millis(1500));
    let reading = camera.read(now());
    assert!(reading.value.is_ok(), "{:?}", camera.trouble());
    let age = now().since(reading.at).as_secs_f64() * 1e3;
    println!("after a pause of 1500 ms: a frame of {age:.1} ms ago");
    assert!(age < 3000.0 / f64::from(spec.rate_hz) + 100.0);
}

fn every_format(spec: &CameraSpec, now: &dyn Fn() -> Timestamp) {
    for (name, format) in FORMATS {
        let spec = CameraSpec { format: Some(format), ..spec.clone() };
        match BoardCamera::open(&spec) {
            Err(error) => println!("{name}: {error}"),
            Ok(mut camera) => {
                println!("{name}: {}", camera.describe());
                stream(&mut camera, 5, now);
                let frame = camera.read(now()).value.expect("a frame");
                let eighth = frame.width() / 8;
                let bars = (0..8).map(|bar| colour(&frame, bar * eighth + 4, (bar + 1) * eighth - 4));
                println!("  bars {}", bars.collect::<Vec<_>>().join("  "));
            }
        }
    }
}

fn refusals(spec: &CameraSpec) {
    for (what, spec) in [
        ("size", CameraSpec { width: 322, height: 182, ..spec.clone() }),
        ("rate", CameraSpec { rate_hz: 240, ..spec.clone() }),
        ("exposure", CameraSpec { exposure_us: Some(10_000), ..spec.clone() }),
        ("device", CameraSpec { device: Some("/dev/null".into()), ..spec.clone() }),
        ("node", CameraSpec { device: Some("/dev/video99".into()), ..spec.clone() }),
    ] {
        match BoardCamera::open(&spec) {
            Ok(camera) => println!("{what} was not refused: {}", camera.describe()),
            Err(error) => println!("refused for its {what}: {error}"),
        }
    }
}

/// Asks the driver for a damaged frame, lost frames, a stream that fails, and one that cannot be started.
fn faults(spec: &CameraSpec, now: &dyn Fn() -> Timestamp) {
    let mut camera = BoardCamera::open(spec).expect("the camera opens");
    let until = |camera: &mut BoardCamera| {
        (0..20).find_map(|_| camera.read(now()).value.err()).expect("a fault is seen")
    };
    camera.set_control(DAMAGED_FRAME, 1).unwrap();
    assert_eq!(until(&mut camera), NoData::Corrupt);
    println!("damaged frame: {}", camera.trouble().unwrap());
    stream(&mut camera, 3, now);
    camera.set_control(LOST_PERCENT, 100).unwrap();
    assert_eq!(until(&mut camera), NoData::DropOut);
    println!("lost frames: {}", camera.trouble().unwrap());
    camera.set_control(LOST_PERCENT, 0).unwrap();
    while camera.read(now()).value.is_err() {}
    stream(&mut camera, 3, now);
    camera.set_control(FAILED_STREAM, 1).unwrap();
    assert_eq!(until(&mut camera), NoData::Bus);
    println!("failed stream: {}", camera.trouble().unwrap());
    camera.reopen().expect("it opens again");
    camera.set_control(FAILED_START, 1).unwrap();
    println!("failed start: {}", camera.reopen().expect_err("it does not start"));
    camera.reopen().expect("it opens again");
    stream(&mut camera, 3, now);
    println!("no such control: {}", camera.set_control(1, 1).unwrap_err());
}

/// Unplugged while it streams, told of, and plugged in again.
fn unplugged(spec: &CameraSpec, now: &dyn Fn() -> Timestamp) {
    let mut camera = BoardCamera::open(spec).expect("the camera opens");
    stream(&mut camera, 3, now);
    std::fs::write(format!("{VIVID}/unbind"), "vivid.0").expect("vivid can be unplugged");
    let gone =
        (0..10).map(|_| camera.read(now())).find(|reading| reading.value.is_err()).expect("it is gone");
    println!("unplugged: {}, {}", gone.value.unwrap_err(), camera.trouble().unwrap());
    assert!(!camera.is_open());
    assert_eq!(camera.read(now()).value, Err(NoData::Bus));
    println!("opened while it is away: {}", camera.reopen().expect_err("nothing is there"));
    std::fs::write(format!("{VIVID}/bind"), "vivid.0").expect("vivid can be plugged in");
    let replugged = Instant::now();
    while let Err(error) = camera.reopen() {
        assert!(replugged.elapsed() < Duration::from_secs(20), "{error}");
        pause(Duration::from_millis(100));
    }
    println!("plugged in again: {} after {} ms", camera.describe(), replugged.elapsed().as_millis());
    stream(&mut camera, 5, now);
}

fn pause(time: Duration) {
    let (_quiet, nothing) = std::sync::mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}
