//! `sedged probe`: which board this is and which of its devices answer, each with what it said or the reason
//! why it says nothing. Nothing is kept open and nothing is set but what opening a sensor sets.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sedge_boards::board::{
    CameraKind, CameraSpec, Detected, Driver, Heat, HeatError, NodeSpec, PinsSpec, detect, heat,
};
use sedge_boards::bus::Wait;
use sedge_boards::sensor::{BoardSensor, OpenSensorError, Sensor};
use sedge_boards::{Board, BoardError};
use sedge_cameras::{BoardCamera, CameraError};
use sedge_readings::{Measurement, NoData, Timestamp};
use serde::Serialize;

use crate::serial::{NodeError, ask};

/// How long a microcontroller is waited for.
const NODE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
/// Device nodes by which rppal reaches the pins of a Raspberry Pi, and the last resort of its older kernels.
const RPPAL_NODES: [&str; 3] = ["dev/gpiomem", "dev/gpiomem0", "dev/mem"];

/// A probe that could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The board that was asked for cannot be had.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// No board fits this machine, not even the one for any Linux.
    #[error("no board fits this machine; name one with --board")]
    NoBoard,
}

/// Why a device says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Silence {
    /// A sensor that cannot be opened or read.
    #[error(transparent)]
    Sensor(#[from] OpenSensorError),
    /// A camera that cannot be opened.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// A camera that is open and gives no frame.
    #[error("it is there ({what}), but its frame is missing: {}", why(*reason, said))]
    NoFrame {
        /// What it says of itself.
        what: String,
        /// Why there is no frame.
        reason: NoData,
        /// The same in the camera's own words.
        said: String,
    },
    /// Heat that cannot be read.
    #[error(transparent)]
    Heat(#[from] HeatError),
    /// A device node that is not there.
    #[error("there is no {}; is it plugged in, and does the board name the right one?", path.display())]
    Missing {
        /// The node.
        path: PathBuf,
    },
    /// A device node that this user may not use.
    #[error("no permission for {}; add the user to the group {group}", path.display())]
    Denied {
        /// The node.
        path: PathBuf,
        /// The group that may.
        group: &'static str,
    },
    /// A device node or file that cannot be read.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The node.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A microcontroller that says no hello.
    #[error(transparent)]
    Node(#[from] crate::serial::NodeError),
    /// A camera's program that is not installed.
    #[error("the program {program} is not installed, or not on the path")]
    NoProgram {
        /// The program.
        program: String,
    },
    /// Less memory than the daemon may take.
    #[error(
        "the machine has {found_mb} MiB of memory, and the board's budget is {budget_mb}; lower budget.memory_mb"
    )]
    Memory {
        /// What there is.
        found_mb: u64,
        /// What is budgeted.
        budget_mb: u32,
    },
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// A sensor.
    Sensor,
    /// A camera.
    Camera,
    /// A microcontroller.
    Node,
    /// The pins.
    Pins,
    /// Temperature and throttling.
    Heat,
    /// Memory.
    Memory,
}

/// One device and its answer.
#[derive(Debug)]
pub struct Probed {
    /// What it is.
    pub part: Part,
    /// Its name in the board file.
    pub name: String,
    /// What it is by the board file, in words.
    pub what: String,
    /// What it said, or why nothing.
    pub answer: Result<String, Silence>,
}

/// A board and its devices' answers.
#[derive(Debug)]
pub struct ProbeReport {
    /// The board.
    pub board: Board,
    /// Why it was taken, in words.
    pub why: String,
    /// Its devices, in the file's order.
    pub devices: Vec<Probed>,
}

/// Asks every device of the machine below `root`: of the board named or described by the file at `board`, of
/// the one detected where that is `None`. Buses are this machine's own, whatever `root` is.
///
/// # Errors
/// [`ProbeError`]; a device that does not answer is none.
pub fn probe(root: &Path, board: Option<&str>) -> Result<ProbeReport, ProbeError> {
    let (board, why) = match board {
        Some(name) => (Board::named_or_file(name)?, format!("it was named: {name}")),
        None => {
            let Detected { board, evidence } = detect(root).ok_or(ProbeError::NoBoard)?;
            (board, evidence.to_string())
        }
    };
    let mut devices = vec![];
    for sensor in &board.sensors {
        let answer = BoardSensor::open(root, &board, sensor, &mut Wait).and_then(|mut open| open.measure());
        let answer = answer.map(|measured| shown(&measured)).map_err(Silence::from);
        let (part, name, what) = (Part::Sensor, sensor.name.clone(), sensor.to_string());
        devices.push(Probed { part, name, what, answer });
    }
    for camera in &board.cameras {
        let (part, name, what) = (Part::Camera, camera.name.clone(), camera.to_string());
        devices.push(Probed { part, name, what, answer: ask_camera(root, camera) });
    }
    for node in &board.nodes {
        let answer = ask_node(root, node);
        devices.push(Probed { part: Part::Node, name: node.name.clone(), what: node.to_string(), answer });
    }
    if let Some(pins) = &board.pins {
        let names: Vec<String> =
            pins.named().map(|(name, pin)| format!("{name} on line {}", pin.line)).collect();
        let (part, name, what) = (Part::Pins, "pins".to_owned(), names.join(", "));
        devices.push(Probed { part, name, what, answer: ask_pins(root, pins) });
    }
    if let Some(thermal) = &board.thermal {
        let answer = heat(root, thermal).map(|heat| warmth(&heat)).map_err(Silence::from);
        let (part, name, what) = (Part::Heat, "heat".to_owned(), thermal.zones.join(" or "));
        devices.push(Probed { part, name, what, answer });
    }
    let what = format!("{} MiB budgeted", board.budget.memory_mb);
    let answer = ask_memory(root, board.budget.memory_mb);
    devices.push(Probed { part: Part::Memory, name: "memory".to_owned(), what, answer });
    Ok(ProbeReport { board, why, devices })
}

fn shown(measured: &Measurement) -> String {
    match measured {
        Measurement::Imu(sample) => {
            let ([ax, ay, az], [gx, gy, gz]) = (sample.accel, sample.gyro);
            format!("acceleration {ax:.2} {ay:.2} {az:.2} m/s², rate {gx:.3} {gy:.3} {gz:.3} rad/s")
        }
        Measurement::Magnetic(field) => {
            let [x, y, z] = field.0.map(|tesla| tesla * 1e6);
            format!("field {x:.1} {y:.1} {z:.1} µT")
        }
        Measurement::Environment(air) => {
            let parts = [
                air.temperature.map(|celsius| format!("{:.2} °C", celsius.0)),
                air.pressure.map(|pascals| format!("{:.1} hPa", pascals.0 / 100.0)),
                air.humidity.map(|percent| format!("{:.1} % humidity", percent.0)),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
        other => format!("{other:?}"),
    }
}

fn warmth(heat: &Heat) -> String {
    let throttling = match heat.throttling {
        None => "",
        Some(throttling) if throttling.is_held_back() => ", held back by the firmware",
        Some(_) => ", not throttled",
    };
    format!("{:.1} °C{throttling}", heat.celsius)
}

/// Whether a node below `root` can be opened for reading and writing.
fn open_node(root: &Path, node: &Path, group: &'static str) -> Result<(), Silence> {
    let path = root.join(node.strip_prefix("/").unwrap_or(node));
    match std::fs::OpenOptions::new().read(true).write(true).open(&path) {
        Ok(_) => Ok(()),
        Err(source) => Err(match source.kind() {
            io::ErrorKind::NotFound => Silence::Missing { path },
            io::ErrorKind::PermissionDenied => Silence::Denied { path, group },
            _ => Silence::Io { path, source },
        }),
    }
}

fn ask_camera(root: &Path, camera: &CameraSpec) -> Result<String, Silence> {
    match camera.kind {
        CameraKind::Simulated => Ok("simulated".to_owned()),
        CameraKind::V4l2 => {
            let mut open = BoardCamera::open_below(root, camera)?;
            let what = open.describe();
            match open.read(Timestamp::default()).value {
                Ok(_) => Ok(what),
                Err(reason) => {
                    let said = open.trouble().map(ToString::to_string).unwrap_or_default();
                    Err(Silence::NoFrame { what, reason, said })
                }
            }
        }
        _ => {
            let program = camera.command_line().into_iter().next().unwrap_or_default();
            let folders = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&folders)
                .map(|folder| folder.join(&program))
                .find(|path| path.is_file());
            match found {
                Some(path) => {
                    Ok(format!("{} is installed; whether a camera is, shows when it runs", path.display()))
                }
                None => Err(Silence::NoProgram { program }),
            }
        }
    }
}

/// Who answers at a port below `root`.
fn ask_node(root: &Path, node: &NodeSpec) -> Result<String, Silence> {
    let device = root.join(node.device.strip_prefix("/").unwrap_or(&node.device));
    let hello = ask(&NodeSpec { device, ..node.clone() }, NODE_PATIENCE)?;
    if let Some(fault) = hello.fault {
        return Err(NodeError::Fault { node: node.name.clone(), fault }.into());
    }
    let state = if hello.running { "samples" } else { "waits" };
    Ok(format!("{} at a node that {state}, protocol {}", hello.chip, hello.protocol))
}

fn why(reason: NoData, said: &str) -> String {
    if said.is_empty() { reason.to_string() } else { said.to_owned() }
}

fn ask_pins(root: &Path, pins: &PinsSpec) -> Result<String, Silence> {
    match pins.driver {
        Driver::Simulated => Ok("simulated".to_owned()),
        Driver::Linux => {
            let node = pins.device.clone().unwrap_or_default();
            open_node(root, &node, "gpio").map(|()| format!("{} can be opened", node.display()))
        }
        _ => {
            let mut first = None;
            for node in RPPAL_NODES {
                match open_node(root, Path::new(node), "gpio") {
                    Ok(()) => return Ok(format!("/{node} can be opened")),
                    Err(silence) => first = first.or(Some(silence)),
                }
            }
            Err(first.unwrap_or(Silence::Missing { path: root.join(RPPAL_NODES[0]) }))
        }
    }
}

fn ask_memory(root: &Path, budget_mb: u32) -> Result<String, Silence> {
    let path = root.join("proc/meminfo");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(Silence::Io { path, source }),
    };
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let found = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let Some(found_mb) = found.map(|kib| kib / 1024) else {
        let source = io::Error::other("it states no MemTotal");
        return Err(Silence::Io { path, source });
    };
    if found_mb < u64::from(budget_mb) {
        return Err(Silence::Memory { found_mb, budget_mb });
    }
    Ok(format!("{found_mb} MiB"))
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { board, why, devices } = self;
        writeln!(f, "{}: {} ({why})", board.name, board.title)?;
        for Probed { name, what, answer, .. } in devices {
            match answer {
                Ok(said) => writeln!(f, "  yes  {name:<12} {said}")?,
                Err(silence) => writeln!(f, "  no   {name:<12} {silence}")?,
            }
            writeln!(f, "       {:<12} {what}", "")?;
        }
        let answering = devices.iter().filter(|device| device.answer.is_ok()).count();
        write!(f, "{answering} of {} answer", devices.len())
    }
}

/// A report as JSON: `{board, why, devices: [{part, name, what, answers, says}]}`.
impl Serialize for ProbeReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Device<'a> {
            part: Part,
            name: &'a str,
            what: &'a str,
            answers: bool,
            says: String,
        }
        #[derive(Serialize)]
        struct Report<'a> {
            board: &'a str,
            why: &'a str,
            devices: Vec<Device<'a>>,
        }
        let devices = self.devices.iter().map(|Probed { part, name, what, answer }| Device {
            part: *part,
            name,
            what,
            answers: answer.is_ok(),
            says: answer.as_ref().map_or_else(ToString::to_string, Clone::clone),
        });
        Report { board: &self.board.name, why: &self.why, devices: devices.collect() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
