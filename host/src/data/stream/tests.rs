//! Streams of shards written here by the tar crate: what comes, in which order, and how much is held.

use std::collections::BTreeSet;

use image::{ImageBuffer, ImageFormat, Rgb};
use tempfile::TempDir;

use super::*;

fn png(value: usize) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let colour = Rgb([value as u8, (value >> 8) as u8, 3]);
    ImageBuffer::from_pixel(8, 8, colour).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn add(to: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    // A name of more than a hundred characters goes into a record of its own.
    to.append_data(&mut header, name, bytes).unwrap();
}

/// Samples `first..last`, with the class in either form; every other name is long.
fn shard(range: std::ops::Range<usize>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for i in range {
        let key = if i % 2 == 0 { format!("a/{i:06}") } else { format!("{}/{i:06}", "deep".repeat(40)) };
        add(&mut tar, &format!("{key}.png"), &png(i));
        if i % 3 == 0 {
            add(&mut tar, &format!("{key}.json"), format!("{{\"label\": {}}}", i % 5).as_bytes());
        } else {
            add(&mut tar, &format!("{key}.cls"), format!("{}\n", i % 5).as_bytes());
        }
    }
    tar.into_inner().unwrap()
}

fn shards(count: usize, each: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    for number in 0..count {
        let bytes = shard(number * each..(number + 1) * each);
        std::fs::write(folder.path().join(format!("shard-{number:03}.tar")), bytes).unwrap();
    }
    folder
}

/// Chunks of 32 samples of 192 bytes.
fn small() -> StreamOptions {
    StreamOptions { chunk_bytes: 33 * 192, align: 8, ..StreamOptions::default() }
}

fn values(chunk: &Chunk) -> Vec<usize> {
    let super::super::Samples::Images { pixels, .. } = chunk.data().samples() else { unreachable!() };
    pixels.chunks_exact(192).map(|p| usize::from(p[0]) + 256 * usize::from(p[1])).collect()
}

fn epoch(stream: &Stream, seed: u64, epoch: u64, first: u64) -> Vec<Vec<usize>> {
    stream.epoch(seed, epoch, first).unwrap().map(|chunk| values(&chunk.unwrap())).collect()
}

#[test]
fn an_epoch_shows_every_sample_once_in_an_order_of_seed_and_epoch_and_can_be_entered_anywhere() {
    let folder = shards(6, 40);
    let stream = Stream::open(folder.path(), small()).unwrap();
    assert_eq!((stream.samples(), stream.chunk_samples()), (240, 32));
    let whole = epoch(&stream, 1, 0, 0);
    assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 32, 32, 32, 32, 32, 16]);
    let all: BTreeSet<usize> = whole.iter().flatten().copied().collect();
    assert_eq!(all, (0..240).collect());
    let one_worker = LoadOptions { workers: 1, ..LoadOptions::default() };
    let other = Stream::open(folder.path(), StreamOptions { load: one_worker, ..small() }).unwrap();
    assert_eq!(epoch(&other, 1, 0, 0), whole);
    assert_ne!(epoch(&stream, 1, 1, 0), whole);
    assert_ne!(epoch(&stream, 2, 0, 0), whole);
    assert_eq!(epoch(&stream, 1, 0, 100), whole[3..]);
    let chunk = stream.epoch(1, 0, 100).unwrap().next().unwrap().unwrap();
    assert_eq!((chunk.first(), chunk.planned()), (96, 32));
    let labels = chunk.data().labels().unwrap();
    assert_eq!(labels.names.len(), 5);
    assert!(values(&chunk).iter().zip(&labels.ids).all(|(value, id)| value % 5 == *id as usize));
}

#[test]
fn no_more_than_two_chunks_and_what_is_decoded_are_held() {
    let folder = shards(10, 64);
    let stream = Stream::open(folder.path(), small()).unwrap();
    let data_bytes = 640 * 192;
    // The last chunk is in use until the next has come.
    let mut last: Option<Chunk> = None;
    let mut seen = 0;
    for chunk in stream.epoch(0, 0, 0).unwrap() {
        seen += last.insert(chunk.unwrap()).data().len();
    }
    drop(last);
    assert_eq!(seen, 640);
    let encoded = 32 * png(700).len() as u64;
    assert!(stream.peak_bytes() <= 2 * 33 * 192 + 2 * encoded, "{}", stream.peak_bytes());
    assert!(stream.peak_bytes() >= 2 * 32 * 192 && stream.peak_bytes() < data_bytes / 2);

    let mut chunks = stream.epoch(0, 0, 0).unwrap();
    let held = [chunks.next().unwrap().unwrap(), chunks.next().unwrap().unwrap()];
    assert!(matches!(chunks.next(), Some(Err(DataError::ChunksHeld { held: 2 }))), "{}", held.len());
    drop(stream.epoch(0, 0, 0).unwrap());
}

#[test]
fn bad_samples_are_named_and_limited() {
    let folder = TempDir::new().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    for i in 0..40 {
        let bytes = if i == 7 || i == 30 { b"no picture".to_vec() } else { png(i) };
        add(&mut tar, &format!("{i:03}.png"), &bytes);
    }
    std::fs::write(folder.path().join("a.tar"), tar.into_inner().unwrap()).unwrap();
    let some = StreamOptions { max_bad: 0.05, ..small() };
    let stream = Stream::open(folder.path(), some.clone()).unwrap();
    let chunks: Vec<Chunk> = stream.epoch(0, 0, 0).unwrap().map(Result::unwrap).collect();
    assert_eq!((chunks[0].planned(), chunks[0].data().len(), chunks[1].data().len()), (32, 30, 8));
    assert!(chunks[0].data().skipped().named()[0].what.contains("`007`"));
    assert!(chunks[0].data().labels().is_none());
    let stream = Stream::open(folder.path(), StreamOptions { max_bad: 0.02, ..some }).unwrap();
    assert!(matches!(
        stream.epoch(0, 0, 0).unwrap().next(),
        Some(Err(DataError::TooManySkipped { limit: 1, .. }))
    ));
}

#[test]
fn a_folder_of_images_is_mixed_and_small_data_are_loaded_whole() {
    let folder = TempDir::new().unwrap();
    for (class, name) in ["cat", "dog"].into_iter().enumerate() {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        for i in 0..80 {
            std::fs::write(folder.path().join(name).join(format!("{i}.png")), png(2 * i + class)).unwrap();
        }
    }
    let stream = Stream::open(folder.path(), small()).unwrap();
    let chunks = epoch(&stream, 3, 0, 0);
    assert_eq!(chunks.iter().flatten().copied().collect::<BTreeSet<_>>(), (0..160).collect());
    assert!(chunks.iter().all(|chunk| chunk.iter().any(|v| v % 2 == 0) && chunk.iter().any(|v| v % 2 == 1)));

    let tars = shards(2, 20);
    let data = super::super::load(tars.path(), &LoadOptions::default()).unwrap();
    assert_eq!((data.len(), data.labels().unwrap().names.len()), (40, 5));
    let first = stream.digest().to_owned();
    std::fs::write(folder.path().join("cat/0.png"), png(999)).unwrap();
    assert_ne!(Stream::open(folder.path(), small()).unwrap().digest(), first);
}

#[test]
fn cut_and_flipped_shards_give_errors_or_skips_but_no_panic() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.tar");
    let bytes = shard(0..4);
    let options = LoadOptions { workers: 1, ..LoadOptions::default() };
    for length in (0..bytes.len()).step_by(97) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let _ = super::super::load(&path, &options);
    }
    for at in (0..bytes.len()).step_by(13) {
        let mut broken = bytes.clone();
        broken[at] ^= 0x41;
        std::fs::write(&path, &broken).unwrap();
        let _ = super::super::load(&path, &options);
    }
    // The body of the first picture is not there.
    std::fs::write(&path, &bytes[..520]).unwrap();
    assert!(matches!(super::super::load(&path, &options), Err(DataError::Tar { .. })));
}

#[test]
fn options_that_cannot_be_are_refused() {
    let folder = shards(1, 4);
    let one = |load| StreamOptions { load, ..small() };
    for options in [
        one(LoadOptions { limit: Some(3), ..LoadOptions::default() }),
        one(LoadOptions { groups: Some(vec![1]), ..LoadOptions::default() }),
        StreamOptions { max_bad: f64::NAN, ..small() },
        StreamOptions { align: 0, ..small() },
    ] {
        assert!(matches!(Stream::open(folder.path(), options), Err(DataError::Option { .. })));
    }
    let tiny = StreamOptions { chunk_bytes: 200, align: 1, ..small() };
    assert!(Stream::open(folder.path(), StreamOptions { align: 2, ..tiny }).is_err());
}

#[test]
fn cifar10_is_streamed_as_it_is_loaded() {
    let Some(folder) = super::super::testing::shared_data("cifar10") else { return };
    let load = LoadOptions { split: "test".to_owned(), ..LoadOptions::default() };
    let options = StreamOptions { load: load.clone(), chunk_bytes: 4 << 20, align: 128, ..small() };
    let stream = Stream::open(&folder, options).unwrap();
    let chunks: Vec<Chunk> = stream.epoch(1, 0, 8000).unwrap().map(Result::unwrap).take(1).collect();
    let whole = super::super::load(&folder, &load).unwrap();
    assert_eq!((stream.samples(), chunks[0].data().len()), (10_000, 1280));
    let data = chunks[0].data();
    // One row group holds all, so the order is the file's; the number of a sample is its row.
    let rows: Vec<usize> = data.order().iter().map(|row| *row as usize).collect();
    assert_eq!(whole.subset(&rows).unwrap().digest(), data.digest());
    assert!(stream.peak_bytes() < 2 * (4 << 20) + (16 << 20));
}

fn batches(stream: &Arc<Stream>, workers: usize, first: usize) -> Vec<crate::data::Batch> {
    use crate::data::{Augment, Loader};
    let augment = Augment::default_for(sedge_models::Modality::Image);
    let loader = Loader::new(Arc::clone(stream), stream.input_spec(), augment, 8, 7, workers).unwrap();
    assert_eq!(loader.batches_per_epoch(), 15);
    loader.epoch(2, first).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_loader_makes_the_same_batches_of_a_stream_on_any_number_of_workers_and_from_anywhere() {
    let folder = shards(3, 41);
    let stream = Arc::new(Stream::open(folder.path(), small()).unwrap());
    let whole = batches(&stream, 1, 0);
    assert_eq!(whole.len(), 15);
    assert_eq!(batches(&stream, 3, 0), whole);
    for first in [1, 4, 6, 14, 15] {
        assert_eq!(batches(&stream, 2, first), whole[first..]);
    }
    // The plain views tell which samples came: as many as batches hold, none twice.
    let seen: BTreeSet<Vec<u8>> = whole
        .iter()
        .flat_map(|batch| {
            batch.inputs[0].1.outer_iter().map(|row| row.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    assert_eq!(seen.len(), 240, "two views of each of 120 samples, all drawn apart");
}

#[test]
fn a_loader_fills_up_with_others_where_samples_are_bad() {
    let folder = shards(2, 61);
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "bad.png", b"no picture");
    add(&mut tar, "bad.cls", b"1");
    std::fs::write(folder.path().join("shard-100.tar"), tar.into_inner().unwrap()).unwrap();
    let options = StreamOptions { max_bad: 0.05, ..small() };
    let stream = Arc::new(Stream::open(folder.path(), options).unwrap());
    let all = batches(&stream, 2, 0);
    assert!(all.iter().all(|batch| batch.inputs[0].1.shape() == [16, 3, 8, 8]));
}

#[test]
fn a_survey_takes_as_many_as_half_a_chunk_holds() {
    let folder = shards(4, 100);
    let roomy = Stream::open(folder.path(), StreamOptions { chunk_bytes: 1 << 20, ..small() }).unwrap();
    assert_eq!(roomy.survey().len(), 400);
    let tight = Stream::open(folder.path(), StreamOptions { chunk_bytes: 160 * 192, ..small() }).unwrap();
    assert_eq!(tight.survey().len(), 80);
}
