//! Texts from files of every kind, whole, broken and hostile.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use sedge_models::Modality;
use sedge_models::text::PAD;

use crate::data::{DataError, Dataset, LoadOptions, load, written};
use crate::evaluate::Knn;

fn options(length: usize) -> LoadOptions {
    LoadOptions { length, ..LoadOptions::default() }
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn texts(data: &Dataset) -> Vec<Vec<u8>> {
    let text = |index| written(data.text(index).unwrap()).iter().map(|token| *token as u8).collect();
    (0..data.len()).map(text).collect()
}

#[test]
fn lines_of_a_file_are_samples_in_order_and_long_ones_go_on_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "run.log", b"start\r\n\n  \nabcdefghij\nbad \xff\xfe\nlast");
    let data = load(&path, &options(8)).unwrap();
    let wanted: [&[u8]; 6] = [b"start", b"abcdefgh", b"ij", b"bad \xff\xfe", b"last", b""];
    assert_eq!(texts(&data), wanted[..5]);
    assert_eq!(
        (data.modality(), data.groups(), data.order()),
        (Modality::Text, &[0; 5][..], &[0, 1, 2, 3, 4][..])
    );
    assert!(data.labels().is_none());
    assert_eq!(data.text(2).unwrap()[2..], [PAD; 6]);
    let batch = data.batch_f32(&[3], &data.input_spec(None)).unwrap();
    assert_eq!(batch.shape(), [1, 8]);
    assert_eq!(batch.iter().copied().collect::<Vec<_>>()[4..], [255.0, 254.0, 256.0, 256.0]);
    let other = load(&path, &options(16)).unwrap();
    let said = other.check_fits(&data.input_spec(None)).unwrap_err().to_string();
    assert!(said.contains("16 tokens") && said.contains("length"), "{said}");
}

#[test]
fn a_line_without_end_is_passed_over_and_leaves_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = b"one\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', super::MAX_LINE + 1));
    bytes.extend(b"\ntwo\n");
    let data = load(file(folder.path(), "a.txt", &bytes), &options(8)).unwrap();
    assert_eq!(texts(&data), [b"one", b"two"]);
    assert_eq!(data.order(), [0, 2]);
    assert_eq!((data.skipped().count(), data.skipped().named()[0].what.contains("line 2")), (1, true));
    let strict = LoadOptions { max_skipped: 0, ..options(8) };
    assert!(matches!(load(folder.path().join("a.txt"), &strict), Err(DataError::TooManySkipped { .. })));
}

#[test]
fn folders_of_files_are_classes_and_files_are_groups() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("mill/1.log", "a\nb"), ("lathe/1.log", "c"), ("lathe/2.txt", "d"), ("lathe/x.bin", "?")]
    {
        file(folder.path(), name, text.as_bytes());
    }
    let data = load(folder.path(), &options(4)).unwrap();
    let labels = data.labels().unwrap();
    assert_eq!(
        (labels.names.as_slice(), labels.ids.as_slice()),
        (&["lathe".into(), "mill".into()][..], &[0, 0, 1, 1][..])
    );
    assert_eq!((data.groups(), texts(&data).concat()), (&[0, 1, 2, 2][..], b"cdab".to_vec()));
    // Beside pictures a text is but a note on them.
    let picture = image::RgbImage::new(4, 4);
    picture.save(folder.path().join("lathe/photo.png")).unwrap();
    assert_eq!(load(folder.path(), &options(4)).unwrap().modality(), Modality::Image);
    assert!(load(tempfile::tempdir().unwrap().path(), &options(4)).is_err());
}

#[test]
fn tables_give_labels_and_groups_by_name_and_keep_groups_together() {
    let folder = tempfile::tempdir().unwrap();
    let json = [
        r#"{"text": "one", "label": "b", "group": 7, "more": []}"#,
        r#"{"text": "two", "label": "a", "group": 3}"#,
        "",
        r#"{"text": "three", "label": "b", "group": 7}"#,
        r#"{"label": "b"}"#,
        r#"{"text": "four", "label": {}}"#,
        "not json",
    ];
    let data = load(file(folder.path(), "x.jsonl", json.join("\n").as_bytes()), &options(8)).unwrap();
    assert_eq!(texts(&data), [&b"two"[..], b"one", b"three"]);
    assert_eq!((data.groups(), data.order()), (&[3, 7, 7][..], &[0, 0, 1][..]));
    assert_eq!(
        (data.labels().unwrap().names.concat(), data.labels().unwrap().ids.clone()),
        ("ab".into(), vec![0, 1, 1])
    );
    assert_eq!(data.skipped().count(), 3);

    let csv = b"label,Text\nup,\"a, b\"\ndown,c\xff\nup\n";
    let tsv = b"text\tlabel\na, b\tup\nc\xff\tdown\nup\n";
    for (name, bytes) in [("x.csv", &csv[..]), ("x.tsv", &tsv[..])] {
        let data = load(file(folder.path(), name, bytes), &options(4)).unwrap();
        assert_eq!(texts(&data), [&b"a, b"[..], b"c\xff"], "{name}");
        let labels = data.labels().unwrap();
        assert_eq!((labels.names.concat(), labels.ids.as_slice()), ("downup".into(), &[1, 0][..]));
        assert_eq!((data.groups(), data.skipped().count()), (&[0, 1][..], 1));
    }
    let said = load(file(folder.path(), "y.tsv", b"a\tb\n1\t2\n"), &options(4)).unwrap_err().to_string();
    assert!(said.contains("`text`") && said.contains("a, b"), "{said}");
    // A table of sensor rows is still one.
    let rows = (0..40).map(|i| format!("{i},0,1\n")).collect::<String>();
    let series = load(
        file(folder.path(), "z.csv", format!("t,ax,ay\n{rows}").as_bytes()),
        &LoadOptions { window: 8, ..options(4) },
    );
    assert_eq!(series.unwrap().modality(), Modality::Imu);
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.txt", &b"line\n".repeat(100));
    let small = LoadOptions { max_bytes: 1000, ..options(8) };
    assert!(matches!(load(&path, &small), Err(DataError::TooLarge { samples: 63, limit: 1000, .. })));
    assert_eq!(load(&path, &LoadOptions { limit: Some(10), ..options(8) }).unwrap().len(), 10);
    assert!(matches!(load(&path, &options(1)), Err(DataError::Option { option: "length", .. })));
    assert!(matches!(
        load(file(folder.path(), "b.txt", b" \n\n"), &options(8)),
        Err(DataError::Empty { .. })
    ));
}

#[test]
fn simulated_logs_are_told_apart_by_words_and_not_by_letters_alone() {
    let options = options(64);
    let data = load("sim-logs:runs=20,lines=40,seed=3", &options).unwrap();
    assert_eq!(data, load("sim-logs:runs=20,lines=40,seed=3", &options).unwrap());
    assert_ne!(data, load("sim-logs:runs=20,lines=40,seed=4", &options).unwrap());
    let labels = data.labels().unwrap();
    assert_eq!((data.len(), labels.names.len()), (800, 6));
    assert!((0..6).all(|class| labels.ids.iter().filter(|id| **id == class).count() > 40));
    for (spec, wanted) in
        [("runs=0", "1 to"), ("run=1", "known: runs"), ("seed", "key=value"), ("lines=x", "whole")]
    {
        let said = load(format!("sim-logs:{spec}"), &options).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
    // Neighbours by how often each byte occurs; runs are not shared.
    let histogram = |index: usize| {
        let mut counts = vec![0.0f32; 256];
        written(data.text(index).unwrap()).iter().for_each(|token| counts[usize::from(*token)] += 1.0);
        counts
    };
    let rows = |range: std::ops::Range<usize>| {
        let values = range.clone().flat_map(histogram).collect();
        ndarray::Array2::from_shape_vec((range.len(), 256), values).unwrap()
    };
    let (known, asked) = (rows(0..560), rows(560..800));
    let accuracy = Knn::default()
        .accuracy(known.view(), &labels.ids[..560], asked.view(), &labels.ids[560..], 6)
        .unwrap();
    // Who knows the pair for certain and guesses in it is right in half of the cases, or somewhat more where one class
    // of a pair is the more frequent.
    assert!((0.34..0.75).contains(&accuracy), "{accuracy}");
}

proptest::proptest! {
    #[test]
    fn no_file_panics(bytes: Vec<u8>, length in 2usize..40) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.txt", "a.jsonl", "a.csv", "a.tsv"] {
            if let Ok(data) = load(file(folder.path(), name, &bytes), &options(length)) {
                proptest::prop_assert!(!data.is_empty());
            }
        }
    }
}
