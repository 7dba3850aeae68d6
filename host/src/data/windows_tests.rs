//! Windows against hand-made ones, and resampling against closed forms.

use super::*;

fn options(window: usize, stride: usize) -> LoadOptions {
    LoadOptions { window, stride, ..LoadOptions::default() }
}

/// Two channels: the row number, and a hundred more.
fn ramp(rows: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| [row as f32, 100.0 + row as f32]).collect()
}

fn run<'a>(name: &'a str, values: &'a [f32], group: u32) -> Run<'a> {
    Run {
        name,
        channels: 2,
        values,
        rate_hz: 50.0,
        label: Some(group),
        group,
        order: (u64::from(group) << 32, 1),
    }
}

#[test]
fn windows_are_channels_first_and_cross_no_recording() {
    let options = options(4, 3);
    let mut sink = WindowSink::new("test", &options);
    let (long, short, exact) = (ramp(9), ramp(3), ramp(4));
    sink.add(&run("long", &long, 0)).unwrap();
    sink.add(&run("short", &short, 1)).unwrap();
    sink.add(&run("exact", &exact, 2)).unwrap();
    let data = sink.finish(vec![]).unwrap();
    assert_eq!(data.groups(), [0, 0, 2]);
    assert_eq!(data.order(), [0, 3, 2 << 32]);
    assert_eq!(data.labels().unwrap().ids, [0, 0, 2]);
    assert_eq!(data.labels().unwrap().names, ["0", "1", "2"]);
    assert_eq!(data.window(1).unwrap(), [3.0, 4.0, 5.0, 6.0, 103.0, 104.0, 105.0, 106.0]);
    assert_eq!(data.input_spec(None).rate_hz, 50.0);
}

#[test]
fn windows_with_nan_are_passed_over_named_and_limited() {
    let mut values = ramp(12);
    values[2 * 5 + 1] = f32::NAN;
    let options = LoadOptions { max_skipped: 1, ..options(4, 4) };
    let mut sink = WindowSink::new("test", &options);
    sink.add(&run("walk", &values, 0)).unwrap();
    assert!(matches!(sink.add(&run("again", &values, 1)), Err(DataError::TooManySkipped { limit: 1, .. })));
    let mut sink = WindowSink::new("test", &options);
    sink.add(&run("walk", &values, 0)).unwrap();
    let data = sink.finish(vec![]).unwrap();
    assert_eq!(data.order(), [0, 8]);
    let skipped = &data.skipped().named()[0];
    assert!(skipped.what.contains("walk") && skipped.what.contains("rows 4 to 7"), "{skipped:?}");
    assert!(skipped.why.contains("row 5, channel 1"), "{skipped:?}");
}

#[test]
fn resampling_a_ramp_gives_the_ramp_and_a_constant_the_constant() {
    for (from, to) in [(50.0, 100.0), (100.0, 50.0), (100.0, 30.0), (50.0, 50.0), (30.0, 64.0)] {
        let out = resample(&ramp(61), 2, from, to);
        assert_eq!(out.len() / 2, (60.0 * to / from + 1e-9f64).floor() as usize + 1);
        let support = (from / to).max(1.0);
        for (i, row) in out.chunks_exact(2).enumerate() {
            let at = i as f64 * from / to;
            // At the ends the filter is cut and leans inwards.
            if at >= support && at + support <= 60.0 {
                assert!((f64::from(row[0]) - at).abs() < support * 0.26, "{from} {to} {i} {row:?}");
            }
            assert!((row[1] - row[0] - 100.0).abs() < 1e-4);
        }
        let flat = resample(&[2.5; 40], 1, from, to);
        assert!(flat.iter().all(|v| (v - 2.5).abs() < 1e-6));
    }
    let doubled = resample(&[0.0, 1.0, 4.0], 1, 1.0, 2.0);
    assert_eq!(doubled, [0.0, 0.5, 1.0, 2.5, 4.0]);
}

#[test]
fn vibration_beyond_the_new_rate_is_averaged_away() {
    let buzz: Vec<f32> = (0..400).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let out = resample(&buzz, 1, 100.0, 25.0);
    assert!(out[1..out.len() - 1].iter().all(|v| v.abs() < 0.01), "{:?}", &out[..5]);
}

#[test]
fn rates_are_brought_together_or_refused() {
    let values = ramp(40);
    let slow = Run { rate_hz: 25.0, ..run("slow", &values, 1) };
    let plain = options(4, 4);
    let mut sink = WindowSink::new("test", &plain);
    sink.add(&run("fast", &values, 0)).unwrap();
    assert!(matches!(sink.add(&slow), Err(DataError::Mixed { .. })));
    let three = Run { channels: 4, ..run("wide", &values, 0) };
    assert!(matches!(sink.add(&three), Err(DataError::Mixed { .. })));

    let resampled = LoadOptions { rate_hz: Some(25.0), ..options(4, 4) };
    let mut sink = WindowSink::new("test", &resampled);
    sink.add(&run("fast", &values, 0)).unwrap();
    sink.add(&slow).unwrap();
    let data = sink.finish(vec![]).unwrap();
    assert_eq!(data.groups().iter().filter(|g| **g == 0).count(), 5);
    assert_eq!(data.groups().iter().filter(|g| **g == 1).count(), 10);
    let mut sink = WindowSink::new("test", &resampled);
    let refused = sink.add(&Run { rate_hz: 0.0, ..slow });
    assert!(matches!(refused, Err(DataError::Option { option: "source_rate_hz", .. })));
}

#[test]
fn limits_hold() {
    let values = ramp(400);
    let small = LoadOptions { max_bytes: 3 * 32, ..options(4, 4) };
    let refused = WindowSink::new("test", &small).add(&run("walk", &values, 0));
    assert!(matches!(refused, Err(DataError::TooLarge { samples: 4, bytes: 128, limit: 96, .. })));
    let few = LoadOptions { limit: Some(4), ..options(4, 4) };
    let mut sink = WindowSink::new("test", &few);
    sink.add(&run("walk", &values, 0)).unwrap();
    assert_eq!(sink.finish(vec![]).unwrap().order(), [0, 100, 200, 300]);
    let empty = WindowSink::new("test", &few).finish(vec![]);
    assert!(matches!(empty, Err(DataError::Empty { .. })));
}

#[test]
fn a_recording_without_a_label_leaves_all_without() {
    let (options, values) = (options(4, 4), ramp(8));
    let mut sink = WindowSink::new("test", &options);
    sink.add(&run("labelled", &values, 0)).unwrap();
    sink.add(&Run { label: None, ..run("not", &values, 1) }).unwrap();
    let data = sink.finish(vec![]).unwrap();
    assert_eq!((data.len(), data.labels()), (4, None));
}
