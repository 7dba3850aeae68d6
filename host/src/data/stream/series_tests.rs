//! Tables and arrays written here, streamed and held.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use tempfile::TempDir;

use super::super::super::{Dataset, Samples, load};
use super::super::testing::{all_of, named_bad, rows_of};
use super::super::{Stream, StreamOptions};
use super::*;

/// `x` as NumPy would store it, row by row, in an archive of uncompressed members.
fn npz(path: &Path, arrays: &[(&str, &str, &str, Vec<u8>)]) {
    // A stored archive is simple enough to be written by hand: local headers, a directory and its end.
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, descr, shape, data) in arrays {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut body = b"\x93NUMPY\x01\x00".to_vec();
        body.extend((header.len() as u16).to_le_bytes());
        body.extend(header.as_bytes());
        body.extend(data);
        let name = format!("{name}.npy");
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32(&body).to_le_bytes());
        common.extend((body.len() as u32).to_le_bytes());
        common.extend((body.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(body);
    }
    let start = file.len() as u32;
    let count = (arrays.len() as u16).to_le_bytes();
    let end = [count, count].concat();
    file.extend(&directory);
    file.extend(b"PK\x05\x06\x00\x00\x00\x00");
    file.extend(end);
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    fs::write(path, file).unwrap();
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(c & 1)))
    })
}

/// Series `numbers`, of 40 rows more each, three channels.
fn write_npz(path: &Path, numbers: Range<i64>) {
    let lengths: Vec<i64> = numbers.clone().map(|n| 40 * (n + 1)).collect();
    let rows: i64 = lengths.iter().sum();
    let mut offsets = vec![0i64];
    lengths.iter().for_each(|length| offsets.push(offsets.last().unwrap() + length));
    let floats = (0..3 * rows).flat_map(|i| ((i as f32 * 0.11).sin() * 9.0).to_le_bytes()).collect();
    let whole =
        |values: &mut dyn Iterator<Item = i64>| values.flat_map(i64::to_le_bytes).collect::<Vec<u8>>();
    let count = numbers.clone().count();
    npz(
        path,
        &[
            ("x", "<f4", &format!("({rows}, 3)"), floats),
            ("offsets", "<i8", &format!("({},)", count + 1), whole(&mut offsets.iter().copied())),
            ("y", "<i8", &format!("({count},)"), whole(&mut numbers.clone().map(|n| n % 3))),
            ("subject", "<i8", &format!("({count},)"), whole(&mut numbers.map(|n| n / 2))),
            ("rate_hz", "<f4", "()", 50.0f32.to_le_bytes().to_vec()),
        ],
    );
}

fn small(load: LoadOptions) -> StreamOptions {
    // Sixteen windows of three channels by eight rows of four bytes.
    StreamOptions { load, chunk_bytes: 16 * 96, align: 4, ..StreamOptions::default() }
}

fn windows() -> LoadOptions {
    LoadOptions { window: 8, stride: 4, ..LoadOptions::default() }
}

#[test]
fn an_array_is_streamed_as_it_is_loaded_in_two_chunks_of_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.npz");
    write_npz(&path, 0..9);
    for options in [
        windows(),
        LoadOptions { rate_hz: Some(20.0), accel_in_g: true, ..windows() },
        LoadOptions { rate_hz: Some(130.0), source_rate_hz: Some(60.0), ..windows() },
        LoadOptions { stride: 50, groups: Some(vec![1, 3]), ..windows() },
    ] {
        let stream = Stream::open(&path, small(options.clone())).unwrap();
        let whole = load(&path, &options).unwrap();
        assert_eq!(all_of(&stream, 5), rows_of(&whole), "{options:?}");
        assert_eq!(stream.survey().labels().is_some(), whole.labels().is_some());
        // Two chunks, and the windows that wait to be put into one.
        assert!((2 * 96..=3 * 16 * 96).contains(&stream.peak_bytes()), "{}", stream.peak_bytes());
    }
    let stream = Stream::open(&path, small(windows())).unwrap();
    assert!(stream.samples() * 96 > 8 * stream.peak_bytes());
    let one = all_in_turn(&stream, 1);
    assert_eq!(one, all_in_turn(&stream, 1));
    assert!((2..20).any(|seed| all_in_turn(&stream, seed) != one));
    // From the middle on, the same windows come.
    let chunk = stream.epoch(1, 0, 20).unwrap().next().unwrap().unwrap();
    assert_eq!(chunk.first(), 16);
    assert_eq!(rows_in_turn(chunk.data()), one[16..32]);
}

fn rows_in_turn(data: &Dataset) -> Vec<u64> {
    data.order().to_vec()
}

fn all_in_turn(stream: &Stream, seed: u64) -> Vec<u64> {
    stream.epoch(seed, 0, 0).unwrap().flat_map(|chunk| rows_in_turn(chunk.unwrap().data())).collect()
}

#[test]
fn many_files_are_one_data_set_whose_names_agree() {
    let folder = TempDir::new().unwrap();
    let mut wanted: Vec<(String, f32)> = Vec::new();
    for (file, label) in [("a", "walk"), ("b", "run"), ("c", "walk")] {
        let mut text = "t,recording,label,subject,ax,ay,az\n".to_owned();
        for row in 0..20 {
            let value = f32::from(file.as_bytes()[0]) + row as f32 / 100.0;
            text.push_str(&format!(
                "{},{file},{label},{label}-{},{value},0,1\n",
                row as f32 / 50.0,
                row / 10
            ));
            if row % 10 == 0 {
                wanted.push((label.to_owned(), value));
            }
        }
        fs::write(folder.path().join(format!("{file}.csv")), text).unwrap();
    }
    let options = LoadOptions { window: 8, stride: 8, ..LoadOptions::default() };
    let data = load(folder.path(), &options).unwrap();
    let labels = data.labels().unwrap();
    let seen: Vec<(String, f32)> = (0..data.len())
        .map(|i| (labels.names[labels.ids[i] as usize].clone(), data.window(i).unwrap()[0]))
        .collect();
    assert_eq!(seen, wanted);
    // Subjects run-0, run-1, walk-0 and walk-1, the latter in two files.
    assert_eq!(data.groups(), [2, 3, 0, 1, 2, 3]);
    let stream = Stream::open(folder.path(), small(options)).unwrap();
    assert_eq!(all_of(&stream, 2), rows_of(&data));
}

#[test]
fn bad_files_and_rows_are_named_and_limited() {
    let folder = TempDir::new().unwrap();
    write_npz(&folder.path().join("a.npz"), 0..3);
    fs::write(folder.path().join("b.npz"), b"PK no archive").unwrap();
    let mut text = "ax,ay,az\n".to_owned();
    (0..40).for_each(|row| text.push_str(if row == 13 { "1,two,3\n" } else { "1,2,3\n" }));
    fs::write(folder.path().join("c.csv"), text).unwrap();
    let options =
        StreamOptions { max_bad: 0.1, ..small(LoadOptions { source_rate_hz: Some(50.0), ..windows() }) };
    let stream = Stream::open(folder.path(), options.clone()).unwrap();
    let named = named_bad(&stream, 0);
    // Two windows of eight rows each four hold row 13.
    assert_eq!(named.len(), 3, "{named:?}");
    assert!(named.iter().any(|bad| bad.contains("b.npz")));
    assert!(named.iter().any(|bad| bad.contains("c.csv") && bad.contains("row 13, channel 1")), "{named:?}");
    let few = StreamOptions { max_bad: 0.01, ..options.clone() };
    let stream = Stream::open(folder.path(), few).unwrap();
    assert!(
        stream.epoch(0, 0, 0).unwrap().any(|chunk| matches!(chunk, Err(DataError::TooManySkipped { .. })))
    );
    // A file that shrinks afterwards is bad windows, not silence.
    let stream = Stream::open(folder.path(), StreamOptions { max_bad: 1.0, ..options }).unwrap();
    let path = folder.path().join("a.npz");
    let bytes = fs::read(&path).unwrap();
    fs::File::create(&path).unwrap().write_all(&bytes[..700]).unwrap();
    let mut said = stream.epoch(0, 0, 0).unwrap().map(|chunk| match chunk {
        Ok(chunk) => format!("{:?}", chunk.data().skipped()),
        Err(error) => error.to_string(),
    });
    assert!(said.any(|said| said.contains("a.npz")));
    let absent = small(LoadOptions { groups: Some(vec![77]), ..windows() });
    let absent = Stream::open(folder.path(), absent).unwrap_err();
    assert!(matches!(absent, DataError::Option { option: "groups", .. }), "{absent}");
    // Beside pictures, a table is only a table.
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("labels.csv"), "a,b\n1,2\n").unwrap();
    fs::create_dir(other.path().join("cat")).unwrap();
    let picture = image::ImageBuffer::from_pixel(4, 4, image::Rgb([1u8, 2, 3]));
    picture.save(other.path().join("cat/0.png")).unwrap();
    assert_eq!(load(other.path(), &windows()).unwrap().modality(), sedge_models::Modality::Image);
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("a.csv"), "ax,ay\n1,2\n").unwrap();
    assert!(matches!(load(other.path(), &windows()), Err(DataError::Empty { .. })));
    write_npz(&other.path().join("b.npz"), 0..2);
    let mixed = load(other.path(), &windows()).unwrap_err();
    assert!(matches!(mixed, DataError::Mixed { .. }), "{mixed}");
}

#[test]
fn a_real_array_which_lies_column_by_column_is_streamed_as_it_is_loaded() {
    let Some(path) = super::super::super::testing::shared_data("imu/watch_exercises.npz") else { return };
    let options = LoadOptions { window: 100, stride: 100, accel_in_g: true, ..LoadOptions::default() };
    let whole = load(&path, &options).unwrap();
    let options =
        StreamOptions { load: options, chunk_bytes: 1 << 20, align: 16, ..StreamOptions::default() };
    let stream = Stream::open(&path, options).unwrap();
    assert_eq!(all_of(&stream, 1), rows_of(&whole));
    let Samples::Windows { channels, .. } = *whole.samples() else { unreachable!() };
    assert!(stream.peak_bytes() <= (2 << 20) + 128 * 400 * channels as u64, "{}", stream.peak_bytes());
}
