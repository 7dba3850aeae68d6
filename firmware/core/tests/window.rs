//! The windower against a naive cut of the whole series, and its books under arbitrary input.

use proptest::prelude::*;
use sedge_core::{WindowConfig, Windower};
use sedge_readings::{ImuSample, NoData, Reading, Span, Timestamp};

const PERIOD: u64 = 10;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn reading(millis: u64, value: f32) -> Reading<ImuSample> {
    Reading { at: at(millis), value: Ok(ImuSample::from_channels([value; 6])) }
}

fn config(length: usize, stride: usize) -> WindowConfig {
    let max_gap = Span::from_millis(PERIOD * stride.min(3) as u64);
    WindowConfig { length, stride, period: Span::from_millis(PERIOD), max_gap }
}

fn first_channel(windower: &Windower<16>) -> Vec<f32> {
    windower.window().map(|sample| sample.channels()[0]).collect()
}

#[test]
fn regular_samples_are_cut_as_by_hand() {
    for (length, stride) in [(4, 2), (4, 4), (3, 5), (1, 1), (16, 3)] {
        let mut windower = Windower::<16>::new(config(length, stride)).unwrap();
        let series: Vec<f32> = (0..50).map(|i| (i * i) as f32).collect();
        let mut found = Vec::new();
        for (i, &value) in series.iter().enumerate() {
            if windower.push(reading(i as u64 * PERIOD, value)) {
                found.push(first_channel(&windower));
            }
        }
        let naive: Vec<Vec<f32>> = (0..)
            .map(|k| k * stride)
            .take_while(|s| s + length <= 50)
            .map(|s| series[s..s + length].to_vec())
            .collect();
        assert_eq!(found, naive, "length {length}, stride {stride}");
        windower.end();
        assert_eq!(windower.tally().waiting(), 0);
    }
}

#[test]
fn another_rate_is_interpolated_to_the_grid() {
    // A straight line read every 4 ms is the same line read every 10 ms.
    let mut windower = Windower::<16>::new(config(5, 5)).unwrap();
    let mut found = Vec::new();
    for i in 0..40u64 {
        if windower.push(reading(i * 4, i as f32 * 0.4)) {
            found.extend(first_channel(&windower));
        }
    }
    assert_eq!(found.len(), 15);
    for (i, value) in found.iter().enumerate() {
        assert!((value - i as f32).abs() < 1e-4, "{i}: {value}");
    }
}

#[test]
fn a_hole_breaks_the_window() {
    let broken_by = |hole: Reading<ImuSample>| {
        let mut windower = Windower::<16>::new(config(4, 4)).unwrap();
        for i in 0..3 {
            windower.push(reading(i * PERIOD, 0.0));
        }
        windower.push(hole);
        let before = windower.breaks();
        let made: Vec<_> = (4..12).filter(|i| windower.push(reading(i * PERIOD, 0.0))).collect();
        (before, made, windower.tally().broken)
    };
    let missing = Reading { at: at(3 * PERIOD), value: Err(NoData::DropOut) };
    assert_eq!(broken_by(missing), (1, vec![7, 11], 3));
    assert_eq!(broken_by(reading(3 * PERIOD, f32::NAN)), (1, vec![7, 11], 3));
    let mut windower = Windower::<16>::new(config(4, 4)).unwrap();
    let gap: Vec<_> =
        [0, 1, 2, 9, 10, 11, 12].into_iter().filter(|i| windower.push(reading(i * PERIOD, 0.0))).collect();
    assert_eq!((gap, windower.tally().broken, windower.breaks()), (vec![12], 3, 1));
}

#[test]
fn nonsense_is_refused() {
    assert!(Windower::<16>::new(config(17, 4)).is_err());
    assert!(Windower::<16>::new(config(0, 4)).is_err());
    assert!(Windower::<16>::new(WindowConfig { stride: 0, ..config(4, 4) }).is_err());
    assert!(Windower::<16>::new(WindowConfig { period: Span::default(), ..config(4, 4) }).is_err());
    assert!(Windower::<16>::new(WindowConfig { max_gap: Span::from_millis(1), ..config(4, 4) }).is_err());
    assert!(Windower::<16>::new(WindowConfig { max_gap: Span::from_millis(900), ..config(4, 4) }).is_err());
}

proptest! {
    #[test]
    fn the_books_balance_and_windows_are_whole(
        steps in proptest::collection::vec((-30i64..40, 0u8..12), 0..200),
        length in 1usize..=16,
        stride in 1usize..20,
    ) {
        let mut windower = Windower::<16>::new(config(length, stride)).unwrap();
        let mut millis = 1_000i64;
        for (step, kind) in &steps {
            millis = (millis + step).max(0);
            let mut one = reading(millis as u64, *kind as f32);
            match kind {
                0 => one.value = Err(NoData::Bus),
                1 => one.value = Ok(ImuSample::from_channels([f32::NAN; 6])),
                _ => {}
            }
            let ready = windower.push(one);
            prop_assert_eq!(windower.window().count(), if ready { length } else { 0 });
            prop_assert!(windower.window().all(|sample| sample.is_finite()));
            prop_assert_eq!(windower.stamp().is_some(), ready);
        }
        windower.end();
        prop_assert_eq!((windower.tally().offered, windower.tally().waiting()), (steps.len() as u64, 0));
    }
}
