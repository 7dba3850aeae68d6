//! Pairs from hand-made streams, from the simulated rig beside its own frames and windows, and from
//! a real flight.

use sedge_augment::{ImageAugment, WindowAugment};
use sedge_models::Modality;
use sedge_readings::{Frame, NoData, Span, Timestamp};

use super::super::testing::shared_data;
use super::super::{Augment, Loader, load as load_any};
use super::*;

fn at(ms: u64) -> Timestamp {
    Timestamp::default() + Span::from_millis(ms)
}

fn imu(ms: u64) -> Result<Event, DataError> {
    let values = std::array::from_fn(|c| ms as f32 + 1000.0 * c as f32);
    Ok(Event::Imu(Reading { at: at(ms), value: Ok(ImuSample::from_channels(values)) }))
}

fn frame(ms: u64) -> Result<Event, DataError> {
    Ok(Event::Frame(Reading { at: at(ms), value: Ok(Frame::new(1, 1, vec![ms as u8, 0, 0]).unwrap()) }))
}

fn options(window: usize) -> LoadOptions {
    LoadOptions { pairs: true, window, ..LoadOptions::default() }
}

fn ten_ms() -> Option<u64> {
    Some(10_000_000)
}

#[test]
fn a_frame_gets_the_window_around_its_time_and_none_across_a_gap() {
    let mut events: Vec<_> = (0..10).map(|i| imu(10 * i)).collect();
    events.extend((13..30).map(|i| imu(10 * i)));
    // In time order: too early, on a sample, between samples, across the gap, after it, too late.
    for ms in [5, 40, 45, 95, 160, 295] {
        let place = events.iter().position(|e| e.as_ref().unwrap().at() >= at(ms)).unwrap_or(events.len());
        events.insert(place, frame(ms));
    }
    let data = load("test", events.into_iter(), ten_ms(), &options(4), None).unwrap();
    assert_eq!(data.order(), [40, 45, 160].map(|ms| ms * 1_000_000));
    let firsts = |i: usize| data.window(i).unwrap()[..4].to_vec();
    assert_eq!(firsts(0), [20.0, 30.0, 40.0, 50.0]);
    assert_eq!(firsts(1), [30.0, 40.0, 50.0, 60.0]);
    assert_eq!(firsts(2), [140.0, 150.0, 160.0, 170.0]);
    assert_eq!(data.window(0).unwrap()[4..8], [1020.0, 1030.0, 1040.0, 1050.0], "channels first");
    assert_eq!(data.image(1).map(|_| ()), Some(()));
    let Samples::Pairs { pixels, rate_hz, .. } = data.samples() else { panic!("{data:?}") };
    assert_eq!((pixels[3], *rate_hz), (45, 100.0));
}

#[test]
fn windows_come_at_the_rate_asked_for() {
    let mut events: Vec<_> = (0..40).map(|i| imu(10 * i)).collect();
    events.insert(20, frame(195));
    let half = LoadOptions { rate_hz: Some(50.0), ..options(5) };
    let data = load("test", events.into_iter(), ten_ms(), &half, None).unwrap();
    let window = &data.window(0).unwrap()[..5];
    // A ramp stays a ramp, at twice the spacing; at its ends the filter is cut and leans inwards.
    assert!(window[1..4].windows(2).all(|w| (w[1] - w[0] - 20.0).abs() < 1e-3), "{window:?}");
    assert!((window[2] - 195.0).abs() < 20.0, "{window:?}");
    assert_eq!(data.second_spec().unwrap().rate_hz, 50.0);
}

#[test]
fn lost_values_are_counted_and_an_imu_that_stops_holds_nothing_back() {
    let lost = |value| Ok(Event::Imu(Reading { at: at(45), value: Err(value) }));
    let mut events: Vec<_> = (0..10).map(|i| imu(10 * i)).collect();
    events.insert(5, lost(NoData::Bus));
    events.insert(5, frame(44));
    let data = load("test", events.into_iter(), ten_ms(), &options(4), None).unwrap();
    assert_eq!((data.len(), data.skipped().count()), (1, 1));

    let mut pairing = Pairing::new(&options(4), 10_000_000);
    let side = 1 << 10;
    for i in 0..64 {
        let large = Frame::new(side, side, vec![0; 3 << 20]).unwrap();
        let picture = Picture::fit(&large, None).unwrap();
        pairing.frame(picture, Tag { label: None, group: 0, order: i });
    }
    assert!(pairing.waiting_bytes <= MAX_WAITING && pairing.waiting.len() == 21);
    let none = load("test", std::iter::empty(), None, &options(4), None);
    assert!(matches!(none, Err(DataError::Empty { .. })));
}

#[test]
fn the_rigs_pairs_are_its_frames_beside_its_imu() {
    let spec = "sim:building=3,drive=7,seconds=6,rooms=2";
    let pairs = load_any(spec, &options(32)).unwrap();
    let frames = load_any(spec, &LoadOptions::default()).unwrap();
    assert!(pairs.len() > 90 && pairs.len() < frames.len(), "{} of {}", pairs.len(), frames.len());
    for i in [0, pairs.len() / 2, pairs.len() - 1] {
        let j = frames.order().iter().position(|order| *order == pairs.order()[i]).unwrap();
        let own = frames.subset(&[j]).unwrap();
        let picture = pairs.batch_f32(&[i], &frames.input_spec(None)).unwrap();
        assert_eq!(picture, own.batch_f32(&[0], &frames.input_spec(None)).unwrap());
        assert_eq!((pairs.groups()[i], pairs.labels().unwrap().ids[i]), {
            (frames.groups()[j], frames.labels().unwrap().ids[j])
        });
    }
    // All that the IMU says, by time.
    let config: sedge_boards::sim::RigConfig = spec.parse().unwrap();
    let imu: Vec<(u64, [f32; 6])> = sedge_boards::sim::Rig::new(config)
        .unwrap()
        .without_camera()
        .filter_map(|event| match event {
            Event::Imu(Reading { at, value: Ok(sample) }) => Some((at.nanos(), sample.channels())),
            _ => None,
        })
        .collect();
    let i = pairs.len() / 3;
    let middle = imu.iter().position(|(at, _)| *at >= pairs.order()[i]).unwrap();
    for channel in 0..6 {
        let wanted: Vec<f32> = imu[middle - 16..middle + 16].iter().map(|(_, v)| v[channel]).collect();
        assert_eq!(pairs.window(i).unwrap()[channel * 32..][..32], wanted[..]);
    }
    let few = LoadOptions { limit: Some(5), image_size: Some(8), ..options(32) };
    let drives = load_any("sim:building=3-4,drive=7-8,seconds=3,rooms=2", &few).unwrap();
    assert_eq!((drives.len(), drives.bytes()), (5, 5 * (8 * 8 * 3 + 4 * 6 * 32)));
}

#[test]
fn pairs_serve_both_encoders_and_keep_together_what_belongs_together() {
    let data = load_any("sim:building=1,drive=1,seconds=3,rooms=2", &options(16)).unwrap();
    let (image, window) = (data.input_spec(Some(16)), data.second_spec().unwrap());
    assert_eq!((data.modality(), image.modality), (Modality::Image, Modality::Image));
    assert_eq!((window.modality, window.shape.as_slice()), (Modality::Imu, &[6, 16][..]));
    for spec in [&image, &window] {
        data.check_fits(spec).unwrap();
        assert_eq!(data.batch_f32(&[3, 1], spec).unwrap().len(), 2 * spec.values());
    }
    let longer = sedge_models::InputSpec { shape: vec![6, 17], ..window.clone() };
    assert!(matches!(data.check_fits(&longer), Err(DataError::Mismatch { .. })));
    let subset = data.subset(&[4, 2]).unwrap();
    assert_eq!(subset.window(1), data.window(2));
    assert_eq!(subset.batch_f32(&[0], &image).unwrap(), data.batch_f32(&[4], &image).unwrap());
    assert_ne!(subset.digest(), data.digest());
    let Samples::Pairs { width, height, pixels, .. } = data.samples().clone() else { panic!("{data:?}") };
    let images = Samples::Images { width, height, pixels };
    let images =
        Dataset::new(images, data.labels().cloned(), data.groups().to_vec(), data.order().to_vec()).unwrap();
    assert_ne!(images.digest(), data.digest());
    assert_eq!(images.second_spec(), None);
    assert!(images.check_fits(&window).is_err());
    let data = std::sync::Arc::new(data);
    for (augment, spec) in [
        (Augment::Image(ImageAugment::default()), image),
        (Augment::Window(WindowAugment::default()), window),
    ] {
        Loader::new(data.clone(), spec, augment, 4, 1, 1)
            .unwrap()
            .epoch(0, 0)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
    }
}

#[test]
fn a_drone_flight_gives_pairs() {
    let Some(path) = shared_data("streams/gopro_karma.mcap") else { return };
    let options = LoadOptions { image_size: Some(16), limit: Some(12), ..options(64) };
    let data = load_any(&path, &options).unwrap();
    assert_eq!((data.len(), data.window(11).unwrap().len()), (12, 6 * 64));
    assert!((data.second_spec().unwrap().rate_hz - 200.0).abs() < 4.0);
}
