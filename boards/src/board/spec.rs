//! What a board file may say: one type a table, nothing else accepted.
//!
//! Types only; [`super::check`] says which of their values the drivers can serve.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::chip::SensorChip;

/// How a machine is known to be this board, the surest first. A board with none of them is never
/// detected, only named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detect {
    /// Words of the kernel's command line (`/proc/cmdline`), for emulated boards that carry another's
    /// device tree.
    pub kernel_arguments: Vec<String>,
    /// Entries of `/proc/device-tree/compatible`.
    pub compatible: Vec<String>,
    /// `/proc/device-tree/model`, whole or followed by a space and a revision.
    pub models: Vec<String>,
}

/// One bus that sensors are on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BusSpec {
    /// What the sensors call it.
    pub name: String,
    /// Its protocol.
    pub kind: BusKind,
    /// What opens it.
    pub driver: Driver,
    /// The device node: `/dev/i2c-N` or `/dev/spidevN.M`. Absent only where it is simulated.
    pub device: Option<PathBuf>,
    /// Clock of an SPI bus in hertz; an I2C bus is clocked by the kernel.
    pub clock_hz: Option<u32>,
}

/// Protocol of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BusKind {
    /// Two wires, addresses.
    I2c,
    /// Four wires, a chip select.
    Spi,
}

/// What reaches a bus or a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Driver {
    /// rppal, on a Raspberry Pi.
    Rppal,
    /// The kernel's character devices, on any Linux.
    Linux,
    /// Simulated chips, on any machine.
    Simulated,
}

/// One sensor: which chip, where, and how it measures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SensorSpec {
    /// What people and streams call it.
    pub name: String,
    /// The chip, which names the driver.
    pub chip: SensorChip,
    /// The [`BusSpec`] it is on; absent for `iio`, where the kernel has it.
    pub bus: Option<String>,
    /// I2C address; absent on SPI and for `iio`.
    pub address: Option<u8>,
    /// Readings a second.
    pub rate_hz: u32,
    /// Full scale of an accelerometer in g: 2, 4, 8 or 16.
    pub accel_full_scale_g: Option<u32>,
    /// Full scale of a gyroscope in degrees per second: 250, 500, 1000 or 2000.
    pub gyro_full_scale_dps: Option<u32>,
    /// The device's `name` under `/sys/bus/iio/devices`, for `iio`.
    pub iio_name: Option<String>,
    /// A file to upload before the chip measures, for `bmi270`.
    pub firmware: Option<PathBuf>,
    /// Takes the chip for what the file says without reading its identity; for emulators whose model
    /// of a `dps310` has none.
    #[serde(default)]
    pub trust_chip_id: bool,
}

/// One microcontroller that samples an inertial sensor and streams it over a serial line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// What people and streams call it.
    pub name: String,
    /// The serial port: `/dev/ttyAMA0`, or better a link below `/dev/serial/by-id`, which stays the same.
    pub device: PathBuf,
    /// Bits a second.
    pub baud: u32,
    /// The program that was flashed, as the compiler wrote it; without it the node's log is only counted.
    pub elf: Option<PathBuf>,
    /// Samples a second.
    pub rate_hz: u16,
    /// Full scale of its accelerometer in g: 2, 4, 8 or 16.
    pub accel_full_scale_g: u8,
    /// Full scale of its gyroscope in degrees per second: 250, 500, 1000 or 2000.
    pub gyro_full_scale_dps: u16,
    /// Whether samples are taken at the chip's pace and wait in its queue, instead of at the pace of the
    /// node's timer.
    #[serde(default)]
    pub queue: bool,
}

/// Pins for people and interrupts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PinsSpec {
    /// What reaches the pins.
    pub driver: Driver,
    /// The GPIO chip, `/dev/gpiochipN`, where the driver is `linux`.
    pub device: Option<PathBuf>,
    /// A button that marks what is happening now.
    pub label_button: Option<PinSpec>,
    /// A light that shows the daemon's state.
    pub status_led: Option<PinSpec>,
    /// A sensor's data-ready interrupt.
    pub data_ready: Option<PinSpec>,
}

/// One pin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PinSpec {
    /// Its number on the chip (BCM number on a Raspberry Pi), or its name where the kernel names lines.
    pub line: Line,
    /// Pin of the board's header, for people.
    pub header: Option<u8>,
    /// Whether low means on.
    #[serde(default)]
    pub active_low: bool,
}

/// A GPIO line by number or by the kernel's name for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "a line's number or its name in quotes")]
pub enum Line {
    /// Offset on the chip.
    Number(u32),
    /// Name, as `gpioinfo` shows it.
    Name(String),
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One camera and its frames.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSpec {
    /// What people and streams call it.
    pub name: String,
    /// Where frames come from.
    pub kind: CameraKind,
    /// The device node `/dev/videoN`, for `v4l2`.
    pub device: Option<PathBuf>,
    /// Program and arguments whose standard output is frames, for `pipe`; `{width}`, `{height}` and
    /// `{rate}` stand for the numbers below. No shell reads it.
    pub command: Option<Vec<String>>,
    /// How pixels are packed; absent where they are simulated.
    pub format: Option<PixelFormat>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second.
    pub rate_hz: u32,
    /// Exposure in microseconds, for `v4l2`; the camera's own choice where absent.
    pub exposure_us: Option<u32>,
}

impl CameraSpec {
    /// Program and arguments of a `pipe`, numbers filled in; empty for every other kind.
    pub fn command_line(&self) -> Vec<String> {
        let fill = |word: &String| {
            word.replace("{width}", &self.width.to_string())
                .replace("{height}", &self.height.to_string())
                .replace("{rate}", &self.rate_hz.to_string())
        };
        self.command.iter().flatten().map(fill).collect()
    }
}

/// Where frames come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CameraKind {
    /// The simulated rig.
    Simulated,
    /// The kernel's Video4Linux.
    V4l2,
    /// A program that writes frames: `rpicam-vid`, or GStreamer with `nvarguscamerasrc`.
    Pipe,
}

/// How a frame's pixels are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PixelFormat {
    /// A JPEG a frame.
    Mjpeg,
    /// Luma and chroma interleaved, two bytes a pixel.
    Yuyv,
    /// A plane of luma, then one of chroma at half size.
    Nv12,
    /// Luma alone.
    Grey,
}

/// Where heat and throttling are told, and when adaptation gives way.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ThermalSpec {
    /// `type` of the zones under `/sys/class/thermal`, the preferred first.
    pub zones: Vec<String>,
    /// Degrees Celsius from which adaptation slows down.
    pub slow_c: f32,
    /// Degrees Celsius from which it rests.
    pub stop_c: f32,
    /// File whose bits say that the firmware throttles (`vcgencmd get_throttled`).
    pub throttle: Option<PathBuf>,
}

/// The board's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySpec {
    /// MiB of the smallest model that is sold.
    pub least_mb: u32,
}

/// What adaptation may use.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// Share of one core's time for adaptation steps, 0 to 1.
    pub duty: f64,
    /// Memory of the whole daemon in MiB.
    pub memory_mb: u32,
}
