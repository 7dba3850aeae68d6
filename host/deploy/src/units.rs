//! The systemd units of a board: the daemon under a watchdog, with no more rights, memory and devices than its
//! board file asks for, and a second unit that runs before it at boot.

use std::collections::BTreeSet;
use std::path::Path;

use sedge_boards::Board;
use sedge_boards::board::{CameraKind, Driver};

use crate::Prefix;

/// The daemon's unit.
pub const UNIT: &str = "sedged.service";
/// The unit that runs before it at boot.
pub const PREPARE_UNIT: &str = "sedge-prepare.service";
/// Groups whose devices the daemon opens, as far as a board has them.
pub const GROUPS: [&str; 6] = ["i2c", "spi", "gpio", "video", "render", "dialout"];

const TEMPLATE: &str = include_str!("sedged.service.in");
const PREPARE_TEMPLATE: &str = include_str!("sedge-prepare.service.in");

/// Text of the daemon's unit for a board; `state` is the folder below `/var/lib/sedge` that keeps its results and what it
/// learned.
///
/// The daemon may take as much memory as `budget.memory_mb` and is slowed down from nine tenths of it. Its weight
/// among the services of the machine is half of the usual 100 where it never adapts, and the usual where adaptation
/// may have a whole core: `50 + 50 duty`.
pub fn unit(board: &Board, prefix: &Prefix, state: &str) -> String {
    let memory = board.budget.memory_mb;
    let weight = 50 + (50.0 * board.budget.duty.clamp(0.0, 1.0)).round() as u32;
    let pipes: Vec<String> = board
        .cameras
        .iter()
        .filter(|camera| camera.kind == CameraKind::Pipe)
        .map(|camera| camera.command_line().join(" "))
        .collect();
    // The programs that feed pipes compile code while they run, and Argus has its socket in /tmp.
    let argus = pipes.iter().any(|command| command.contains("nvargus"));
    let devices: String =
        devices(board).into_iter().map(|device| format!("DeviceAllow={device} rw\n")).collect();
    fill(
        TEMPLATE,
        &[
            ("board", &board.name),
            ("prefix", prefix.as_str()),
            ("state", state),
            ("memory_max", &memory.to_string()),
            ("memory_high", &(u64::from(memory) * 9 / 10).to_string()),
            ("cpu_weight", &weight.to_string()),
            ("private_tmp", if argus { "no" } else { "yes" }),
            ("deny_write_execute", if pipes.is_empty() { "yes" } else { "no" }),
            ("devices", devices.trim_end()),
        ],
    )
}

/// Text of the unit that runs at boot, before the daemon: it makes the daemon's user where an image was written
/// without running it, and takes back a slot whose trial was cut off by a loss of power.
pub fn prepare_unit(prefix: &Prefix) -> String {
    fill(PREPARE_TEMPLATE, &[("prefix", prefix.as_str())])
}

/// Values are names checked before, or numbers; none holds a placeholder.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(&format!("@{key}@"), value))
}

/// Device nodes, and classes of them as `/proc/devices` names them, that the board's file needs. A camera behind a
/// pipe is named by its program only, so whatever that may open is allowed with it.
pub fn devices(board: &Board) -> BTreeSet<String> {
    let mut devices = BTreeSet::new();
    // A link to a port that may be unplugged leads to another number when it is back.
    if board.nodes.iter().any(|node| node.device.starts_with("/dev/serial")) {
        devices.extend(["char-ttyACM", "char-ttyUSB"].map(str::to_owned));
    }
    let mut add = |path: Option<&Path>| {
        // A path with blanks or percent signs would not survive the unit's syntax; no device node has them.
        let text = path.and_then(Path::to_str).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
        if text.starts_with("/dev/") && text.chars().all(plain) {
            devices.insert(text.to_owned());
        }
    };
    for bus in board.buses.iter().filter(|bus| bus.driver != Driver::Simulated) {
        add(bus.device.as_deref());
    }
    for camera in board.cameras.iter().filter(|camera| camera.kind == CameraKind::V4l2) {
        add(camera.device.as_deref());
    }
    for node in &board.nodes {
        add(Some(&node.device));
    }
    match board.pins.as_ref() {
        // rppal maps registers through gpiomem (gpiomem0 on a Raspberry Pi 5) and hears interrupts from the chips.
        Some(pins) if pins.driver == Driver::Rppal => {
            for node in ["/dev/gpiomem", "/dev/gpiomem0", "/dev/gpiochip0", "/dev/gpiochip4"] {
                add(Some(Path::new(node)));
            }
        }
        Some(pins) if pins.driver == Driver::Linux => add(pins.device.as_deref()),
        _ => {}
    }
    for camera in board.cameras.iter().filter(|camera| camera.kind == CameraKind::Pipe) {
        let argus = camera.command_line().iter().any(|word| word.contains("nvargus"));
        let classes: &[&str] = if argus {
            &["char-nvhost", "char-nvmap", "char-nvidia", "char-drm", "char-video4linux"]
        } else {
            &["char-video4linux", "char-media", "char-dma_heap"]
        };
        devices.extend(classes.iter().map(|class| (*class).to_owned()));
    }
    devices
}
