//! Lines of simulated robots' logs, labelled by what they say: a command, a request to a person, a task done, a
//! fault, a recovery, a status. Word for word the classes have much in common; what tells them apart is who asks
//! whom, what is negated and what comes first, so that counting letters is not enough. Lines of a run tell one
//! story: what follows a command speaks of the same device and place.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::sink::{About, TextSink};
use crate::data::{DataError, Dataset, LoadOptions};

/// The word by which these are asked for.
const NAME: &str = "sim-logs";
/// Most runs, and most lines of one.
const MOST: u64 = 100_000;
/// Seconds from one line to the next, at most.
const LONGEST_STEP: f64 = 4.0;

const DEVICES: [&str; 5] = ["base", "arm", "gripper", "lift", "camera"];
const ACTIONS: [&str; 4] = ["move to", "turn to", "reach", "scan"];
const PLACES: [&str; 12] = [
    "shelf A", "shelf B", "shelf C", "shelf D", "bin 1", "bin 2", "bin 3", "bin 4", "dock 1", "dock 2",
    "dock 3", "door 2",
];

/// What a line says.
#[derive(Clone, Copy)]
enum Kind {
    Command,
    Request,
    Done,
    Fault,
    Recovery,
    Status,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Request => "request",
            Self::Done => "done",
            Self::Fault => "fault",
            Self::Recovery => "recovery",
            Self::Status => "status",
        }
    }

    /// Ways to say it: `{d}` is a device, `{a}` an action, `{p}` a place, `{n}`, `{c}`, `{s}`, `{b}` numbers.
    fn phrases(self) -> [&'static str; 3] {
        match self {
            Self::Command => [
                "operator asks {d} to {a} {p}",
                "{d} to {a} {p}, asked by operator",
                "task {n} is next: {d} to {a} {p}, {p} is clear",
            ],
            Self::Request => [
                "{d} asks operator to clear {p}",
                "operator to clear {p}, asked by {d}",
                "task {n} waits: {p} is not clear, {d} asks operator",
            ],
            Self::Done => [
                "{d} did {a} {p} in {s} s, no fault",
                "task {n} done: {d} at {p} after {s} s",
                "no fault in {s} s: {d} did {a} {p}",
            ],
            Self::Fault => [
                "{d} did not {a} {p} in {s} s: fault {c}",
                "task {n} not done: {d} not at {p} after {s} s",
                "fault {c} in {s} s: {d} did not {a} {p}",
            ],
            Self::Recovery => [
                "fault {c} is clear: {d} to {a} {p} again",
                "task {n} again after fault {c}: {d} to {a} {p}",
                "{d} is clear of fault {c} after {s} s, task {n} is next",
            ],
            Self::Status => [
                "{d} at {p}, {b} V, no task",
                "no task: {d} waits at {p}, {b} V after {s} s",
                "{d} is next to {p}, no task is asked, {b} V",
            ],
        }
    }
}

/// One run of one robot.
struct Run {
    rng: ChaCha8Rng,
    clock: f64,
    task: u32,
    device: &'static str,
    action: &'static str,
    place: &'static str,
    code: u32,
    /// What is still to be said of the task.
    ahead: Vec<Kind>,
}

impl Run {
    fn new(seed: u64, number: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let (task, clock) = (rng.random_range(1..900), rng.random_range(0.0..600.0));
        Self { rng, clock, task, device: "", action: "", place: "", code: 0, ahead: vec![] }
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words.choose(&mut self.rng).copied().unwrap_or_default()
    }

    /// A new task and the lines that tell of it.
    fn begin(&mut self) {
        (self.device, self.action) = (self.one_of(&DEVICES), self.one_of(&ACTIONS));
        (self.place, self.code) = (self.one_of(&PLACES), self.rng.random_range(10..99));
        self.task += 1;
        let mut story = if self.rng.random_bool(0.5) { vec![Kind::Status] } else { vec![] };
        story.push(Kind::Command);
        if self.rng.random_bool(0.4) {
            story.push(Kind::Request);
        }
        if self.rng.random_bool(0.5) {
            story.extend([Kind::Fault, Kind::Recovery]);
        }
        story.push(Kind::Done);
        story.reverse();
        self.ahead = story;
    }

    fn line(&mut self) -> (String, Kind) {
        if self.ahead.is_empty() {
            self.begin();
        }
        // A story has a line or more.
        let kind = self.ahead.pop().unwrap_or(Kind::Status);
        self.clock += self.rng.random_range(0.1..LONGEST_STEP);
        let seconds = self.rng.random_range(1.0..60.0);
        let volts = self.rng.random_range(40.0..52.0);
        let line = self
            .one_of(&kind.phrases())
            .replace("{d}", self.device)
            .replace("{a}", self.action)
            .replace("{p}", self.place)
            .replace("{n}", &self.task.to_string())
            .replace("{c}", &self.code.to_string())
            .replace("{s}", &format!("{seconds:.1}"))
            .replace("{b}", &format!("{volts:.1}"));
        (format!("{:.2} {line}", self.clock), kind)
    }
}

/// `runs`, `lines` of each, and the seed.
fn read(spec: &str) -> Result<[u64; 3], String> {
    let mut given = [("runs", 40), ("lines", 50), ("seed", 0)];
    for pair in spec.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| format!("`{pair}` is not of the form key=value"))?;
        let known = given.iter_mut().find(|(name, _)| *name == key.trim());
        let slot = known.ok_or_else(|| format!("there is no `{}`; known: runs, lines, seed", key.trim()))?;
        slot.1 = value.trim().parse().map_err(|_| format!("`{pair}` is not a whole number"))?;
    }
    let [(_, runs), (_, lines), (_, seed)] = given;
    if !(1..=MOST).contains(&runs) || !(1..=MOST).contains(&lines) {
        return Err(format!("`runs` and `lines` must be from 1 to {MOST}"));
    }
    Ok([runs, lines, seed])
}

/// The lines that `name` asks for, when it does: `sim-logs` or `sim-logs:runs=40,lines=50,seed=0`.
pub(in crate::data) fn simulated(name: &str, options: &LoadOptions) -> Option<Result<Dataset, DataError>> {
    let spec = match name.strip_prefix(NAME)? {
        "" => "",
        rest => rest.strip_prefix(':')?,
    };
    Some(load(name, spec, options))
}

fn load(name: &str, spec: &str, options: &LoadOptions) -> Result<Dataset, DataError> {
    let read = read(spec).map_err(|why| DataError::Sim { spec: name.to_owned(), why });
    let [runs, lines, seed] = read?;
    let mut sink = TextSink::new(name, options);
    for number in 0..runs {
        let (mut run, group) = (Run::new(seed, number), number.to_string());
        for _ in 0..lines {
            let (line, kind) = run.line();
            sink.push(line.as_bytes(), About { label: Some(kind.label()), group: Some(&group) })?;
        }
    }
    sink.finish()
}
