//! Files that were cut, damaged or made to lie: an answer of the right type, what came before the
//! fault, and never a panic.

use std::fs;
use std::path::Path;

use crate::common::*;
use proptest::prelude::*;
use sedge_recordings::{
    ImageFolder, Limits, McapOptions, McapStream, RecordingError, SeriesOptions, SeriesSet, decode_image,
    read_csv, read_npz, read_series,
};

const IMU: &str = "sensor_msgs/msg/Imu";
const COMPRESSED: &str = "sensor_msgs/msg/CompressedImage";
const IMAGES: [&str; 10] = [
    "rgb.png",
    "grey.png",
    "grey_alpha.png",
    "rgba.png",
    "rgb16.png",
    "palette.png",
    "bits.png",
    "rgb.jpg",
    "grey.jpg",
    "progressive.jpg",
];
const ARCHIVES: [&str; 3] = ["offsets.npz", "big_endian.npz", "cube.npz"];

/// How often each file is damaged; `SEDGE_FAULT_ROUNDS` multiplies it for a long search.
fn rounds(quick: usize) -> usize {
    let times = std::env::var("SEDGE_FAULT_ROUNDS").ok().and_then(|times| times.parse().ok());
    quick * times.unwrap_or(1)
}

fn messages() -> Vec<Written<'static>> {
    let jpeg = fs::read(golden("grey.jpg")).unwrap();
    (0..12_u64)
        .map(|i| match i % 4 {
            3 => ("/cam", COMPRESSED, i, compressed(false, &jpeg)),
            _ => ("/imu", IMU, i, imu(i % 2 == 0, "body", [i as f64, 0.0, 9.8], [0.1; 3])),
        })
        .collect()
}

#[test]
fn a_cut_recording_gives_what_came_before_and_says_so() {
    for layout in LAYOUTS {
        let bytes = recording(layout, &messages());
        let whole = read_plain(&bytes).events;
        assert_eq!(whole.len(), 12);
        let mut most = 0;
        for length in 0..bytes.len() {
            let read = read_plain(&bytes[..length]);
            assert_eq!(read.events, whole[..read.events.len()], "cut at {length}");
            assert!(read.events.len() >= most, "fewer events from a longer file, cut at {length}");
            most = read.events.len();
            match read.end {
                Some(RecordingError::Truncated { offset, .. }) => assert_eq!(offset, length as u64),
                // Only the index behind the data is cut.
                None => assert_eq!(most, 12),
                Some(other) => panic!("cut at {length}: {other}"),
            }
        }
        assert_eq!(most, 12);
    }
}

#[test]
fn a_chunk_that_is_cut_still_gives_its_beginning() {
    // One chunk of many messages, so that half of the file is half of the chunk.
    let messages: Vec<Written> =
        (0..200).map(|i| ("/imu", IMU, i, imu(false, "", [i as f64; 3], [0.0; 3]))).collect();
    for compression in [None, Some(::mcap::Compression::Zstd), Some(::mcap::Compression::Lz4)] {
        let options = ::mcap::WriteOptions::new().compression(compression).chunk_size(None);
        let bytes = recording_with(options, &messages);
        let chunk_end = if compression.is_none() { 200 * 340 } else { bytes.len() / 2 };
        let read = read_plain(&bytes[..chunk_end]);
        assert!(matches!(read.end, Some(RecordingError::Truncated { .. })));
        assert!(compression.is_some() || read.events.len() > 150, "{}", read.events.len());
        let full = read_plain(&bytes);
        assert_eq!(read.events, full.events[..read.events.len()]);
    }
}

#[test]
fn a_damaged_recording_accounts_for_every_message() {
    let mut numbers = Numbers(1);
    for layout in LAYOUTS {
        let bytes = recording(layout, &messages());
        for _ in 0..rounds(400) {
            let read = read_plain(&numbers.damage(&bytes));
            for topic in read.counts.topics.iter().filter(|topic| topic.feeds.is_some()) {
                let failed: u64 = topic.failures.values().sum();
                // A name that is damaged anew in each channel record can leave a topic ignored.
                assert!(topic.messages >= topic.decoded + failed, "{topic:?}");
            }
            let given: u64 = read
                .counts
                .topics
                .iter()
                .map(|topic| topic.decoded + topic.failures.values().sum::<u64>())
                .sum();
            assert_eq!(given, read.events.len() as u64);
        }
    }
}

#[test]
fn a_damaged_chunk_costs_only_itself() {
    for layout in &LAYOUTS[1..] {
        let mut bytes = recording(*layout, &messages());
        // The first chunk's checksum: after the magic, the header record, and the chunk's own head.
        let header = u64::from_le_bytes(bytes[9..17].try_into().unwrap()) as usize;
        let chunk = 17 + header;
        assert_eq!(bytes[chunk], 6, "the first chunk is elsewhere");
        bytes[chunk + 9 + 24] ^= 1;
        let read = read_plain(&bytes);
        assert!(read.end.is_none(), "{:?}", read.end);
        assert_eq!(read.counts.damaged_chunks, 1);
        let lost = 12 - read.events.len();
        assert!((1..12).contains(&lost), "{lost}");
    }
}

#[test]
fn lengths_that_lie_are_refused_by_name() {
    let record = |opcode: u8, length: u64, body: &[u8]| {
        let mut bytes = b"\x89MCAP0\r\n".to_vec();
        bytes.push(opcode);
        bytes.extend(length.to_le_bytes());
        bytes.extend(body);
        bytes
    };
    let chunk = |size: u64, compression: &str, records: &[u8]| {
        let mut body = vec![0; 16];
        body.extend(size.to_le_bytes());
        body.extend([0; 4]);
        body.extend((compression.len() as u32).to_le_bytes());
        body.extend(compression.as_bytes());
        body.extend((records.len() as u64).to_le_bytes());
        body.extend(records);
        record(6, body.len() as u64, &body)
    };
    let too_large = |end: &Option<RecordingError>| matches!(end, Some(RecordingError::TooLarge { .. }));
    assert!(too_large(&read_plain(&record(5, u64::MAX, &[])).end));
    assert!(too_large(&read_plain(&record(6, 1 << 40, &[])).end));
    assert!(too_large(&read_plain(&chunk(1 << 40, "zstd", &[])).end));
    // An attachment may be of any size, and is passed over.
    let attachment = read_plain(&record(9, 1 << 40, &[])).end;
    assert!(matches!(attachment, Some(RecordingError::Truncated { .. })));
    // A record that reaches beyond its uncompressed chunk, and an unknown compression.
    let mut beyond = vec![5];
    beyond.extend(u64::MAX.to_le_bytes());
    for (compression, records) in [("", beyond.as_slice()), ("brotli", &[0; 20]), ("zstd", &[0; 20])] {
        let read = read_plain(&chunk(9, compression, records));
        assert_eq!(read.counts.damaged_chunks, 1, "{compression}");
    }
    let limits = Limits { messages: 5, ..Limits::default() };
    let read = read(&recording(Layout::Flat, &messages()), McapOptions::default(), &limits);
    assert!(matches!(read.end, Some(RecordingError::TooLarge { field: "messages", .. })));
    assert_eq!(read.events.len(), 6);
}

#[test]
fn a_cut_image_is_never_a_picture() {
    for name in IMAGES {
        let bytes = fs::read(golden(name)).unwrap();
        for length in 0..bytes.len() {
            let answer = decode_image(&bytes[..length], &Limits::default());
            assert!(answer.is_err(), "{name} cut at {length}");
        }
    }
}

#[test]
fn a_damaged_image_never_panics() {
    let mut numbers = Numbers(2);
    for name in IMAGES.into_iter().chain(["subsampled.jpg"]) {
        let bytes = fs::read(golden(name)).unwrap();
        for _ in 0..rounds(500) {
            if let Ok(frame) = decode_image(&numbers.damage(&bytes), &Limits::default()) {
                assert_eq!(
                    frame.rgb().len() as u64,
                    3 * u64::from(frame.width()) * u64::from(frame.height())
                );
            }
        }
    }
}

fn read_bytes(bytes: &[u8], extension: &str, folder: &Path) -> Result<SeriesSet, RecordingError> {
    let path = folder.join(format!("damaged.{extension}"));
    fs::write(&path, bytes).unwrap();
    read_series(path, &SeriesOptions::default(), &Limits::default())
}

#[test]
fn a_cut_archive_is_never_half_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ARCHIVES {
        let bytes = fs::read(golden(name)).unwrap();
        // The end record has 22 bytes, of which the last 18 tell nothing that is used.
        for length in 0..bytes.len() - 18 {
            let answer = read_bytes(&bytes[..length], "npz", folder.path());
            assert!(
                matches!(answer, Err(RecordingError::Malformed { .. })),
                "{name} cut at {length}: {answer:?}"
            );
        }
    }
}

#[test]
fn a_damaged_archive_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(3);
    for name in ARCHIVES {
        let bytes = fs::read(golden(name)).unwrap();
        for _ in 0..rounds(400) {
            let _ = read_bytes(&numbers.damage(&bytes), "npz", folder.path());
        }
    }
}

#[test]
fn a_cut_or_damaged_table_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let text = b"t,recording,label,ax,ay,az,gx,gy,gz\r\n\
        0,one,walk,0.1,0.2,9.8,0,0,0\r\n0.02,one,walk,0.1,nan,9.8,0,0,\r\n0.04,\"two, three\",sit,1,2,3,4,5,6\r\n";
    let whole = read_bytes(text, "csv", folder.path()).unwrap();
    assert_eq!((whole.series.len(), whole.non_finite_rows()), (2, 1));
    for length in 0..text.len() {
        if let Ok(set) = read_bytes(&text[..length], "csv", folder.path()) {
            // Rows before the last one are those of the whole.
            let first = &set.series[0];
            let kept = first.rows().saturating_sub(1) * 6;
            assert_eq!(first.values()[..kept], whole.series[0].values()[..kept], "cut at {length}");
        }
    }
    let mut numbers = Numbers(4);
    for _ in 0..rounds(500) {
        let _ = read_bytes(&numbers.damage(text), "csv", folder.path());
    }
}

#[test]
fn paths_that_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let (options, limits) = (SeriesOptions::default(), Limits::default());
    let missing = folder.path().join("missing");
    let errors = |path: &Path| {
        [
            McapStream::open(path, &limits).err(),
            read_npz(path, &options, &limits).err(),
            read_csv(path, &options, &limits).err(),
        ]
    };
    for error in errors(&missing) {
        let error = error.unwrap();
        assert!(matches!(error, RecordingError::Io { .. }), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
    }
    for error in errors(folder.path()) {
        assert!(matches!(error, Some(RecordingError::NotAFile { .. })), "{error:?}");
    }
    let empty = folder.path().join("empty");
    fs::write(&empty, b"").unwrap();
    for error in errors(&empty) {
        assert!(error.is_some());
    }
    assert!(matches!(
        read_series(folder.path().join("a.xlsx"), &options, &limits),
        Err(RecordingError::UnknownKind { .. })
    ));
    assert!(ImageFolder::open(&missing, &limits).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let magic: [&[u8]; 4] = [b"", b"\x89MCAP0\r\n", b"\x89PNG\r\n\x1a\n", b"\xFF\xD8\xFF\xE0"];
        for magic in magic {
            let bytes = [magic, &bytes].concat();
            let _ = read_plain(&bytes);
            let _ = decode_image(&bytes, &Limits::default());
        }
    }

    #[test]
    fn arbitrary_messages_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), big: bool) {
        let mut message = vec![0, u8::from(!big), 0, 0];
        message.extend(body);
        for schema in [IMU, COMPRESSED, "sensor_msgs/msg/Image"] {
            let read = read_plain(&recording(Layout::Flat, &[("/topic", schema, 0, message.clone())]));
            prop_assert_eq!(read.events.len(), 1);
        }
    }

    #[test]
    fn imu_messages_come_back(values in prop::array::uniform6(-1e3_f32..1e3), big: bool, frame in "[a-z/]{0,12}") {
        let [a, b, c, d, e, f] = values.map(f64::from);
        let message = imu(big, &frame, [a, b, c], [d, e, f]);
        let read = read_plain(&recording(Layout::Flat, &[("/imu", IMU, 9, message)]));
        let [sedge_readings::Event::Imu(reading)] = read.events.as_slice() else { panic!() };
        prop_assert_eq!(reading.value.unwrap().channels(), values);
    }
}
