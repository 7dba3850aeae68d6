//! Parquet image sets: written here with the same crate's writer, then read whole, cut, and broken.

use std::io::Cursor;
use std::sync::Arc;

use image::{ImageBuffer, ImageFormat, Rgb};
use parquet::basic::Compression;
use parquet::data_type::Int64Type;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::super::Samples;
use super::super::testing::shared_data;
use super::*;

const SCHEMA: &str = "message schema {
    optional group img { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";
const NAMES: &str = r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;

fn colour(i: usize) -> [u8; 3] {
    [(i * 40) as u8, 7, (255 - i) as u8]
}

fn png(i: usize, side: u32) -> Vec<u8> {
    let picture = ImageBuffer::from_pixel(side, side, Rgb(colour(i)));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Image bytes and label of one row, `None` for null.
type Cells = (Option<Vec<u8>>, Option<i64>);

/// Writes row groups.
fn write(path: &Path, groups: &[Vec<Cells>], compression: Compression) {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".into(), NAMES.to_owned())]))
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();
        let levels: Vec<i16> = rows.iter().map(|(image, _)| if image.is_some() { 2 } else { 1 }).collect();
        let images: Vec<ByteArray> =
            rows.iter().filter_map(|(image, _)| image.clone().map(Into::into)).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![0; rows.len()]), None).unwrap();
        column.close().unwrap();
        let levels: Vec<i16> = rows.iter().map(|(_, label)| i16::from(label.is_some())).collect();
        let labels: Vec<i64> = rows.iter().filter_map(|(_, label)| *label).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn good(range: std::ops::Range<usize>) -> Vec<Cells> {
    range.map(|i| (Some(png(i, 4)), Some(i as i64 % 2))).collect()
}

fn load_one(path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    load("test", &[path.to_owned()], options)
}

#[test]
fn images_labels_and_names_are_read_in_order_whatever_the_codec_and_threads() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())]
    {
        write(&path, &[good(0..3), good(3..6)], compression);
        for workers in [1, 3] {
            let data = load_one(&path, &LoadOptions { workers, ..LoadOptions::default() }).unwrap();
            let Samples::Images { width: 4, height: 4, pixels } = data.samples() else { panic!("{data:?}") };
            let wanted: Vec<u8> = (0..6).flat_map(|i| colour(i).repeat(16)).collect();
            assert_eq!(*pixels, wanted);
            let labels = data.labels().unwrap();
            assert_eq!(
                (labels.ids.as_slice(), labels.names.as_slice()),
                (&[0, 1, 0, 1, 0, 1][..], &["cat".to_owned(), "dog".to_owned()][..])
            );
            assert_eq!(data.groups(), [0, 1, 2, 3, 4, 5]);
        }
    }
}

#[test]
fn the_limit_takes_the_first_and_image_size_resizes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    let mut rows = good(0..4);
    rows[1].0 = Some(png(1, 9));
    write(&path, &[rows], Compression::SNAPPY);
    assert!(matches!(load_one(&path, &LoadOptions::default()), Err(DataError::Mixed { .. })));
    let options = LoadOptions { image_size: Some(5), limit: Some(3), ..LoadOptions::default() };
    let data = load_one(&path, &options).unwrap();
    let Samples::Images { width: 5, height: 5, pixels } = data.samples() else { panic!("{data:?}") };
    assert_eq!(*pixels, (0..3).flat_map(|i| colour(i).repeat(25)).collect::<Vec<u8>>());
}

#[test]
fn bad_rows_are_passed_over_counted_and_limited() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    let mut rows = good(0..6);
    rows[0].0 = None;
    rows[1].1 = None;
    rows[2].0 = Some(b"not a picture".to_vec());
    rows[3].1 = Some(7);
    write(&path, &[rows], Compression::SNAPPY);
    let data = load_one(&path, &LoadOptions::default()).unwrap();
    assert_eq!((data.len(), data.skipped().count()), (2, 4));
    let whys: Vec<&str> = data.skipped().named().iter().map(|s| s.why.as_str()).collect();
    for (why, wanted) in whys.iter().zip(["no image", "no label", "JPEG", "label 7"]) {
        assert!(why.contains(wanted), "{why}");
    }
    assert!(data.skipped().named()[2].what.ends_with("row 2"));
    let strict = LoadOptions { max_skipped: 3, ..LoadOptions::default() };
    assert!(matches!(load_one(&path, &strict), Err(DataError::TooManySkipped { .. })));
}

#[test]
fn memory_is_bounded_before_decoding_goes_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &[good(0..6)], Compression::SNAPPY);
    let options = LoadOptions { max_bytes: 5 * 48, ..LoadOptions::default() };
    match load_one(&path, &options) {
        Err(DataError::TooLarge { samples: 6, bytes: 288, limit: 240, .. }) => {}
        other => panic!("{other:?}"),
    }
    load_one(&path, &LoadOptions { limit: Some(5), ..options }).unwrap();
}

#[test]
fn other_columns_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    let schema = Arc::new(parse_message_type("message schema { required int64 age; }").unwrap());
    let file = File::create(&path).unwrap();
    SerializedFileWriter::new(file, schema, Default::default()).unwrap().close().unwrap();
    match load_one(&path, &LoadOptions::default()) {
        Err(DataError::Columns { found, .. }) => assert_eq!(found, ["age"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cut_files_are_errors() {
    let folder = TempDir::new().unwrap();
    let (whole, cut) = (folder.path().join("a.parquet"), folder.path().join("cut.parquet"));
    write(&whole, &[good(0..3)], Compression::SNAPPY);
    let bytes = std::fs::read(&whole).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        std::fs::write(&cut, &bytes[..length]).unwrap();
        let refused = load_one(&cut, &LoadOptions::default());
        assert!(matches!(refused, Err(DataError::Parquet { .. })), "{length}: {refused:?}");
    }
}

#[test]
fn flipped_bits_give_an_error_a_skip_or_other_data_but_no_panic() {
    let folder = TempDir::new().unwrap();
    let (whole, broken) = (folder.path().join("a.parquet"), folder.path().join("broken.parquet"));
    let zstd = Compression::ZSTD(Default::default());
    for (compression, flip) in [(Compression::SNAPPY, 0x80), (zstd, 0x01)] {
        write(&whole, &[good(0..2)], compression);
        let bytes = std::fs::read(&whole).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            std::fs::write(&broken, &bytes).unwrap();
            let _ = load_one(&broken, &LoadOptions { workers: 1, ..LoadOptions::default() });
        }
    }
}

#[test]
fn cifar10_is_read_whole() {
    let Some(folder) = shared_data("cifar10") else { return };
    let options = LoadOptions { split: "test".to_owned(), ..LoadOptions::default() };
    let data = super::super::load(&folder, &options).unwrap();
    let labels = data.labels().unwrap();
    assert_eq!((data.len(), data.skipped().count()), (10_000, 0));
    assert_eq!((labels.names.len(), labels.names[9].as_str()), (10, "truck"));
    for class in 0..10 {
        assert_eq!(labels.ids.iter().filter(|id| **id == class).count(), 1000);
    }
    // The figures that are published for CIFAR-10 are 0.4914, 0.4822, 0.4465 over the train split.
    let mean = data.channel_stats().mean;
    for (got, wanted) in mean.iter().zip([0.4914, 0.4822, 0.4465]) {
        assert!((got - wanted).abs() < 0.01, "{mean:?}");
    }
}
