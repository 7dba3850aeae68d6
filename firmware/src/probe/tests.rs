#![allow(clippy::unwrap_used)]
use std::fs;

use super::*;

/// A machine of these files below a folder.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn of<'a>(report: &'a ProbeReport, name: &str) -> &'a Probed {
    report.devices.iter().find(|device| device.name == name).unwrap()
}

#[test]
fn a_pi_without_its_devices_is_known_and_each_silence_has_its_reason() {
    let root = machine(&[
        ("proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0"),
        ("proc/meminfo", "MemTotal:        3884344 kB\nMemFree: 1 kB\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n"),
        ("dev/video0", ""),
        ("dev/gpiomem", ""),
    ]);
    let report = probe(root.path(), None).unwrap();
    assert_eq!(report.board.name, "rpi4");
    assert!(report.why.contains("raspberrypi,4-model-b"), "{}", report.why);
    // A file is no camera, whatever lies beside it, and is told from one that is not there.
    let usb = of(&report, "usb").answer.as_ref().unwrap_err();
    assert!(matches!(usb, Silence::Camera(CameraError::NoCamera { .. })), "{usb}");
    assert!(usb.to_string().contains("dev/video0 is no camera"), "{usb}");
    assert_eq!(of(&report, "heat").answer.as_ref().unwrap(), "48.3 °C, not throttled");
    assert_eq!(of(&report, "memory").answer.as_ref().unwrap(), "3793 MiB");
    assert!(of(&report, "pins").answer.as_ref().unwrap().contains("gpiomem"));
    let text = report.to_string();
    assert!(text.starts_with("rpi4: Raspberry Pi 4 Model B"), "{text}");
    assert!(text.ends_with(&format!("of {} answer", report.devices.len())), "{text}");
}

#[test]
fn a_machine_with_nothing_is_asked_everything_and_answers_why_not() {
    let root = machine(&[]);
    let report = probe(root.path(), Some("virtual-pi")).unwrap();
    assert!(matches!(of(&report, "test-pattern").answer, Err(Silence::Camera(CameraError::Open { .. }))));
    assert!(matches!(of(&report, "pins").answer, Err(Silence::Missing { .. })));
    assert!(matches!(of(&report, "memory").answer, Err(Silence::Io { .. })));
    let report = probe(root.path(), Some("rpi5")).unwrap();
    assert!(matches!(of(&report, "heat").answer, Err(Silence::Heat(HeatError::NoZone { .. }))));
}

#[test]
fn the_simulated_board_answers_on_any_machine() {
    let root = machine(&[("proc/meminfo", "MemTotal: 100000000 kB\n")]);
    let report = probe(root.path(), Some("sim")).unwrap();
    let silent: Vec<_> = report.devices.iter().filter(|device| device.answer.is_err()).collect();
    assert!(silent.is_empty(), "{silent:?}");
    assert!(of(&report, "imu").answer.as_ref().unwrap().contains("9.81 m/s²"));
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["board"], "sim");
    assert_eq!(json["devices"][0]["part"], "sensor");
    assert_eq!(json["devices"][0]["answers"], true);
}

#[test]
fn too_little_memory_is_said_with_both_numbers() {
    let root = machine(&[("proc/meminfo", "MemTotal: 102400 kB\n")]);
    let report = probe(root.path(), Some("sim")).unwrap();
    let silence = of(&report, "memory").answer.as_ref().unwrap_err();
    assert!(matches!(silence, Silence::Memory { found_mb: 100, budget_mb: 256 }), "{silence}");
}

#[test]
fn a_board_that_is_not_known_is_refused() {
    assert!(matches!(probe(Path::new("/"), Some("rpi9")), Err(ProbeError::Board(_))));
}
