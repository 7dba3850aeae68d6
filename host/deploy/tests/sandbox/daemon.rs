//! Stands in for the daemon on a board that is made of a folder: compiled by the tests, statically, and run there. The
//! bundle says how it behaves: `digest=...` and `behaviour=...`, a line each.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|word| word == "--version") {
        println!("sedged 0.1.0");
        return;
    }
    let after = |flag: &str| {
        let at = arguments.iter().position(|word| word == flag).expect(flag);
        arguments[at + 1].clone()
    };
    assert_eq!(arguments[1], "run");
    let bundle = std::fs::read_to_string(after("--bundle")).expect("bundle");
    let source = after("--source");
    let board = std::fs::read_to_string(source.strip_prefix("board:").expect("source")).expect("board");
    assert!(board.contains("name ="));
    let said = |key: &str| {
        let line = bundle.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().to_owned()
    };
    let (mut digest, behaviour, out) = (said("digest"), said("behaviour"), after("--out"));
    eprintln!("starting as {behaviour}");
    if behaviour == "crash" {
        eprintln!("the bundle is of another format");
        std::process::exit(1);
    }
    if behaviour == "other-bundle" {
        digest = "0".repeat(64);
    }
    // As after a checkpoint: the count goes on, the age of the last is of this process.
    let (begun, mut embeddings) = (Instant::now(), 7);
    let age = if behaviour == "blind" { "null" } else { "0.1" };
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    std::fs::create_dir_all(&out).unwrap();
    let checkpoint = format!("{out}/checkpoint");
    let other = std::fs::read_to_string(&checkpoint).is_ok_and(|of| of != digest);
    if other {
        eprintln!("the checkpoint is of another bundle");
        std::process::exit(1);
    }
    std::fs::write(&checkpoint, &digest).unwrap();
    while begun.elapsed() < Duration::from_secs(120) {
        embeddings += u64::from(behaviour != "blind");
        let status = format!(
            "{{\n  \"version\": \"0.1.0\",\n  \"bundle\": \"a, \\\"pid\\\": 1, {{x\",\n  \"bundle_digest\": \"{digest}\",\n  \
             \"board\": \"rpi4\",\n  \"pid\": {},\n  \"started_unix_s\": {started},\n  \"uptime_s\": {:.1},\n  \
             \"embeddings\": {embeddings},\n  \"last_embedding_age_s\": {age},\n  \"adapting\": {{\"steps\": 3, \
             \"accepted\": 1, \"rejected\": 1, \"resting\": false}},\n  \"celsius\": 48.5,\n  \"rss_bytes\": 1,\n  \
             \"sensors\": [{{\"name\": \"imu\", \"condition\": \"working\", \"readings\": 7, \"failures\": 0}}]\n}}\n",
            std::process::id(),
            begun.elapsed().as_secs_f64(),
        );
        if behaviour != "silent" {
            let beside = format!("{out}/status.json.new");
            std::fs::write(&beside, status).and_then(|()| std::fs::rename(&beside, format!("{out}/status.json"))).unwrap();
        }
        if behaviour == "crash-later" && begun.elapsed() > Duration::from_millis(1500) {
            eprintln!("out of memory");
            std::process::exit(1);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
