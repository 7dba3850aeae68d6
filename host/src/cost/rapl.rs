//! RAPL: counters of energy in x86 processors (Intel, and AMD since Zen), by Linux' powercap files. They
//! count the whole package, whoever uses it. Since 2020 most systems let only root read them
//! (CVE-2020-8694).

use std::path::{Path, PathBuf};

use super::counter::Counter;
use super::meter::{number, text};

/// Where the zones lie.
const ZONES: &str = "sys/class/powercap";
/// Zones looked at, at most.
const MAX_ZONES: usize = 256;

/// The zones that add up to what processors and memory used.
pub(super) struct Rapl {
    zones: Vec<(PathBuf, Counter)>,
    names: Vec<String>,
}

impl Rapl {
    /// The zones under `root` that can be read. `Err` says why there are none, when there would be some.
    pub(super) fn find(root: &Path) -> Result<Option<Self>, String> {
        let mut found = Self { zones: vec![], names: vec![] };
        let mut refused = false;
        let Ok(entries) = std::fs::read_dir(root.join(ZONES)) else { return Ok(None) };
        let mut paths: Vec<PathBuf> = entries.flatten().take(MAX_ZONES).map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            // `intel-rapl-mmio` counts the same packages a second time.
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(place) = file.strip_prefix("intel-rapl:") else { continue };
            let Some(name) = text(&path.join("name")) else { continue };
            // A package holds its cores; memory is counted beside it; the platform (psys) holds both.
            let counts = if place.contains(':') { name == "dram" } else { name.starts_with("package") };
            if !counts {
                continue;
            }
            let energy = path.join("energy_uj");
            match (number(&energy), number(&path.join("max_energy_range_uj"))) {
                (Some(now), Some(range)) => {
                    let mut counter = Counter::new(range);
                    counter.read(now);
                    found.zones.push((energy, counter));
                    found.names.push(name);
                }
                _ => refused = true,
            }
        }
        if !found.zones.is_empty() {
            return Ok(Some(found));
        }
        let why = "the processors count their energy (RAPL), but only for root: let this user read \
                   /sys/class/powercap/intel-rapl:*/energy_uj to have it measured";
        if refused { Err(why.into()) } else { Ok(None) }
    }

    pub(super) fn read(&mut self) -> f64 {
        let mut joules = 0.0;
        for (path, counter) in &mut self.zones {
            joules += match number(path) {
                Some(value) => counter.read(value),
                None => counter.joules(),
            };
        }
        joules
    }

    pub(super) fn words(&self) -> String {
        format!("RAPL counters of {}: all that the processors did meanwhile", self.names.join(", "))
    }
}
