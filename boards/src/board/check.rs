//! Whether a board's values are ones that the hardware and the drivers can serve. Every number, path
//! and reference is looked at here, once, so that the layers above never meet a board they cannot use.

use std::fmt::Display;
use std::path::Path;

use super::spec::{
    BudgetSpec, BusKind, BusSpec, CameraKind, CameraSpec, Driver, Line, NodeSpec, PinSpec, PinsSpec,
    PixelFormat, SensorSpec, ThermalSpec,
};
use super::{Board, BoardError};
use crate::board::chip::SensorChip;
use crate::imu::{AccelRange, GyroRange};

/// Most buses, sensors and cameras of a board, each.
pub const MAX_DEVICES: usize = 16;
/// Longest name, path or word of a command, in bytes.
pub const MAX_TEXT: usize = 256;
/// Most words of a camera's command, strings to detect by, or thermal zones, each.
pub const MAX_WORDS: usize = 64;

/// Says what is wrong with one key of one file.
struct Checker<'a> {
    file: &'a str,
}

pub(super) fn check(board: &Board, file: &str) -> Result<(), BoardError> {
    let checker = Checker { file };
    checker.name("name", &board.name)?;
    checker.text("title", &board.title)?;
    checker.text("about", &board.about)?;
    let Board { detect, buses, sensors, cameras, nodes, .. } = board;
    for (key, words) in [
        ("detect.kernel_arguments", &detect.kernel_arguments),
        ("detect.compatible", &detect.compatible),
        ("detect.models", &detect.models),
    ] {
        checker.words(key, words)?;
    }
    let names = |key, names: Vec<&str>| checker.distinct(key, &names);
    names("buses", buses.iter().map(|bus| bus.name.as_str()).collect())?;
    names("sensors", sensors.iter().map(|sensor| sensor.name.as_str()).collect())?;
    names("cameras", cameras.iter().map(|camera| camera.name.as_str()).collect())?;
    names("nodes", nodes.iter().map(|node| node.name.as_str()).collect())?;
    buses.iter().try_for_each(|bus| checker.bus(bus))?;
    sensors.iter().try_for_each(|sensor| checker.sensor(sensor, buses))?;
    checker.shared_addresses(sensors)?;
    cameras.iter().try_for_each(|camera| checker.camera(camera))?;
    nodes.iter().enumerate().try_for_each(|(at, node)| checker.node(node, &nodes[..at]))?;
    board.pins.iter().try_for_each(|pins| checker.pins(pins))?;
    board.thermal.iter().try_for_each(|thermal| checker.thermal(thermal))?;
    if let Some(memory) = board.memory {
        checker.number("memory.least_mb", memory.least_mb, 64..=1 << 20)?;
    }
    let BudgetSpec { duty, memory_mb } = board.budget;
    checker.expect((0.0..=1.0).contains(&duty), "budget.duty", duty, "0 to 1")?;
    checker.number("budget.memory_mb", memory_mb, 16..=1 << 20)
}

impl Checker<'_> {
    fn expect(
        &self,
        fits: bool,
        key: impl Into<String>,
        found: impl Display,
        allowed: impl Into<String>,
    ) -> Result<(), BoardError> {
        if fits {
            return Ok(());
        }
        let (key, allowed) = (key.into(), allowed.into());
        Err(BoardError::Value { file: self.file.to_owned(), key, found: found.to_string(), allowed })
    }

    fn number(
        &self,
        key: impl Into<String>,
        found: u32,
        allowed: std::ops::RangeInclusive<u32>,
    ) -> Result<(), BoardError> {
        let words = format!("{} to {}", allowed.start(), allowed.end());
        self.expect(allowed.contains(&found), key, found, words)
    }

    /// A name that can stand in a file name and in a stream.
    fn name(&self, key: impl Into<String>, name: &str) -> Result<(), BoardError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = !name.is_empty() && name.len() <= 32 && name.chars().all(plain);
        self.expect(fits, key, format_args!("{name:?}"), "1 to 32 of a-z, 0-9 and -")
    }

    fn text(&self, key: impl Into<String>, text: &str) -> Result<(), BoardError> {
        let fits = text.len() <= MAX_TEXT * 4 && !text.contains(|c: char| c.is_control() && c != '\n');
        self.expect(fits, key, format_args!("{} bytes", text.len()), "up to 1024 bytes of plain text")
    }

    fn words(&self, key: &str, words: &[String]) -> Result<(), BoardError> {
        let fits = |word: &String| !word.is_empty() && word.len() <= MAX_TEXT && !word.contains('\0');
        let allowed = "up to 64 strings of 1 to 256 bytes";
        self.expect(words.len() <= MAX_WORDS, key, format_args!("{} strings", words.len()), allowed)?;
        self.expect(words.iter().all(fits), key, "a string too short or too long", allowed)
    }

    fn distinct(&self, key: &str, names: &[&str]) -> Result<(), BoardError> {
        let most = format!("up to {MAX_DEVICES}");
        self.expect(names.len() <= MAX_DEVICES, key, format_args!("{} tables", names.len()), most)?;
        for (at, name) in names.iter().enumerate() {
            self.name(format!("{key}[{at}].name"), name)?;
            let first = names.iter().position(|other| other == name) == Some(at);
            let found = format_args!("{name:?}");
            self.expect(first, format!("{key}[{at}].name"), found, "a name that no other of them has")?;
        }
        Ok(())
    }

    /// A device node or file that this key asks for, below `folder`.
    fn path(&self, key: String, path: Option<&Path>, folder: &str) -> Result<(), BoardError> {
        let text = path.map(|path| path.display().to_string());
        let inside = |text: &String| {
            text.starts_with(folder)
                && text.len() > folder.len()
                && text.len() <= MAX_TEXT
                && !text.contains("..")
        };
        let fits = text.as_ref().is_some_and(inside);
        let found = text.as_deref().unwrap_or("absent");
        self.expect(fits, key, found, format!("a path that begins with {folder}"))
    }

    fn absent<T>(&self, key: String, value: Option<&T>, why: &str) -> Result<(), BoardError> {
        self.expect(value.is_none(), key, "given", format!("nothing, {why}"))
    }

    fn bus(&self, bus: &BusSpec) -> Result<(), BoardError> {
        let key = |field: &str| format!("buses.{}.{field}", bus.name);
        if bus.driver == Driver::Simulated {
            self.expect(bus.kind == BusKind::I2c, key("kind"), "spi", "i2c, where the driver is simulated")?;
            self.absent(key("device"), bus.device.as_ref(), "as the bus is simulated")?;
        } else {
            let node = if bus.kind == BusKind::I2c { "/dev/i2c-" } else { "/dev/spidev" };
            self.path(key("device"), bus.device.as_deref(), node)?;
            let fits = bus.node().is_some();
            let found = bus.device.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            self.expect(fits, key("device"), found, "/dev/i2c-N or /dev/spidevN.M with N and M up to 255")?;
        }
        match (bus.kind, bus.clock_hz) {
            (BusKind::Spi, Some(hz)) => self.number(key("clock_hz"), hz, 10_000..=20_000_000),
            (BusKind::Spi, None) => self.expect(false, key("clock_hz"), "absent", "10000 to 20000000"),
            (BusKind::I2c, clock) => self.absent(key("clock_hz"), clock.as_ref(), "as the kernel clocks I2C"),
        }
    }

    fn sensor(&self, sensor: &SensorSpec, buses: &[BusSpec]) -> Result<(), BoardError> {
        let chip = sensor.chip;
        let key = |field: &str| format!("sensors.{}.{field}", sensor.name);
        self.place(sensor, buses)?;
        self.expect(chip.has_rate(sensor.rate_hz), key("rate_hz"), sensor.rate_hz, chip.rates())?;
        let none = || format!("nothing, as a {chip} has no choice of it");
        for (field, value, fits, allowed) in [
            (
                "accel_full_scale_g",
                sensor.accel_full_scale_g,
                sensor.accel_full_scale_g.and_then(AccelRange::from_full_scale_g).is_some(),
                "2, 4, 8 or 16",
            ),
            (
                "gyro_full_scale_dps",
                sensor.gyro_full_scale_dps,
                sensor.gyro_full_scale_dps.and_then(GyroRange::from_full_scale_dps).is_some(),
                "250, 500, 1000 or 2000",
            ),
        ] {
            let found = value.map_or("absent".to_owned(), |value| value.to_string());
            if chip.is_inertial() {
                self.expect(fits, key(field), found, allowed)?;
            } else {
                self.expect(value.is_none(), key(field), found, none())?;
            }
        }
        if chip == SensorChip::Bmi270 {
            self.path(key("firmware"), sensor.firmware.as_deref(), "/")?;
        } else {
            self.absent(key("firmware"), sensor.firmware.as_ref(), "as only a bmi270 is sent a file")?;
        }
        let trusted = !sensor.trust_chip_id || chip == SensorChip::Dps310;
        self.expect(trusted, key("trust_chip_id"), true, "false, for every chip but a dps310")
    }

    /// That a sensor is on a bus there is, at an address it can have; or with the kernel.
    fn place(&self, sensor: &SensorSpec, buses: &[BusSpec]) -> Result<(), BoardError> {
        let chip = sensor.chip;
        let key = |field: &str| format!("sensors.{}.{field}", sensor.name);
        if chip == SensorChip::Iio {
            self.absent(key("bus"), sensor.bus.as_ref(), "as the kernel has the device")?;
            self.absent(key("address"), sensor.address.as_ref(), "as the kernel has the device")?;
            let name = sensor.iio_name.as_deref().unwrap_or_default();
            let fits = !name.is_empty() && name.len() <= MAX_TEXT && !name.contains('/');
            let found = format_args!("{name:?}");
            return self.expect(
                fits,
                key("iio_name"),
                found,
                "the name of a device under /sys/bus/iio/devices",
            );
        }
        self.absent(key("iio_name"), sensor.iio_name.as_ref(), "as only an iio device has one")?;
        let known: Vec<&str> = buses.iter().map(|bus| bus.name.as_str()).collect();
        let bus = buses.iter().find(|bus| Some(&bus.name) == sensor.bus.as_ref());
        let Some(bus) = bus else {
            let found = sensor.bus.as_deref().unwrap_or("absent");
            let allowed = format!("the name of one of [[buses]]: {}", known.join(", "));
            return self.expect(false, key("bus"), found, allowed);
        };
        let simulated = bus.driver != Driver::Simulated || chip == SensorChip::Mpu6050;
        self.expect(simulated, key("chip"), chip, "mpu6050, the chip that can be simulated")?;
        if bus.kind == BusKind::Spi {
            self.expect(chip.has_spi(), key("bus"), &bus.name, format!("a bus of kind i2c for a {chip}"))?;
            return self.absent(key("address"), sensor.address.as_ref(), "as SPI has a chip select instead");
        }
        let (addresses, address) = (chip.addresses(), sensor.address);
        let allowed = if addresses.start() == addresses.end() {
            format!("{:#04x}", addresses.start())
        } else {
            format!("{:#04x} to {:#04x}", addresses.start(), addresses.end())
        };
        let found = address.map_or("absent".to_owned(), |address| format!("{address:#04x}"));
        let fits = address.is_some_and(|address| addresses.contains(&address));
        self.expect(fits, key("address"), found, allowed)
    }

    fn shared_addresses(&self, sensors: &[SensorSpec]) -> Result<(), BoardError> {
        let wired = || sensors.iter().filter(|sensor| sensor.bus.is_some());
        for (at, sensor) in wired().enumerate() {
            let same = |other: &&SensorSpec| (&other.bus, other.address) == (&sensor.bus, sensor.address);
            if let Some(other) = wired().take(at).find(same) {
                let found = sensor.address.map_or("SPI".to_owned(), |address| format!("{address:#04x}"));
                let allowed = format!("an address other than that of {}", other.name);
                self.expect(false, format!("sensors.{}.address", sensor.name), found, allowed)?;
            }
        }
        Ok(())
    }

    fn camera(&self, camera: &CameraSpec) -> Result<(), BoardError> {
        let key = |field: &str| format!("cameras.{}.{field}", camera.name);
        self.number(key("width"), camera.width, 8..=4096)?;
        self.number(key("height"), camera.height, 8..=4096)?;
        self.number(key("rate_hz"), camera.rate_hz, 1..=240)?;
        if let Some(us) = camera.exposure_us {
            let v4l2 = camera.kind == CameraKind::V4l2;
            self.expect(v4l2, key("exposure_us"), us, "nothing, as only v4l2 sets exposures")?;
            // The kernel counts exposures in units of 100 µs.
            self.number(key("exposure_us"), us, 100..=1_000_000)?;
        }
        if camera.kind == CameraKind::V4l2 {
            // A name by serial number or by socket stays where /dev/videoN changes.
            let by_name = camera.device.as_ref().is_some_and(|path| path.starts_with("/dev/v4l"));
            let folder = if by_name { "/dev/v4l/" } else { "/dev/video" };
            self.path(key("device"), camera.device.as_deref(), folder)?;
        } else {
            self.absent(key("device"), camera.device.as_ref(), "as only v4l2 opens a device")?;
        }
        if camera.kind == CameraKind::Pipe {
            let words = camera.command.as_deref().unwrap_or_default();
            let found = format_args!("{} words", words.len());
            self.expect(!words.is_empty(), key("command"), found, "a program and its arguments")?;
            self.words(&key("command"), words)?;
        } else {
            self.absent(key("command"), camera.command.as_ref(), "as only a pipe runs a program")?;
        }
        let simulated = camera.kind == CameraKind::Simulated;
        if simulated {
            let (width, height) = (camera.width, camera.height);
            self.expect(
                matches!(width, 64 | 96),
                key("width"),
                width,
                "64 or 96, as the camera is simulated",
            )?;
            let allowed = format!("{width}, as simulated frames are square");
            self.expect(height == width, key("height"), height, allowed)?;
        }
        let pairs = "an even number, as pixels share their colours in this format";
        if matches!(camera.format, Some(PixelFormat::Yuyv | PixelFormat::Nv12)) {
            self.expect(camera.width.is_multiple_of(2), key("width"), camera.width, pairs)?;
        }
        if camera.format == Some(PixelFormat::Nv12) {
            self.expect(camera.height.is_multiple_of(2), key("height"), camera.height, pairs)?;
        }
        let (found, allowed) = match camera.format {
            Some(_) => ("given", "nothing, as a simulated camera has pixels of its own"),
            None => ("absent", "mjpeg, yuyv, nv12 or grey"),
        };
        self.expect(camera.format.is_none() == simulated, key("format"), found, allowed)
    }

    fn pins(&self, pins: &PinsSpec) -> Result<(), BoardError> {
        if pins.driver == Driver::Linux {
            self.path("pins.device".to_owned(), pins.device.as_deref(), "/dev/gpiochip")?;
        } else {
            self.absent(
                "pins.device".to_owned(),
                pins.device.as_ref(),
                "as only the driver linux opens one",
            )?;
        }
        let mut taken: Vec<&Line> = vec![];
        for (name, pin) in pins.named() {
            let key = format!("pins.{name}.line");
            self.pin(&key, pin, pins.driver)?;
            self.expect(!taken.contains(&&pin.line), key, &pin.line, "a line that no other pin is on")?;
            taken.push(&pin.line);
        }
        Ok(())
    }

    /// That a node's line can be opened, is no other node's, and that some chip has its rate and ranges.
    fn node(&self, node: &NodeSpec, others: &[NodeSpec]) -> Result<(), BoardError> {
        let key = |field: &str| format!("nodes.{}.{field}", node.name);
        self.path(key("device"), Some(&node.device), "/dev/")?;
        if let Some(other) = others.iter().find(|other| other.device == node.device) {
            let allowed = format!("a port other than that of {}", other.name);
            self.expect(false, key("device"), node.device.display(), allowed)?;
        }
        self.number(key("baud"), node.baud, 9_600..=4_000_000)?;
        if let Some(elf) = &node.elf {
            self.path(key("elf"), Some(elf), "/")?;
        }
        self.number(key("rate_hz"), node.rate_hz.into(), 4..=1_000)?;
        let (g, dps) = (node.accel_full_scale_g, node.gyro_full_scale_dps);
        let fits = AccelRange::from_full_scale_g(g.into()).is_some();
        self.expect(fits, key("accel_full_scale_g"), g, "2, 4, 8 or 16")?;
        let fits = GyroRange::from_full_scale_dps(dps.into()).is_some();
        self.expect(fits, key("gyro_full_scale_dps"), dps, "250, 500, 1000 or 2000")
    }

    fn pin(&self, key: &str, pin: &PinSpec, driver: Driver) -> Result<(), BoardError> {
        match &pin.line {
            Line::Number(number) if driver == Driver::Rppal => self.number(key, *number, 0..=27),
            Line::Number(number) => self.number(key, *number, 0..=1023),
            Line::Name(name) => {
                let fits = driver == Driver::Linux && !name.is_empty() && name.len() <= 32;
                let allowed = "a number; names are for the driver linux, 1 to 32 bytes long";
                self.expect(fits, key, format_args!("{name:?}"), allowed)
            }
        }
    }

    fn thermal(&self, thermal: &ThermalSpec) -> Result<(), BoardError> {
        self.words("thermal.zones", &thermal.zones)?;
        self.expect(!thermal.zones.is_empty(), "thermal.zones", "[]", "the type of a zone at least")?;
        let (slow, stop) = (thermal.slow_c, thermal.stop_c);
        self.expect((20.0..=120.0).contains(&slow), "thermal.slow_c", slow, "20 to 120")?;
        let fits = (slow..=120.0).contains(&stop);
        self.expect(fits, "thermal.stop_c", stop, format!("{slow} (thermal.slow_c) to 120"))?;
        match &thermal.throttle {
            Some(path) => self.path("thermal.throttle".to_owned(), Some(path), "/sys/"),
            None => Ok(()),
        }
    }
}
