//! What a Raspberry Pi's firmware has to switch on for the buses of a board: lines of `config.txt` on the boot partition.

use sedge_boards::Board;
use sedge_boards::board::{BusKind, CameraKind, Driver};

/// Largest `config.txt` that is read, in bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 64 * 1024;

/// A parameter of the device tree or a setting of the firmware, with its value.
pub(super) type Setting = (&'static str, &'static str);

/// What the board's devices need; nothing where it is no Raspberry Pi. Only the buses of the header are the
/// firmware's to switch: I2C 1 and 0, and SPI 0.
pub(super) fn settings(board: &Board) -> Vec<Setting> {
    let raspberry = board.buses.iter().any(|bus| bus.driver == Driver::Rppal)
        || board.pins.as_ref().is_some_and(|pins| pins.driver == Driver::Rppal)
        || board.detect.compatible.iter().any(|name| name.starts_with("raspberrypi,"));
    if !raspberry {
        return vec![];
    }
    let mut settings = vec![];
    for bus in board.buses.iter().filter(|bus| bus.driver != Driver::Simulated) {
        settings.extend(match (bus.kind, bus.node()) {
            (BusKind::I2c, Some((1, _))) => Some(("i2c_arm", "on")),
            (BusKind::I2c, Some((0, _))) => Some(("i2c_vc", "on")),
            (BusKind::Spi, Some((0, _))) => Some(("spi", "on")),
            _ => None,
        });
    }
    if board.cameras.iter().any(|camera| camera.kind == CameraKind::Pipe) {
        settings.push(("camera_auto_detect", "1"));
    }
    settings.sort_unstable();
    settings.dedup();
    settings
}

/// A setting as a line of `config.txt`.
pub(super) fn line((key, value): Setting) -> String {
    if key == "camera_auto_detect" { format!("{key}={value}") } else { format!("dtparam={key}={value}") }
}

/// The text with what is missing of the settings at its end, or none where all hold already. What others wrote stays.
pub(super) fn with_settings(text: &str, settings: &[Setting]) -> Option<String> {
    let missing: Vec<String> = settings
        .iter()
        .filter(|(key, value)| last_value(text, key) != Some(*value))
        .copied()
        .map(line)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Some(format!("{text}{gap}\n[all]\n# The devices of Sedge's board file\n{}\n", missing.join("\n")))
}

/// The value that counts for every model: the last one before any section or in `[all]`. Several parameters may stand in
/// one `dtparam`.
fn last_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (mut all, mut found) = (true, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            all = line == "[all]";
            continue;
        }
        let parameters = line.strip_prefix("dtparam=").unwrap_or(line);
        for parameter in parameters.split(',').map(str::trim) {
            match parameter.split_once('=') {
                Some((name, value)) if all && name.trim() == key => found = Some(value.trim()),
                // A parameter alone is on.
                None if all && parameter == key => found = Some("on"),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SETTINGS: [Setting; 2] = [("i2c_arm", "on"), ("spi", "on")];

    #[test]
    fn boards_need_their_own_buses() {
        let of = |name: &str| settings(&Board::named(name).unwrap());
        assert_eq!(of("rpi4"), [("camera_auto_detect", "1"), ("i2c_arm", "on")]);
        assert_eq!(of("virtual-pi"), [("i2c_arm", "on")]);
        assert_eq!(of("jetson-orin-nano"), []);
        assert_eq!(of("generic-linux"), []);
    }

    #[test]
    fn what_is_missing_is_added_once() {
        let stock =
            "# For more options\n#dtparam=i2c_arm=on\ndtparam=audio=on\n[cm4]\notg_mode=1\ndtparam=spi=on\n";
        let added = with_settings(stock, &SETTINGS).unwrap();
        assert!(added.starts_with(stock));
        assert!(
            added.ends_with(
                "[all]\n# The devices of Sedge's board file\ndtparam=i2c_arm=on\ndtparam=spi=on\n"
            )
        );
        assert_eq!(with_settings(&added, &SETTINGS), None);
    }

    #[test]
    fn what_counts_is_the_last_that_holds_for_every_model() {
        for (text, holds) in [
            ("dtparam=i2c_arm=on,spi=on", true),
            ("dtparam=i2c_arm\ndtparam=spi=on", true),
            ("dtparam=i2c_arm=on\n[pi4]\ndtparam=spi=on\n[all]\n", false),
            ("dtparam=i2c_arm=on\ndtparam=spi=on\ndtparam=spi=off\n", false),
            ("[pi4]\nx=1\n[all]\ndtparam=i2c_arm=on\ndtparam=spi=on", true),
            ("", false),
        ] {
            assert_eq!(with_settings(text, &SETTINGS).is_none(), holds, "{text}");
        }
        assert!(with_settings("x=1", &SETTINGS).unwrap().starts_with("x=1\n\n[all]"));
    }
}
