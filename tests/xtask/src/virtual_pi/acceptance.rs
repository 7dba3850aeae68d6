//! What is proved on the emulated board, one function a claim; the same claims hold on a real one.

use std::path::Path;
use std::time::Duration;

use super::card::{Card, repository};
use super::kernel::Boot;
use super::machine::Machine;
use super::records::{Embedding, Summary, difference, lines, whole};
use super::{live, timed};
use crate::error::{TaskError, claim};
use crate::toolchain::finish;

pub(super) const SHORT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(600);
/// Largest relative distance between an embedding on the board and on the host.
const SAME: f64 = 1e-3;
/// A simulated drive that is long enough to adapt in.
const DRIVE: &str = "sim:rooms=2,seconds=30";
/// A drive that is still under way when the power is cut.
const LONG_DRIVE: &str = "sim:rooms=4,seconds=900";
/// Seconds after the first checkpoint at which the power is cut, each of them once.
const CUTS: [f64; 2] = [0.7, 3.1];

/// The slot in service, as the flash left it.
pub(super) const SLOT: &str = "/data/opt/sedge/current";
/// Proves all of it; stops at the first claim that does not hold.
pub(super) fn prove(boot: &Boot, card: &Card, work: &Path) -> Result<(), TaskError> {
    let mut machine = timed("boot", || Machine::boot(boot, &card.image, work))?;
    timed("the bus answers", || sensors_answer(&mut machine))?;
    timed("the daemon reads the board", || live::reads_the_board(&mut machine))?;
    timed("results equal the host's", || results_equal(&mut machine, work))?;
    for seconds in CUTS {
        timed("power is cut under way", || {
            writing(&mut machine)?;
            std::thread::park_timeout(Duration::from_secs_f64(seconds));
            machine.cut();
            Ok(())
        })?;
        machine = timed("boot again", || Machine::boot(boot, &card.image, work))?;
        timed("state survived", || goes_on(&mut machine))?;
    }
    Ok(())
}

/// The kernel's own bus driver reads what the emulated chips hold, and what changes in them.
fn sensors_answer(machine: &mut Machine) -> Result<(), TaskError> {
    for celsius in [21.5, 33.25] {
        machine.set("board-heat", "temperature", (celsius * 1000.0) as i64)?;
        let said = machine.run("sedged probe", SHORT)?;
        let heat = format!("{celsius:.2} °C");
        claim("every device answers a probe", said.contains("6 of 6 answer"), &said)?;
        claim("the thermometer says what it was set to", said.contains(&heat), &said)?;
    }
    Ok(())
}

/// The same drive, embedded and adapted to, here and there.
fn results_equal(machine: &mut Machine, work: &Path) -> Result<(), TaskError> {
    let run = format!("run --source {DRIVE} --fresh --log warn --bundle {SLOT}/bundle.sedge --out /data/sim");
    machine.run(&format!("sedged {run}"), LONG)?;
    let there: Summary = whole(machine.run("cat /data/sim/summary.json", SHORT)?.as_bytes())?;
    let theirs: Vec<Embedding> = lines(machine.run("cat /data/sim/embeddings.jsonl", SHORT)?.as_bytes())?;

    let out = work.join("here");
    let mut command = std::process::Command::new(super::daemon::here("sedge-firmware", "sedged")?);
    let bundle = repository().join("models/bundles/image-sim.sedge");
    command.args(["run", "--source", DRIVE, "--fresh", "--log", "warn", "--bundle"]).arg(bundle);
    finish(command.arg("--out").arg(&out))?;
    let read = |name: &str| {
        let path = out.join(name);
        std::fs::read(&path).map_err(TaskError::io("cannot read", &path))
    };
    let here: Summary = whole(&read("summary.json")?)?;
    let ours: Vec<Embedding> = lines(&read("embeddings.jsonl")?)?;

    let (apart, compared) = difference(&ours, &theirs);
    told(&format!(
        "{compared} embeddings, at most {apart:.1e} apart; {} steps",
        there.adaptation.progress.steps
    ));
    claim("frames are embedded", compared > 100, compared)?;
    claim("embeddings equal the host's", apart <= SAME, apart)?;
    claim("adaptation steps run", there.adaptation.progress.steps > 0, format!("{there:?}"))?;
    let same = there.adaptation.progress == here.adaptation.progress;
    claim("the learner decides as it does on the host", same, format!("{there:?}, here {here:?}"))?;
    never_worse(&there)
}

/// Weights in service are no worse than those shipped, on pairs that neither was trained on.
fn never_worse(summary: &Summary) -> Result<(), TaskError> {
    let held_out = summary.adaptation.held_out.as_ref();
    let holds = held_out.is_some_and(|h| h.served.loss <= h.origin.loss);
    claim("weights in service are no worse than those shipped", holds, format!("{held_out:?}"))
}

/// Starts a run that saves its state several times a second, and waits for the first.
fn writing(machine: &mut Machine) -> Result<(), TaskError> {
    let command = format!(
        "sedged run --bundle {SLOT}/bundle.sedge --source {LONG_DRIVE} --checkpoint-seconds 0.5 --log warn --out /data/cut"
    );
    machine.run(&format!("{command} > /run/cut.log 2>&1 & sleep 1"), SHORT)?;
    let saved = "for i in $(seq 120); do [ -s /data/cut/checkpoint.sedge-state ] && exit 0; sleep 0.5; done; cat /run/cut.log; exit 1";
    machine.run(saved, LONG).map(|_| ())
}

/// A run goes on from the last whole state after the power was cut.
fn goes_on(machine: &mut Machine) -> Result<(), TaskError> {
    let torn = half_written(machine)?;
    let command = format!(
        "sedged run --bundle {SLOT}/bundle.sedge --source {LONG_DRIVE} --checkpoint-seconds 5 --log warn --resume --seconds 20 --out /data/cut"
    );
    machine.run(&command, LONG)?;
    let summary: Summary = whole(machine.run("cat /data/cut/summary.json", SHORT)?.as_bytes())?;
    let lines: Vec<Embedding> = lines(machine.run("cat /data/cut/embeddings.jsonl", SHORT)?.as_bytes())?;
    told(&format!(
        "{torn} half-written files were left; {} embeddings, session {}",
        lines.len(),
        summary.sessions
    ));
    claim(
        "the run goes on from its state",
        summary.sessions > 1 && summary.events > 0,
        format!("{summary:?}"),
    )?;
    let in_order = lines.windows(2).all(|pair| pair[0].index < pair[1].index);
    claim("no embedding is lost in the middle or doubled", in_order, "indices out of order")
}

/// Files that were being written when the power was cut: the daemon writes beside the old file, under this name.
fn half_written(machine: &mut Machine) -> Result<usize, TaskError> {
    let said = machine.run("ls -A /data/cut | grep '^\\.sedged-' || true", SHORT)?;
    Ok(said.lines().count())
}

#[expect(clippy::print_stdout, reason = "a person reads it as it goes")]
pub(super) fn told(what: &str) {
    println!("  {what}");
}
