#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::fs;

use proptest::prelude::*;

use super::*;

fn text_of(name: &str) -> &'static str {
    Board::text_of(name).unwrap()
}

fn error_of(text: &str) -> String {
    Board::from_toml(text, "mine.toml").unwrap_err().to_string()
}

#[test]
fn built_in_boards_are_valid_and_carry_their_own_names() {
    assert_eq!(Board::names().count(), 9);
    for name in Board::names() {
        let board = Board::named(name).unwrap();
        assert_eq!(board.name, name);
        assert!(!board.title.is_empty());
        assert!(board.to_string().contains(&board.title), "{board}");
    }
    let pi = Board::named("rpi4").unwrap();
    assert_eq!(pi.imu().unwrap().mpu_config(), Some(MpuConfig::default()));
    assert_eq!(pi.bus("i2c1").unwrap().node(), Some((1, 0)));
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let text = Board::named("rpi9").unwrap_err().to_string();
    assert!(text.contains("rpi9") && text.contains("rpi3, rpi4, rpi5"), "{text}");
}

#[test]
fn a_copied_file_is_read_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, text_of("rpi5")).unwrap();
    assert_eq!(Board::named_or_file(path.to_str().unwrap()).unwrap(), Board::named("rpi5").unwrap());
    assert!(matches!(Board::named_or_file("rpi5.toml"), Err(BoardError::Io { .. })));
}

#[test]
fn unknown_keys_are_refused_by_name_at_every_level() {
    for (from, to) in [
        ("name =", "colour = 1\nname ="),
        ("driver = \"rppal\"\ndevice", "colour = 1\ndriver = \"rppal\"\ndevice"),
        ("rate_hz = 100", "rate_hz = 100\ncolour = 1"),
        ("compatible =", "colour = 1\ncompatible ="),
        ("format =", "colour = 1\nformat ="),
        ("header = 11", "colour = 1, header = 11"),
        ("zones =", "colour = 1\nzones ="),
        ("least_mb =", "colour = 1\nleast_mb ="),
        ("duty =", "colour = 1\nduty ="),
    ] {
        let text = error_of(&text_of("rpi4").replacen(from, to, 1));
        assert!(text.contains("mine.toml") && text.contains("colour"), "{from}: {text}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_key_and_what_is_allowed() {
    for (from, to, key, allowed) in [
        ("name = \"rpi4\"", "name = \"RPi 4\"", "name", "a-z, 0-9 and -"),
        ("0x68", "0x40", "sensors.imu.address", "0x68 to 0x69"),
        ("0x68", "0x76", "sensors.imu.address", "0x68 to 0x69"),
        ("rate_hz = 100", "rate_hz = 99", "sensors.imu.rate_hz", "a divisor of 1000"),
        ("rate_hz = 1\n", "rate_hz = 90\n", "sensors.air.rate_hz", "1 to 50"),
        ("_g = 4", "_g = 5", "sensors.imu.accel_full_scale_g", "2, 4, 8 or 16"),
        ("gyro_full_scale_dps = 500", "", "sensors.imu.gyro_full_scale_dps = absent", "250, 500"),
        ("bus = \"i2c1\"", "bus = \"i2c9\"", "sensors.imu.bus", "i2c1"),
        ("\"/dev/i2c-1\"", "\"/dev/ttyS0\"", "buses.i2c1.device", "/dev/i2c-"),
        ("\"/dev/i2c-1\"", "\"/dev/i2c-x\"", "buses.i2c1.device", "/dev/i2c-N"),
        ("kind = \"i2c\"", "kind = \"spi\"", "buses.i2c1.device", "/dev/spidev"),
        ("name = \"air\"", "name = \"imu\"", "sensors[1].name", "no other"),
        ("width = 640", "width = 0", "cameras.csi.width", "8 to 4096"),
        ("\"/dev/video0\"", "\"/etc/../dev/video0\"", "cameras.usb.device", "/dev/video"),
        ("\"/dev/video0\"", "\"/dev/v4l/../video0\"", "cameras.usb.device", "/dev/v4l/"),
        ("format = \"mjpeg\"", "", "cameras.csi.format", "mjpeg, yuyv, nv12 or grey"),
        ("\"mjpeg\"\nwidth = 640", "\"yuyv\"\nwidth = 641", "cameras.csi.width", "even"),
        (
            "\"mjpeg\"\nwidth = 640\nheight = 480",
            "\"nv12\"\nwidth = 640\nheight = 481",
            "cameras.csi.height",
            "even",
        ),
        ("line = 27, header", "line = 17, header", "pins.status_led.line", "no other pin"),
        ("line = 17", "line = 99", "pins.label_button.line", "0 to 27"),
        ("line = 17", "line = \"A\"", "pins.label_button.line", "a number"),
        ("slow_c = 70.0", "slow_c = 90.0", "thermal.stop_c", "90 (thermal.slow_c)"),
        ("\"/sys/devices", "\"/etc/devices", "thermal.throttle", "/sys/"),
        ("least_mb = 1024", "least_mb = 1", "memory.least_mb", "64 to"),
        ("duty = 0.25", "duty = nan", "budget.duty", "0 to 1"),
        ("memory_mb = 512", "memory_mb = 1", "budget.memory_mb", "16 to"),
    ] {
        let changed = text_of("rpi4").replacen(from, to, 1);
        assert_ne!(changed, text_of("rpi4"), "{from}");
        let text = error_of(&changed);
        assert!(text.contains("mine.toml") && text.contains(key) && text.contains(allowed), "{from}: {text}");
    }
}

#[test]
fn a_word_that_is_no_choice_is_answered_with_the_choices() {
    for (from, to, choice) in [
        ("mpu6050", "mpu9999", "icm20948"),
        ("\"rppal\"", "\"wiringpi\"", "simulated"),
        ("\"pipe\"", "\"webcam\"", "v4l2"),
        ("format = \"mjpeg\"", "format = \"h264\"", "yuyv"),
        ("line = 17", "line = []", "a line's number or its name"),
    ] {
        let text = error_of(&text_of("rpi4").replacen(from, to, 1));
        assert!(text.contains("mine.toml") && text.contains(choice), "{from}: {text}");
    }
}

#[test]
fn chips_are_held_to_what_only_they_can_do() {
    let sensor = |lines: &str| {
        let text = text_of("generic-linux");
        let bus = "[[buses]]\nname = \"b\"\nkind = \"spi\"\ndriver = \"linux\"\ndevice = \"/dev/spidev0.0\"\nclock_hz = 1000000\n";
        format!("{text}\n{bus}[[sensors]]\nname = \"s\"\n{lines}\n")
    };
    let scales = "accel_full_scale_g = 4\ngyro_full_scale_dps = 500";
    let spi = format!("chip = \"bmi270\"\nbus = \"b\"\nrate_hz = 100\n{scales}");
    assert!(error_of(&sensor(&spi)).contains("sensors.s.firmware"));
    let whole = format!("{spi}\nfirmware = \"/lib/firmware/bmi270.fw\"");
    Board::from_toml(&sensor(&whole), "mine.toml").unwrap();
    for (lines, key) in [
        ("chip = \"lm75\"\nbus = \"b\"\nrate_hz = 1", "sensors.s.bus"),
        ("chip = \"bme280\"\nbus = \"b\"\nrate_hz = 1\naddress = 0x76", "sensors.s.address"),
        ("chip = \"bme280\"\nbus = \"b\"\nrate_hz = 1\ntrust_chip_id = true", "sensors.s.trust_chip_id"),
        (
            "chip = \"bme280\"\nbus = \"b\"\nrate_hz = 1\naccel_full_scale_g = 4",
            "sensors.s.accel_full_scale_g",
        ),
        ("chip = \"iio\"\nrate_hz = 10", "sensors.s.iio_name"),
        ("chip = \"iio\"\nrate_hz = 10\niio_name = \"../x\"", "sensors.s.iio_name"),
    ] {
        let text = error_of(&sensor(lines));
        assert!(text.contains(key), "{lines}: {text}");
    }
}

#[test]
fn two_sensors_do_not_share_an_address() {
    let text =
        text_of("rpi4").replacen("chip = \"bme280\"", "chip = \"mpu6500\"", 1).replacen("0x76", "0x68", 1);
    let text = text.replacen(
        "rate_hz = 1\n",
        "rate_hz = 100\naccel_full_scale_g = 4\ngyro_full_scale_dps = 500\n",
        1,
    );
    let said = error_of(&text);
    assert!(said.contains("sensors.air.address = 0x68") && said.contains("other than that of imu"), "{said}");
}

#[test]
fn a_pipes_numbers_are_filled_in() {
    let board = Board::named("jetson-orin-nano").unwrap();
    let words = board.cameras[0].command_line();
    assert_eq!(words[0], "gst-launch-1.0");
    assert!(
        words.iter().any(|word| word.contains("width=1280,height=720,") && word.contains("framerate=30/1"))
    );
}

#[test]
fn a_missing_or_huge_file_is_named() {
    let text = Board::load(Path::new("no/such/board.toml")).unwrap_err().to_string();
    assert!(text.contains("no/such/board.toml"), "{text}");
    assert!(matches!(Board::load(Path::new("/dev/zero")), Err(BoardError::TooLarge { .. })));
}

/// A machine with this command line, `compatible` and `model`.
fn machine(cmdline: &str, compatible: &str, model: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("proc/device-tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(root.path().join("proc/cmdline"), cmdline).unwrap();
    fs::write(tree.join("compatible"), compatible).unwrap();
    fs::write(tree.join("model"), model).unwrap();
    root
}

#[test]
fn every_board_with_a_device_tree_is_known_by_it() {
    let pi3 = "raspberrypi,3-model-b\0brcm,bcm2837\0";
    for (cmdline, compatible, model, name) in [
        ("quiet", pi3, "Raspberry Pi 3 Model B Rev 1.2\0", "rpi3"),
        ("quiet sedge.board=virtual-pi\n", pi3, "Raspberry Pi 3 Model B\0", "virtual-pi"),
        ("", "raspberrypi,4-model-b\0brcm,bcm2711\0", "Raspberry Pi 4 Model B Rev 1.4\0", "rpi4"),
        ("", "unheard,of\0", "Raspberry Pi 5\0", "rpi5"),
        ("", "raspberrypi,model-zero-2-w\0brcm,bcm2837\0", "Raspberry Pi Zero 2 W Rev 1.0\0", "rpi-zero-2w"),
        ("", "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0", "", "jetson-orin-nano"),
        ("", "nvidia,p3509-0000+p3668-0000\0nvidia,tegra194\0", "", "jetson-xavier-nx"),
    ] {
        let root = machine(cmdline, compatible, model);
        let found = detect(root.path()).unwrap();
        assert_eq!(found.board.name, name);
        assert_ne!(found.evidence, Evidence::Fallback);
    }
}

#[test]
fn what_is_not_known_is_any_linux() {
    // A Raspberry Pi 500 is not a Pi 5, whatever its name begins with.
    for root in [machine("", "raspberrypi,500\0", "Raspberry Pi 500 Rev 1.0\0"), tempfile::tempdir().unwrap()]
    {
        let found = detect(root.path()).unwrap();
        assert_eq!((found.board.name.as_str(), found.evidence), ("generic-linux", Evidence::Fallback));
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = Board::from_toml(&text, "any");
    }

    #[test]
    fn no_number_panics(address: i64, rate: i64, g: i64, duty: f64, line: i64) {
        let text = text_of("rpi4")
            .replace("0x68", &address.to_string())
            .replace("rate_hz = 100", &format!("rate_hz = {rate}"))
            .replace("_g = 4", &format!("_g = {g}"))
            .replace("line = 17", &format!("line = {line}"))
            .replace("0.25", &format!("{duty:?}"));
        let _ = Board::from_toml(&text, "any");
    }

    #[test]
    fn no_words_panic(word in "\\PC{0,40}") {
        let quoted = toml::Value::String(word).to_string();
        for from in ["\"rpi4\"", "\"/dev/i2c-1\"", "\"i2c1\"", "\"rpicam-vid\"", "\"/dev/video0\"", "\"cpu-thermal\""] {
            let _ = Board::from_toml(&text_of("rpi4").replacen(from, &quoted, 1), "any");
        }
    }
}

/// A board with two microcontrollers.
fn with_nodes() -> String {
    let node = |name: &str, port: u8| {
        format!(
            "[[nodes]]\nname = \"{name}\"\ndevice = \"/dev/ttyACM{port}\"\nbaud = 921600\nrate_hz = 200\n\
             accel_full_scale_g = 8\ngyro_full_scale_dps = 1000\n"
        )
    };
    format!("{}\n{}{}", text_of("generic-linux"), node("wrist", 0), node("ankle", 1))
}

#[test]
fn nodes_are_read_and_told() {
    let board = Board::from_toml(&with_nodes(), "mine.toml").unwrap();
    assert_eq!((board.nodes.len(), board.nodes[0].elf.as_ref(), board.nodes[0].queue), (2, None, false));
    let text = board.to_string();
    assert!(text.contains("ankle: a microcontroller at /dev/ttyACM1, 921600 baud, 200 Hz, ±8 g"), "{text}");
}

#[test]
fn a_node_that_cannot_be_is_named_with_its_key() {
    for (from, to, key, allowed) in [
        ("\"/dev/ttyACM0\"", "\"/etc/x\"", "nodes.wrist.device", "/dev/"),
        ("\"/dev/ttyACM1\"", "\"/dev/ttyACM0\"", "nodes.ankle.device", "other than that of wrist"),
        ("baud = 921600", "baud = 300", "nodes.wrist.baud", "9600 to 4000000"),
        ("rate_hz = 200", "rate_hz = 2", "nodes.wrist.rate_hz", "4 to 1000"),
        ("rate_hz = 200", "rate_hz = 200\nelf = \"x.elf\"", "nodes.wrist.elf", "begins with /"),
        ("_g = 8", "_g = 3", "nodes.wrist.accel_full_scale_g", "2, 4, 8 or 16"),
        ("_dps = 1000", "_dps = 3", "nodes.wrist.gyro_full_scale_dps", "250, 500"),
        ("\"ankle\"", "\"wrist\"", "nodes[1].name", "no other"),
        ("baud = 921600", "baud = 921600\ncolour = 1", "colour", "unknown field"),
    ] {
        let text = error_of(&with_nodes().replacen(from, to, 1));
        assert!(text.contains(key) && text.contains(allowed), "{from}: {text}");
    }
}

#[test]
fn a_camera_may_be_named_by_its_socket_and_a_simulated_one_is_square() {
    let by_path = "\"/dev/v4l/by-path/platform-fd500000.pcie-usb-0:1.1:1.0-video-index0\"";
    let changed = text_of("rpi4").replace("\"/dev/video0\"", by_path);
    assert!(Board::from_toml(&changed, "rpi4").is_ok());
    let text = text_of("sim");
    for (from, to, key) in [
        ("width = 64\nheight = 64", "width = 640\nheight = 640", "cameras.eye.width"),
        ("width = 64\nheight = 64", "width = 64\nheight = 96", "cameras.eye.height"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(error_of(&changed).contains(key));
    }
    let exposed = text_of("rpi4").replace("\"/dev/video0\"", "\"/dev/video0\"\nexposure_us = 99");
    assert!(error_of(&exposed).contains("cameras.usb.exposure_us"));
}
