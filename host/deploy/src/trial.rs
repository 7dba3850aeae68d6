//! The trial of a slot: the board itself puts it in service, watches it, and confirms it or goes back.

use std::fmt;

use crate::remote::{Input, Remote, value};
use crate::status::not_understood;
use crate::step::Step;
use crate::{DeployError, Prefix, Slot, SlotRecord};

/// When a daemon counts as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Seconds to wait until it is, at most.
    pub wait_s: u32,
    /// Seconds it has to stay so, as one process.
    pub hold_s: u32,
    /// Embeddings it has to have made; 0 for a board that has nothing to embed yet.
    pub least_embeddings: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self { wait_s: 60, hold_s: 10, least_embeddings: 1 }
    }
}

/// A slot that was not healthy, so that the one before is in service again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reverted {
    /// The host.
    pub host: String,
    /// The slot that was tried.
    pub slot: Slot,
    /// What it lacked.
    pub reason: String,
    /// The slot gone back to; none where nothing had been in service.
    pub back_to: Option<Slot>,
    /// Whether going back worked.
    pub went_back: bool,
    /// `systemctl is-active` after it.
    pub service: String,
    /// The end of the journal of the slot that failed.
    pub journal: String,
}

impl fmt::Display for Reverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, slot, reason, service, journal, .. } = self;
        write!(f, "slot {slot} of {host} was not healthy: {reason}. ")?;
        match (self.went_back, self.back_to) {
            (false, _) => f.write_str("Going back FAILED; look at the machine")?,
            (true, Some(back)) => write!(f, "Slot {back} is back in service, and is {service}")?,
            (true, None) => f.write_str("Nothing was in service before, and nothing is now")?,
        }
        if !journal.is_empty() {
            write!(f, "\nThe journal's end:\n{journal}")?;
        }
        Ok(())
    }
}

/// Tries a slot and gives the seconds until it was confirmed.
pub(crate) fn trial(
    remote: &Remote,
    prefix: &Prefix,
    slot: Slot,
    token: &str,
    record: &SlotRecord,
    health: Health,
) -> Result<u32, DeployError> {
    let numbers = [u64::from(health.wait_s), u64::from(health.hold_s.max(1)), health.least_embeddings];
    let [wait, hold, least] = numbers.map(|number| number.to_string());
    let arguments = [prefix.as_str(), slot.name(), token, &record.bundle_digest, &wait, &hold, &least];
    let answer = remote.run(Step::Trial, include_str!("scripts/trial.sh"), &arguments, Input::Nothing)?;
    match value(&answer, "outcome") {
        Some("confirmed") => {
            Ok(value(&answer, "seconds").and_then(|text| text.parse().ok()).unwrap_or_default())
        }
        Some("reverted") => {
            let text = |key| value(&answer, key).unwrap_or_default().to_owned();
            let journal = answer.split_once("\njournal=\n").map(|(_, log)| log).unwrap_or_default();
            Err(DeployError::Reverted(Box::new(Reverted {
                host: remote.host().to_owned(),
                slot,
                reason: text("reason"),
                back_to: Slot::from_name(&text("back_to")),
                went_back: text("went_back") == "yes",
                service: text("service"),
                journal: journal
                    .chars()
                    .filter(|c| !c.is_control() || *c == '\n')
                    .collect::<String>()
                    .trim()
                    .to_owned(),
            })))
        }
        _ => Err(not_understood(remote, Step::Trial, &answer)),
    }
}
