#![allow(clippy::unwrap_used)]
use sedge_boards::board::PixelFormat;
use sedge_boards::fault::{Faults, Faulty};
use sedge_readings::NoData;

use super::*;

fn spec(kind: CameraKind) -> CameraSpec {
    CameraSpec {
        name: "eye".into(),
        kind,
        device: None,
        command: None,
        format: None,
        width: 64,
        height: 64,
        rate_hz: 20,
        exposure_us: None,
    }
}

/// A program that gives frames of grey until there is a file, and none while it is there.
fn grey_until(file: &Path) -> CameraSpec {
    let file = file.display();
    let script = format!("while [ ! -e {file} ]; do head -c 4096 /dev/zero; sleep 0.02; done; exit 1");
    let command = Some(["sh", "-c", &script].map(str::to_owned).to_vec());
    CameraSpec { command, format: Some(PixelFormat::Grey), rate_hz: 50, ..spec(CameraKind::Pipe) }
}

#[test]
fn a_program_that_ends_is_gone_until_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("unplugged");
    let mut camera = BoardCamera::open(&grey_until(&file)).unwrap();
    let now = Timestamp::from_nanos(10_000_000_000);
    assert_eq!(camera.read(now).value.unwrap().rgb(), [0; 64 * 64 * 3]);
    std::fs::write(&file, "").unwrap();
    let reading = (0..100).map(|_| camera.read(now)).find(|reading| reading.value.is_err()).unwrap();
    assert_eq!(reading.value, Err(NoData::Bus));
    assert!(!camera.is_open());
    assert!(matches!(camera.trouble(), Some(CameraError::Ended { .. })));
    assert!(camera.reopen().is_err());
    assert_eq!(camera.read(now), Reading { at: now, value: Err(NoData::Bus) });
    std::fs::remove_file(&file).unwrap();
    camera.reopen().unwrap();
    assert!(camera.read(now).value.is_ok() && camera.trouble().is_none());
}

#[test]
fn a_simulated_camera_gives_the_rigs_frames_at_the_time_they_are_asked_for() {
    let mut camera = BoardCamera::open(&spec(CameraKind::Simulated)).unwrap();
    let config = sedge_boards::sim::RigConfig { seconds: 600, ..Default::default() };
    let frames = sedge_boards::sim::Rig::new(config).unwrap().filter_map(|event| match event {
        sedge_readings::Event::Frame(reading) => Some(reading.value.unwrap()),
        sedge_readings::Event::Imu(_) => None,
    });
    for (n, frame) in frames.take(3).enumerate() {
        let now = Timestamp::from_nanos(n as u64);
        assert_eq!(camera.read(now), Reading { at: now, value: Ok(frame) });
    }
    let wide = CameraSpec { width: 96, ..spec(CameraKind::Simulated) };
    assert!(matches!(BoardCamera::open(&wide), Err(CameraError::Setting { key: "height", .. })));
    let large = CameraSpec { width: 640, height: 640, ..spec(CameraKind::Simulated) };
    assert!(matches!(BoardCamera::open(&large), Err(CameraError::Simulated { .. })));
}

#[test]
fn faults_wrap_a_camera() {
    let camera = BoardCamera::open(&spec(CameraKind::Simulated)).unwrap();
    let faults = Faults { drop_out: 0.5, bit_flip: 1.0, ..Faults::default() };
    let mut camera = Faulty::new(camera, faults, 3);
    let mut same = BoardCamera::open(&spec(CameraKind::Simulated)).unwrap();
    let mut lost = 0;
    for n in 0..20 {
        let now = Timestamp::from_nanos(n);
        let whole = same.read(now).value.unwrap();
        match camera.read(now).value {
            Err(reason) => lost += u32::from(reason == NoData::DropOut),
            Ok(flipped) => {
                let changed: u32 =
                    whole.rgb().iter().zip(flipped.rgb()).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert_eq!(changed, 1);
            }
        }
    }
    assert!((4..=16).contains(&lost), "{lost}");
}
