//! The real binary: exit statuses, signals, and what goes where.

#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(target_os = "linux")]

mod common;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Place, image_bundle, lines};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn sedged(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sedged"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn output(arguments: &[&str]) -> Output {
    sedged(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run_arguments(place: &Place, source: &str) -> Vec<String> {
    let path = |name: &str| place.path(name).to_string_lossy().into_owned();
    ["run", "--bundle", &path("bundle.sedge"), "--source", source, "--out", &path("out")]
        .map(String::from)
        .to_vec()
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn usage_is_told_with_examples_and_misuse_is_status_two() {
    let help = output(&["run", "--help"]);
    assert!(help.status.success());
    assert!(text(&help.stdout).contains("sedged run --bundle image.sedge --source sim"));
    for wrong in
        [&["run"][..], &["fly"], &["run", "--bundle", "b", "--source", "sim", "--out", "o", "--duty", "2"]]
    {
        let output = output(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_failure_is_status_one_with_its_reason_on_standard_error() {
    let place = Place::new(image_bundle());
    std::fs::write(place.path("bundle.sedge"), "not a bundle").unwrap();
    let output = output(&strs(&run_arguments(&place, "sim:seconds=2")));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let reason = text(&output.stderr);
    assert!(reason.contains("bundle.sedge") && !reason.contains('\u{1b}'), "{reason}");
}

#[test]
fn a_run_answers_on_standard_output_and_logs_on_standard_error() {
    let place = Place::new(image_bundle());
    let mut arguments = run_arguments(&place, "sim:seconds=4,rooms=2");
    arguments.extend(["--json".into(), place.path("s.json").to_string_lossy().into_owned()]);
    let output = output(&strs(&arguments));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("frames: 80 in"), "{}", text(&output.stdout));
    let summary: Value = serde_json::from_slice(&std::fs::read(place.path("s.json")).unwrap()).unwrap();
    assert_eq!((&summary["frames"]["offered"], &summary["ended"]), (&80.into(), &true.into()));
    assert!(!text(&output.stderr).contains('\u{1b}'), "no colour into a pipe");
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn stop(child: &mut Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(child), signal).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn sigterm_stops_with_a_checkpoint_and_the_next_run_goes_on() {
    let place = Place::new(image_bundle());
    let mut arguments = run_arguments(&place, "sim:seconds=6,rooms=2");
    arguments.extend(["--pace".into(), "realtime".into(), "--checkpoint-seconds".into(), "0.5".into()]);
    let start = || sedged(&strs(&arguments)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (out, checkpoint) = (place.path("out"), place.path("out").join("checkpoint.sedge-state"));

    let mut child = start();
    wait_for("a checkpoint", || checkpoint.exists());
    assert_eq!(stop(&mut child, Signal::TERM), Some(0), "a stop that was asked for is no failure");
    let summary: Value = serde_json::from_slice(&std::fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["ended"], false);
    let done = summary["frames"]["offered"].as_u64().unwrap();
    assert!(done > 0 && done < 120, "{done}");

    // Killed without warning, it goes on from its last checkpoint.
    let before = std::fs::read(&checkpoint).unwrap();
    let mut child = start();
    wait_for("another checkpoint", || std::fs::read(&checkpoint).is_ok_and(|now| now != before));
    assert_eq!(stop(&mut child, Signal::KILL), None);

    assert!(start().wait().unwrap().success());
    let summary: Value = serde_json::from_slice(&std::fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!((&summary["ended"], &summary["frames"]["offered"]), (&true.into(), &120.into()));
    let indices: Vec<u64> =
        lines(&out.join("embeddings.jsonl")).iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "a frame was embedded twice");
    assert_eq!(indices.len() as u64, summary["frames"]["used"].as_u64().unwrap());
}
