//! Hostile ONNX: some hundreds of broken networks through every entry point, in a process of its own whose
//! memory is limited and whose every input is timed. Whatever happens must be an error or a valid graph:
//! no panic that escapes or is printed, no abort, no hang.
//!
//! `SEDGE_HOSTILE_SEED` and `SEDGE_HOSTILE_COUNT` choose others. An input that fails is kept under
//! `target/hostile`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_tests::hostile::targets::{self, Outcome};
use sedge_tests::hostile::{mutate, seeds};

/// Address space of the process that reads hostile files: code, stacks and allocator arenas included.
const MEMORY: u64 = 3 << 30;
/// Longest that all entry points together may take over one small file, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the process that does the reading: where it keeps the input that it is at.
const FOLDER: &str = "SEDGE_HOSTILE_FOLDER";

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/hostile")
}

/// The process that reads: one line an input, before which the input is on disk.
#[test]
fn reader() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let limit = rustix::process::Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    let file = Path::new(&folder).join("input.onnx");
    let seeds = seeds::all();
    let mut rng = ChaCha8Rng::seed_from_u64(variable("SEDGE_HOSTILE_SEED", 1));
    for round in 0..variable("SEDGE_HOSTILE_COUNT", 0) {
        let seed = &seeds[rng.random_range(0..seeds.len())];
        let mutant = mutate::mutant(&seed.model, &mut rng);
        std::fs::write(&file, &mutant.bytes).unwrap();
        // On a line of its own, behind what the harness writes.
        println!("\nbegin {round} {}: {}", seed.name, mutant.done);
        let begin = Instant::now();
        let outcomes = targets::ALL.map(|(_, target)| target(&mutant.bytes));
        let made: Vec<u8> = outcomes.iter().map(|o| u8::from(*o == Outcome::Made)).collect();
        println!("end {made:?} {}", begin.elapsed().as_millis());
        if variable("SEDGE_HOSTILE_VERBOSE", 0) > 0 {
            println!("said {outcomes:?}");
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    println!("done {peak}");
}

/// What the reading process said.
#[derive(Default)]
struct Said {
    inputs: usize,
    made: [usize; targets::ALL.len()],
    slowest: (u64, String),
    end: String,
}

fn read_mutants(seed: u64, count: u64) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reader", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .env("SEDGE_HOSTILE_SEED", seed.to_string())
        .env("SEDGE_HOSTILE_COUNT", count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, lines) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader =
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|l| send.send(l)));
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let mut said = Said::default();
    let mut at = String::from("nothing read yet");
    let hung = loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => note(&mut said, &mut at, &line),
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
        }
    };
    if hung {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let _ = reader.join().unwrap();
    let errors = errors.join().unwrap().unwrap();
    if hung || !status.success() || errors.contains("panicked") || said.end.is_empty() {
        let path = kept().join(format!("seed-{seed}-input-{}.onnx", said.inputs));
        std::fs::create_dir_all(kept()).unwrap();
        let _ = std::fs::copy(folder.path().join("input.onnx"), &path);
        let how = if hung { "hung" } else { "failed" };
        panic!("seed {seed}: {how} ({status}) at {at}; kept as {}\n{errors}", path.display());
    }
    said
}

fn note(said: &mut Said, at: &mut String, line: &str) {
    if line.starts_with("begin ") {
        *at = line.into();
    } else if let Some(end) = line.strip_prefix("end ") {
        let (made, time) = end.split_once("] ").unwrap();
        for (count, digit) in said.made.iter_mut().zip(made.trim_start_matches('[').split(", ")) {
            *count += usize::from(digit == "1");
        }
        said.inputs += 1;
        let time = time.parse().unwrap();
        if time >= said.slowest.0 {
            said.slowest = (time, at.clone());
        }
    } else if let Some(end) = line.strip_prefix("done ") {
        said.end = end.into();
    }
}

#[test]
fn broken_networks_are_refused_or_made_into_valid_graphs() {
    let seed = variable("SEDGE_HOSTILE_SEED", 1);
    let count = variable("SEDGE_HOSTILE_COUNT", 300);
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let said = read_mutants(seed, count);
    let report = format!(
        "seed {seed}: {} inputs; parsed {}, compiled {}, encoders {}, imported {}; slowest {} ms ({}); {}\n",
        said.inputs,
        said.made[0],
        said.made[1],
        said.made[2],
        said.made[3],
        said.slowest.0,
        said.slowest.1,
        said.end
    );
    std::io::stderr().write_all(report.as_bytes()).unwrap();
    assert_eq!(said.inputs as u64, count);
    // Damage that is all refused at the door, or all harmless, would prove nothing.
    assert!(said.made[1] * 50 > said.inputs, "hardly anything compiled: {report}");
    assert!(said.made[1] * 2 < said.inputs, "hardly anything was refused: {report}");
}

/// The seeds themselves must pass, or the mutants would all be refused for one reason.
#[test]
fn seeds_are_valid() {
    let seeds = seeds::all();
    assert_eq!(seeds.len(), 9);
    for seed in &seeds {
        let bytes = prost::Message::encode_to_vec(&seed.model);
        assert_eq!(targets::parse(&bytes), Outcome::Made, "{}", seed.name);
        assert_eq!(targets::encoder(&bytes), Outcome::Made, "{}", seed.name);
    }
}
