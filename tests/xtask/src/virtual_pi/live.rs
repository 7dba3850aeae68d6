//! The daemon over the board itself: the kernel's camera and bus, a pin, and a world that changes under way.

use std::time::Duration;

use super::acceptance::{SHORT, SLOT, told};
use super::machine::Machine;
use super::records::{Sensor, Status, lines, whole};
use crate::error::{TaskError, claim};

/// Warmth that the thermometer is given under way, in degrees Celsius, and the field along the compass's first axis in
/// nanotesla, as QEMU takes it.
const WORLD: [(f64, i64); 2] = [(18.5, 15_000), (41.25, 32_000)];
/// Looks at a thing that is to come, half a second apart.
const LOOKS: u32 = 120;
/// Level of all pins, in the Pi's own register; the status light is the 28th.
const PIN_LEVELS: &str = "devmem 0x3f200034";
const LIGHT: u32 = 1 << 27;

/// Starts the daemon over the board, changes the world, and looks whether the daemon sees it.
pub(super) fn reads_the_board(machine: &mut Machine) -> Result<(), TaskError> {
    let run = format!(
        "sedged run --bundle {SLOT}/bundle.sedge --source board:{SLOT}/board.toml --pace realtime --out /data/live"
    );
    machine.run(&format!("{run} > /data/live.log 2>&1 & echo $! > /run/daemon"), SHORT)?;
    for (celsius, field) in WORLD {
        machine.set("board-heat", "temperature", (celsius * 1000.0) as i64)?;
        machine.set("compass", "mag-x", field)?;
        until(machine, "the daemon sees what the sensors are set to", |machine| {
            let said = machine.run("tail -n 60 /data/live/sensors.jsonl 2>/dev/null || true", SHORT)?;
            // The first line may be cut, and the last still be written.
            let whole_lines: Vec<&str> = said.lines().filter(|line| line.ends_with('}')).skip(1).collect();
            let readings: Vec<Sensor> = lines(whole_lines.join("\n").as_bytes())?;
            Ok(sees(&readings, celsius, field).then_some(()))
        })?;
    }
    let levels = until(machine, "the status light goes on and off", |machine| {
        let said = machine.run(&format!("for i in $(seq 40); do {PIN_LEVELS}; done"), SHORT)?;
        let levels: Vec<bool> = said.lines().filter_map(level).collect();
        let on = levels.iter().filter(|on| **on).count();
        Ok((on > 0 && on < levels.len()).then_some(levels))
    })?;
    let status: Status = until(machine, "frames of the kernel's camera are embedded", |machine| {
        let said = machine.run("cat /data/live/status.json 2>/dev/null || true", SHORT)?;
        Ok(whole(said.as_bytes()).ok().filter(|status: &Status| status.embeddings > 10))
    })?;
    claim(
        "the board is the one that was flashed",
        status.board.as_deref() == Some("virtual-pi"),
        format!("{status:?}"),
    )?;
    let live = status.sensors.iter().filter(|device| device.condition == "live" && device.readings > 0);
    let names: Vec<&str> = live.map(|device| device.name.as_str()).collect();
    claim("every device of the board is live", names.len() == 4, format!("{status:?}"))?;
    told(&format!(
        "{} frames embedded; live: {}; light on in {} of {} looks",
        status.embeddings,
        names.join(", "),
        levels.iter().filter(|on| **on).count(),
        levels.len()
    ));
    let end = "kill -TERM $(cat /run/daemon); for i in $(seq 60); do kill -0 $(cat /run/daemon) 2>/dev/null || exit 0; sleep 0.5; done; exit 1";
    machine.run(end, SHORT)?;
    machine.run("test -s /data/live/summary.json && test -s /data/live/checkpoint.sedge-state", SHORT)?;
    Ok(())
}

/// Whether readings say this warmth and this field along the first axis.
fn sees(readings: &[Sensor], celsius: f64, field: i64) -> bool {
    // A TMP105 counts in sixteenths of a degree; a LSM303DLHC in steps of 0.1 microtesla and finer.
    let warm = |r: &Sensor| r.sensor == "board-heat" && near(r.temperature_celsius, celsius, 0.07);
    let tesla = field as f64 * 1e-9;
    let points =
        |r: &Sensor| r.sensor == "compass" && near(r.magnetic_field_tesla.map(|b| b[0]), tesla, 2e-7);
    readings.iter().any(warm) && readings.iter().any(points)
}

fn near(value: Option<f64>, wanted: f64, within: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() <= within)
}

/// Whether the light's bit is set in a register as `devmem` prints it.
fn level(line: &str) -> Option<bool> {
    let number = u32::from_str_radix(line.trim().strip_prefix("0x")?, 16).ok()?;
    Some(number & LIGHT != 0)
}

/// Looks again and again until something is there.
fn until<T>(
    machine: &mut Machine,
    what: &'static str,
    mut look: impl FnMut(&mut Machine) -> Result<Option<T>, TaskError>,
) -> Result<T, TaskError> {
    for _ in 0..LOOKS {
        if let Some(found) = look(machine)? {
            return Ok(found);
        }
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let log = machine.run("tail -n 20 /data/live.log; tail -n 3 /data/live/sensors.jsonl", SHORT)?;
    Err(TaskError::Claim { claim: what, found: log })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lights_bit_is_read_from_the_register() {
        assert_eq!(level("0x08000000"), Some(true));
        assert_eq!(level("0x07FFFFFF"), Some(false));
        assert_eq!(level("bus error"), None);
    }

    #[test]
    fn both_sensors_must_say_what_they_were_set_to() {
        let heat = |celsius| Sensor {
            sensor: "board-heat".into(),
            temperature_celsius: Some(celsius),
            magnetic_field_tesla: None,
        };
        let compass = Sensor {
            sensor: "compass".into(),
            temperature_celsius: None,
            magnetic_field_tesla: Some([15e-6, 0.0, 0.0]),
        };
        assert!(!sees(&[heat(18.5)], 18.5, 15_000));
        assert!(sees(&[heat(17.0), heat(18.5), compass], 18.5, 15_000));
        assert!(!sees(&[heat(17.0)], 18.5, 15_000));
    }
}
