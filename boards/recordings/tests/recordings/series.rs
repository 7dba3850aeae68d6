//! Series from `.npz` files that NumPy wrote (`goldens/make.py`).

use std::io::Write;

use crate::common::{golden, golden_values, numbers, shared};
use sedge_recordings::{Limits, RecordingError, Series, SeriesOptions, SeriesSet, read_npz, read_series};

fn read(name: &str) -> SeriesSet {
    read_npz(golden(name), &SeriesOptions::default(), &Limits::default()).unwrap()
}

#[test]
fn rows_and_offsets() {
    let set = read("offsets.npz");
    let summary: Vec<_> = set.series.iter().map(|s| (s.rows(), s.channels(), s.label, s.group)).collect();
    assert_eq!(summary, [(3, 6, Some(2), Some(7)), (0, 6, Some(0), Some(7)), (4, 6, Some(1), Some(9))]);
    let wanted: Vec<f32> = (0..42).map(|i| i as f32 / 4.0 - 3.0).collect();
    let values: Vec<f32> = set.series.iter().flat_map(Series::values).copied().collect();
    assert_eq!(values, wanted);
}

#[test]
fn one_plain_array_big_endian_fortran_deflated() {
    let set = read("big_endian.npz");
    assert_eq!(set.series.len(), 1);
    let wanted: Vec<f32> = (0..42).map(|i| i as f32 / 4.0 - 3.0).collect();
    assert_eq!(set.series[0].values(), wanted);
}

#[test]
fn a_cube_is_series_of_one_length() {
    let set = read("cube.npz");
    let summary: Vec<_> =
        set.series.iter().map(|s| (s.rows(), s.channels(), s.label, s.group, s.rate_hz)).collect();
    assert_eq!(summary, [(3, 4, Some(1), Some(4), Some(25.0)), (3, 4, Some(0), Some(5), Some(25.0))]);
    let wanted: Vec<f32> = (12..24).map(|i| i as f32).collect();
    assert_eq!(set.series[1].values(), wanted);
}

#[test]
fn options_set_units_and_rate() {
    let options = SeriesOptions { accel_in_g: true, rate_hz: Some(50.0) };
    let set = read_series(golden("offsets.npz"), &options, &Limits::default()).unwrap();
    let row = set.series[0].row(0).unwrap();
    assert_eq!(row[..3], [-3.0 * 9.806_65, -2.75 * 9.806_65, -2.5 * 9.806_65]);
    assert_eq!(row[3..], [-2.25, -2.0, -1.75]);
    assert_eq!(set.series[0].rate_hz, Some(50.0));
}

#[test]
fn wrist_exercises_agree_with_numpy() {
    let Some(path) = shared("data/imu/watch_exercises.npz") else { return };
    let wanted = golden_values("watch_exercises.txt");
    let set = read_npz(path, &SeriesOptions::default(), &Limits::default()).unwrap();
    assert_eq!(set.series.len().to_string(), wanted["series"]);
    let rows: Vec<usize> = set.series.iter().map(Series::rows).collect();
    assert_eq!(rows, numbers::<usize>(&wanted["rows"]));
    let labels: Vec<u32> = set.series.iter().map(|s| s.label.unwrap()).collect();
    assert_eq!(labels, numbers::<u32>(&wanted["labels"]));
    let groups: Vec<u32> = set.series.iter().map(|s| s.group.unwrap()).collect();
    assert_eq!(groups, numbers::<u32>(&wanted["groups"]));
    let last = set.series.last().unwrap();
    assert_eq!(last.row(last.rows() - 1).unwrap(), numbers::<f32>(&wanted["last_row"]));
    for (channel, mean) in numbers::<f64>(&wanted["mean"]).into_iter().enumerate() {
        let values = set.series.iter().flat_map(|s| s.values().iter().skip(channel).step_by(6));
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), &v| (sum + f64::from(v), count + 1.0));
        assert!((sum / count - mean).abs() < 1e-6, "channel {channel}");
    }
}

/// An archive of arrays, each given as its header's shape, a type and the data.
fn archive(arrays: &[(&str, &str, &str, &[u8])]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".npz").unwrap();
    let mut writer = zip::ZipWriter::new(file.as_file_mut());
    for (name, shape, descr, data) in arrays {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(format!("{name}.npy"), options).unwrap();
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        writer.write_all(b"\x93NUMPY\x01\x00").unwrap();
        writer.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        writer.write_all(header.as_bytes()).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap();
    file
}

#[test]
fn arrays_that_do_not_fit_together() {
    let x: (&str, &str, &str, &[u8]) = ("x", "(4, 2)", "|u1", &[0; 8]);
    for (what, arrays) in [
        ("no x", vec![("y", "(1,)", "|u1", [0].as_slice())]),
        ("no channels", vec![("x", "(4, 0)", "|u1", &[])]),
        ("one dimension", vec![("x", "(8,)", "|u1", &[0; 8])]),
        ("a cube and offsets", vec![("x", "(2, 2, 2)", "|u1", &[0; 8]), ("offsets", "(2,)", "|u1", &[0, 4])]),
        ("offsets beyond", vec![x, ("offsets", "(2,)", "|u1", &[0, 5])]),
        ("offsets short", vec![x, ("offsets", "(2,)", "|u1", &[0, 3])]),
        ("offsets late", vec![x, ("offsets", "(2,)", "|u1", &[1, 4])]),
        ("offsets fall", vec![x, ("offsets", "(4,)", "|u1", &[0, 3, 2, 4])]),
        ("offsets negative", vec![x, ("offsets", "(3,)", "|i1", &[0, 255, 4])]),
        ("no offsets", vec![x, ("offsets", "(0,)", "|u1", &[])]),
        ("labels too many", vec![x, ("y", "(2,)", "|u1", &[0, 1])]),
        ("labels negative", vec![x, ("y", "(1,)", "|i1", &[255])]),
        ("labels in a table", vec![x, ("y", "(1, 1)", "|u1", &[0])]),
        ("labels broken", vec![x, ("y", "(1,)", "<f4", &0.5_f32.to_le_bytes())]),
        ("groups too few", vec![x, ("group", "(0,)", "|u1", &[])]),
        ("rates", vec![x, ("rate_hz", "(2,)", "|u1", &[1, 2])]),
    ] {
        let file = archive(&arrays);
        let answer = read_npz(file.path(), &SeriesOptions::default(), &Limits::default());
        assert!(matches!(answer, Err(RecordingError::Malformed { .. })), "{what}: {answer:?}");
    }
    let file = archive(&[x, ("rate_hz", "()", "|u1", &[0])]);
    let answer = read_npz(file.path(), &SeriesOptions::default(), &Limits::default());
    assert!(matches!(answer, Err(RecordingError::Rate { .. })));
}

#[test]
fn limits_name_themselves() {
    let file = archive(&[("x", "(4, 2)", "|u1", &[0; 8]), ("offsets", "(3,)", "|u1", &[0, 2, 4])]);
    for (limits, wanted) in [
        (Limits { values: 7, ..Limits::default() }, "values"),
        (Limits { rows: 3, ..Limits::default() }, "rows"),
        (Limits { channels: 1, ..Limits::default() }, "channels"),
        (Limits { entries: 1, ..Limits::default() }, "entries"),
        (Limits { file_bytes: 9, ..Limits::default() }, "file_bytes"),
    ] {
        match read_npz(file.path(), &SeriesOptions::default(), &limits) {
            Err(RecordingError::TooLarge { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}
