//! Image views: identity when off, ranges and rates when on, and refusals.

use super::*;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

fn noise(width: usize, height: usize) -> Vec<u8> {
    let mut bytes = vec![0; width * height * 3];
    ChaCha8Rng::seed_from_u64(99).fill_bytes(&mut bytes);
    bytes
}

fn view(augment: &ImageAugment, seed: u64) -> Vec<f32> {
    let rgb = noise(20, 16);
    let source = ImageSource::new(&rgb, 20, 16).unwrap();
    let mut out = vec![f32::NAN; 3 * 12 * 14];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    augment.view(&source, Size { width: 14, height: 12 }, &mut rng, &mut out).unwrap();
    out
}

#[test]
fn without_augmentation_a_view_is_the_plain_resize() {
    let rgb = noise(20, 16);
    let source = ImageSource::new(&rgb, 20, 16).unwrap();
    let mut plain = vec![0.0; 3 * 12 * 14];
    resize_center(&source, Size { width: 14, height: 12 }, &mut plain).unwrap();
    assert_eq!(view(&ImageAugment::none(), 5), plain);
}

#[test]
fn equal_seeds_give_equal_views_and_others_do_not() {
    let augment = ImageAugment { blur_probability: 0.5, ..ImageAugment::default() };
    for seed in 0..50 {
        assert_eq!(view(&augment, seed), view(&augment, seed));
        assert_ne!(view(&augment, seed), view(&augment, seed + 1));
    }
}

#[test]
fn values_stay_within_zero_and_one() {
    let augment = ImageAugment {
        brightness: 2.0,
        contrast: 2.0,
        hue: 0.5,
        blur_probability: 0.5,
        ..Default::default()
    };
    for seed in 0..200 {
        assert!(view(&augment, seed).iter().all(|v| (-1e-6..=1.0 + 1e-6).contains(v)));
    }
}

#[test]
fn rates_and_areas_are_those_asked_for() {
    let rgb = noise(40, 30);
    let source = ImageSource::new(&rgb, 40, 30).unwrap();
    let augment = ImageAugment { crop_area: [0.2, 0.6], blur_probability: 0.3, ..Default::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let n = 10_000;
    let size = Size { width: 8, height: 8 };
    let draws: Vec<Draw> = (0..n).map(|_| augment.draw(&source, size, &mut rng)).collect();
    let rate = |of: fn(&Draw) -> bool| draws.iter().filter(|d| of(d)).count() as f64 / f64::from(n);
    for (name, got, wanted) in [
        ("flip", rate(|d| d.flip), 0.5),
        ("jitter", rate(|d| d.colour.is_some()), 0.8),
        ("grey", rate(|d| d.grey), 0.2),
        ("blur", rate(|d| d.blur.is_some()), 0.3),
    ] {
        // Five standard errors of the largest of these.
        assert!((got - wanted).abs() < 0.025, "{name} {got} {wanted}");
    }
    let fractions: Vec<f64> = draws.iter().map(|d| d.region.width * d.region.height / 1200.0).collect();
    assert!(fractions.iter().all(|f| (0.2 - 1e-6..=0.6 + 1e-6).contains(f)));
    let mean = fractions.iter().sum::<f64>() / f64::from(n);
    assert!((mean - 0.4).abs() < 0.01, "{mean}");
    for Region { x, y, width, height } in draws.iter().map(|d| d.region) {
        assert!(x >= 0.0 && y >= 0.0 && x + width <= 40.0 + 1e-9 && y + height <= 30.0 + 1e-9);
        assert!((0.75 - 1e-6..=4.0 / 3.0 + 1e-6).contains(&(width / height)), "{width} {height}");
    }
}

#[test]
fn crops_that_cannot_fit_fall_back_to_the_centre() {
    let rgb = noise(40, 10);
    let source = ImageSource::new(&rgb, 40, 10).unwrap();
    let augment = ImageAugment { crop_area: [1.0, 1.0], crop_aspect: [1.0, 2.0], ..Default::default() };
    let region = augment.draw_crop(&source, &mut ChaCha8Rng::seed_from_u64(0));
    assert_eq!(region, Region { x: 10.0, y: 0.0, width: 20.0, height: 10.0 });
}

#[test]
fn switching_one_augmentation_off_leaves_the_others_draws() {
    let rgb = noise(9, 9);
    let source = ImageSource::new(&rgb, 9, 9).unwrap();
    let draw = |augment: ImageAugment| {
        augment.draw(&source, Size { width: 4, height: 4 }, &mut ChaCha8Rng::seed_from_u64(3))
    };
    let (all, fewer) = (
        draw(ImageAugment::default()),
        draw(ImageAugment { flip_probability: 0.0, jitter_probability: 0.0, ..Default::default() }),
    );
    assert_eq!((all.region, all.grey, all.blur), (fewer.region, fewer.grey, fewer.blur));
}

#[test]
fn refuses_what_does_not_fit() {
    let rgb = [0u8; 12];
    assert!(matches!(ImageSource::new(&rgb, 2, 3), Err(AugmentError::Image { .. })));
    assert!(matches!(ImageSource::new(&[], 0, 0), Err(AugmentError::Image { .. })));
    assert!(matches!(ImageSource::new(&rgb, usize::MAX, 2), Err(AugmentError::Image { .. })));
    let source = ImageSource::new(&rgb, 2, 2).unwrap();
    let mut out = [0.0; 11];
    let short = resize_center(&source, Size { width: 2, height: 2 }, &mut out);
    assert_eq!(short, Err(AugmentError::Output { wanted: 12, found: 11 }));
    let huge = resize_center(&source, Size { width: usize::MAX, height: 2 }, &mut out);
    assert!(matches!(huge, Err(AugmentError::Image { .. })));
}

#[test]
fn refuses_settings_by_name() {
    let base = ImageAugment::default();
    for (field, settings) in [
        ("flip_probability", ImageAugment { flip_probability: 1.5, ..base.clone() }),
        ("grey_probability", ImageAugment { grey_probability: f32::NAN, ..base.clone() }),
        ("crop_area", ImageAugment { crop_area: [0.9, 0.1], ..base.clone() }),
        ("crop_aspect", ImageAugment { crop_aspect: [0.0, 1.0], ..base.clone() }),
        ("hue", ImageAugment { hue: 0.6, ..base.clone() }),
        ("contrast", ImageAugment { contrast: -0.1, ..base.clone() }),
        ("blur_sigma", ImageAugment { blur_sigma: [0.1, 1e9], ..base.clone() }),
    ] {
        match settings.check() {
            Err(AugmentError::Setting { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    for preset in [base, ImageAugment::none(), ImageAugment::mild()] {
        preset.check().unwrap();
    }
}

#[test]
fn settings_are_read_with_defaults_and_unknown_keys_refused() {
    let read: ImageAugment = toml::from_str("hue = 0.2").unwrap();
    assert_eq!(read, ImageAugment { hue: 0.2, ..Default::default() });
    let refused = toml::from_str::<ImageAugment>("hew = 0.2").unwrap_err().to_string();
    assert!(refused.contains("hew"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_size_gives_finite_values((w, h, ow, oh) in (1usize..40, 1usize..40, 1usize..20, 1usize..20), seed: u64) {
        let rgb = noise(w, h);
        let source = ImageSource::new(&rgb, w, h).unwrap();
        let mut out = vec![f32::NAN; 3 * ow * oh];
        let augment = ImageAugment { blur_probability: 1.0, ..ImageAugment::default() };
        let size = Size { width: ow, height: oh };
        augment.view(&source, size, &mut ChaCha8Rng::seed_from_u64(seed), &mut out).unwrap();
        prop_assert!(out.iter().all(|v| v.is_finite()));
    }
}
