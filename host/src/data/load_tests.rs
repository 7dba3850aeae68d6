//! Every kind of source through the one door.

use image::{ImageBuffer, Rgb};
use tempfile::TempDir;

use super::*;
use crate::data::Samples;
use crate::data::testing::shared_data;
use sedge_models::Modality;

fn png(path: &Path, colour: [u8; 3], side: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    ImageBuffer::from_pixel(side, side, Rgb(colour)).save(path).unwrap();
}

#[test]
fn a_folder_of_classes_is_labelled_and_a_split_sub_folder_is_found() {
    let folder = TempDir::new().unwrap();
    for split in ["train", "test"] {
        for i in 0..3u8 {
            png(&folder.path().join(split).join("cat").join(format!("{i}.png")), [i, 0, 0], 6);
            png(&folder.path().join(split).join("dog").join(format!("{i}.png")), [0, i, 0], 6);
        }
    }
    fs::write(folder.path().join("train/dog/3.png"), b"broken").unwrap();
    let data = load(folder.path(), &LoadOptions::default()).unwrap();
    let labels = data.labels().unwrap();
    assert_eq!(
        (labels.ids.as_slice(), &labels.names),
        (&[0, 0, 0, 1, 1, 1][..], &vec!["cat".into(), "dog".into()])
    );
    assert_eq!(data.skipped().count(), 1);
    assert!(data.skipped().named()[0].why.contains("3.png"), "{:?}", data.skipped());
    let few = LoadOptions { limit: Some(2), split: "test".into(), image_size: Some(3), ..Default::default() };
    let data = load(folder.path(), &few).unwrap();
    assert_eq!(data.labels().unwrap().ids, [0, 1], "a limit takes of every class");
    assert!(matches!(data.samples(), Samples::Images { width: 3, height: 3, .. }));
}

#[test]
fn a_csv_series_becomes_windows() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("walk.csv");
    let rows: String = (0..20).map(|i| format!("{i},0,9.8,0,0,{}\n", i * 2)).collect();
    fs::write(&path, format!("ax,ay,az,gx,gy,gz\n{rows}")).unwrap();
    let options = LoadOptions { window: 8, stride: 6, source_rate_hz: Some(50.0), ..LoadOptions::default() };
    let data = load(&path, &options).unwrap();
    assert_eq!((data.modality(), data.len()), (Modality::Imu, 3));
    let window = data.window(1).unwrap();
    assert_eq!(window[..8], [6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0]);
    assert_eq!(data.input_spec(None).rate_hz, 50.0);
    // Six rows at 50 Hz.
    assert_eq!(data.order(), [0, 120_000_000, 240_000_000]);
    let in_g = load(&path, &LoadOptions { accel_in_g: true, ..options }).unwrap();
    assert!((in_g.window(1).unwrap()[0] - 6.0 * 9.806_65).abs() < 1e-3);
}

#[test]
fn the_exercises_are_grouped_by_subject() {
    let Some(path) = shared_data("imu/watch_exercises.npz") else { return };
    let options = LoadOptions { source_rate_hz: Some(50.0), accel_in_g: true, ..LoadOptions::default() };
    let data = load(&path, &options).unwrap();
    let groups: std::collections::BTreeSet<u32> = data.groups().iter().copied().collect();
    assert_eq!((groups.len(), data.labels().unwrap().names.len()), (10, 7));
    assert!(data.len() > 3000, "{}", data.len());
    let two = LoadOptions { groups: Some(vec![9, 2]), limit: Some(50), ..options.clone() };
    let two = load(&path, &two).unwrap();
    let groups: std::collections::BTreeSet<u32> = two.groups().iter().copied().collect();
    assert_eq!((two.len(), groups.into_iter().collect::<Vec<_>>()), (50, vec![2, 9]));
    let slower = load(&path, &LoadOptions { rate_hz: Some(25.0), ..options }).unwrap();
    assert!(slower.len() < data.len() / 2 + 200);
    assert_eq!(slower.input_spec(None).rate_hz, 25.0);
}

#[test]
fn what_is_missing_or_unknown_is_said() {
    let folder = TempDir::new().unwrap();
    let load = |path: &Path| load(path, &LoadOptions::default());
    assert!(matches!(load(&folder.path().join("none.npz")), Err(DataError::Io { .. })));
    let text = folder.path().join("notes.docx");
    fs::write(&text, "hello").unwrap();
    assert!(matches!(load(&text), Err(DataError::UnknownKind { .. })));
    assert!(matches!(load(folder.path()), Err(DataError::Recording(_))));
    fs::write(folder.path().join("test-0.parquet"), "hello").unwrap();
    match load(folder.path()) {
        Err(DataError::NoSplit { split, found, .. }) => {
            assert_eq!((split.as_str(), found.len()), ("train", 1))
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(load(Path::new("sim:smell=3")), Err(DataError::Sim { .. })));
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let base = LoadOptions::default();
    for (named, options) in [
        ("limit", LoadOptions { limit: Some(0), ..base.clone() }),
        ("image_size", LoadOptions { image_size: Some(1 << 20), ..base.clone() }),
        ("window", LoadOptions { window: 0, ..base.clone() }),
        ("stride", LoadOptions { stride: 0, ..base.clone() }),
        ("workers", LoadOptions { workers: 0, ..base.clone() }),
        ("rate_hz", LoadOptions { rate_hz: Some(f32::NAN), ..base.clone() }),
        ("split", LoadOptions { split: "../x".into(), ..base.clone() }),
    ] {
        match load("sim", &options) {
            Err(DataError::Option { option, .. }) => assert_eq!(option, named),
            other => panic!("{named}: {other:?}"),
        }
    }
}
