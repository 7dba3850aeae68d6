//! The units, read as systemd reads them, and by systemd itself where it is here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::path::Path;
use std::process::Command;

use sedge_boards::Board;
use sedge_deploy::Prefix;
use sedge_deploy::units::{GROUPS, PREPARE_UNIT, UNIT, prepare_unit, unit};

/// Sections and their keys, in the order in which they stand.
fn parsed(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut keys = vec![];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no key"));
            keys.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    keys
}

fn values(text: &str, key: &str) -> Vec<String> {
    parsed(text).into_iter().filter(|(_, found, _)| found == key).map(|(.., value)| value).collect()
}

fn of(board: &str) -> String {
    unit(&Board::named(board).unwrap(), &Prefix::default(), "0a1b-2c3d")
}

#[test]
fn the_unit_says_how_the_daemon_is_run_and_watched() {
    let text = of("virtual-pi");
    for (key, expected) in [
        ("Type", "notify"),
        ("WatchdogSec", "30"),
        ("Restart", "on-failure"),
        ("StartLimitBurst", "5"),
        ("User", "sedge"),
        ("StateDirectory", "sedge sedge/0a1b-2c3d"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("DevicePolicy", "closed"),
        ("RestrictAddressFamilies", "AF_UNIX"),
        // budget.memory_mb = 128, and duty = 0.25: 50 + 12.5, rounded.
        ("MemoryMax", "128M"),
        ("MemoryHigh", "115M"),
        ("CPUWeight", "63"),
        (
            "ExecStart",
            "/opt/sedge/current/sedged run --bundle /opt/sedge/current/bundle.sedge --source \
             board:/opt/sedge/current/board.toml --out /var/lib/sedge/0a1b-2c3d --pace realtime",
        ),
    ] {
        assert_eq!(values(&text, key), [expected], "{key}");
    }
    let start = parsed(&text).into_iter().find(|(_, key, _)| key == "StartLimitIntervalSec").unwrap();
    assert_eq!(start.0, "Unit", "systemd ignores it elsewhere");
    assert!(
        !text.contains('@') || !text.replace("@system-service", "").replace("@privileged", "").contains('@')
    );
}

#[test]
fn a_board_gets_its_own_devices_and_no_others() {
    for (board, expected) in [
        (
            "virtual-pi",
            &[
                "/dev/gpiochip0",
                "/dev/gpiochip4",
                "/dev/gpiomem",
                "/dev/gpiomem0",
                "/dev/i2c-1",
                "/dev/video0",
            ][..],
        ),
        ("generic-linux", &["/dev/video0"]),
        ("sim", &[]),
        (
            "jetson-orin-nano",
            &[
                "/dev/gpiochip0",
                "/dev/i2c-7",
                "/dev/video1",
                "char-drm",
                "char-nvhost",
                "char-nvidia",
                "char-nvmap",
                "char-video4linux",
            ],
        ),
    ] {
        let expected: Vec<String> = expected.iter().map(|device| format!("{device} rw")).collect();
        assert_eq!(values(&of(board), "DeviceAllow"), expected, "{board}");
    }
    // Argus is reached by a socket in /tmp, and what feeds a pipe compiles code while it runs.
    assert_eq!(values(&of("jetson-orin-nano"), "PrivateTmp"), ["no"]);
    assert_eq!(values(&of("jetson-orin-nano"), "MemoryDenyWriteExecute"), ["no"]);
    assert_eq!(values(&of("virtual-pi"), "MemoryDenyWriteExecute"), ["yes"]);
}

#[test]
fn a_board_with_microcontrollers_gets_their_ports() {
    let text = |device: &str| {
        let node = format!(
            "\n[[nodes]]\nname = \"arm\"\ndevice = \"{device}\"\nbaud = 921600\nrate_hz = 100\n\
             accel_full_scale_g = 4\ngyro_full_scale_dps = 500\n"
        );
        let board =
            Board::from_toml(&(Board::text_of("generic-linux").unwrap().to_owned() + &node), "mine.toml");
        values(&unit(&board.unwrap(), &Prefix::default(), "a"), "DeviceAllow")
    };
    assert_eq!(text("/dev/ttyAMA0"), ["/dev/ttyAMA0 rw", "/dev/video0 rw"]);
    let link = "/dev/serial/by-id/usb-arm-if00";
    let wanted = [&format!("{link} rw"), "/dev/video0 rw", "char-ttyACM rw", "char-ttyUSB rw"];
    assert_eq!(text(link), wanted);
}

/// At most 2.5 of 10 in systemd's own count of what a service could still do.
fn assert_hardened(name: &str, unit: &Path) {
    let mut analyze = Command::new("systemd-analyze");
    let security =
        analyze.args(["security", "--offline=true", "--no-pager", "--threshold=25"]).arg(unit).output();
    let security = security.unwrap();
    assert!(security.status.success(), "{name}: {}", String::from_utf8_lossy(&security.stdout));
}

#[test]
fn the_unit_of_the_package_is_taken_and_hardened_too() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/packaging");
    let text = std::fs::read_to_string(packaging.join(UNIT)).unwrap();
    let of_board = of("rpi4");
    for key in
        ["User", "WatchdogSec", "ProtectSystem", "CapabilityBoundingSet", "SystemCallFilter", "DevicePolicy"]
    {
        assert_eq!(values(&text, key), values(&of_board, key), "{key}");
    }
    let users = std::fs::read_to_string(packaging.join("sysusers.conf")).unwrap();
    for group in GROUPS {
        assert!(users.contains(&format!("m sedge {group}\n")), "{group}");
    }
    for script in ["postinst", "prerm"] {
        let parsed =
            Command::new("sh").arg("-n").arg(packaging.join("debian").join(script)).status().unwrap();
        assert!(parsed.success(), "{script}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: systemd-analyze of the package's unit (apt install systemd)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(UNIT);
    std::fs::write(&path, text.replace("/usr/bin/sedged", "/bin/sh")).unwrap();
    let verified = Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains("sedged.service"), "{said}");
    assert_hardened("the package", &path);
}

#[test]
fn systemd_takes_the_units_of_every_board_and_finds_them_hardened() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: systemd-analyze of the units (apt install systemd)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Programs named in a unit have to be there, as executables.
    let prefix = folder.path().join("sedge");
    std::fs::create_dir_all(prefix.join("current")).unwrap();
    std::fs::copy("/bin/sh", prefix.join("current/sedged")).unwrap();
    let prefix = Prefix::new(prefix.to_str().unwrap()).unwrap();
    for name in Board::names() {
        let board = Board::named(name).unwrap();
        let paths = [UNIT, PREPARE_UNIT].map(|file| folder.path().join(file));
        std::fs::write(&paths[0], unit(&board, &prefix, "0a1b-2c3d")).unwrap();
        std::fs::write(&paths[1], prepare_unit(&prefix)).unwrap();
        let verified =
            Command::new("systemd-analyze").args(["--man=no", "verify"]).args(&paths).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        // It looks at this machine's own units too, and says what it thinks of them.
        let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("sedge")).collect();
        assert!(verified.status.success() && about_ours.is_empty(), "{name}: {said}");
        assert_hardened(name, &paths[0]);
    }
}
