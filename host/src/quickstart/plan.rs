//! How much is done. The defaults take a few minutes on two cores; tests do less.

use sedge_augment::ImageAugment;
use sedge_core::{GuardConfig, PairingConfig};
use sedge_firmware::DeviceConfig;
use sedge_readings::Span;
use serde::{Deserialize, Serialize};

/// Sizes and lengths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Seed of everything random.
    pub seed: u64,
    /// Buildings that the encoders are pretrained in.
    pub buildings: u64,
    /// Seconds driven in each.
    pub training_seconds: u32,
    /// Every this many frames one is kept for pretraining.
    pub keep_every: usize,
    /// Epochs of the camera's encoder.
    pub camera_epochs: u32,
    /// Epochs of the IMU's encoder.
    pub imu_epochs: u32,
    /// Robots that adapt, each alone in a building of its own.
    pub robots: u64,
    /// Seconds of unlabelled stream that each adapts on.
    pub stream_seconds: u32,
    /// Seconds of the two drives that give labelled and test frames.
    pub probe_seconds: u32,
    /// What changes between pretraining and use, as the rig's specification says it.
    pub shift: String,
    /// Label draws of each few-label budget.
    pub draws: usize,
}

impl Plan {
    /// The plan of `sedge quickstart`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            buildings: 20,
            training_seconds: 60,
            keep_every: 4,
            camera_epochs: 8,
            imu_epochs: 12,
            robots: 6,
            stream_seconds: 200,
            probe_seconds: 240,
            shift: "dusk:0.6+fog:0.6+dirty-lens:0.6".into(),
            draws: 5,
        }
    }

    /// Seeds of the rig are apart for every seed of the plan, and new rooms apart from trained ones.
    fn first_building(&self) -> u64 {
        1 + self.seed.wrapping_mul(10_000) % 1_000_000_000
    }

    /// The training drives, one in each building, as a specification of the rig.
    pub(super) fn training_drives(&self) -> String {
        let first = self.first_building();
        let range = format!("{first}-{}", first + self.buildings - 1);
        format!("sim:building={range},drive={range},robot={range},seconds={}", self.training_seconds)
    }

    /// Drive number `drive` of robot number `robot`, in rooms nobody trained in.
    pub(super) fn new_rooms(&self, robot: u64, drive: u64, seconds: u32, shift: &str) -> String {
        let id = self.first_building() + 5_000 + robot;
        let drive = 100 * id + drive;
        format!("sim:building={id},drive={drive},robot={id},seconds={seconds},shift={shift}")
    }

    /// How far apart in time the views of a pair may be.
    pub(super) const NEIGHBOUR_MS: u64 = 2_000;

    /// Views of images: crops, light and blur change, but colours hardly, since a room is known by them.
    pub(super) fn image_views() -> ImageAugment {
        ImageAugment {
            crop_area: [0.3, 1.0],
            brightness: 0.6,
            contrast: 0.6,
            saturation: 0.4,
            hue: 0.02,
            grey_probability: 0.0,
            blur_probability: 0.3,
            ..ImageAugment::default()
        }
    }

    /// The device as it runs here: as fast as it can, in stated time, so that a seed means a result.
    pub(super) fn device(&self, robot: u64) -> DeviceConfig {
        DeviceConfig {
            seed: self.seed.wrapping_add(robot),
            step_ms: 50,
            steps_per_candidate: 100,
            // As many pairs as fit: few pairs seen often are learnt by heart, and few held out decide
            // nothing.
            pairs: sedge_firmware::MAX_PAIRS,
            held_out_pairs: sedge_firmware::MAX_HELD_OUT,
            hold_out_every: 3,
            image_views: Self::image_views(),
            guard: GuardConfig { z: 0.5, ..GuardConfig::default() },
            ..DeviceConfig::default()
        }
    }

    /// Pairs of frames half a second to two seconds apart; closer ones teach little.
    pub(super) fn camera_pairing() -> PairingConfig {
        PairingConfig {
            min: Span::from_millis(500),
            max: Span::from_millis(Self::NEIGHBOUR_MS),
            max_gap: Span::from_millis(500),
            max_rotation: 1.5,
        }
    }
}
