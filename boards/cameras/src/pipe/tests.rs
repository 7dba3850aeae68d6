#![allow(clippy::unwrap_used)]
use std::path::Path;

use sedge_boards::board::{CameraKind, PixelFormat};

use super::*;

fn spec(words: &[&str], format: PixelFormat) -> CameraSpec {
    CameraSpec {
        name: "eye".into(),
        kind: CameraKind::Pipe,
        device: None,
        command: Some(words.iter().map(|&word| word.to_owned()).collect()),
        format: Some(format),
        width: 8,
        height: 4,
        rate_hz: 50,
        exposure_us: None,
    }
}

/// A program in the words of a shell, 8 x 4 pixels of grey a frame.
fn shell(script: &str) -> Result<Pipe, CameraError> {
    let spec = spec(&["sh", "-c", script], PixelFormat::Grey);
    Pipe::open(&spec, Layout::of(&spec).unwrap())
}

const WAIT: Duration = Duration::from_millis(140);

#[test]
fn a_program_that_is_not_there_is_named() {
    let spec = spec(&["no-such-program", "{width}"], PixelFormat::Grey);
    let error = Pipe::open(&spec, Layout::of(&spec).unwrap()).unwrap_err();
    assert!(
        matches!(&error, CameraError::Program { program, .. } if program == "no-such-program"),
        "{error}"
    );
}

#[test]
fn a_program_that_dies_says_how_and_with_what_words() {
    let error = shell("echo '*** no cameras available ***' >&2; exit 7").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 7") && text.contains("no cameras available"), "{text}");
    // After a frame, which is still given.
    let mut pipe = shell("head -c 32 /dev/zero; echo gone >&2; exit 3").unwrap();
    assert_eq!(pipe.take(WAIT).unwrap().frame.rgb(), [0; 96]);
    let text = pipe.take(WAIT).unwrap_err().to_string();
    assert!(text.contains("exit status: 3") && text.contains("gone"), "{text}");
    assert!(matches!(pipe.take(WAIT), Err(CameraError::Ended { .. })));
}

#[test]
fn a_program_that_closes_its_output_and_stays_is_an_end_too() {
    let mut pipe = shell("head -c 32 /dev/zero; exec 1>&-; sleep 600").unwrap();
    assert!(pipe.take(WAIT).is_ok());
    let error = pipe.take(WAIT).unwrap_err();
    assert!(matches!(error, CameraError::Ended { status: None, .. }), "{error}");
}

#[test]
fn a_program_that_stalls_is_waited_for_and_no_longer_than_said() {
    let mut pipe = shell("head -c 48 /dev/zero; echo slow >&2; sleep 600").unwrap();
    assert!(pipe.take(WAIT).is_ok());
    let begun = Instant::now();
    let error = pipe.take(WAIT).unwrap_err();
    assert!(begun.elapsed() >= WAIT && begun.elapsed() < 20 * WAIT);
    assert!(matches!(&error, CameraError::Silent { errors, .. } if errors == "slow"), "{error}");
}

#[test]
fn the_newest_frame_wins_and_carries_the_time_at_which_it_came() {
    let script = "for n in 1 2 3 4 5; do printf \"\\\\0$n%.0s\" $(seq 32); done; sleep 600";
    let mut pipe = shell(script).unwrap();
    let (_quiet, nothing) = std::sync::mpsc::channel::<()>();
    assert!(nothing.recv_timeout(Duration::from_millis(1000)).is_err());
    let taken = pipe.take(WAIT).unwrap();
    assert_eq!(taken.frame.rgb(), [5; 96]);
    assert!((-5_000_000_000..=-100_000_000).contains(&taken.after), "{}", taken.after);
}

#[test]
fn garbage_fills_no_memory_and_is_counted() {
    // JPEGs are wanted and zeros come, more than a pipe holds.
    let spec = spec(&["sh", "-c", "head -c 3000000 /dev/zero; exit 0"], PixelFormat::Mjpeg);
    let error = Pipe::open(&spec, Layout::of(&spec).unwrap()).unwrap_err();
    assert!(matches!(error, CameraError::Ended { .. }), "{error}");
}

#[test]
fn what_is_closed_is_reaped_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = folder.path().join("numbers");
    // It ignores what it is asked, and its own child holds the pipe open.
    let script = format!(
        "trap '' TERM; sleep 600 & echo $$ $! > {}; head -c 32 /dev/zero; while :; do sleep 1; done",
        numbers.display()
    );
    let pipe = shell(&script).unwrap();
    let numbers = std::fs::read_to_string(&numbers).unwrap();
    let begun = Instant::now();
    drop(pipe);
    assert!(begun.elapsed() < Duration::from_secs(5));
    for number in numbers.split_whitespace() {
        // Where nobody reaps orphans, the child's child stays behind as a zombie.
        let status =
            std::fs::read_to_string(Path::new("/proc").join(number).join("stat")).unwrap_or_default();
        assert!(status.is_empty() || status.contains(") Z "), "{status}");
    }
}
