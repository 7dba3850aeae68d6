//! Recordings written here record by record (<https://mcap.dev/spec>), and a real one.

use std::fs;

use tempfile::TempDir;

use super::super::super::load;
use super::super::super::testing::shared_data;
use super::super::testing::{all_of, named_bad, rows_of};
use super::super::{Stream, StreamOptions};
use super::*;

const MAGIC: &[u8] = b"\x89MCAP0\r\n";

fn text(text: &str) -> Vec<u8> {
    [(text.len() as u32).to_le_bytes().to_vec(), text.as_bytes().to_vec()].concat()
}

fn record(to: &mut Vec<u8>, opcode: u8, body: &[u8]) {
    to.push(opcode);
    to.extend((body.len() as u64).to_le_bytes());
    to.extend(body);
}

/// A recording with channel 1 for an IMU and 2 for a camera.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        let mut file = MAGIC.to_vec();
        record(&mut file, 1, &[text(""), text("test")].concat());
        for (id, kind) in [(1u16, "sensor_msgs/msg/Imu"), (2, "sensor_msgs/msg/CompressedImage")] {
            let id = id.to_le_bytes().to_vec();
            let schema = [id.clone(), text(kind), text("ros2msg"), text("")].concat();
            record(&mut file, 3, &schema);
            let channel = [id.clone(), id, text(kind), text("cdr"), text("")].concat();
            record(&mut file, 4, &channel);
        }
        Self(file)
    }

    fn message(&mut self, channel: u16, at: u64, cdr: &[u8]) {
        let at = at.to_le_bytes();
        let head = [channel.to_le_bytes().as_slice(), &[0; 4], &at, &at].concat();
        record(&mut self.0, 5, &[head.as_slice(), cdr].concat());
    }

    fn imu(&mut self, at: u64, value: f64) {
        // A header with an empty frame, to the next eight bytes, then orientation, turning and acceleration, each
        // with a covariance.
        let mut cdr = vec![0, 1, 0, 0];
        cdr.extend([0; 8]);
        cdr.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        cdr.extend([0; 13 * 8]);
        for offset in [10.0, 0.0] {
            (0..3).for_each(|axis| cdr.extend((value + offset + f64::from(axis)).to_le_bytes()));
            cdr.extend([0; 9 * 8]);
        }
        self.message(1, at, &cdr);
    }

    fn frame(&mut self, at: u64, grey: u8) {
        let mut png = std::io::Cursor::new(Vec::new());
        let picture = image::ImageBuffer::from_pixel(4, 4, image::Rgb([grey, 1, 2]));
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let png = png.into_inner();
        let mut cdr = vec![0, 1, 0, 0];
        cdr.extend([0; 8]);
        cdr.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        cdr.extend([4, 0, 0, 0, b'p', b'n', b'g', 0]);
        cdr.extend((png.len() as u32).to_le_bytes());
        cdr.extend(png);
        self.message(2, at, &cdr);
    }

    fn save(mut self, folder: &TempDir, name: &str) -> PathBuf {
        record(&mut self.0, 15, &[0; 4]);
        record(&mut self.0, 2, &[0; 20]);
        self.0.extend(MAGIC);
        let path = folder.path().join(name);
        fs::write(&path, &self.0).unwrap();
        path
    }
}

/// Half a minute at 100 Hz with two gaps and a bad sample, and a frame each second.
fn drive(folder: &TempDir, name: &str, start: u64) -> PathBuf {
    let mut writer = Writer::new();
    for step in 0..3000u64 {
        let at = start + 10_000_000 * step;
        if step == 700 {
            writer.message(1, at, &[0, 1, 0, 0]);
        } else if !(1200..1210).contains(&step) {
            writer.imu(at, (step as f64 * 0.05).sin());
        }
        if step % 100 == 50 {
            writer.frame(at + 1, (step / 100) as u8);
        }
    }
    writer.save(folder, name)
}

fn windows() -> LoadOptions {
    LoadOptions { modality: Some(Modality::Imu), window: 16, stride: 8, ..LoadOptions::default() }
}

#[test]
fn windows_are_those_of_the_recording_in_memory_in_two_chunks_of_it() {
    let folder = TempDir::new().unwrap();
    let path = drive(&folder, "a.mcap", 1_700_000_000_000_000_000);
    for options in [windows(), LoadOptions { rate_hz: Some(30.0), ..windows() }] {
        let whole = load(&path, &options).unwrap();
        assert_eq!(whole.skipped().count(), 1);
        let streamed =
            StreamOptions { load: options, chunk_bytes: 16 * 384, align: 4, ..StreamOptions::default() };
        let stream = Stream::open(&path, streamed).unwrap();
        assert_eq!(all_of(&stream, 3), rows_of(&whole));
        assert_eq!(stream.samples(), whole.len() as u64 + 1);
        assert!(stream.peak_bytes() <= 3 * 16 * 384, "{}", stream.peak_bytes());
        // Entered at its third chunk, the same windows come.
        let third = |first| stream.epoch(0, 0, first).unwrap().next().unwrap().unwrap();
        let skipped = stream.epoch(0, 0, 0).unwrap().nth(2).unwrap().unwrap();
        assert_eq!(rows_of(third(32).data()), rows_of(skipped.data()));
    }
}

#[test]
fn frames_of_many_recordings_are_shuffled_by_file_and_cut_ones_are_bad_records() {
    let folder = TempDir::new().unwrap();
    for number in 0..4u64 {
        drive(&folder, &format!("{number}.mcap"), number * 100_000_000_000);
    }
    let bytes = fs::read(folder.path().join("3.mcap")).unwrap();
    fs::write(folder.path().join("3.mcap"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(folder.path().join("4.mcap"), b"no recording").unwrap();
    let options = StreamOptions { chunk_bytes: 8 * 48, align: 4, max_bad: 0.05, ..StreamOptions::default() };
    let stream = Stream::open(folder.path(), options.clone()).unwrap();
    // Thirty each, fifteen of the cut one and its end, and one for what is no recording.
    assert_eq!(stream.samples(), 107);
    let bad = named_bad(&stream, 2);
    assert!(bad.len() == 2 && bad.iter().any(|bad| bad.contains("3.mcap, its end")), "{bad:?}");
    assert!(bad.iter().any(|bad| bad.contains("4.mcap")), "{bad:?}");
    let held = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!(all_of(&stream, 2), rows_of(&held));
    assert_eq!((held.len(), held.skipped().count()), (105, 2));
    let groups: std::collections::BTreeSet<u32> = held.groups().iter().copied().collect();
    assert_eq!(groups, [0, 1, 2, 3].into());
    let first = |seed| {
        let chunk = stream.epoch(seed, 0, 0).unwrap().next().unwrap().unwrap();
        chunk.data().groups()[0]
    };
    assert!((0..20).any(|seed| first(seed) != first(0)));
    let two = LoadOptions { groups: Some(vec![1, 2]), ..LoadOptions::default() };
    let stream = Stream::open(folder.path(), StreamOptions { load: two.clone(), ..options.clone() }).unwrap();
    assert_eq!(all_of(&stream, 2), rows_of(&load(folder.path(), &two).unwrap()));
    let few = Stream::open(folder.path(), StreamOptions { max_bad: 0.005, ..options }).unwrap();
    assert!(few.epoch(2, 0, 0).unwrap().any(|chunk| matches!(chunk, Err(DataError::TooManySkipped { .. }))));
}

#[test]
fn a_real_recording_is_streamed_as_it_is_loaded() {
    let Some(path) = shared_data("streams/gopro_karma.mcap") else { return };
    let options = LoadOptions { window: 128, ..windows() };
    let streamed =
        StreamOptions { load: options.clone(), chunk_bytes: 1 << 18, align: 8, ..StreamOptions::default() };
    let stream = Stream::open(&path, streamed).unwrap();
    assert_eq!(all_of(&stream, 0), rows_of(&load(&path, &options).unwrap()));
    assert!(stream.peak_bytes() <= 3 << 18);
}
