//! A data set that PyArrow wrote (`goldens/lerobot.py`), held and streamed; its videos are encoded here
//! where there is an `ffmpeg`.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::super::ffmpeg::testing::{encode, has_ffmpeg};
use super::super::super::{Dataset, Samples, load, split};
use super::super::testing::{all_of, rows_of};
use super::super::{Stream, StreamOptions};
use super::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/lerobot")
}

/// A copy that can be changed.
fn copy() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut open = vec![golden()];
    while let Some(from) = open.pop() {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = folder.path().join(path.strip_prefix(golden()).unwrap());
            if path.is_dir() {
                fs::create_dir_all(&to).unwrap();
                open.push(path);
            } else {
                fs::copy(&path, &to).unwrap();
            }
        }
    }
    folder
}

fn with_video() -> TempDir {
    let folder = copy();
    let camera = folder.path().join("videos/observation.images.front/chunk-000");
    fs::create_dir_all(&camera).unwrap();
    for (file, episodes) in [(0, vec![(0, 6), (1, 9), (2, 4)]), (1, vec![(3, 12), (4, 7)])] {
        let frames: Vec<[u8; 3]> =
            episodes.into_iter().flat_map(|(e, n)| (0..n).map(move |f| [40 * e, 10 * f, 7])).collect();
        encode(&camera.join(format!("file-{file:03}.mp4")), (16, 16), 10, &frames);
    }
    folder
}

fn top(split: &str) -> LoadOptions {
    LoadOptions {
        split: split.to_owned(),
        camera: Some("observation.images.top".to_owned()),
        ..LoadOptions::default()
    }
}

fn colours(data: &Dataset) -> Vec<[u8; 3]> {
    let Samples::Images { pixels, .. } = data.samples() else { unreachable!() };
    let stride = pixels.len() / data.len();
    pixels.chunks_exact(stride).map(|p| [p[0], p[1], p[2]]).collect()
}

/// Every frame of episodes by (episode, frame).
fn frames(lengths: &[(u8, u8)]) -> Vec<[u8; 3]> {
    lengths.iter().flat_map(|(e, n)| (0..*n).map(|f| [40 * *e, 10 * f, 7])).collect()
}

#[test]
fn images_in_columns_are_frames_of_episodes_with_tasks_for_classes() {
    let data = load(golden(), &top("train")).unwrap();
    assert_eq!(colours(&data), frames(&[(0, 6), (1, 9), (2, 4), (3, 12)]));
    let groups: Vec<u32> = [[0; 6].as_slice(), &[1; 9], &[2; 4], &[3; 12]].concat();
    assert_eq!(data.groups(), groups);
    let labels = data.labels().unwrap();
    assert_eq!(labels.names, ["pick up the cube", "open the drawer"]);
    assert!(labels.ids.iter().zip(&groups).all(|(id, group)| *id == group % 2));
    assert_eq!(data.order()[7] - data.order()[6], 100_000_000);
    let parts = split::by_group(data.groups(), 0.3, 1).unwrap();
    assert!(parts.held.iter().all(|held| parts.train.iter().all(|train| groups[*held] != groups[*train])));
    let test = load(golden(), &top("test")).unwrap();
    assert_eq!(colours(&test), frames(&[(4, 7)]));
    assert!(
        matches!(load(golden(), &top("val")), Err(DataError::NoSplit { found, .. }) if found == ["test", "train"])
    );
}

#[test]
fn features_become_windows_that_stay_within_their_episode() {
    let options =
        LoadOptions { modality: Some(Modality::Imu), window: 4, stride: 2, ..LoadOptions::default() };
    let data = load(golden(), &options).unwrap();
    // (6 - 4) / 2 + 1 windows of six rows, and so on.
    assert_eq!(data.groups(), [0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 3]);
    // Window 3 begins at frame 2 of episode 1; channels lie one after the other.
    assert_eq!(data.window(3).unwrap()[..8], [1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(data.input_spec(None).rate_hz, 10.0);
    let features = Some(vec!["observation.imu".to_owned(), "action".to_owned()]);
    let both = load(golden(), &LoadOptions { features, rate_hz: Some(20.0), ..options.clone() }).unwrap();
    let Samples::Windows { channels: 7, length: 4, rate_hz: 20.0, .. } = *both.samples() else {
        unreachable!()
    };
    assert_eq!(both.window(1).unwrap()[..4], [1.0, 1.5, 2.0, 2.5]);
    assert_eq!(both.window(1).unwrap()[24..], [0.5, 0.75, 1.0, 1.25]);
}

#[test]
fn a_stream_gives_what_is_held_in_two_chunks_of_memory() {
    let options =
        StreamOptions { load: top("train"), chunk_bytes: 8 * 768, align: 4, ..StreamOptions::default() };
    let stream = Stream::open(golden(), options.clone()).unwrap();
    assert_eq!((stream.samples(), stream.chunk_samples()), (31, 8));
    assert_eq!(all_of(&stream, 1), rows_of(&load(golden(), &top("train")).unwrap()));
    // A chunk, the next, and at most its eight image files of under 300 bytes.
    assert!((2 * 8 * 768..=2 * 8 * 768 + 8 * 300).contains(&stream.peak_bytes()), "{}", stream.peak_bytes());
    let two = LoadOptions { groups: Some(vec![0, 2]), ..top("train") };
    let held_out = Stream::open(golden(), StreamOptions { load: two.clone(), ..options.clone() }).unwrap();
    assert_eq!(all_of(&held_out, 1), rows_of(&load(golden(), &two).unwrap()));
    assert_ne!(held_out.digest(), stream.digest());
    let windows =
        LoadOptions { modality: Some(Modality::Imu), window: 4, stride: 2, ..LoadOptions::default() };
    let whole = load(golden(), &windows).unwrap();
    let stream =
        Stream::open(golden(), StreamOptions { load: windows, chunk_bytes: 2 * 48 * 2, align: 2, ..options });
    let stream = stream.unwrap();
    assert_eq!(all_of(&stream, 1), rows_of(&whole));
    assert!(stream.peak_bytes() <= 3 * 2 * 48 * 2, "{}", stream.peak_bytes());
}

#[test]
fn a_camera_kept_as_video_shows_the_frames_of_each_episode() {
    if !has_ffmpeg() {
        return;
    }
    let folder = with_video();
    let front = LoadOptions { split: "train".to_owned(), ..LoadOptions::default() };
    let data = load(folder.path(), &front).unwrap();
    assert_eq!((data.len(), data.skipped().count()), (31, 0));
    for (seen, wanted) in colours(&data).iter().zip(frames(&[(0, 6), (1, 9), (2, 4), (3, 12)])) {
        // The codec and its colour space round.
        assert!(seen.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 4), "{seen:?} {wanted:?}");
    }
    let options = StreamOptions { load: front, chunk_bytes: 8 * 768, align: 4, ..StreamOptions::default() };
    let stream = Arc::new(Stream::open(folder.path(), options).unwrap());
    assert_eq!(all_of(&stream, 1), rows_of(&data));
    assert!(stream.peak_bytes() <= 3 * 8 * 768);
    // A chunk later, in the middle of an episode, its frames are the same.
    let of = |first| colours(stream.epoch(1, 0, first).unwrap().next().unwrap().unwrap().data());
    let second = stream.epoch(1, 0, 0).unwrap().nth(1).unwrap().unwrap();
    assert_eq!(of(8), colours(second.data()));
    fs::remove_dir_all(folder.path().join("videos")).unwrap();
    assert!(matches!(load(folder.path(), &LoadOptions::default()), Err(DataError::Io { .. })));
}

fn broken(change: impl Fn(String) -> String, options: &LoadOptions) -> DataError {
    let folder = copy();
    let info = folder.path().join("meta/info.json");
    fs::write(&info, change(fs::read_to_string(&info).unwrap())).unwrap();
    load(folder.path(), options).unwrap_err()
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let lerobot = |error: DataError, named: &str| match error {
        DataError::LeRobot { key, path, .. } => assert!(key == named && path.starts_with("/"), "{key}"),
        other => unreachable!("{other}"),
    };
    lerobot(broken(|text| text.replace("v3.0", "v2.1"), &top("train")), "codebase_version");
    lerobot(broken(|text| text.replace("\"fps\"", "\"rate\""), &top("train")), "info.json");
    lerobot(broken(|text| text.replace("0:4", "all"), &top("train")), "splits");
    lerobot(broken(|text| text.replace("data/chunk", "../chunk"), &top("train")), "data_path");
    lerobot(broken(|text| text.replace("chunk_index:03d", "chunk"), &top("train")), "data_path");
    let side = LoadOptions { camera: Some("side".to_owned()), ..LoadOptions::default() };
    let none = load(golden(), &side).unwrap_err().to_string();
    assert!(
        none.contains("no feature `side`; it has: observation.images.front, observation.images.top"),
        "{none}"
    );
    let joints = LoadOptions { features: Some(vec!["joints".to_owned()]), ..LoadOptions::default() };
    let none = load(golden(), &joints).unwrap_err().to_string();
    assert!(none.contains("no feature `joints`") && none.contains("observation.state"), "{none}");
    let narrow =
        |text: String| text.replace("\"shape\": [\n                3\n            ]", "\"shape\": [2]");
    let windows = LoadOptions { modality: Some(Modality::Imu), window: 4, ..LoadOptions::default() };
    let wrong = broken(narrow, &windows).to_string();
    assert!(wrong.contains("another number of values than the 2"), "{wrong}");
    let folder = copy();
    fs::remove_file(folder.path().join("data/chunk-000/file-001.parquet")).unwrap();
    let missing = load(folder.path(), &top("train")).unwrap_err();
    assert!(
        matches!(missing, DataError::Io { path, .. } if path.ends_with("data/chunk-000/file-001.parquet"))
    );
    // The other file in its place is of other episodes.
    let data = folder.path().join("data/chunk-000");
    fs::copy(data.join("file-000.parquet"), data.join("file-001.parquet")).unwrap();
    lerobot(load(folder.path(), &top("train")).unwrap_err(), "episode_index");
    fs::remove_dir_all(folder.path().join("meta/episodes/chunk-000")).unwrap();
    lerobot(load(folder.path(), &top("train")).unwrap_err(), "episodes");
}

#[test]
fn cut_and_flipped_files_give_errors_but_no_panic() {
    let folder = copy();
    for name in
        ["meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet", "data/chunk-000/file-000.parquet"]
    {
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 40) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x41;
            fs::write(&path, &flipped).unwrap();
            let _ = load(folder.path(), &LoadOptions { workers: 1, ..top("train") });
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(load(folder.path(), &LoadOptions { workers: 1, ..top("train") }).is_err());
        }
        fs::write(&path, &bytes).unwrap();
    }
}
