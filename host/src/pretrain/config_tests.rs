#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clap::Parser;
use proptest::prelude::*;
use sedge_models::Modality::{Image, Imu};

use super::super::settings::{ArchitectureSetting, Settings};
use super::*;

fn settings(text: &str) -> Result<Settings, ConfigError> {
    parse(Path::new("run.toml"), text)
}

fn resolved(text: &str) -> Result<PretrainConfig, ConfigError> {
    settings(&format!("{text}\n[data]\npath = 'x.parquet'\n"))?.resolve(Image)
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

fn flags(words: &[&str]) -> Settings {
    Flags::try_parse_from([&["sedge"], words].concat()).unwrap().settings
}

#[test]
fn defaults_follow_the_modality_and_the_optimiser() {
    let image = resolved("").unwrap();
    assert_eq!(image.architecture, Architecture::preset("image-small").unwrap());
    assert_eq!((image.epochs, image.batch, image.seed), (100, 128, 0));
    assert_eq!((image.lr, image.temperature, image.warmup_epochs), (5e-3, 0.5, 10.0));
    assert_eq!(resolved("architecture = 'vit-tiny'").unwrap().lr, 1e-3);
    assert_eq!(resolved("architecture = 'vit-tiny'\nlr = 0.01").unwrap().lr, 0.01);
    assert_eq!(image.augment, AugmentConfig::Image(ImageAugment::default()));
    let sgd = settings("optimizer = 'sgd'\nepochs = 20\n[data]\npath = 'x.npz'\nwindow = 100").unwrap();
    let sgd = sgd.resolve(Imu).unwrap();
    assert_eq!(sgd.architecture, Architecture::preset("imu-small").unwrap());
    assert_eq!((sgd.lr, sgd.weight_decay, sgd.temperature, sgd.warmup_epochs), (0.1, 1e-4, 0.2, 2.0));
    assert_eq!((sgd.data.window, sgd.data.stride), (100, 50));
    assert_eq!(sgd.augment, AugmentConfig::Window(WindowAugment::default()));
}

/// As in SimCLR: 0.3 for each 256 samples that a step of the weights sees.
#[test]
fn the_rate_of_lars_follows_the_samples_of_a_step() {
    let lars = resolved("optimizer = 'lars'\nbatch = 256\naccumulate = 4\nmethod = 'byol'").unwrap();
    assert_eq!((lars.lr, lars.weight_decay, lars.momentum), (1.2, 1e-6, 0.9));
    let asked = flags(&["--optimizer", "lars", "--momentum", "0.8", "--clip-norm", "2", "--accumulate", "3"]);
    assert_eq!((asked.momentum, asked.clip_norm, asked.accumulate), (Some(0.8), Some(2.0), Some(3)));
}

/// A run that was begun before there were these settings can be gone on with: its digest is what it was.
#[test]
fn settings_that_are_usual_are_not_written() {
    let text = resolved("optimizer = 'sgd'").unwrap().to_toml().unwrap();
    for key in ["momentum", "clip_norm", "accumulate"] {
        assert!(!text.contains(key), "{text}");
    }
    let other = resolved("optimizer = 'lars'\nmomentum = 0.5\nclip_norm = 1.0\naccumulate = 2").unwrap();
    assert_eq!(PretrainConfig::from_toml(&other.to_toml().unwrap(), Path::new("x")).unwrap(), other);
}

#[test]
fn flags_go_over_the_file() {
    let file = settings("epochs = 3\nseed = 5\n[data]\npath = 'a'\nwindow = 64\n").unwrap();
    let words = [
        "--data",
        "b",
        "--epochs",
        "9",
        "--rate",
        "50",
        "--optimizer",
        "sgd",
        "--architecture",
        "image-tiny",
        "--modality",
        "imu",
        "--accel-in-g",
        "--warmup-epochs",
        "0.5",
    ];
    let both = flags(&words).over(file);
    assert_eq!(both.data.path.as_deref(), Some("b"));
    assert_eq!((both.epochs, both.seed), (Some(9), Some(5)));
    assert_eq!((both.data.window, both.data.rate_hz), (Some(64), Some(50.0)));
    assert_eq!((both.data.modality, both.data.accel_in_g), (Some(Imu), Some(true)));
    assert_eq!(both.architecture, Some(ArchitectureSetting::Preset("image-tiny".into())));
    assert_eq!((both.optimizer, both.warmup_epochs), (Some(OptimizerName::Sgd), Some(0.5)));
}

/// Every field goes through `over` on its own: one that was forgotten there would be lost.
#[test]
fn no_field_is_lost_between_file_and_flags() {
    let full = "method = 'simclr'\narchitecture = 'image-tiny'\nfrom = 'f'\nepochs = 1\nbatch = 4\noptimizer = 'sgd'\n\
        lr = 0.5\nweight_decay = 0.5\nmomentum = 0.5\nclip_norm = 1.0\naccumulate = 2\ntemperature = 0.5\nneighbour_ms = 7\nwarmup_epochs = 0.5\nschedule = 'constant'\nseed = 1\ndevice = 'cpu'\nprecision = 'f32'\n\
        workers = 1\neval_every = 1\ncheckpoint_every = 2\ngrid_g_per_kwh = 50\n[pretext]\nkey = 1\n[image_augment]\nhue = 0.2\n[window_augment]\n\
        jitter = 0.5\n[text_augment]\ndelete_probability = 0.5\n[data]\npath = 'p'\ngroups = [1, 2]\nsplit = 's'\nlimit = 1\nimage_size = 8\nmemory_mb = 9\nmax_bad = 0.5\nmodality = 'imu'\n\
        camera = 'c'\nfeatures = ['f']\nfps = 5.0\nffmpeg = 'g'\nlength = 9\nwindow = 8\nstride = 2\nrate_hz = 2.0\nsource_rate_hz = 3.0\naccel_in_g = true\n";
    let full = settings(full).unwrap();
    assert_eq!(Settings::default().over(full.clone()), full);
    assert_eq!(full.clone().over(Settings::default()), full);
    let shown = format!("{full:?}");
    assert!(!shown.contains("None"), "the test leaves a field open: {shown}");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
    let error = settings("seed = 1\nepoch = 3\n").unwrap_err();
    let ConfigError::UnknownKey { line, key, nearest, .. } = &error else { panic!("{error}") };
    assert_eq!((*line, key.as_str(), nearest.as_deref()), (2, "epoch", Some("epochs")));
    assert!(error.to_string().contains("run.toml:2: there is no setting `epoch`, did you mean `epochs`?"));
    let nested = |text: &str, wanted: Option<&str>| {
        let error = settings(text).unwrap_err();
        let ConfigError::UnknownKey { nearest, .. } = &error else { panic!("{error}") };
        assert_eq!(nearest.as_deref(), wanted, "{error}");
    };
    nested("[data]\nrate = 3\n", Some("rate_hz"));
    nested("[image_augment]\nflip_probabilty = 0.5\n", Some("flip_probability"));
    nested("[architecture]\nkind = 'conv1d'\nchannel = [1]\n", Some("channels"));
    nested("moment_of_inertia_tensor = 1\n", None);
}

#[test]
fn a_wrong_type_or_broken_toml_is_told_with_its_line() {
    let line = |text: &str| match settings(text).unwrap_err() {
        ConfigError::Toml { line, .. } => line,
        other => panic!("{other}"),
    };
    assert_eq!(line("seed = 1\nepochs = 'many'\n"), 2);
    assert_eq!(line("seed = 1\n\nepochs = = 3\n"), 3);
    assert_eq!(line("method = 'barlow'\n"), 1);
    assert_eq!(line("epochs = -1"), 1);
    assert_eq!(line("architecture = 3"), 1);
}

#[test]
fn values_out_of_range_are_named() {
    for (text, wanted) in [
        ("epochs = 0", "epochs"),
        ("batch = 1", "batch"),
        ("lr = 0.0", "lr"),
        ("lr = nan", "lr"),
        ("temperature = -1.0", "temperature"),
        ("weight_decay = inf", "weight_decay"),
        ("clip_norm = 0.0", "clip_norm"),
        ("clip_norm = nan", "clip_norm"),
        ("accumulate = 0", "accumulate"),
        ("accumulate = 5000", "accumulate"),
        ("optimizer = 'sgd'\nmomentum = 1.0", "momentum"),
        ("momentum = 0.9", "momentum"),
        ("epochs = 2\nwarmup_epochs = 3.0", "warmup_epochs"),
        ("workers = 0", "workers"),
        ("checkpoint_every = 0", "checkpoint_every"),
        ("grid_g_per_kwh = -1", "grid_g_per_kwh"),
        ("[window_augment]\njitter = 0.1", "window_augment"),
    ] {
        let error = resolved(text).unwrap_err();
        assert!(matches!(&error, ConfigError::Value { field, .. } if *field == wanted), "{text}: {error}");
    }
    assert!(matches!(resolved("architecture = 'vgg'"), Err(ConfigError::Architecture(_))));
    assert!(matches!(resolved("[image_augment]\nhue = 3.0"), Err(ConfigError::Augment(_))));
    let data = settings("[data]\npath = 'x'\nstride = 0\n").unwrap().resolve(Image);
    assert!(matches!(data, Err(ConfigError::Data(_))));
    assert!(matches!(settings("").unwrap().resolve(Image), Err(ConfigError::NoData)));
}

#[test]
fn a_resolved_configuration_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let image = resolved("lr = 0.3\n[image_augment]\ncrop_area = [0.2, 1.0]").unwrap();
    let imu = settings("[data]\npath = 'x'\nrate_hz = 33.3\nlimit = 9").unwrap().resolve(Imu).unwrap();
    let largest_seed = PretrainConfig { seed: u64::MAX, ..image.clone() };
    for config in [image, imu, largest_seed] {
        let text = config.to_toml().unwrap();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(PretrainConfig::read(&path).unwrap(), config, "{text}");
        // People read this file: no float may show its binary tail.
        assert!(!text.contains("0000"), "{text}");
    }
}

#[test]
fn the_digest_follows_what_the_result_depends_on() {
    let digest = |text: &str| resolved(text).unwrap().digest().unwrap();
    assert_eq!(
        digest("workers = 1"),
        digest("workers = 3\neval_every = 9\ncheckpoint_every = 7\ngrid_g_per_kwh = 50")
    );
    assert_ne!(digest("seed = 1"), digest("seed = 2"));
    assert_ne!(digest(""), digest("[image_augment]\nhue = 0.05"));
}

#[test]
fn a_missing_or_huge_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.toml");
    assert!(matches!(Settings::read(&absent), Err(ConfigError::Io { path, .. }) if path == absent));
    let huge = folder.path().join("huge.toml");
    std::fs::write(&huge, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(matches!(Settings::read(&huge), Err(ConfigError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        if let Ok(settings) = settings(&text) {
            let _ = settings.resolve(Image);
        }
    }
}
