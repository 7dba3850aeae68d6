//! The command as a process: exit statuses, streams, signals, and a run cut by a real signal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sedge::pretrain::{Checkpoint, RunDirectory};

fn sedge(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sedge"));
    command.args(words).stdin(Stdio::null());
    command
}

fn output(words: &[&str]) -> Output {
    sedge(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Two classes of twelve small pictures each: dark and light, each with a gradient of its own.
fn pictures(folder: &Path) {
    for class in 0..2u8 {
        let inside = folder.join(["dark", "light"][usize::from(class)]);
        std::fs::create_dir_all(&inside).unwrap();
        for number in 0..12u8 {
            let picture = image::RgbImage::from_fn(16, 16, |x, y| {
                let level = 90 * class + 5 * number + (x + y) as u8;
                image::Rgb([level, level / 2, 255 - level])
            });
            picture.save(inside.join(format!("{number}.png"))).unwrap();
        }
    }
}

#[test]
fn help_says_all_and_succeeds() {
    for words in [&["--help"][..], &["pretrain", "--help"], &["inspect", "--help"]] {
        let output = output(words);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Examples:"), "{words:?}");
        assert!(output.stderr.is_empty());
        // No terminal, no escape sequences.
        assert!(!output.stdout.contains(&0x1b), "{words:?}");
    }
}

#[test]
fn wrong_usage_is_status_two() {
    for words in [
        &[][..],
        &["pretrian"],
        &["pretrain", "--data", "x"],
        &["pretrain", "--out", "/nonexistent/run"],
        &["pretrain", "--resume", "--seed", "1", "--out", "/nonexistent/run"],
    ] {
        let output = output(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn failure_is_status_one_with_one_line_of_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("run.toml");
    std::fs::write(&config, "epoch = 3\n").unwrap();
    let config = config.to_str().unwrap();
    for (words, wanted) in [
        (&["inspect", "/nonexistent.sedge"][..], "/nonexistent.sedge"),
        (&["pretrain", config, "--data", "x", "--out", "/nonexistent/r"], "did you mean `epochs`?"),
        (&["pretrain", "--data", "/nonexistent", "--out", "/nonexistent/r"], "/nonexistent"),
        (&["pretrain", "--resume", "--out", "/nonexistent/r"], "holds no run"),
    ] {
        let output = output(words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(wanted), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = sedge(&["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn pretrain_words<'a>(data: &'a str, out: &'a str) -> Vec<&'a str> {
    let fixed =
        "--architecture image-tiny --batch 4 --epochs 30 --eval-every 10 --checkpoint-every 7 --seed 5";
    let words = ["pretrain", "--data", data, "--image-size", "16", "--out", out];
    words.into_iter().chain(fixed.split(' ')).collect()
}

fn checkpoint(run: &Path) -> Checkpoint {
    RunDirectory::open(run).unwrap().checkpoint().unwrap().unwrap()
}

/// Waits until the run has logged `lines` lines.
#[cfg(unix)]
fn wait_for_lines(run: &Path, lines: usize) {
    let begun = Instant::now();
    let logged = || std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count();
    while logged() < lines {
        assert!(begun.elapsed() < Duration::from_secs(60), "the run logs nothing");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn a_run_ended_by_a_signal_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("pictures");
    pictures(&data);
    let data = data.to_str().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));

    let output_whole = output(&pretrain_words(data, whole.to_str().unwrap()));
    let said = text(&output_whole.stdout);
    assert_eq!(output_whole.status.code(), Some(0), "{}", text(&output_whole.stderr));
    assert!(said.contains("30 epochs, 180 steps") && said.contains("kNN accuracy"), "{said}");
    assert!(text(&output_whole.stderr).contains("images/s"), "plain lines where there is no terminal");
    assert!(!output_whole.stderr.contains(&0x1b));

    let mut child = sedge(&pretrain_words(data, cut.to_str().unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&cut, 20);
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(said.contains("sedge pretrain --resume --out"), "{said}");
    assert!(checkpoint(&cut).header.position.step < 180, "the run was over before the signal");

    let json = folder.path().join("summary.json");
    let resumed = output(&[
        "pretrain",
        "--resume",
        "--quiet",
        "--workers",
        "3",
        "--json",
        json.to_str().unwrap(),
        "--out",
        cut.to_str().unwrap(),
    ]);
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed.stderr));
    assert!(resumed.stderr.is_empty(), "{}", text(&resumed.stderr));
    assert!(json.exists());
    let (whole, cut) = (checkpoint(&whole), checkpoint(&cut));
    assert_eq!(cut.state, whole.state);
    assert_eq!(cut.header.tensor_sha256, whole.header.tensor_sha256);
    assert_eq!(cut.header.running.loss, whole.header.running.loss);
    assert_eq!(cut.header.running.knn, whole.header.running.knn);
}

#[test]
fn a_run_is_not_written_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("pictures");
    pictures(&data);
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("config.toml"), "mine").unwrap();
    let output = output(&pretrain_words(data.to_str().unwrap(), run.to_str().unwrap()));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--resume"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(run.join("config.toml")).unwrap(), b"mine");
}

#[test]
fn a_run_that_cannot_begin_makes_no_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("pictures");
    pictures(&data);
    let run = folder.path().join("run");
    let mut words = pretrain_words(data.to_str().unwrap(), run.to_str().unwrap());
    // More samples a batch than there are pictures.
    words.iter_mut().filter(|word| **word == "4").for_each(|word| *word = "100");
    let output = output(&words);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("`batch` is 100"), "{}", text(&output.stderr));
    assert!(!run.exists());
}

#[test]
fn two_encoders_of_one_run_are_exported_and_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |words: &[&str]| {
        let output = output(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let (both, frames, windows) = (at("both"), at("frames.sedge"), at("windows.sedge"));
    let drive = ["--data", "sim:seconds=5,rooms=2", "--image-size", "16", "--window", "32", "--quiet"];
    let few = ["--epochs", "1", "--batch", "32", "--architecture", "image-tiny"];
    run(&[&["pretrain", "--method", "cross-modal", "--out", &both][..], &drive, &few].concat());
    run(&["export", &both, "--out", &frames]);
    run(&["export", &both, "--second", "--out", &windows]);
    assert!(run(&["inspect", &frames]).contains("[3, 16, 16]"));
    assert!(run(&["inspect", &windows]).contains("[6, 32]"));
    let drives =
        ["evaluate", "--bundle", &windows, "--data", "sim:seconds=40", "--supervised-steps", "0", "--quiet"];
    assert!(run(&drives).contains("kNN"));

    let on = at("on");
    let start = ["--epochs", "1", "--batch", "32", "--from", &frames, "--method", "temporal-contrast"];
    run(&[&["pretrain", "--out", &on][..], &drive, &start].concat());
    assert!(std::fs::read_to_string(at("on/config.toml")).unwrap().contains("inverted-residual"));
    run(&["export", &on, "--out", &at("on.sedge")]);
    let refused = output(&["export", &on, "--second", "--out", &at("none.sedge")]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("temporal-contrast trains one"), "{said}");
    let absent = at("x");
    let other =
        ["pretrain", "--batch", "32", "--out", &absent, "--from", &frames, "--architecture", "image-mlp"];
    let other = [&other[..], &drive].concat();
    let said = text(&output(&other).stderr);
    assert!(said.contains("frames.sedge does not hold the weights of this encoder: missing are `"), "{said}");
}
