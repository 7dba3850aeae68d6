//! The estimate where no sensor can be read: so many watts for every core that this process keeps busy.

use std::path::Path;

use super::meter::text;

/// Watts of a busy core: what Green Algorithms assumes of a processor that it does not know (Lannelongue,
/// Grealey & Inouye 2021).
pub const WATTS_PER_CORE: f64 = 12.0;
/// Ticks a second in which Linux tells processor time, whatever its own clock.
const TICKS: f64 = 100.0;

/// Seconds of processor time that this process has used on all cores together.
pub(super) fn seconds(root: &Path) -> Option<f64> {
    let stat = text(&root.join("proc/self/stat"))?;
    // The name of the program, in parentheses, may hold spaces; user and system time are the 12th and
    // 13th field behind it (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |field: usize| fields.split_whitespace().nth(field)?.parse::<u64>().ok();
    Some(ticks(11)?.saturating_add(ticks(12)?) as f64 / TICKS)
}

pub(super) fn words() -> String {
    format!(
        "no sensor could be read: an estimate of {WATTS_PER_CORE} W for every core that the run kept busy \
         (Lannelongue, Grealey & Inouye 2021), without memory, cooling and what the machine uses idle"
    )
}
