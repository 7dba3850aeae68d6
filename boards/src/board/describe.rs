//! A board in words, for a terminal.

use std::fmt;

use super::{Board, BusSpec, CameraKind, CameraSpec, NodeSpec, SensorSpec};

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.title)?;
        for line in self.about.lines().filter(|line| !line.trim().is_empty()) {
            writeln!(f, "  {}", line.trim())?;
        }
        list(f, "known by", &self.known_by())?;
        list(f, "buses", &self.buses.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        list(f, "sensors", &self.sensors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        list(f, "cameras", &self.cameras.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        list(f, "nodes", &self.nodes.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        list(f, "pins", &self.pin_lines())?;
        list(f, "heat", &self.heat_lines())?;
        if let Some(memory) = self.memory {
            writeln!(f, "{:<10}{} MiB at least", "memory", memory.least_mb)?;
        }
        let (share, memory) = (self.budget.duty * 100.0, self.budget.memory_mb);
        write!(f, "{:<10}{share:.0} % of a core for adaptation, {memory} MiB for the daemon", "budget")
    }
}

impl Board {
    fn known_by(&self) -> Vec<String> {
        let detect = &self.detect;
        let said = |what: &str, words: &[String]| words.iter().map(|word| format!("{what} {word}")).collect();
        let groups: [Vec<String>; 3] = [
            said("kernel argument", &detect.kernel_arguments),
            said("model", &detect.models),
            said("compatible", &detect.compatible),
        ];
        let all = groups.concat();
        if all.is_empty() { vec!["nothing; name it with --board".into()] } else { all }
    }

    fn pin_lines(&self) -> Vec<String> {
        let line = |(name, pin): (&str, &super::PinSpec)| {
            let header = pin.header.map(|pin| format!(", pin {pin} of the header")).unwrap_or_default();
            let low = if pin.active_low { ", low is on" } else { "" };
            format!("{} on line {}{header}{low}", name.replace('_', " "), pin.line)
        };
        self.pins.iter().flat_map(|pins| pins.named()).map(line).collect()
    }

    fn heat_lines(&self) -> Vec<String> {
        let Some(thermal) = &self.thermal else { return vec![] };
        let zones = thermal.zones.join(" or ");
        let mut lines = vec![
            format!("thermal zone {zones}"),
            format!("adaptation slows down at {} °C and rests at {} °C", thermal.slow_c, thermal.stop_c),
        ];
        lines.extend(
            thermal.throttle.as_ref().map(|path| format!("throttling is read from {}", path.display())),
        );
        lines
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    for (at, line) in lines.iter().enumerate() {
        writeln!(f, "{:<10}{line}", if at == 0 { title } else { "" })?;
    }
    Ok(())
}

impl fmt::Display for BusSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("{:?}", self.kind).to_uppercase();
        let driver = format!("{:?}", self.driver).to_lowercase();
        match &self.device {
            Some(device) => write!(f, "{}: {kind} at {} through {driver}", self.name, device.display()),
            None => write!(f, "{}: {kind}, {driver}", self.name),
        }
    }
}

impl fmt::Display for SensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.name, self.chip, self.chip.measures())?;
        match (&self.bus, self.address, &self.iio_name) {
            (Some(bus), Some(address), _) => write!(f, " on {bus} at {address:#04x}")?,
            (Some(bus), None, _) => write!(f, " on {bus}")?,
            (None, _, Some(name)) => write!(f, " as {name}")?,
            (None, _, None) => {}
        }
        write!(f, ", {} Hz", self.rate_hz)?;
        if let (Some(g), Some(dps)) = (self.accel_full_scale_g, self.gyro_full_scale_dps) {
            write!(f, ", ±{g} g, ±{dps} °/s")?;
        }
        Ok(())
    }
}

impl fmt::Display for CameraSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, width, height, rate_hz, .. } = self;
        write!(f, "{name}: {width}x{height} at {rate_hz} Hz, ")?;
        match self.kind {
            CameraKind::Simulated => f.write_str("simulated"),
            CameraKind::V4l2 => {
                let device = self.device.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                write!(f, "V4L2 at {device}")
            }
            CameraKind::Pipe => write!(f, "from {}", self.command_line().join(" ")),
        }
    }
}

impl fmt::Display for NodeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, baud, rate_hz, accel_full_scale_g: g, gyro_full_scale_dps: dps, .. } = self;
        write!(f, "{name}: a microcontroller at {}, {baud} baud, {rate_hz} Hz", self.device.display())?;
        if self.queue {
            f.write_str(" at the chip's pace")?;
        }
        write!(f, ", ±{g} g, ±{dps} °/s")
    }
}
