//! Cameras behind ffmpeg: a real program that writes every format, and whose own conversion is the oracle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use sedge_boards::board::{CameraKind, CameraSpec, PixelFormat};
use sedge_boards::sensor::Sensor;
use sedge_cameras::BoardCamera;
use sedge_readings::{Frame, Timestamp};

fn has_ffmpeg() -> bool {
    let runs = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = runs.is_ok_and(|status| status.success());
    if !there {
        eprintln!("SKIPPED: ffmpeg is not installed");
    }
    there
}

/// A source of ffmpeg's at its own pace, packed in a format.
fn spec(source: &str, format: PixelFormat) -> CameraSpec {
    let packed: &[&str] = match format {
        PixelFormat::Mjpeg => &["-q:v", "2", "-f", "mjpeg"],
        PixelFormat::Yuyv => &["-pix_fmt", "yuyv422", "-f", "rawvideo"],
        PixelFormat::Nv12 => &["-pix_fmt", "nv12", "-f", "rawvideo"],
        _ => &["-pix_fmt", "gray", "-f", "rawvideo"],
    };
    let source = format!("{source}=size={{width}}x{{height}}:rate={{rate}}");
    let words = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", &source].into_iter();
    CameraSpec {
        name: "chart".into(),
        kind: CameraKind::Pipe,
        device: None,
        command: Some(words.chain(packed.iter().copied()).chain(["-"]).map(str::to_owned).collect()),
        format: Some(format),
        width: 320,
        height: 240,
        rate_hz: 25,
        exposure_us: None,
    }
}

/// Raw pixels through ffmpeg.
fn through_ffmpeg(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error"]).args(arguments).args(["-f", "rawvideo", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Largest difference of two pictures, but for pixels beside which the colour changes: there, each program spreads
/// the shared chroma in its own way.
fn furthest(ours: &[u8], theirs: &[u8], width: usize) -> (u8, usize) {
    let pixel = |at: usize| ours.get(3 * at..3 * at + 3);
    let flat = |at: usize| {
        let near = [1, 2, 3].into_iter().flat_map(|step| [step, step * width]);
        near.flat_map(|step| [at.checked_sub(step), Some(at + step)]).all(|other| {
            let other = other.and_then(pixel);
            other.is_some_and(|other| pixel(at).unwrap().iter().zip(other).all(|(a, b)| a.abs_diff(*b) <= 3))
        })
    };
    let compared: Vec<usize> = (0..ours.len() / 3).filter(|&at| flat(at)).collect();
    let most =
        compared.iter().flat_map(|&at| (3 * at)..(3 * at + 3)).map(|at| ours[at].abs_diff(theirs[at])).max();
    (most.unwrap(), compared.len())
}

fn frame_of(source: &str, format: PixelFormat) -> Frame {
    let mut camera = BoardCamera::open(&spec(source, format)).unwrap();
    camera.read(Timestamp::default()).value.unwrap()
}

#[test]
fn every_format_shows_the_chart_that_ffmpeg_shows() {
    if !has_ffmpeg() {
        return;
    }
    let chart = through_ffmpeg(
        &["-f", "lavfi", "-i", "smptebars=size=320x240:rate=25", "-frames:v", "1", "-pix_fmt", "rgb24"],
        &[],
    );
    for (format, allowed) in [(PixelFormat::Yuyv, 4), (PixelFormat::Nv12, 4), (PixelFormat::Mjpeg, 8)] {
        let frame = frame_of("smptebars", format);
        let (most, compared) = furthest(frame.rgb(), &chart, 320);
        assert!(compared > 40_000, "{format:?}: only {compared} pixels are flat");
        assert!(most <= allowed, "{format:?}: off by {most}");
    }
    let grey = through_ffmpeg(
        &["-f", "lavfi", "-i", "smptebars=size=320x240:rate=25", "-frames:v", "1", "-pix_fmt", "gray"],
        &[],
    );
    let frame = frame_of("smptebars", PixelFormat::Grey);
    let (greys, _) = frame.rgb().as_chunks::<3>();
    assert!(greys.iter().zip(&grey).all(|(pixel, grey)| pixel == &[*grey; 3]));
}

#[test]
fn frames_move_at_their_rate_and_their_times_are_in_order() {
    if !has_ffmpeg() {
        return;
    }
    for format in [PixelFormat::Mjpeg, PixelFormat::Yuyv] {
        let mut camera = BoardCamera::open(&spec("testsrc2", format)).unwrap();
        let begun = Instant::now();
        let mut readings = vec![];
        for _ in 0..15 {
            let now = Timestamp::from_nanos(1_000_000_000 + begun.elapsed().as_nanos() as u64);
            let reading = camera.read(now);
            if let Ok(frame) = reading.value {
                readings.push((reading.at, frame));
            }
        }
        assert!(readings.len() >= 12, "{format:?}: {} of 15 came, {:?}", readings.len(), camera.trouble());
        assert!(readings.array_windows().all(|[a, b]| a.0 < b.0 && a.1 != b.1), "{format:?}");
        // A loaded machine skips frames, but none comes before its time.
        let seconds = readings[readings.len() - 1].0.since(readings[0].0).as_secs_f64();
        let rate = (readings.len() - 1) as f64 / seconds;
        assert!((2.0..40.0).contains(&rate), "{format:?}: {rate} Hz");
    }
}

#[test]
fn a_source_that_is_not_there_is_told_in_the_programs_words() {
    if !has_ffmpeg() {
        return;
    }
    let text = BoardCamera::open(&spec("no_such_source", PixelFormat::Mjpeg)).unwrap_err().to_string();
    assert!(text.contains("no_such_source") && text.contains("exit status"), "{text}");
}
