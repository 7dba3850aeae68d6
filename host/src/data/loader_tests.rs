//! The loader: equal whatever the threads, resumable, and quick to stop.

use std::collections::BTreeSet;

use sedge_augment::{ImageAugment, WindowAugment};

use super::super::{Labels, Samples};
use super::*;

fn images(n: usize) -> Arc<Dataset> {
    let pixels = (0..n * 8 * 8 * 3).map(|i| (i * 31 % 251) as u8).collect();
    let labels = Labels { ids: vec![0; n], names: vec!["only".into()] };
    let samples = Samples::Images { width: 8, height: 8, pixels };
    Arc::new(Dataset::new(samples, Some(labels), vec![0; n], vec![0; n]).unwrap())
}

fn windows(n: usize) -> Arc<Dataset> {
    let values = (0..n * 6 * 16).map(|i| ((i * 37 % 101) as f32 * 0.1).sin()).collect();
    let samples = Samples::Windows { channels: 6, length: 16, rate_hz: 50.0, values };
    Arc::new(Dataset::new(samples, None, vec![0; n], vec![0; n]).unwrap())
}

fn loader(data: &Arc<Dataset>, pairs: usize, seed: u64, workers: usize) -> Loader {
    let augment = Augment::default_for(data.modality());
    Loader::new(Arc::clone(data), data.input_spec(None), augment, pairs, seed, workers).unwrap()
}

fn all(loader: &Loader, epoch: u64, first: usize) -> Vec<Batch> {
    loader.epoch(epoch, first).unwrap().map(Result::unwrap).collect()
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    for data in [images(23), windows(23)] {
        let one = all(&loader(&data, 4, 7, 1), 3, 0);
        assert_eq!(one.len(), 5);
        for workers in [2, 4, 9] {
            assert_eq!(all(&loader(&data, 4, 7, workers), 3, 0), one);
        }
    }
}

#[test]
fn an_epoch_shows_every_sample_once_but_the_rest() {
    let data = images(23);
    let seen: Vec<usize> =
        all(&loader(&data, 4, 7, 2), 0, 0).into_iter().flat_map(|batch| batch.indices).collect();
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (20, 20));
    assert!(seen.iter().all(|&i| i < 23));
}

#[test]
fn starting_in_the_middle_gives_the_rest() {
    let data = windows(30);
    let loader = loader(&data, 4, 1, 3);
    let whole = all(&loader, 2, 0);
    for first in 0..=8 {
        assert_eq!(all(&loader, 2, first), whole[first.min(7)..]);
    }
}

#[test]
fn epochs_seeds_and_views_differ() {
    let data = images(16);
    let batch = |seed, epoch| all(&loader(&data, 8, seed, 2), epoch, 0).remove(0);
    let first = batch(1, 0);
    assert_ne!(first, batch(1, 1));
    assert_ne!(first, batch(2, 0));
    let views = first.into_views().unwrap();
    let rows: Vec<_> = views.outer_iter().collect();
    for i in 0..8 {
        assert_ne!(rows[i], rows[i + 8], "two views of one sample are drawn apart");
    }
}

#[test]
fn without_augmentation_both_views_are_the_plain_batch() {
    for data in [images(9), windows(9)] {
        let spec = data.input_spec(None);
        let none = Augment::none_for(data.modality());
        let loader = Loader::new(Arc::clone(&data), spec.clone(), none, 3, 0, 2).unwrap();
        for batch in loader.epoch(0, 0).unwrap() {
            let batch = batch.unwrap();
            let twice = [batch.indices.clone(), batch.indices.clone()].concat();
            assert_eq!(batch.into_views().unwrap(), data.batch_f32(&twice, &spec).unwrap());
        }
    }
}

#[test]
fn dropping_early_does_not_hang() {
    let data = images(64);
    let loader = loader(&data, 2, 0, 4);
    for taken in 0..4 {
        let mut epoch = loader.epoch(0, 0).unwrap();
        for _ in 0..taken {
            epoch.next().unwrap().unwrap();
        }
        drop(epoch);
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let data = images(4);
    let spec = data.input_spec(None);
    let new = |augment: Augment, pairs, workers| {
        Loader::new(Arc::clone(&data), spec.clone(), augment, pairs, 0, workers).map(|_| ())
    };
    let image = || Augment::Image(ImageAugment::default());
    assert!(matches!(new(image(), 5, 1), Err(DataError::Option { option: "batch", .. })));
    assert!(matches!(new(image(), 0, 1), Err(DataError::Option { option: "batch", .. })));
    assert!(matches!(new(image(), 2, 0), Err(DataError::Option { option: "workers", .. })));
    let window = Augment::Window(WindowAugment::default());
    assert!(matches!(new(window, 2, 1), Err(DataError::Mismatch { .. })));
    let wild = Augment::Image(ImageAugment { hue: 3.0, ..ImageAugment::default() });
    assert!(matches!(new(wild, 2, 1), Err(DataError::Augment(_))));
}
