//! What a device can be told, and how that and a bundle become the learner's configuration.

use sedge_augment::{ImageAugment, WindowAugment};
use sedge_boards::Board;
use sedge_core::{
    BudgetConfig, Eviction, GuardConfig, LearnerConfig, PairingConfig, RestraintConfig, Senses,
    SynchroniserConfig, WindowConfig,
};
use sedge_models::bundle::Manifest;
use sedge_models::plan::Plan;
use sedge_models::{InputSpec, Modality};
use sedge_readings::{ImuSample, Span};
use serde::{Deserialize, Serialize};

use crate::DeviceError;

/// Most training pairs a device keeps.
pub const MAX_PAIRS: usize = 512;
/// Most held-out pairs a device keeps.
pub const MAX_HELD_OUT: usize = 128;
/// Most values in an embedding.
pub const MAX_DIMENSIONS: usize = 1280;
/// Most inertial samples held at once, and so the longest window.
pub const MAX_IMU: usize = 1024;

/// Peak memory of a step unless told otherwise: half of the smallest board meant, which has 512 MB and also
/// holds the system, the encoder and the kept samples.
pub const DEFAULT_STEP_BYTES: u64 = 256_000_000;

/// The learner as this daemon sizes it.
pub(crate) type Learner = sedge_core::Learner<MAX_PAIRS, MAX_HELD_OUT, MAX_DIMENSIONS, MAX_IMU>;

/// Whether adaptation keeps step with a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// As fast as events come; steps run in line and cost a stated time of the stream's clock, so the
    /// same events and seed give the same result on any machine.
    #[default]
    Fast,
    /// At the pace of the stream's clock; steps run beside inference in a thread of low priority and
    /// cost the time they take.
    Realtime,
}

/// How a device runs a bundle. The defaults come from [`DeviceConfig::default`]; what is `None` comes
/// from the bundle or from what the encoder reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// Seed of everything random.
    pub seed: u64,
    /// Whether to adapt.
    pub adapt: bool,
    /// Whether adaptation keeps step with a clock.
    pub pace: Pace,
    /// Share of time for adapting, 0 to 1.
    pub duty: f32,
    /// Time that may be saved up for adapting, in milliseconds.
    pub burst_ms: u64,
    /// Stated cost of a step in milliseconds; at [`Pace::Realtime`] the first estimate of it.
    pub step_ms: u64,
    /// Stated cost of an evaluation in milliseconds; at [`Pace::Realtime`] the first estimate of it.
    pub evaluation_ms: u64,
    /// Learning rate.
    pub lr: Option<f32>,
    /// Temperature of the contrastive loss.
    pub temperature: Option<f32>,
    /// Weight decay.
    pub weight_decay: Option<f32>,
    /// Training pairs kept, at most [`MAX_PAIRS`].
    pub pairs: usize,
    /// Training pairs below which no step is taken.
    pub min_pairs: usize,
    /// How the training memory makes room.
    pub eviction: Eviction,
    /// Held-out pairs kept, at most [`MAX_HELD_OUT`].
    pub held_out_pairs: usize,
    /// Every pair of this number is held out.
    pub hold_out_every: u32,
    /// Bytes for the samples of all pairs; fewer pairs are kept where they do not fit.
    pub sample_bytes: usize,
    /// Bytes that one training step may take at its peak, weights and state among them; a step that is
    /// planned to take more is refused.
    pub step_bytes: u64,
    /// Steps between two looks at the training copy.
    pub steps_per_candidate: u32,
    /// Steps over which the learning rate rises.
    pub warm_up_steps: u32,
    /// Which samples become pairs.
    pub pairing: Option<PairingConfig>,
    /// What the machine's heat and memory allow; from the board where there is one.
    pub restraint: RestraintConfig,
    /// What may be served.
    pub guard: GuardConfig,
    /// Views of images for training.
    pub image_views: ImageAugment,
    /// Views of windows for training.
    pub window_views: WindowAugment,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            adapt: true,
            pace: Pace::Fast,
            duty: 0.25,
            burst_ms: 2_000,
            step_ms: 100,
            evaluation_ms: 300,
            lr: None,
            temperature: None,
            weight_decay: None,
            pairs: 256,
            min_pairs: 32,
            eviction: Eviction::MinRed,
            held_out_pairs: 64,
            hold_out_every: 4,
            sample_bytes: 64 << 20,
            step_bytes: DEFAULT_STEP_BYTES,
            steps_per_candidate: 20,
            warm_up_steps: 20,
            pairing: None,
            restraint: RestraintConfig::default(),
            guard: GuardConfig::default(),
            image_views: ImageAugment::mild(),
            window_views: WindowAugment::mild(),
        }
    }
}

impl DeviceConfig {
    /// The learner's configuration for a bundle.
    pub(crate) fn learner(&self, manifest: &Manifest) -> Result<LearnerConfig, DeviceError> {
        let input = &manifest.input;
        if manifest.embedding_dim > MAX_DIMENSIONS {
            let what =
                format!("embeddings of {} values; at most {MAX_DIMENSIONS} fit", manifest.embedding_dim);
            return Err(DeviceError::Unsupported { what });
        }
        self.check_numbers()?;
        let senses = senses(input)?;
        let (pairs, held_out_pairs) = self.pairs_that_fit(input)?;
        Ok(LearnerConfig {
            seed: self.seed,
            senses,
            pairing: self.pairing.unwrap_or_else(|| pairing(&senses)),
            dimensions: manifest.embedding_dim,
            pairs,
            eviction: self.eviction,
            held_out_pairs,
            held_out_eviction: Eviction::MinRed,
            hold_out_every: self.hold_out_every,
            adapt: self.adapt,
            min_pairs: self.min_pairs.min(pairs),
            batch_pairs: manifest.training.batch / 2,
            steps_per_candidate: self.steps_per_candidate,
            warm_up_steps: self.warm_up_steps,
            budget: BudgetConfig {
                duty_ppm: (self.duty * 1e6).round() as u32,
                burst: Span::from_millis(self.burst_ms),
                step: Span::from_millis(self.step_ms),
                evaluation: Span::from_millis(self.evaluation_ms),
                measured: self.pace == Pace::Realtime,
            },
            restraint: self.restraint,
            guard: self.guard,
        })
    }

    /// Takes from a board what it says of heat and memory, and its pace, which is the clock's. Its shares of
    /// time and of memory for a step too, unless the caller has its own.
    pub(crate) fn on_board(&mut self, board: &Board, own_duty: bool, own_step_bytes: bool) {
        let memory = u64::from(board.budget.memory_mb) << 20;
        self.pace = Pace::Realtime;
        if !own_duty {
            self.duty = board.budget.duty as f32;
        }
        if !own_step_bytes {
            self.step_bytes = self.step_bytes.min(memory);
        }
        let millicelsius = |celsius: f32| (celsius * 1e3) as i32;
        let thermal = board.thermal.as_ref();
        let unlimited = RestraintConfig::default();
        self.restraint = RestraintConfig {
            slow_millicelsius: thermal.map_or(i32::MAX, |thermal| millicelsius(thermal.slow_c)),
            stop_millicelsius: thermal.map_or(i32::MAX, |thermal| millicelsius(thermal.stop_c)),
            memory_bytes: memory,
            ..unlimited
        };
    }

    /// Whether a step of this plan may run: it need not fit where nothing adapts.
    pub(crate) fn fits_memory(&self, plan: &Plan) -> Result<(), DeviceError> {
        if !self.adapt || plan.peak_bytes <= self.step_bytes {
            return Ok(());
        }
        Err(DeviceError::Memory {
            planned: plan.peak_bytes,
            budget: self.step_bytes,
            at: plan.peak_at.clone(),
        })
    }

    fn check_numbers(&self) -> Result<(), DeviceError> {
        if !(0.0..=1.0).contains(&self.duty) {
            return Err(DeviceError::Option {
                option: "duty",
                found: self.duty.to_string(),
                wanted: "0 to 1",
            });
        }
        let positive = [("lr", self.lr), ("temperature", self.temperature)];
        for (option, value) in positive {
            if let Some(found) = value.filter(|value| !value.is_finite() || *value <= 0.0) {
                let wanted = "finite and above zero";
                return Err(DeviceError::Option { option, found: found.to_string(), wanted });
            }
        }
        if let Some(found) = self.weight_decay.filter(|value| !value.is_finite() || *value < 0.0) {
            let (option, wanted) = ("weight_decay", "finite and not below zero");
            return Err(DeviceError::Option { option, found: found.to_string(), wanted });
        }
        Ok(())
    }

    /// Training and held-out pairs, in the proportion asked for, whose samples fit the bytes allowed.
    fn pairs_that_fit(&self, input: &InputSpec) -> Result<(usize, usize), DeviceError> {
        let asked = self.pairs + self.held_out_pairs;
        let fit = self.sample_bytes / (2 * bytes_of_a_sample(input)).max(1);
        if asked <= fit {
            return Ok((self.pairs, self.held_out_pairs));
        }
        let (pairs, held_out) = (self.pairs * fit / asked, self.held_out_pairs * fit / asked);
        if pairs == 0 || held_out == 0 {
            let found = self.sample_bytes.to_string();
            return Err(DeviceError::Option {
                option: "sample_bytes",
                found,
                wanted: "room for at least one training and one held-out pair",
            });
        }
        Ok((pairs, held_out))
    }
}

/// Bytes that one kept sample takes: eight bits a value of an image, 32 of a window.
pub(crate) fn bytes_of_a_sample(input: &InputSpec) -> usize {
    input.values() * if input.modality == Modality::Image { 1 } else { 4 }
}

fn senses(input: &InputSpec) -> Result<Senses, DeviceError> {
    if input.modality == Modality::Image {
        return Ok(Senses::Frames(SynchroniserConfig::default()));
    }
    let unsupported = |what| Err(DeviceError::Unsupported { what });
    if input.modality == Modality::Text {
        return unsupported(
            "texts; a board has no source of them, run the bundle's encoder.onnx by itself".into(),
        );
    }
    let (channels, length) = (input.channels(), input.shape.last().copied().unwrap_or(0));
    if channels != ImuSample::CHANNELS && channels != 3 {
        return unsupported(format!("windows of {channels} channels; 3 (accelerometer) and 6 are"));
    }
    if length > MAX_IMU {
        return unsupported(format!("windows of {length} samples; at most {MAX_IMU} fit"));
    }
    if input.rate_hz <= 0.0 {
        return unsupported("windows without a rate; pack the bundle with `rate_hz` above zero".into());
    }
    let period = Span::from_nanos((1e9 / f64::from(input.rate_hz)).round() as u64);
    let stride = length.div_ceil(2);
    let longest = period.nanos().saturating_mul(stride as u64);
    let max_gap = Span::from_nanos((5 * period.nanos()).max(50_000_000).min(longest));
    Ok(Senses::Windows(WindowConfig { length, stride, period, max_gap }))
}

/// Neighbours of frames lie a fifth of a second to a second apart; neighbours of windows follow each
/// other without overlap.
fn pairing(senses: &Senses) -> PairingConfig {
    let Senses::Windows(window) = senses else { return PairingConfig::default() };
    let times = |n: usize| Span::from_nanos(window.period.nanos().saturating_mul(n as u64));
    PairingConfig {
        min: times(window.length),
        max: times(3 * window.length),
        max_gap: times(2 * window.stride),
        max_rotation: f32::MAX,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs_are_cut_to_the_memory_allowed_in_proportion() {
        let input = InputSpec::image(10, 10, [0.5; 3], [0.5; 3]);
        let fit =
            |sample_bytes| DeviceConfig { sample_bytes, ..DeviceConfig::default() }.pairs_that_fit(&input);
        assert_eq!(fit(64 << 20).unwrap(), (256, 64));
        // Room for 160 pairs of 600 bytes.
        assert_eq!(fit(96_000).unwrap(), (128, 32));
        assert!(matches!(fit(1_000), Err(DeviceError::Option { option: "sample_bytes", .. })));
    }

    #[test]
    fn a_step_beyond_the_memory_is_refused_unless_nothing_adapts() {
        let plan = Plan { peak_bytes: 300_000_000, ..Plan::default() };
        let config = DeviceConfig::default();
        let error = config.fits_memory(&plan).unwrap_err();
        assert!(matches!(
            error,
            DeviceError::Memory { planned: 300_000_000, budget: DEFAULT_STEP_BYTES, .. }
        ));
        let said = error.to_string();
        assert!(said.contains("300.0 MB") && said.contains("256.0 MB") && said.contains("--train"), "{said}");
        assert!(DeviceConfig { step_bytes: 300_000_000, ..config.clone() }.fits_memory(&plan).is_ok());
        assert!(DeviceConfig { adapt: false, ..config }.fits_memory(&plan).is_ok());
    }

    #[test]
    fn windows_follow_from_the_input() {
        let imu = |samples, rate| InputSpec::imu(samples, rate, vec![0.0; 6], vec![1.0; 6]);
        let Senses::Windows(window) = senses(&imu(100, 50.0)).unwrap() else { unreachable!() };
        assert_eq!((window.length, window.stride, window.period), (100, 50, Span::from_millis(20)));
        let pairing = pairing(&Senses::Windows(window));
        assert_eq!((pairing.min, pairing.max), (Span::from_millis(2_000), Span::from_millis(6_000)));
        for (input, what) in [
            (imu(100, 0.0), "rate"),
            (imu(MAX_IMU + 1, 50.0), "samples"),
            (InputSpec::imu(10, 50.0, vec![0.0; 4], vec![1.0; 4]), "channels"),
        ] {
            assert!(senses(&input).unwrap_err().to_string().contains(what), "{what}");
        }
    }
}
