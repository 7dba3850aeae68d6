//! Lines of simulated robots' logs, labelled by what they say. The classes come in pairs that are said with the same
//! words in another order: an operator asks a robot or is asked, something is done or not, a fault follows or is
//! followed. No count of bytes tells the two of a pair apart. Lines of a run tell one story: what follows a command
//! speaks of the same device and place.

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
    Failed,
    Recovery,
    Relapse,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Request => "request",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Recovery => "recovery",
            Self::Relapse => "relapse",
        }
    }

    /// Ways to say it: `{d}` is a device, `{a}` an action, `{p}` a place, `{n}`, `{c}`, `{s}` numbers.
    fn phrases(self) -> [&'static str; 3] {
        match self {
            Self::Command => [
                "operator asks {d} to {a} {p}",
                "task {n} of operator for {d}: {a} {p}",
                "{d} is asked by operator to {a} {p}",
            ],
            Self::Request => [
                "{d} asks operator to {a} {p}",
                "task {n} of {d} for operator: {a} {p}",
                "operator is asked by {d} to {a} {p}",
            ],
            Self::Done => [
                "{d} did {a} {p} in {s} s and is not stopped",
                "no fault at {p}, task {n} done by {d}",
                "not stopped after {s} s: {d} is at {p}",
            ],
            Self::Failed => [
                "{d} did not {a} {p} in {s} s and is stopped",
                "fault at {p}, no task {n} done by {d}",
                "stopped after {s} s: {d} is not at {p}",
            ],
            Self::Recovery => [
                "first fault {c}, now clear: {d} at {p}",
                "{d} is clear after fault {c}, {s} s",
                "task {n} went from fault {c} to clear at {p}",
            ],
            Self::Relapse => [
                "first clear, now fault {c}: {d} at {p}",
                "{d} is fault {c} after clear, {s} s",
                "task {n} went from clear to fault {c} at {p}",
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
        let mut story = vec![Kind::Command];
        if self.rng.random_bool(0.8) {
            story.push(Kind::Request);
        }
        if self.rng.random_bool(0.7) {
            story.extend([Kind::Failed, Kind::Recovery]);
            while self.rng.random_bool(0.4) {
                story.extend([Kind::Relapse, Kind::Recovery]);
            }
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
        let kind = self.ahead.pop().unwrap_or(Kind::Command);
        self.clock += self.rng.random_range(0.1..LONGEST_STEP);
        let seconds = self.rng.random_range(1.0..60.0);
        let line = self
            .one_of(&kind.phrases())
            .replace("{d}", self.device)
            .replace("{a}", self.action)
            .replace("{p}", self.place)
            .replace("{n}", &self.task.to_string())
            .replace("{c}", &self.code.to_string())
            .replace("{s}", &format!("{seconds:.1}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_a_pair_are_said_with_the_same_words() {
        let words = |phrase: &str| {
            let mut words: Vec<String> =
                phrase.split([' ', ',', ':']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
            words.sort();
            words
        };
        let bytes = |phrase: &str| {
            let mut bytes = phrase.as_bytes().to_vec();
            bytes.sort_unstable();
            bytes
        };
        for [one, other] in
            [[Kind::Command, Kind::Request], [Kind::Done, Kind::Failed], [Kind::Recovery, Kind::Relapse]]
        {
            for (one, other) in one.phrases().into_iter().zip(other.phrases()) {
                assert_ne!(one, other);
                assert_eq!((words(one), bytes(one)), (words(other), bytes(other)));
            }
        }
    }
}
