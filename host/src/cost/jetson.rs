//! The power rails of NVIDIA Jetson modules: INA3221 monitors, each with three channels of millivolts
//! and milliamperes, by Linux' hwmon files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::counter::PowerIntegral;
use super::meter::{number, text};

/// Where drivers list their devices.
const DRIVERS: &str = "sys/bus/i2c/drivers";
/// The rail that feeds the whole module, where a module has one.
const WHOLE: &str = "VDD_IN";
/// Channels of a monitor.
const CHANNELS: usize = 3;
/// Entries of a folder looked at, at most.
const MAX_ENTRIES: usize = 64;

/// Rails that add up to what the module used.
pub(super) struct Rails {
    /// Files of voltage and current.
    rails: Vec<(PathBuf, PathBuf)>,
    names: Vec<String>,
    integral: PowerIntegral,
}

impl Rails {
    pub(super) fn find(root: &Path) -> Option<Self> {
        let mut rails = vec![];
        for driver in folders(&root.join(DRIVERS), "ina3221") {
            for device in folders(&driver, "") {
                for monitor in folders(&device.join("hwmon"), "hwmon") {
                    rails.extend((1..=CHANNELS).filter_map(|channel| rail(&monitor, channel)));
                }
            }
        }
        if let Some(whole) = rails.iter().position(|(name, ..)| name == WHOLE) {
            rails = vec![rails.swap_remove(whole)];
        }
        if rails.is_empty() {
            return None;
        }
        let names = rails.iter().map(|(name, ..)| name.clone()).collect();
        let rails = rails.into_iter().map(|(_, volts, amperes)| (volts, amperes)).collect();
        Some(Self { rails, names, integral: PowerIntegral::default() })
    }

    pub(super) fn read(&mut self, now: Duration) -> f64 {
        let watts = |(volts, amperes): &(PathBuf, PathBuf)| {
            // Millivolts times milliamperes are microwatts.
            Some(number(volts)? as f64 * number(amperes)? as f64 / 1e6)
        };
        match self.rails.iter().map(watts).sum::<Option<f64>>() {
            Some(watts) => self.integral.read(now, watts),
            None => self.integral.joules(),
        }
    }

    pub(super) fn words(&self) -> String {
        format!("Jetson rails {}: all that the module did meanwhile", self.names.join(", "))
    }
}

/// Label and files of a channel that is there and in use.
fn rail(monitor: &Path, channel: usize) -> Option<(String, PathBuf, PathBuf)> {
    let volts = monitor.join(format!("in{channel}_input"));
    let amperes = monitor.join(format!("curr{channel}_input"));
    let name = text(&monitor.join(format!("in{channel}_label")))?;
    number(&volts).and(number(&amperes))?;
    // The sum of the others, which the chip offers as a channel of its own.
    (!name.starts_with("sum of")).then_some((name, volts, amperes))
}

fn folders(path: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![] };
    let named = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    let mut found: Vec<PathBuf> =
        entries.flatten().take(MAX_ENTRIES).filter(named).map(|entry| entry.path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}
