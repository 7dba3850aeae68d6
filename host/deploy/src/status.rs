//! What lies on a board and how it is: both slots, the service, and what the daemon says of itself.

use std::fmt;

use serde::Serialize;

use crate::flash::Step;
use crate::remote::{Connection, Facts, Input, Remote, value};
use crate::{DeployError, Prefix, Slot, SlotRecord};

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SlotState {
    /// Nothing.
    Empty,
    /// Some of a version: a transfer was cut off, or a file was changed.
    Partial,
    /// All that its sums name.
    Whole(SlotRecord),
}

/// Whether a slot is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Trial {
    /// None is.
    None,
    /// One is at this moment.
    Running,
    /// One was, and its process is gone: the next boot, flash or rollback goes back.
    Abandoned,
}

/// A board's slots, service and daemon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The slot in service.
    pub current: Option<Slot>,
    /// Slot A.
    pub a: SlotState,
    /// Slot B.
    pub b: SlotState,
    /// Whether a slot is on trial.
    pub trial: Trial,
    /// `systemctl is-active`.
    pub service: String,
    /// `systemctl is-enabled`.
    pub enabled: String,
    /// How the last trial ended.
    pub last_trial: Option<String>,
    /// The daemon's `status.json`, where there is one.
    pub daemon: Option<serde_json::Value>,
}

impl Status {
    /// What a slot holds.
    pub const fn slot(&self, slot: Slot) -> &SlotState {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// The slot that serves once an abandoned trial is taken back, which every flash does first.
    pub(crate) fn serving(&self) -> Option<Slot> {
        match (self.trial, self.current.map(Slot::other)) {
            (Trial::Abandoned, Some(old)) => matches!(self.slot(old), SlotState::Whole(_)).then_some(old),
            _ => self.current,
        }
    }

    /// From the answer of `survey.sh`.
    pub(crate) fn parse(answer: &str) -> Option<Self> {
        let text = |key| value(answer, key).unwrap_or_default().to_owned();
        let slot = |key| match value(answer, key) {
            None => SlotState::Empty,
            Some(line) => serde_json::from_str(line).map_or(SlotState::Partial, SlotState::Whole),
        };
        Some(Self {
            current: Slot::from_name(value(answer, "current")?),
            a: slot("slot_a"),
            b: slot("slot_b"),
            trial: match value(answer, "trial") {
                Some("running") => Trial::Running,
                Some(_) => Trial::Abandoned,
                None => Trial::None,
            },
            service: text("service"),
            enabled: text("enabled"),
            last_trial: value(answer, "outcome").map(str::to_owned),
            daemon: value(answer, "status").and_then(|line| serde_json::from_str(line).ok()),
        })
    }
}

/// Asks a board how it is.
///
/// # Errors
/// [`DeployError`]: no connection, no privileges, or an answer that is not understood.
pub fn status(connection: Connection, prefix: &Prefix) -> Result<Status, DeployError> {
    let (remote, _) = log_in(connection, prefix)?;
    survey(&remote, prefix)
}

/// A connection with root's rights, and what the machine says of itself.
pub(crate) fn log_in(connection: Connection, prefix: &Prefix) -> Result<(Remote, Facts), DeployError> {
    let mut remote = Remote::connect(connection)?;
    let script = include_str!("scripts/probe.sh");
    let answer = remote.run(Step::Probe, script, &[prefix.as_str()], Input::Nothing)?;
    let facts = Facts::parse(&answer).ok_or_else(|| not_understood(&remote, Step::Probe, &answer))?;
    facts.architecture(remote.host())?;
    remote.become_root(facts.privileges)?;
    Ok((remote, facts))
}

pub(crate) fn survey(remote: &Remote, prefix: &Prefix) -> Result<Status, DeployError> {
    let script = include_str!("scripts/survey.sh");
    let answer = remote.run(Step::Survey, script, &[prefix.as_str()], Input::Nothing)?;
    Status::parse(&answer).ok_or_else(|| not_understood(remote, Step::Survey, &answer))
}

pub(crate) fn not_understood(remote: &Remote, step: Step, answer: &str) -> DeployError {
    DeployError::Answer { host: remote.host().to_owned(), step, found: answer.chars().take(200).collect() }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for slot in [Slot::A, Slot::B] {
            let mark = if self.current == Some(slot) { "*" } else { " " };
            write!(f, "{mark} {slot}  ")?;
            match self.slot(slot) {
                SlotState::Empty => writeln!(f, "empty")?,
                SlotState::Partial => writeln!(f, "not whole; flash it again")?,
                SlotState::Whole(record) => {
                    let SlotRecord { version, board, bundle_digest, daemon_sha256, .. } = record;
                    writeln!(
                        f,
                        "{version}, board {board}, bundle {}, daemon {}",
                        short(bundle_digest),
                        short(daemon_sha256)
                    )?;
                }
            }
        }
        match self.trial {
            Trial::None => {}
            Trial::Running => writeln!(f, "a slot is on trial")?,
            Trial::Abandoned => {
                writeln!(f, "a trial was cut off; the next boot, flash or rollback goes back")?
            }
        }
        write!(f, "service {}, {}", or(&self.service, "unknown"), or(&self.enabled, "not installed"))?;
        if let Some(last) = &self.last_trial {
            write!(f, "\nlast trial: {last}")?;
        }
        if let Some(daemon) = &self.daemon {
            write!(f, "\n{}", DaemonLines(daemon))?;
        }
        Ok(())
    }
}

/// The daemon's own words, as far as they have the form that is expected.
struct DaemonLines<'a>(&'a serde_json::Value);

impl fmt::Display for DaemonLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |value: &serde_json::Value, key: &str| match value.get(key) {
            None | Some(serde_json::Value::Null) => "?".to_owned(),
            Some(serde_json::Value::String(text)) => {
                text.chars().filter(|c| !c.is_control()).take(64).collect()
            }
            Some(serde_json::Value::Number(number)) if number.is_f64() => {
                format!("{:.1}", number.as_f64().unwrap_or_default())
            }
            Some(other) => other.to_string().chars().take(64).collect(),
        };
        let daemon = self.0;
        write!(
            f,
            "daemon up {} s, {} embeddings, the last {} s ago, bundle {}",
            of(daemon, "uptime_s"),
            of(daemon, "embeddings"),
            of(daemon, "last_embedding_age_s"),
            short(&of(daemon, "bundle_digest"))
        )?;
        if let Some(adapting) = daemon.get("adapting") {
            let [steps, accepted, rejected] = ["steps", "accepted", "rejected"].map(|key| of(adapting, key));
            let resting = match adapting.get("resting") {
                None | Some(serde_json::Value::Null) => "no".to_owned(),
                Some(_) => of(adapting, "resting"),
            };
            write!(
                f,
                "\nadaptation: {steps} steps, {accepted} accepted, {rejected} rejected, resting: {resting}"
            )?;
        }
        for sensor in
            daemon.get("sensors").and_then(|sensors| sensors.as_array()).into_iter().flatten().take(64)
        {
            let [name, condition, readings, failures] =
                ["name", "condition", "readings", "failures"].map(|key| of(sensor, key));
            write!(f, "\n{name}: {condition}, {readings} readings, {failures} failures")?;
        }
        Ok(())
    }
}

/// Enough of a digest to tell it from others.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}
