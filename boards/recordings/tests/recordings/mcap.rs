//! MCAP recordings: a real one against another library's reading of it, and written ones in every
//! layout and byte order.

use crate::common::*;
use ::mcap::Compression;
use sedge_readings::{Event, Frame, NoData, Reading};
use sedge_recordings::{Failure, Limits, McapOptions, McapStream, RecordingError, StreamKind};

const IMU: &str = "sensor_msgs/msg/Imu";
const IMAGE: &str = "sensor_msgs/msg/Image";
const COMPRESSED: &str = "sensor_msgs/msg/CompressedImage";

/// `goldens/make.py` reads the same file with the Python packages mcap and mcap-ros2-support, and
/// its pictures with Pillow.
#[test]
fn a_drone_flight_agrees_with_the_python_readers() {
    let Some(path) = shared("data/streams/gopro_karma.mcap") else { return };
    let golden = golden_values("gopro_karma.txt");
    let mut stream = McapStream::open(&path, &Limits::default()).unwrap();
    let (mut samples, mut frames, mut last) = (Vec::new(), Vec::new(), 0);
    for event in &mut stream {
        let event = event.unwrap();
        assert!(event.at().nanos() >= last, "out of order");
        last = event.at().nanos();
        match event {
            Event::Imu(Reading { at, value }) => samples.push((at.nanos(), value.unwrap())),
            Event::Frame(Reading { at, value }) => {
                // Only the first and the last are compared; the others need not be kept.
                frames.push((at.nanos(), value.unwrap()));
                if frames.len() > 2 {
                    frames.remove(1);
                }
            }
        }
    }
    let text = |name: &str| golden.get(name).unwrap().as_str();
    assert_eq!(text("imu_count"), samples.len().to_string());
    for (name, (time, sample)) in [("first", samples[0]), ("last", *samples.last().unwrap())] {
        assert_eq!(text(&format!("imu_{name}_time")), time.to_string());
        let wanted: Vec<f32> =
            numbers::<f64>(text(&format!("imu_{name}"))).iter().map(|&v| v as f32).collect();
        assert_eq!(sample.channels().as_slice(), wanted);
    }
    for (channel, wanted) in numbers::<f64>(text("imu_mean")).into_iter().enumerate() {
        let sum: f64 = samples.iter().map(|(_, sample)| f64::from(sample.channels()[channel])).sum();
        let mean = sum / samples.len() as f64;
        assert!((mean - wanted).abs() < 1e-6, "channel {channel}: {mean} {wanted}");
    }
    for (name, (time, frame)) in [("first", &frames[0]), ("last", &frames[1])] {
        assert_eq!(text(&format!("frame_{name}_time")), time.to_string());
        let size = format!("{} {}", frame.height(), frame.width());
        assert_eq!(text(&format!("frame_{name}_height_width")), size);
        let wanted = numbers::<f64>(text(&format!("frame_{name}_mean_rgb")));
        for (mean, wanted) in mean_rgb(frame).into_iter().zip(wanted) {
            assert!((mean - wanted).abs() < 0.5, "{name}: {mean} {wanted}");
        }
    }
    let decoded: Vec<_> =
        stream.counts().topics.iter().map(|t| (t.topic.clone(), t.messages, t.decoded)).collect();
    let frames = text("frame_count").parse().unwrap();
    assert_eq!(decoded, [("/imu".to_owned(), 2397, 2397), ("/camera/compressed".to_owned(), frames, frames)]);
}

fn mean_rgb(frame: &Frame) -> [f64; 3] {
    [0, 1, 2].map(|channel| {
        let values = frame.rgb().iter().skip(channel).step_by(3);
        values.map(|&v| f64::from(v)).sum::<f64>() / (frame.rgb().len() / 3) as f64
    })
}

#[test]
fn every_layout_and_byte_order_gives_the_same_events() {
    let jpeg = std::fs::read(golden("rgb.jpg")).unwrap();
    let mut seen = Vec::new();
    for layout in LAYOUTS {
        for big in [false, true] {
            // Frame ids of every length move the numbers to every alignment.
            let messages: Vec<Written> = (0..20_u64)
                .map(|i| match i % 5 {
                    4 => ("/cam", COMPRESSED, i, compressed(big, &jpeg)),
                    _ => {
                        let frame = "x".repeat(i as usize);
                        let (accel, gyro) = ([i as f64, -1.5, 9.81], [0.25, 0.5, i as f64]);
                        ("/imu", IMU, i, imu(big, &frame, accel, gyro))
                    }
                })
                .collect();
            let read = read_plain(&recording(layout, &messages));
            assert!(read.end.is_none(), "{:?}", read.end);
            assert_eq!(read.events.len(), 20);
            let Event::Imu(sample) = &read.events[7] else { panic!() };
            assert_eq!(sample.at.nanos(), 7);
            assert_eq!(sample.value.unwrap().channels(), [7.0, -1.5, 9.81, 0.25, 0.5, 7.0]);
            seen.push(read.events);
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn raw_images_in_every_encoding() {
    // Two rows of two pixels, with one byte of padding a row that must not be read.
    let pixels = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]];
    type Lay = fn([u8; 3]) -> Vec<u8>;
    let encodings: [(&str, Lay); 4] = [
        ("rgb8", |[r, g, b]| vec![r, g, b]),
        ("bgr8", |[r, g, b]| vec![b, g, r]),
        ("rgba8", |[r, g, b]| vec![r, g, b, 99]),
        ("bgra8", |[r, g, b]| vec![b, g, r, 99]),
    ];
    for (encoding, lay) in encodings {
        let mut data = Vec::new();
        for row in pixels.chunks(2) {
            data.extend(row.iter().flat_map(|&pixel| lay(pixel)));
            data.push(77);
        }
        let step = data.len() as u32 / 2;
        for (big, data) in [(false, data.as_slice()), (true, &data[..data.len() - 1])] {
            let message = image(big, 2, 2, encoding, step, data);
            let read = read_plain(&recording(Layout::Flat, &[("/raw", IMAGE, 0, message)]));
            let Event::Frame(Reading { value: Ok(frame), .. }) = &read.events[0] else {
                panic!("{encoding}")
            };
            assert_eq!((frame.width(), frame.height()), (2, 2));
            assert_eq!(frame.rgb(), pixels.concat(), "{encoding}");
        }
    }
    let message = image(false, 2, 1, "mono8", 2, &[5, 250]);
    let read = read_plain(&recording(Layout::Flat, &[("/raw", IMAGE, 0, message)]));
    let Event::Frame(Reading { value: Ok(frame), .. }) = &read.events[0] else { panic!() };
    assert_eq!(frame.rgb(), [5, 5, 5, 250, 250, 250]);
}

#[test]
fn undecodable_messages_are_readings_and_are_counted_by_reason() {
    let jpeg = std::fs::read(golden("rgb.jpg")).unwrap();
    let good = imu(false, "f", [0.0; 3], [0.0; 3]);
    let unmeasured = {
        let cdr = Cdr::new(false).header("f").f64s(&[0.0; 13]).f64s(&[0.0; 3]);
        cdr.f64s(&[0.0; 9]).f64s(&[0.0; 3]).f64s(&[-1.0; 9]).done()
    };
    let mut parameter_list = good.clone();
    parameter_list[1] = 3;
    let messages: Vec<Written> = vec![
        ("/imu", IMU, 0, good.clone()),
        ("/imu", IMU, 1, good[..good.len() - 1].to_vec()),
        ("/imu", IMU, 2, imu(true, "f", [f64::NAN, 0.0, 0.0], [0.0; 3])),
        ("/imu", IMU, 3, unmeasured),
        ("/imu", IMU, 4, Vec::new()),
        ("/imu", IMU, 5, parameter_list),
        ("/cam", COMPRESSED, 6, compressed(false, &jpeg)),
        ("/cam", COMPRESSED, 7, compressed(false, &jpeg[..jpeg.len() / 2])),
        ("/cam", COMPRESSED, 8, compressed(false, b"RIFF....WEBP")),
        ("/cam", COMPRESSED, 9, compressed(false, &[])),
        ("/tf", "tf2_msgs/msg/TFMessage", 10, vec![1, 2, 3]),
        ("/cam2", IMAGE, 11, image(false, 1, 1, "rgb8", 3, &[1, 2, 3])),
    ];
    let read = read_plain(&recording(Layout::Chunks(Some(Compression::Zstd)), &messages));
    assert!(read.end.is_none(), "{:?}", read.end);
    let reasons: Vec<_> = read
        .events
        .iter()
        .map(|event| match event {
            Event::Imu(reading) => reading.value.err(),
            Event::Frame(reading) => reading.value.as_ref().err().copied(),
        })
        .collect();
    let corrupt = Some(NoData::Corrupt);
    let imu_reasons = [None, corrupt, Some(NoData::NotFinite), Some(NoData::DropOut), corrupt, corrupt];
    assert_eq!(reasons[..6], imu_reasons);
    assert_eq!(reasons[6..], [None, corrupt, corrupt, corrupt]);
    let [imu, cam, tf, cam2] = read.counts.topics.as_slice() else { panic!("{:?}", read.counts) };
    assert_eq!((imu.messages, imu.decoded), (6, 1));
    let failures: Vec<_> = imu.failures.iter().map(|(why, count)| (*why, *count)).collect();
    assert_eq!(failures, [(Failure::BrokenMessage, 3), (Failure::NotFinite, 1), (Failure::NotMeasured, 1)]);
    assert_eq!((cam.messages, cam.decoded, cam.feeds), (4, 1, Some(StreamKind::Camera)));
    assert_eq!(cam.failures.get(&Failure::UnsupportedEncoding), Some(&1));
    assert_eq!(cam.failures.get(&Failure::BrokenImage), Some(&2));
    assert_eq!((tf.messages, tf.feeds), (1, None));
    assert_eq!((cam2.messages, cam2.feeds), (1, None));
}

#[test]
fn raw_images_that_lie_are_refused() {
    for (width, height, encoding, step, bytes, wanted) in [
        (2, 2, "rgb8", 5, 100, Failure::BrokenImage),
        (2, 2, "rgb8", 6, 11, Failure::BrokenImage),
        (0, 2, "rgb8", 6, 12, Failure::BrokenImage),
        (2, 0, "rgb8", 6, 12, Failure::BrokenImage),
        (2, 2, "rgb8", u32::MAX, 12, Failure::BrokenImage),
        (u32::MAX, u32::MAX, "mono8", u32::MAX, 12, Failure::ImageTooLarge),
        (8193, 1, "mono8", 8193, 8193, Failure::ImageTooLarge),
        (2, 2, "bayer_rggb8", 2, 4, Failure::UnsupportedEncoding),
    ] {
        let message = image(false, width, height, encoding, step, &vec![0; bytes]);
        let read = read_plain(&recording(Layout::Flat, &[("/raw", IMAGE, 0, message)]));
        let failures: Vec<_> = read.counts.topics[0].failures.keys().copied().collect();
        assert_eq!(failures, [wanted], "{width}x{height} {encoding} {step} {bytes}");
    }
}

#[test]
fn topics_are_chosen_by_name() {
    let sample = |x: f64| imu(false, "", [x, 0.0, 0.0], [0.0; 3]);
    let messages = [("/a", IMU, 0, sample(1.0)), ("/b", IMU, 1, sample(2.0)), ("/c", IMAGE, 2, vec![0; 8])];
    let file = recording(Layout::Flat, &messages);
    let choose = |topic: &str| McapOptions { imu_topic: Some(topic.into()), ..McapOptions::default() };
    let read = read(&file, choose("/b"), &Limits::default());
    assert!(read.end.is_none());
    let Event::Imu(Reading { value: Ok(value), .. }) = read.events[0] else { panic!() };
    assert_eq!(value.accel[0], 2.0);
    // A name that is not there, and one of another type.
    for missing in ["/d", "/c"] {
        let read = crate::common::read(&file, choose(missing), &Limits::default());
        let Some(RecordingError::MissingTopic { topic, found, .. }) = read.end else { panic!() };
        assert_eq!(topic, missing);
        assert_eq!(found.len(), 3);
    }
    let other = recording(Layout::Flat, &[("/tf", "tf2_msgs/msg/TFMessage", 0, vec![])]);
    let end = read_plain(&other).end.unwrap().to_string();
    assert!(end.contains("/tf (tf2_msgs/msg/TFMessage)"), "{end}");
}

#[test]
fn messages_leave_in_order_of_time_as_far_as_is_held_back() {
    let times = [5, 3, 9, 1, 7, 2, 8, 0, 6, 4];
    let messages: Vec<Written> =
        times.iter().map(|&at| ("/imu", IMU, at, imu(false, "", [0.0; 3], [0.0; 3]))).collect();
    let file = recording(Layout::Flat, &messages);
    let order = |limits: &Limits| {
        let read = read(&file, McapOptions::default(), limits);
        let times: Vec<_> = read.events.iter().map(|event| event.at().nanos()).collect();
        (times, read.counts.unordered_events)
    };
    assert_eq!(order(&Limits::default()), ((0..10).collect(), 0));
    // Held back: two or three messages of some 350 bytes.
    let (some, unordered) = order(&Limits { reorder_bytes: 800, ..Limits::default() });
    assert_eq!((some.len(), some[0], unordered > 0), (10, 3, true));
    let (none, _) = order(&Limits { reorder_bytes: 0, ..Limits::default() });
    assert_eq!(none, times);
}
