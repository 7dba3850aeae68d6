//! The daemon on a board: the simulated one, whose devices are read through the same threads, drivers and
//! supervisors as any other's, with faults put into them.

#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, count, image_bundle, imu_bundle, lines};
use rustix::process::{Pid, Signal, kill_process};
use sedge_boards::Board;
use sedge_firmware::run::run;
use sedge_firmware::{
    CHECKPOINT_FILE, DeviceCondition, LiveError, LiveOptions, RunConfig, RunError, Status, StatusError,
};
use serde_json::Value;

/// A short session over a board; the share of time is the test's own.
fn config(place: &Place, source: &str, out: &str, seconds: f64) -> RunConfig {
    let live = LiveOptions { own_duty: true, ..LiveOptions::default() };
    let mut config = RunConfig { live, seconds: Some(seconds), ..place.config(source, out) };
    // Any two frames in a row: a step is due within two seconds.
    config.device.pairing = Some(sedge_core::PairingConfig {
        min: sedge_readings::Span::from_millis(40),
        max_rotation: f32::MAX,
        ..sedge_core::PairingConfig::default()
    });
    config
}

/// Changes of this device, in order.
fn changes(events: &[Value], device: &str) -> Vec<String> {
    let own = events.iter().filter(|event| event["event"] == "device" && event["device"] == device);
    own.map(|event| event["change"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_board_whose_devices_fail_goes_on_with_what_is_left_and_takes_them_back() {
    let place = Place::new(image_bundle());
    let mut config = config(&place, "board:sim", "out", 7.0);
    config.live.faults = ["drop_out=0.05,stuck=0.01", "eye:drop_out=0.05,bit_flip=0.1,unplug=1.5+1"]
        .map(String::from)
        .to_vec();
    let summary = run(&config).unwrap();
    assert!(summary.balances() && !summary.ended, "{summary:#?}");
    let (frames, imu) = (&summary.report.frames, &summary.report.imu);
    // A second of 7 is lost, and what the pauses take until the camera is asked again.
    let dropped = |account: &sedge_firmware::Account, why| account.dropped.get(why).copied().unwrap_or(0);
    assert!(frames.used > 40 && dropped(frames, "bus") > 0, "{frames:?}");
    assert!(imu.used > 400 && dropped(imu, "drop_out") > 5, "{imu:?}");
    assert!(summary.report.adaptation.progress.steps > 0, "{:?}", summary.report.adaptation);
    assert!(summary.first_embedding_s.unwrap() < 5.0, "{:?}", summary.first_embedding_s);

    let out = place.path("out");
    let events = lines(&out.join("events.jsonl"));
    let mut changed = changes(&events, "eye").into_iter();
    for wanted in ["opened", "failing", "lost", "returned"] {
        assert!(changed.any(|change| change == wanted), "{wanted}: {:?}", changes(&events, "eye"));
    }
    assert_eq!(changes(&events, "imu").first().map(String::as_str), Some("opened"));
    let lost = events.iter().find(|event| event["change"] == "lost").unwrap();
    assert!(lost["reason"].as_str().unwrap().contains("bus failure"), "{lost}");
    assert_eq!(count(&events, "live"), 1);

    let status = Status::read(&out).unwrap();
    assert!(status.stopped && status.board.as_deref() == Some("sim") && status.pid == std::process::id());
    assert_eq!((status.embeddings, status.adapting.steps > 0), (frames.used, true));
    let [imu, eye] = &status.sensors[..] else { panic!("{status:?}") };
    assert_eq!((imu.name.as_str(), imu.condition), ("imu", DeviceCondition::Live));
    assert_eq!((eye.name.as_str(), eye.condition), ("eye", DeviceCondition::Live));
    assert!(eye.readings > 40 && eye.failures >= 5, "{eye:?}");
    let names = |devices: &[sedge_firmware::DeviceAccount]| -> Vec<String> {
        devices.iter().map(|device| device.name.clone()).collect()
    };
    assert_eq!(names(&summary.source_account.devices), names(&status.sensors));
    assert!(!out.join("stream.mcap").exists() && out.join("sensors.jsonl").exists());
}

#[test]
fn a_later_session_goes_on_after_a_gap_and_counts_on() {
    let place = Place::new(imu_bundle());
    let config = config(&place, "board:sim", "out", 2.0);
    let first = run(&config).unwrap();
    let checkpoint = std::fs::read(place.path("out").join(CHECKPOINT_FILE)).unwrap();
    assert!(first.report.windows.used >= 8, "{:?}", first.report.windows);
    let second = run(&RunConfig { seconds: Some(14.0), ..config.clone() }).unwrap();
    assert_eq!(second.sessions, 2);
    assert!(second.balances() && second.events > first.events + 80, "{} {}", first.events, second.events);
    let embeddings = lines(&place.path("out").join("embeddings.jsonl"));
    let times: Vec<u64> = embeddings.iter().map(|line| line["t_ns"].as_u64().unwrap()).collect();
    let steps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let gaps: Vec<u64> = steps.iter().filter(|step| **step > 5_000_000_000).copied().collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!((10_000_000_000..14_000_000_000).contains(&gaps[0]), "{gaps:?}");
    // Another board is another source.
    std::fs::write(place.path("out").join(CHECKPOINT_FILE), checkpoint).unwrap();
    let other = place.path("other.toml");
    std::fs::write(&other, Board::text_of("sim").unwrap().replacen("\"sim\"", "\"other\"", 1)).unwrap();
    let error = run(&RunConfig { source: format!("board:{}", other.display()), ..config }).unwrap_err();
    assert!(matches!(error, RunError::Checkpoint(_)), "{error}");
}

/// The simulated board with a thermometer.
fn warm_board(place: &Place, memory_mb: u32) -> String {
    let text = Board::text_of("sim").unwrap().replace("memory_mb = 256", &format!("memory_mb = {memory_mb}"));
    let thermal = "\n[thermal]\nzones = [\"cpu-thermal\"]\nslow_c = 70.0\nstop_c = 80.0\n\n[budget]";
    let path = place.path("warm.toml");
    std::fs::write(&path, text.replace("\n[budget]", thermal)).unwrap();
    format!("board:{}", path.display())
}

/// The kernel's files of a machine this hot.
fn heat(root: &Path, celsius: u32) {
    let zone = root.join("sys/class/thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).unwrap();
    std::fs::write(zone.join("type"), "cpu-thermal\n").unwrap();
    std::fs::write(zone.join("temp"), format!("{celsius}000\n")).unwrap();
}

fn rests(events: &[Value], why: &str) -> bool {
    events.iter().any(|event| event["event"] == "resting" && event["reason"] == why)
}

#[test]
fn a_hot_board_and_a_full_one_embed_and_rest_from_adapting() {
    let place = Place::new(image_bundle());
    let root = place.path("machine");
    let session = |out: &str, celsius, memory_mb| {
        heat(&root, celsius);
        let mut config = config(&place, &warm_board(&place, memory_mb), out, 6.0);
        config.live.root = root.clone();
        let summary = run(&config).unwrap();
        let events = lines(&place.path(out).join("events.jsonl"));
        (summary, events, Status::read(&place.path(out)).unwrap())
    };
    let (hot, events, status) = session("hot", 85, 256);
    assert_eq!((hot.report.adaptation.progress.steps, status.celsius), (0, Some(85.0)));
    assert!(hot.report.frames.used > 40 && rests(&events, "heat"), "{:?}", hot.report.frames);
    assert_eq!(status.adapting.resting.as_deref(), Some("heat"));
    let (cool, events, _) = session("cool", 50, 4096);
    assert!(cool.report.adaptation.progress.steps > 0 && !rests(&events, "heat"));
    // A test's process holds more than this board gives the daemon.
    let (full, events, _) = session("full", 50, 16);
    assert_eq!(full.report.adaptation.progress.steps, 0);
    assert!(full.report.frames.used > 40 && rests(&events, "memory"));
}

#[test]
fn a_cameras_program_that_ends_is_started_again() {
    let place = Place::new(image_bundle());
    // Twelve grey frames of noise at ten a second, and no more.
    let frames = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c 4096 /dev/urandom; sleep 0.1; done";
    let command = format!("kind = \"pipe\"\nformat = \"grey\"\ncommand = [\"sh\", \"-c\", \"{frames}\"]");
    let text =
        Board::text_of("sim").unwrap().replace("kind = \"simulated\"\nwidth", &format!("{command}\nwidth"));
    let path = place.path("pipe.toml");
    std::fs::write(&path, text.replace("rate_hz = 20", "rate_hz = 10")).unwrap();
    let summary = run(&config(&place, &format!("board:{}", path.display()), "out", 7.0)).unwrap();
    assert!(summary.balances(), "{summary:#?}");
    let events = lines(&place.path("out").join("events.jsonl"));
    let changes = changes(&events, "eye");
    assert_eq!(changes[..4], ["opened", "failing", "lost", "returned"], "{changes:?}");
    let lost = events.iter().find(|event| event["change"] == "lost").unwrap();
    assert!(!lost["reason"].as_str().unwrap().is_empty(), "{lost}");
    assert!(summary.report.frames.used > 20, "{:?}", summary.report.frames);
}

#[test]
fn what_cannot_be_read_is_said() {
    let place = Place::new(imu_bundle());
    let refused = |source: &str| run(&config(&place, source, "out", 1.0)).unwrap_err();
    let error = refused("board:virtual-pi");
    assert!(matches!(error, RunError::Live(LiveError::Lacks { .. })), "{error}");
    let text = refused("board:rpi9").to_string();
    assert!(text.contains("rpi9") && text.contains("rpi4"), "{text}");
    let mut wrong = config(&place, "board:sim", "out", 1.0);
    wrong.live.faults = vec!["nose:drop_out=1".into()];
    let text = run(&wrong).unwrap_err().to_string();
    assert!(text.contains("nose") && text.contains("imu, eye"), "{text}");
    assert!(matches!(Status::read(&place.path("nowhere")), Err(StatusError::Missing { .. })));
}

fn arguments(place: &Place) -> Vec<String> {
    let path = |name: &str| place.path(name).to_string_lossy().into_owned();
    let (bundle, out) = (path("bundle.sedge"), path("out"));
    ["run", "--bundle", &bundle, "--source", "board:sim", "--out", &out, "--checkpoint-seconds", "0.2"]
        .map(String::from)
        .to_vec()
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn stop(child: &mut Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(child), signal).unwrap();
    child.wait().unwrap().code()
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn the_service_manager_hears_of_every_stage() {
    let place = Place::new(image_bundle());
    let path = place.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sedged"));
    let command = command.args(arguments(&place)).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "9000000");
    let mut child = start(command);
    let mut heard = String::new();
    let mut hear = |word: &str| {
        while !heard.contains(word) {
            let mut bytes = [0; 4096];
            let length = manager.recv(&mut bytes).unwrap();
            heard += &String::from_utf8_lossy(&bytes[..length]);
            heard.push('\n');
        }
    };
    ["READY=1", "STATUS=", "2 of 2 devices live"].into_iter().for_each(&mut hear);
    hear("WATCHDOG=1");
    assert_eq!(stop(&mut child, Signal::TERM), Some(0));
    hear("STOPPING=1");

    let status = |json: &[&str]| {
        let out = place.path("out");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sedged"));
        let output = command.arg("status").arg("--out").arg(out).args(json).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = status(&[]);
    assert!(code == Some(0) && text.contains("stopped") && text.contains("eye"), "{text}");
    let (_, text) = status(&["--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["sensors"][0]["name"], "imu");
}

#[test]
fn a_daemon_killed_again_and_again_always_finds_its_checkpoint() {
    let place = Place::new(image_bundle());
    let (out, mut command) = (place.path("out"), Command::new(env!("CARGO_BIN_EXE_sedged")));
    let command = command.args(arguments(&place));
    let checkpoint = out.join(CHECKPOINT_FILE);
    let mut before = vec![];
    for round in 0..6u64 {
        let mut child = start(command);
        wait_for("another checkpoint", || std::fs::read(&checkpoint).is_ok_and(|now| now != before));
        // At some moment of the next, which is a fifth of a second away.
        std::thread::park_timeout(Duration::from_millis(170 + 11 * round));
        assert_eq!(stop(&mut child, Signal::KILL), None);
        before = std::fs::read(&checkpoint).unwrap();
        // What a cut while a file was written leaves, and a lock that nobody holds.
        std::fs::write(out.join(format!(".sedged-{round}")), "half").unwrap();
        std::fs::write(out.join("lock"), "torn").unwrap();
    }
    let summary = run(&RunConfig {
        device: sedge_firmware::DeviceConfig::default(),
        seconds: Some(1.0),
        ..RunConfig::new(place.path("bundle.sedge"), "board:sim", &out)
    })
    .unwrap();
    assert_eq!(summary.sessions, 7);
    assert!(summary.balances(), "{summary:#?}");
    let embeddings = lines(&out.join("embeddings.jsonl"));
    let indices: Vec<u64> = embeddings.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "a frame was embedded twice");
    assert_eq!(indices.len() as u64, summary.report.frames.used);
    let left = std::fs::read_dir(&out)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".sedged-"));
    assert_eq!(left.count(), 0, "half-written files are cleared away");
}

#[test]
fn a_disk_that_takes_no_more_does_not_stop_the_embedding() {
    let place = Place::new(image_bundle());
    // No file may grow beyond 16 KiB, and a write that would is an error: a checkpoint is larger.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$@\"";
    let mut command = Command::new("sh");
    let command = command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_sedged")]).args(arguments(&place));
    let mut child = start(command);
    let status = || Status::read(&place.path("out")).ok();
    wait_for("lost records", || status().is_some_and(|status| status.lost_records > 10));
    let before = status().unwrap().embeddings;
    wait_for("more embeddings", || status().is_some_and(|status| status.embeddings > before + 20));
    assert!(!place.path("out").join(CHECKPOINT_FILE).exists());
    let events = lines(&place.path("out").join("events.jsonl"));
    let told = events.iter().find(|event| event["event"] == "not-saved").unwrap();
    assert!(told["reason"].as_str().unwrap().contains(CHECKPOINT_FILE), "{told}");
    assert_eq!(stop(&mut child, Signal::TERM), Some(0));
}
