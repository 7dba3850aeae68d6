//! Streams: the simulated rig with its truth, made-up events with gaps, and a real recording.

use std::collections::BTreeMap;

use sedge_readings::{Frame, NoData, Span};

use super::super::testing::shared_data;
use super::*;

fn imu(at_ms: u64, value: f32) -> Result<Event, DataError> {
    let at = Timestamp::default() + Span::from_millis(at_ms);
    Ok(Event::Imu(Reading { at, value: Ok(ImuSample::from_channels([value; 6])) }))
}

#[test]
fn windows_cross_no_gap_and_no_lost_sample() {
    let mut events: Vec<_> = (0..20).map(|i| imu(10 * i, i as f32)).collect();
    events.push(Ok(Event::Imu(Reading { at: Timestamp::from_nanos(200_000_000), value: Err(NoData::Bus) })));
    events.extend((21..30).map(|i| imu(10 * i, i as f32)));
    events.extend((100..112).map(|i| imu(10 * i, i as f32)));
    let options = LoadOptions { window: 4, stride: 4, ..LoadOptions::default() };
    let data = imu_windows("test", events.into_iter(), &options, None).unwrap();
    let firsts: Vec<f32> = (0..data.len()).map(|i| data.window(i).unwrap()[0]).collect();
    assert_eq!(firsts, [0.0, 4.0, 8.0, 12.0, 16.0, 21.0, 25.0, 100.0, 104.0, 108.0]);
    assert_eq!(data.order()[1], 40_000_000);
    assert_eq!(data.skipped().count(), 1);
    assert!((data.input_spec(None).rate_hz - 100.0).abs() < 1e-3);
    assert!(data.labels().is_none());
}

#[test]
fn time_that_stands_still_or_runs_back_gives_no_window_across() {
    let options = LoadOptions { window: 2, stride: 2, ..LoadOptions::default() };
    let still: Vec<_> = (0..8).map(|_| imu(5, 0.0)).collect();
    assert!(matches!(imu_windows("test", still.into_iter(), &options, None), Err(DataError::Empty { .. })));
    let back: Vec<_> = [0, 10, 20, 30, 5, 15].into_iter().map(|at| imu(at, at as f32)).collect();
    let data = imu_windows("test", back.into_iter(), &options, None).unwrap();
    let firsts: Vec<f32> = (0..data.len()).map(|i| data.window(i).unwrap()[0]).collect();
    assert_eq!(firsts, [0.0, 20.0, 5.0]);
}

#[test]
fn lost_frames_are_counted() {
    let frame = Frame::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
    let at = Timestamp::default();
    let events = [Ok(frame), Err(NoData::DropOut)].map(|value| Ok(Event::Frame(Reading { at, value })));
    let data = frames("test", events.into_iter(), &LoadOptions::default(), None).unwrap();
    assert_eq!((data.len(), data.skipped().count()), (1, 1));
    assert_eq!(data.skipped().named()[0].why, "drop-out");
}

#[test]
fn the_simulated_rig_gives_rooms_and_floors_a_group_a_visit() {
    let options = LoadOptions { window: 50, stride: 50, ..LoadOptions::default() };
    let spec = "sim:building=3,drive=7,seconds=20";
    let images = load_sim(spec, &options).unwrap();
    assert_eq!(images.len() as u64 + images.skipped().count(), 400);
    let windows = load_sim(spec, &LoadOptions { modality: Some(Modality::Imu), ..options.clone() }).unwrap();
    assert!((10..=40).contains(&windows.len()), "{}", windows.len());
    assert_eq!(windows.labels().unwrap().names.len(), 4);
    for data in [&images, &windows] {
        let mut of_group = BTreeMap::new();
        for (group, id) in data.groups().iter().zip(&data.labels().unwrap().ids) {
            assert_eq!(of_group.entry(group).or_insert(id), &id, "one visit, one label");
        }
    }
    assert_eq!(load_sim(spec, &options).unwrap().digest(), images.digest());
    let few = load_sim(spec, &LoadOptions { limit: Some(7), image_size: Some(16), ..options }).unwrap();
    assert_eq!((few.len(), few.bytes()), (7, 7 * 16 * 16 * 3));
}

#[test]
fn a_drone_flight_gives_frames_and_windows() {
    let Some(path) = shared_data("streams/gopro_karma.mcap") else { return };
    let options = LoadOptions { image_size: Some(32), limit: Some(20), ..LoadOptions::default() };
    let images = load_mcap("flight", &path, &options).unwrap();
    assert_eq!((images.modality(), images.len()), (Modality::Image, 20));
    let windows =
        load_mcap("flight", &path, &LoadOptions { modality: Some(Modality::Imu), ..Default::default() })
            .unwrap();
    assert!((windows.input_spec(None).rate_hz - 200.0).abs() < 4.0);
    assert!(windows.len() > 20, "{}", windows.len());
}
