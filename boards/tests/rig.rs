//! The simulated rig as a stream: order, determinism, physics, and what each shift does to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sedge_boards::Board;
use sedge_boards::sim::{CameraSize, FloorKind, Rig, RigConfig, RigError, Shift};
use sedge_readings::{Event, Frame, ImuSample, NoData, Timestamp};

fn rig(spec: &str) -> Rig {
    Rig::new(spec.parse().unwrap()).unwrap()
}

fn frames(spec: &str) -> Vec<Frame> {
    let frame = |event| match event {
        Event::Frame(reading) => reading.value.ok(),
        Event::Imu(_) => None,
    };
    rig(spec).filter_map(frame).collect()
}

fn samples(spec: &str) -> Vec<(Timestamp, ImuSample)> {
    let sample = |event| match event {
        Event::Imu(reading) => Some((reading.at, reading.value.unwrap())),
        Event::Frame(_) => None,
    };
    rig(spec).filter_map(sample).collect()
}

fn mean(frame: &Frame) -> f64 {
    frame.rgb().iter().map(|&v| f64::from(v)).sum::<f64>() / frame.rgb().len() as f64
}

fn deviation(frame: &Frame) -> f64 {
    let mean = mean(frame);
    let sum: f64 = frame.rgb().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
    (sum / frame.rgb().len() as f64).sqrt()
}

#[test]
fn events_come_in_order_at_their_rates_with_the_imu_first() {
    let events: Vec<Event> = rig("sim:seconds=3,rooms=2").collect();
    assert!(events.windows(2).all(|pair| pair[0].at() <= pair[1].at()));
    let imu = events.iter().filter(|e| matches!(e, Event::Imu(_))).count();
    assert_eq!((imu, events.len() - imu), (300, 60));
    assert!(matches!(events[0], Event::Imu(_)) && matches!(events[1], Event::Frame(_)));
    assert_eq!(events.last().unwrap().at(), Timestamp::from_nanos(2_990_000_000));
    for (k, event) in events.iter().filter(|e| matches!(e, Event::Frame(_))).enumerate() {
        assert_eq!(event.at().nanos(), k as u64 * 50_000_000);
    }
}

#[test]
fn frames_have_the_size_asked_for() {
    for (size, pixels) in [(CameraSize::Px64, 64), (CameraSize::Px96, 96)] {
        let config = RigConfig { camera: size, rooms: 1, seconds: 1, ..RigConfig::default() };
        let mut found = Rig::new(config).unwrap().filter_map(|event| match event {
            Event::Frame(reading) => reading.value.ok(),
            Event::Imu(_) => None,
        });
        let frame = found.next().unwrap();
        assert_eq!((frame.width(), frame.height()), (pixels, pixels));
    }
}

#[test]
fn equal_configurations_give_equal_streams_and_each_seed_matters() {
    let stream = |spec: &str| rig(spec).collect::<Vec<Event>>();
    let spec = "sim:seconds=3,rooms=3,shift=all";
    let first = stream(spec);
    assert_eq!(first, stream(spec));
    for other in ["building=2", "drive=2", "robot=2"] {
        assert_ne!(first, stream(&format!("{spec},{other}")), "{other}");
    }
}

/// FNV-1a over a whole stream. The number was made on x86-64; equal streams on every machine are
/// promised, so it must come out everywhere. A change to how the rig looks or moves changes it.
#[test]
fn the_stream_is_the_same_on_every_machine() {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut eat = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    for event in rig("sim:building=5,drive=3,seconds=4,rooms=4,shift=all") {
        match event {
            Event::Frame(reading) => reading.value.iter().for_each(|frame| eat(frame.rgb())),
            Event::Imu(reading) => {
                let channels = reading.value.unwrap().channels();
                channels.iter().for_each(|c| eat(&c.to_le_bytes()));
            }
        }
    }
    assert_eq!(format!("{hash:016x}"), "e2a4f93eaf81cc94");
}

#[test]
fn at_rest_the_accelerometer_feels_gravity_and_nothing_else() {
    // Every drive begins with a second of rest.
    let samples = samples("sim:seconds=1,rooms=1");
    for (at, sample) in samples.iter().take(95) {
        let [x, y, z] = sample.accel.map(f64::from);
        let norm = (x * x + y * y + z * z).sqrt();
        // Bias up to 0.12 an axis, noise of 0.026 bounded by 3.45 deviations.
        assert!((norm - 9.80665).abs() < 0.25, "{at:?}: {norm}");
    }
}

#[test]
fn the_gyroscope_integrates_to_the_change_of_heading() {
    for drive in 1..=3 {
        let spec = format!("sim:drive={drive},seconds=40,rooms=4");
        let truths = rig(&spec).truths();
        let samples = samples(&spec);
        // The first 0.9 s are at rest and give the bias, as on a real robot.
        let bias: f64 = samples.iter().take(90).map(|(_, s)| f64::from(s.gyro[2])).sum::<f64>() / 90.0;
        let (mut heading, mut wound) = (0.0, 0.0);
        let mut before = truths.at(samples[0].0).pose.heading;
        for (at, sample) in &samples {
            let now = truths.at(*at).pose.heading;
            let turned = (now - before + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU)
                - std::f64::consts::PI;
            wound += turned;
            before = now;
            let error: f64 = heading - wound;
            assert!(error.abs() < 0.05, "drive {drive} at {at:?}: off by {error} rad");
            heading += (f64::from(sample.gyro[2]) - bias) * 0.01;
        }
        assert!(wound.abs() > 0.1 || samples.iter().any(|(_, s)| s.gyro[2].abs() > 0.5), "it turned");
    }
}

#[test]
fn turning_left_while_driving_presses_to_the_left() {
    let spec = "sim:seconds=60,rooms=4";
    let truths = rig(spec).truths();
    // Regress the lateral force on speed times turn: the slope of a centripetal term is one.
    let (mut xx, mut xy, mut n, mut sx, mut sy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (at, sample) in samples(spec) {
        let pose = truths.at(at).pose;
        let (x, y) = (pose.speed * pose.turn, f64::from(sample.accel[1]));
        (xx, xy, n, sx, sy) = (xx + x * x, xy + x * y, n + 1.0, sx + x, sy + y);
    }
    let slope = (xy - sx * sy / n) / (xx - sx * sx / n);
    assert!((slope - 1.0).abs() < 0.25, "{slope}");
}

#[test]
fn floors_differ_in_the_shape_of_their_spectrum() {
    let spec = "sim:seconds=90,rooms=4,building=3";
    let truths = rig(spec).truths();
    let samples = samples(spec);
    let mut spectra = [[0.0f64; 64]; 4];
    for window in samples.chunks_exact(128) {
        let here: Vec<_> = window.iter().map(|(at, _)| truths.at(*at)).collect();
        if here.iter().any(|t| t.floor != here[0].floor || t.pose.speed < 0.2) {
            continue;
        }
        for (k, power) in spectra[here[0].floor.index()].iter_mut().enumerate().skip(1) {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, (_, sample)) in window.iter().enumerate() {
                let phase = std::f64::consts::TAU * (k * i) as f64 / 128.0;
                re += f64::from(sample.accel[2]) * phase.cos();
                im += f64::from(sample.accel[2]) * phase.sin();
            }
            *power += re * re + im * im;
        }
    }
    // Share of the power in the band that each floor is known for, in bins of 0.78 Hz.
    let share = |floor: FloorKind, hz: std::ops::Range<f64>| {
        let spectrum = &spectra[floor.index()];
        let band = (1..64).filter(|&k| hz.contains(&(k as f64 * 100.0 / 128.0)));
        band.map(|k| spectrum[k]).sum::<f64>() / spectrum.iter().sum::<f64>()
    };
    let bands =
        [(FloorKind::Tile, 29.0..38.0), (FloorKind::Carpet, 2.0..10.0), (FloorKind::Wood, 14.0..20.0)];
    for (floor, band) in bands {
        for other in FloorKind::ALL.into_iter().filter(|&other| other != floor) {
            let (own, theirs) = (share(floor, band.clone()), share(other, band.clone()));
            assert!(own > 1.3 * theirs, "{floor:?} {own} against {other:?} {theirs} in {band:?} Hz");
        }
    }
}

#[test]
fn drop_outs_come_at_their_rate_and_change_nothing_else() {
    let clear = frames("sim:seconds=30,rooms=1");
    let mut lost = 0u32;
    let mut all = 0usize;
    for event in rig("sim:seconds=30,rooms=1,shift=drop-outs:0.25") {
        if let Event::Frame(reading) = event {
            match reading.value {
                Ok(frame) => assert_eq!(frame, clear[all]),
                Err(reason) => {
                    assert_eq!(reason, NoData::DropOut);
                    lost += 1;
                }
            }
            all += 1;
        }
    }
    // 600 frames: 150 lost, five standard deviations of sqrt(600 * 0.25 * 0.75).
    assert_eq!(all, 600);
    assert!((97..=203).contains(&lost), "{lost} of 600 lost");
}

#[test]
fn dusk_darkens_warms_and_roughens() {
    let (day, dusk) = (frames("sim:seconds=4,rooms=2"), frames("sim:seconds=4,rooms=2,shift=dusk"));
    let total = |frames: &[Frame]| frames.iter().map(mean).sum::<f64>() / frames.len() as f64;
    assert!(total(&dusk) < 0.8 * total(&day), "{} {}", total(&dusk), total(&day));
    let warmth = |frames: &[Frame]| {
        let channel = |c: usize| -> f64 {
            frames.iter().flat_map(|f| f.rgb().chunks_exact(3)).map(|p| f64::from(p[c])).sum()
        };
        channel(0) / channel(2)
    };
    assert!(warmth(&dusk) > 1.15 * warmth(&day));
    // The robot rests in the first second: frames there differ by noise alone.
    let noise = |frames: &[Frame]| {
        let pairs = frames[10].rgb().iter().zip(frames[11].rgb());
        pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>().sqrt()
    };
    assert!(noise(&dusk) > 1.2 * noise(&day), "{} {}", noise(&dusk), noise(&day));
}

#[test]
fn fog_and_dirt_take_contrast() {
    let contrast = |shift: &str| {
        let frames = frames(&format!("sim:seconds=4,rooms=2,shift={shift}"));
        frames.iter().map(deviation).sum::<f64>() / frames.len() as f64
    };
    let clear = contrast("none");
    assert!(contrast("fog") < 0.8 * clear && contrast("dirty-lens") < 0.95 * clear);
    assert!(contrast("fog:0.5") > contrast("fog"));
}

#[test]
fn bias_drifts_slowly_and_only_when_asked() {
    let (still, adrift) =
        (samples("sim:seconds=30,rooms=1"), samples("sim:seconds=30,rooms=1,shift=bias-drift"));
    let gap = |second: usize| {
        let range = second * 100..second * 100 + 50;
        let apart = still[range.clone()].iter().zip(&adrift[range]).map(|(a, b)| b.1.gyro[2] - a.1.gyro[2]);
        apart.sum::<f32>().abs() / 50.0
    };
    assert!(gap(0) < 0.01, "{}", gap(0));
    assert!(gap(25) > 0.03, "{}", gap(25));
}

#[test]
fn a_failing_bus_is_a_reading_without_a_value() {
    let mut rig = rig("sim:seconds=1,rooms=1");
    rig.bus_mut().fail_next(3);
    let failed = |event: &Event| matches!(event, Event::Imu(reading) if reading.value == Err(NoData::Bus));
    let events: Vec<Event> = rig.collect();
    assert_eq!(events.iter().filter(|event| failed(event)).count(), 3);
    assert_eq!(events.len(), 120);
}

#[test]
fn a_board_that_does_not_fit_is_refused_with_its_key() {
    let config = RigConfig { rooms: 1, seconds: 1, shift: Shift::default(), ..RigConfig::default() };
    let on = |board: &Board| Rig::on_board(config.clone(), board).map(|_| ()).unwrap_err();
    let error = on(&Board::named("virtual-pi").unwrap());
    assert!(matches!(&error, RigError::NoSensor { sensor: "imu", .. }), "{error}");
    let mut blind = Board::named("sim").unwrap();
    blind.cameras.clear();
    let error = on(&blind);
    assert!(matches!(&error, RigError::NoSensor { sensor: "camera", .. }), "{error}");
    let mut fast = Board::named("sim").unwrap();
    fast.sensors[0].rate_hz = 250;
    let error = on(&fast).to_string();
    assert!(error.contains("imu.rate_hz = 250") && error.contains("200 Hz"), "{error}");
}

#[test]
fn the_imu_says_the_same_where_no_frame_is_rendered() {
    let spec = "sim:seconds=3,rooms=2,shift=bias-drift";
    let blind: Vec<Event> = rig(spec).without_camera().collect();
    let wanted: Vec<Event> = rig(spec).filter(|event| matches!(event, Event::Imu(_))).collect();
    assert_eq!(blind, wanted);
}
