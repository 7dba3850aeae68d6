//! Watching as a user meets it: a streamed run that is measured and reported, one that diverges and is
//! replayed, and the live page of one that goes on.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sedge"));
    command.args(words).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pictures(folder: &Path) {
    for number in 0..24u8 {
        let inside = folder.join(["dark", "light"][usize::from(number % 2)]);
        std::fs::create_dir_all(&inside).unwrap();
        let picture = image::RgbImage::from_fn(16, 16, |x, y| {
            let level = 90 * (number % 2) + 2 * number + (x + y) as u8;
            image::Rgb([level, level / 2, 255 - level])
        });
        picture.save(inside.join(format!("{number}.png"))).unwrap();
    }
}

/// `sedge pretrain` on two classes of pictures in `folder`, into its `run`.
fn pretrain(folder: &Path, words: &[&str]) -> Command {
    let data = folder.join("pictures");
    pictures(&data);
    let (data, out) = (data.to_str().unwrap().to_owned(), folder.join("run").to_str().unwrap().to_owned());
    let fixed = ["pretrain", "--data", &data, "--out", &out, "--image-size", "16", "--batch", "4"];
    let small = ["--architecture", "image-tiny", "--warmup-epochs", "0", "--eval-every", "1"];
    command(&[&fixed[..], &small, words].concat())
}

fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_streamed_run_is_measured_told_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        pretrain(folder.path(), &["--epochs", "2", "--memory-mb", "2", "--grid-g-per-kwh", "50"]).output();
    let said = done(&output.unwrap());
    for part in ["kNN accuracy", "linear probe", "features ", "Wh (", "of CO2 at 50 g a kWh", "report.html"] {
        assert!(said.contains(part), "{said}");
    }
    let run = folder.path().join("run");
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let epochs: Vec<&str> = log.lines().filter(|line| line.contains("\"kind\":\"epoch\"")).collect();
    assert_eq!(epochs.len(), 2, "{log}");
    for part in ["\"knn\":", "\"linear\":", "\"gauges\":{", "\"watt_hours\":", "\"seconds\":"] {
        assert!(epochs.iter().all(|line| line.contains(part)), "{part}: {log}");
    }
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("Nearest neighbours") && report.contains("data:image/png"));
    // Made again elsewhere, and without the data.
    let other = folder.path().join("other.html");
    let run = run.to_str().unwrap();
    let again = command(&["report", run, "--out", other.to_str().unwrap()]).output().unwrap();
    assert_eq!(done(&again).trim(), other.to_str().unwrap());
    assert_eq!(std::fs::read_to_string(&other).unwrap(), report);
    std::fs::remove_dir_all(folder.path().join("pictures")).unwrap();
    let without = command(&["report", run]).output().unwrap();
    done(&without);
    assert!(text(&without.stderr).contains("without map and neighbours"), "{}", text(&without.stderr));
}

#[test]
fn a_run_that_diverges_is_replayed_by_the_command_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let output = pretrain(folder.path(), &["--epochs", "3", "--lr", "1e30"]).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let nan = folder.path().join("run/nan");
    assert!(said.contains(&format!("sedge replay {}", nan.display())), "{said}");
    // The step is all that is needed, wherever it is.
    let moved = folder.path().join("elsewhere");
    std::fs::rename(&nan, &moved).unwrap();
    std::fs::remove_dir_all(folder.path().join("pictures")).unwrap();
    let replayed = done(&command(&["replay", moved.to_str().unwrap()]).output().unwrap());
    for part in ["the first values that are not are made by `", "scalar `lr` ", "input `views`", "seed 0"] {
        assert!(replayed.contains(part), "{part}: {replayed}");
    }
    let nothing = command(&["replay", folder.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("holds no step"), "{}", text(&nothing.stderr));
}

#[cfg(unix)]
#[test]
fn a_run_is_served_while_it_goes_on() {
    use std::io::{BufRead, BufReader, Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let words = ["--epochs", "100000", "--live=127.0.0.1:0", "--quiet"];
    let mut child =
        pretrain(folder.path(), &words).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("live page: http://").and_then(|rest| rest.strip_suffix('/'));
    let asked = address.map(|address| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    let answer = asked.unwrap_or_else(|| panic!("no address in `{said}`"));
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Pretraining run"), "{answer}");
    assert!(kill.success() && status.success(), "{status}");
    // What is no address is wrong usage, and makes nothing.
    let wrong = pretrain(&folder.path().join("other"), &["--live=nowhere"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(!folder.path().join("other/run").exists());
}
