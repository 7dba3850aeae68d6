//! Window views: each augmentation alone against its closed form, and refusals.

use super::*;
use proptest::prelude::*;
use rand::SeedableRng;

const MEAN: [f32; 6] = [0.5, -0.5, 9.81, 0.01, 0.02, 0.03];
const STD: [f32; 6] = [1.0, 2.0, 3.0, 0.1, 0.2, 0.3];
const LENGTH: usize = 50;

fn values() -> Vec<f32> {
    (0..6 * LENGTH).map(|i| MEAN[i / LENGTH] + STD[i / LENGTH] * (i as f32 * 0.37).sin()).collect()
}

fn view(augment: &WindowAugment, seed: u64) -> Vec<f32> {
    let values = values();
    let source = WindowSource::new(&values, LENGTH, &MEAN, &STD).unwrap();
    let mut out = vec![f32::NAN; values.len()];
    augment.view(&source, &mut ChaCha8Rng::seed_from_u64(seed), &mut out).unwrap();
    out
}

#[test]
fn without_augmentation_a_view_is_its_source() {
    assert_eq!(view(&WindowAugment::none(), 1), values());
}

#[test]
fn equal_seeds_give_equal_views_and_others_do_not() {
    let augment = WindowAugment { drop_probability: 0.5, time_flip_probability: 0.5, ..Default::default() };
    for seed in 0..50 {
        assert_eq!(view(&augment, seed), view(&augment, seed));
        assert_ne!(view(&augment, seed), view(&augment, seed + 1));
    }
}

/// Length of every vector of one sensor over time.
fn norms(values: &[f32], sensor: usize) -> Vec<f32> {
    let at = |axis: usize, t: usize| values[(sensor * 3 + axis) * LENGTH + t];
    (0..LENGTH).map(|t| (0..3).map(|axis| at(axis, t).powi(2)).sum::<f32>().sqrt()).collect()
}

#[test]
fn a_rotation_keeps_lengths_and_turns_both_sensors_alike() {
    let augment = WindowAugment { rotation_degrees: 180.0, ..WindowAugment::none() };
    let before = values();
    let mut moved = 0.0f32;
    for seed in 0..100 {
        let after = view(&augment, seed);
        for sensor in 0..2 {
            for (a, b) in norms(&before, sensor).iter().zip(norms(&after, sensor)) {
                assert!((a - b).abs() < 1e-4 * a.max(1.0), "{a} {b}");
            }
        }
        // Equal rotations keep the angle between acceleration and rate.
        let dot = |v: &[f32], t: usize| {
            (0..3).map(|axis| v[axis * LENGTH + t] * v[(3 + axis) * LENGTH + t]).sum::<f32>()
        };
        for t in 0..LENGTH {
            assert!((dot(&before, t) - dot(&after, t)).abs() < 1e-3);
        }
        moved = moved.max((before[0] - after[0]).abs());
    }
    assert!(moved > 1.0, "{moved}");
}

#[test]
fn rotations_are_proper_and_within_the_angle_and_lean_no_way() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let (mut low, mut high, mut axis_sum) = (f32::MAX, 0.0f32, [0.0f64; 3]);
    let n = 4000;
    for _ in 0..n {
        let m = rotation(&mut rng, 40.0);
        let minor = |a: usize, b: usize| m[1][a] * m[2][b] - m[1][b] * m[2][a];
        let det = m[0][0] * minor(1, 2) - m[0][1] * minor(0, 2) + m[0][2] * minor(0, 1);
        assert!((det - 1.0).abs() < 1e-4, "{det}");
        let angle = (((m[0][0] + m[1][1] + m[2][2]) - 1.0) / 2.0).clamp(-1.0, 1.0).acos().to_degrees();
        (low, high) = (low.min(angle), high.max(angle));
        let sine = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]].map(f64::from);
        axis_sum.iter_mut().zip(sine).for_each(|(sum, s)| *sum += s);
    }
    assert!(high <= 40.1 && high > 39.0 && low < 1.0, "{low} {high}");
    assert!(axis_sum.iter().all(|sum| (sum / f64::from(n)).abs() < 0.03), "{axis_sum:?}");
}

#[test]
fn jitter_has_the_deviation_asked_for_in_units_of_the_channel() {
    let augment = WindowAugment { jitter: 0.1, ..WindowAugment::none() };
    let before = values();
    let mut squares = [0.0f64; 6];
    let n = 200;
    for seed in 0..n {
        for (i, (a, b)) in before.iter().zip(view(&augment, seed)).enumerate() {
            squares[i / LENGTH] += f64::from(b - a).powi(2);
        }
    }
    for (sum, std) in squares.iter().zip(STD) {
        let got = (sum / (n as f64 * LENGTH as f64)).sqrt();
        assert!((got / (0.1 * f64::from(std)) - 1.0).abs() < 0.05, "{got} {std}");
    }
}

#[test]
fn scaling_takes_one_factor_a_sensor_or_one_a_channel() {
    let before = values();
    for by_sensor in [true, false] {
        let augment = WindowAugment { scaling: 0.2, scale_by_sensor: by_sensor, ..WindowAugment::none() };
        let after = view(&augment, 3);
        let factor = |channel: usize| {
            let ratios: Vec<f32> = (channel * LENGTH..(channel + 1) * LENGTH)
                .filter(|i| before[*i].abs() > 0.01)
                .map(|i| after[i] / before[i])
                .collect();
            assert!(ratios.iter().all(|r| (r - ratios[0]).abs() < 1e-4));
            ratios[0]
        };
        let factors: Vec<f32> = (0..6).map(factor).collect();
        assert_eq!((factors[0] - factors[1]).abs() < 1e-4, by_sensor, "{factors:?}");
        assert!((factors[0] - factors[3]).abs() > 1e-4);
    }
}

#[test]
fn a_time_crop_of_a_ramp_is_a_ramp_of_the_fraction() {
    let ramp: Vec<f32> = (0..3 * LENGTH).map(|i| (i % LENGTH) as f32).collect();
    let source = WindowSource::new(&ramp, LENGTH, &MEAN[..3], &STD[..3]).unwrap();
    let augment = WindowAugment { crop_fraction: [0.4, 0.8], ..WindowAugment::none() };
    let (mut low, mut high) = (f32::MAX, 0.0f32);
    for seed in 0..500 {
        let mut out = vec![0.0; ramp.len()];
        augment.view(&source, &mut ChaCha8Rng::seed_from_u64(seed), &mut out).unwrap();
        let slope = (out[LENGTH - 1] - out[0]) / (LENGTH - 1) as f32;
        for t in 0..LENGTH {
            assert!((out[t] - (out[0] + slope * t as f32)).abs() < 1e-3);
            assert!((-1e-3..=(LENGTH - 1) as f32 + 1e-3).contains(&out[t]));
            assert_eq!(out[t], out[LENGTH + t]);
        }
        (low, high) = (low.min(slope), high.max(slope));
    }
    assert!((0.39..0.42).contains(&low) && (0.78..0.81).contains(&high), "{low} {high}");
}

#[test]
fn time_flip_and_drop_out_do_what_they_say() {
    let flipped = view(&WindowAugment { time_flip_probability: 1.0, ..WindowAugment::none() }, 0);
    let mut wanted = values();
    wanted.chunks_exact_mut(LENGTH).for_each(<[f32]>::reverse);
    assert_eq!(flipped, wanted);

    let augment = WindowAugment { drop_probability: 1.0, ..WindowAugment::none() };
    let mut seen = [0; 2];
    for seed in 0..100 {
        let out = view(&augment, seed);
        let is_mean = |sensor: usize| {
            (sensor * 3 * LENGTH..(sensor + 1) * 3 * LENGTH).all(|i| out[i] == MEAN[i / LENGTH])
        };
        assert_ne!(is_mean(0), is_mean(1));
        seen[usize::from(is_mean(1))] += 1;
    }
    assert!(seen.iter().all(|n| *n > 25), "{seen:?}");
}

#[test]
fn refuses_what_does_not_fit() {
    let four = vec![0.0; 4 * 5];
    let (mean, std) = ([0.0; 4], [1.0; 4]);
    assert!(matches!(WindowSource::new(&four, 6, &mean, &std), Err(AugmentError::Window { .. })));
    assert!(matches!(WindowSource::new(&four, 5, &mean, &std[..3]), Err(AugmentError::Window { .. })));
    assert!(matches!(WindowSource::new(&[], 0, &[], &[]), Err(AugmentError::Window { .. })));
    let source = WindowSource::new(&four, 5, &mean, &std).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut out = vec![0.0; 20];
    let turned = WindowAugment::default().view(&source, &mut rng, &mut out);
    assert_eq!(turned, Err(AugmentError::Triplets { channels: 4 }));
    WindowAugment::none().view(&source, &mut rng, &mut out).unwrap();
    let short = WindowAugment::none().view(&source, &mut rng, &mut out[1..]);
    assert_eq!(short, Err(AugmentError::Output { wanted: 20, found: 19 }));
    let wild = WindowAugment { jitter: f32::INFINITY, ..WindowAugment::none() }.check();
    assert!(matches!(wild, Err(AugmentError::Setting { field: "jitter", .. })));
}

#[test]
fn settings_are_read_with_defaults_and_unknown_keys_refused() {
    let read: WindowAugment = toml::from_str("jitter = 0.2").unwrap();
    assert_eq!(read, WindowAugment { jitter: 0.2, ..Default::default() });
    let refused = toml::from_str::<WindowAugment>("gitter = 0.2").unwrap_err().to_string();
    assert!(refused.contains("gitter"), "{refused}");
}

proptest! {
    #[test]
    fn any_shape_gives_finite_values(sensors in 1usize..4, length in 1usize..40, seed: u64) {
        let channels = 3 * sensors;
        let values = vec![1.5; channels * length];
        let (mean, std) = (vec![0.0; channels], vec![1.0; channels]);
        let source = WindowSource::new(&values, length, &mean, &std).unwrap();
        let mut out = vec![f32::NAN; values.len()];
        let augment = WindowAugment { drop_probability: 0.5, ..Default::default() };
        augment.view(&source, &mut ChaCha8Rng::seed_from_u64(seed), &mut out).unwrap();
        prop_assert!(out.iter().all(|v| v.is_finite()));
    }
}
