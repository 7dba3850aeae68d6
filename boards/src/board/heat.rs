//! How hot the machine is and whether its firmware holds it back, read from the files that the board names
//! below a root, `/` on a real machine.

use std::path::{Path, PathBuf};

use super::detect::read_text;
use super::spec::ThermalSpec;

const ZONES: &str = "sys/class/thermal";
/// Most thermal zones looked at.
const MAX_ZONES: usize = 64;

/// What holds a Raspberry Pi back at this moment: the low bits of `vcgencmd get_throttled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Bit 0: too little voltage.
    pub under_voltage: bool,
    /// Bit 1: the processor's frequency is capped.
    pub capped: bool,
    /// Bit 2: it is throttled.
    pub throttled: bool,
    /// Bit 3: the soft limit of temperature is reached.
    pub soft_limit: bool,
}

impl Throttling {
    /// From the file's bits; those from 16 on say what was, and are left out.
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            under_voltage: bits & 1 != 0,
            capped: bits & 1 << 1 != 0,
            throttled: bits & 1 << 2 != 0,
            soft_limit: bits & 1 << 3 != 0,
        }
    }

    /// Whether anything holds the machine back.
    pub const fn is_held_back(self) -> bool {
        self.under_voltage || self.capped || self.throttled || self.soft_limit
    }
}

/// What adaptation is to do about the heat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ease {
    /// Go on.
    None,
    /// Slow down.
    Slow,
    /// Rest.
    Stop,
}

/// Temperature and throttling of a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heat {
    /// Degrees Celsius of the zone that the board prefers.
    pub celsius: f32,
    /// What the firmware says, where the board names its file and the kernel has it.
    pub throttling: Option<Throttling>,
}

impl Heat {
    /// What adaptation is to do: rest where the board's upper limit is reached, slow down at the lower one
    /// or where the firmware holds the machine back.
    pub fn ease(&self, spec: &ThermalSpec) -> Ease {
        if self.celsius >= spec.stop_c {
            Ease::Stop
        } else if self.celsius >= spec.slow_c || self.throttling.is_some_and(Throttling::is_held_back) {
            Ease::Slow
        } else {
            Ease::None
        }
    }
}

/// Heat that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeatError {
    /// No thermal zone has a type that the board names.
    #[error("no thermal zone has the type {wanted}; there are: {known}. Correct thermal.zones of the board")]
    NoZone {
        /// The types that the board names.
        wanted: String,
        /// The types there are.
        known: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no number.
    #[error("{} holds {found:?}, which is no number", path.display())]
    NoNumber {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

/// The heat of the machine below `root`.
///
/// # Errors
/// [`HeatError`]. A throttle file that the kernel does not have is no error: not every kernel of a board has.
pub fn heat(root: &Path, spec: &ThermalSpec) -> Result<Heat, HeatError> {
    let zone = find_zone(root, spec)?;
    let milli: f32 = number(&zone.join("temp"), |text| text.parse().ok())?;
    let throttling = match &spec.throttle {
        None => None,
        Some(path) => {
            let path = root.join(path.strip_prefix("/").unwrap_or(path));
            match number(&path, |text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()) {
                Ok(bits) => Some(Throttling::from_bits(bits)),
                Err(HeatError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            }
        }
    };
    Ok(Heat { celsius: milli / 1000.0, throttling })
}

fn find_zone(root: &Path, spec: &ThermalSpec) -> Result<PathBuf, HeatError> {
    let mut zones: Vec<(String, PathBuf)> = std::fs::read_dir(root.join(ZONES))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("thermal_zone"))
        })
        .take(MAX_ZONES)
        .filter_map(|path| Some((read_text(&path.join("type")).ok()?.trim().to_owned(), path)))
        .collect();
    zones.sort();
    let best = spec.zones.iter().find_map(|wanted| zones.iter().find(|(kind, _)| kind == wanted));
    best.map(|(_, path)| path.clone()).ok_or_else(|| {
        let known: Vec<&str> = zones.iter().map(|(kind, _)| kind.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        HeatError::NoZone { wanted: spec.zones.join(" or "), known }
    })
}

fn number<T>(path: &Path, parse: impl Fn(&str) -> Option<T>) -> Result<T, HeatError> {
    let text = read_text(path).map_err(|source| HeatError::Io { path: path.to_owned(), source })?;
    let found = || text.trim().chars().take(64).collect();
    parse(text.trim()).ok_or_else(|| HeatError::NoNumber { path: path.to_owned(), found: found() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::board::Board;

    fn machine(zones: &[(&str, &str)], throttle: Option<&str>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (at, (kind, temp)) in zones.iter().enumerate() {
            let zone = root.path().join(ZONES).join(format!("thermal_zone{at}"));
            std::fs::create_dir_all(&zone).unwrap();
            std::fs::write(zone.join("type"), format!("{kind}\n")).unwrap();
            std::fs::write(zone.join("temp"), temp).unwrap();
        }
        if let Some(bits) = throttle {
            let folder = root.path().join("sys/devices/platform/soc/soc:firmware");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("get_throttled"), bits).unwrap();
        }
        root
    }

    fn spec(board: &str) -> ThermalSpec {
        Board::named(board).unwrap().thermal.unwrap()
    }

    #[test]
    fn a_pis_zone_and_throttle_bits_are_read() {
        let root = machine(&[("cpu-thermal", "51540\n")], Some("50005\n"));
        let found = heat(root.path(), &spec("rpi4")).unwrap();
        assert!((found.celsius - 51.54).abs() < 1e-4);
        // 0x50005: under voltage and throttled, now and before.
        let wanted = Throttling { under_voltage: true, throttled: true, ..Throttling::default() };
        assert_eq!(found.throttling, Some(wanted));
        assert_eq!(found.ease(&spec("rpi4")), Ease::Slow);
        // What was and is over holds nothing back; and not every kernel has the file.
        let root = machine(&[("cpu-thermal", "51540")], Some("50000"));
        assert_eq!(heat(root.path(), &spec("rpi4")).unwrap().ease(&spec("rpi4")), Ease::None);
        let root = machine(&[("cpu-thermal", "51540")], None);
        assert_eq!(heat(root.path(), &spec("rpi4")).unwrap().throttling, None);
    }

    #[test]
    fn the_zone_that_the_board_prefers_is_taken() {
        let root =
            machine(&[("cpu-thermal", "40000"), ("gpu-thermal", "41000"), ("tj-thermal", "85000")], None);
        let found = heat(root.path(), &spec("jetson-orin-nano")).unwrap();
        assert_eq!((found.celsius, found.ease(&spec("jetson-orin-nano"))), (85.0, Ease::Slow));
    }

    #[test]
    fn limits_are_kept() {
        let spec = spec("rpi4");
        let ease = |celsius| Heat { celsius, throttling: None }.ease(&spec);
        assert_eq!([69.9, 70.0, 79.9, 80.0].map(ease), [Ease::None, Ease::Slow, Ease::Slow, Ease::Stop]);
    }

    #[test]
    fn a_machine_without_the_zone_or_with_nonsense_in_it_is_told_so() {
        let root = machine(&[("acpitz", "1")], None);
        let text = heat(root.path(), &spec("rpi4")).unwrap_err().to_string();
        assert!(text.contains("cpu-thermal") && text.contains("acpitz"), "{text}");
        let root = machine(&[("cpu-thermal", "hot")], None);
        assert!(
            matches!(heat(root.path(), &spec("rpi4")), Err(HeatError::NoNumber { found, .. }) if found == "hot")
        );
        let root = machine(&[("cpu-thermal", "1")], Some("?"));
        assert!(matches!(heat(root.path(), &spec("rpi4")), Err(HeatError::NoNumber { .. })));
    }
}
