//! Methods of pretraining, a file each. A method has settings, says what the encoder is trained for (an
//! objective of the training step) and draws what a step is given. The graph is the objective's, so every
//! engine runs every method; everything that a method samples is an input, so that a step stays a pure
//! function.
//!
//! Adding a method is a file with its settings and [`Pretext`], and a line in [`methods!`].

mod barlow_twins;
mod byol;
mod cross_modal;
mod data2vec;
mod denoising;
mod distil;
mod frame_rotation;
mod mae;
mod masked;
mod masked_tokens;
mod mocov2;
mod mocov3;
mod next_segment;
mod next_sentence;
mod next_token;
mod predictive_coding;
mod rbm;
mod rotation;
mod sentences;
mod simclr;
mod simsiam;
mod temporal_contrast;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
mod vicreg;

use sedge_augment::{ImageAugment, TextAugment, WindowAugment};
use sedge_models::architecture::Architecture;
use sedge_models::objective::Objective;
use sedge_models::{InputSpec, Modality};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::{ConfigError, PretrainConfig, Schedule};
use crate::data::Sampler;

/// Modalities of images and of sensor windows.
const IMAGES_AND_WINDOWS: &[Modality] = &[Modality::Image, Modality::Imu];

/// Every modality.
const EVERY: &[Modality] = &[Modality::Image, Modality::Imu, Modality::Text];

/// A method at work on one encoder and one kind of sample: what the step is made of, and, as a
/// [`Sampler`], what it is given.
pub trait Pretext: Sampler {
    /// What the encoder is trained for.
    fn objective(&self) -> Objective;

    /// Rows that the encoder sees for a batch of `samples`: two views of each, unless the method says
    /// otherwise.
    fn rows(&self, samples: usize) -> usize {
        2 * samples
    }

    /// The encoder of the second part of samples that are pairs, where one is trained beside the first.
    fn second(&self) -> Option<&Architecture> {
        None
    }

    /// How many of its patches the encoder sees, where a method shows it some only.
    fn keep(&self) -> Option<usize> {
        None
    }

    /// SHA-256 in hexadecimal of the file that it learns from beside the data, where there is one.
    fn teacher(&self) -> Option<&str> {
        None
    }

    /// Scalar inputs of a step beside the learning rate, by how much of the run is done, 0 to 1. Those
    /// left out keep the objective's defaults.
    fn scalars(&self, _progress: f64) -> Vec<(&'static str, f32)> {
        vec![]
    }
}

/// What a method is to work on.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The encoder.
    pub architecture: &'a Architecture,
    /// What it reads.
    pub input: &'a InputSpec,
    /// The run.
    pub config: &'a PretrainConfig,
}

/// A method as it is known before there is an encoder.
trait Known: Pretext + Sized + 'static {
    /// Keys of the `[pretext]` table with the values of the publication, or what small encoders want instead.
    type Settings: Serialize + DeserializeOwned + Default;

    /// What it can be used on.
    const FITS: &'static [Modality];

    /// Whether it takes each image together with the window of a series around its time.
    const PAIRS: bool = false;

    /// How much views are changed unless the run says so itself.
    const VIEWS: Strength = Strength::Strong;

    /// How the learning rate goes on after warm-up unless the run says so itself.
    const SCHEDULE: Schedule = Schedule::Cosine;

    /// The encoder, by the name of a preset, that is trained unless the run says so itself.
    fn preset(modality: Modality) -> &'static str {
        match modality {
            Modality::Image => "image-small",
            Modality::Imu => "imu-small",
            Modality::Text => "text-small",
        }
    }

    /// Makes it ready for `setup`.
    ///
    /// # Errors
    /// When a setting is out of range, or the encoder is none that this method can train.
    fn new(settings: Self::Settings, setup: Setup<'_>) -> Result<Self, ConfigError>;
}

/// How much the views of a method are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strength {
    /// Crops, colours, noise, rotations and deletions, as methods need that compare views.
    Strong,
    /// Crops, windows and texts as they are, for methods by which left is not right.
    Crops,
    /// Crops and mirrored images, windows and texts as they are, for methods that predict what they were shown.
    Light,
}

/// Declares [`Method`]: a line a method, the words that the command line shows and its type.
macro_rules! methods {
    ($($(#[$words:meta])* $name:ident = $kind:ty,)*) => {
        /// How an encoder is pretrained.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$words])* $name,)*
        }

        impl Method {
            fn fits(self) -> &'static [Modality] {
                match self { $(Self::$name => <$kind>::FITS,)* }
            }

            /// Whether it takes each image together with the window of a series around its time.
            pub fn pairs(self) -> bool {
                match self { $(Self::$name => <$kind>::PAIRS,)* }
            }

            /// The encoder, by the name of a preset, that it trains unless told otherwise.
            pub fn preset(self, modality: Modality) -> &'static str {
                match self { $(Self::$name => <$kind>::preset(modality),)* }
            }

            /// How the learning rate goes on after warm-up unless the run says so itself.
            pub fn schedule(self) -> Schedule {
                match self { $(Self::$name => <$kind>::SCHEDULE,)* }
            }

            fn strength(self) -> Strength {
                match self { $(Self::$name => <$kind>::VIEWS,)* }
            }

            /// `given` with every key that it leaves out.
            ///
            /// # Errors
            /// [`ConfigError::Pretext`] when a key is none of this method's or a value of another type.
            pub fn complete(self, given: &toml::Table) -> Result<toml::Table, ConfigError> {
                match self {
                    $(Self::$name => {
                        let settings: <$kind as Known>::Settings = read(self, given)?;
                        toml::Table::try_from(settings)
                            .map_err(|e| ConfigError::Write { reason: e.to_string() })
                    })*
                }
            }

            /// The method at work on `setup`, with the configuration's settings.
            ///
            /// # Errors
            /// [`ConfigError`] when a setting is out of range, or the method is for other encoders.
            pub fn pretext(self, setup: Setup<'_>) -> Result<Box<dyn Pretext>, ConfigError> {
                match self {
                    $(Self::$name => {
                        Ok(Box::new(<$kind>::new(read(self, &setup.config.pretext)?, setup)?))
                    })*
                }
            }
        }
    };
}

methods! {
    /// Contrast of two views of each sample (Chen et al. 2020)
    Simclr = simclr::Simclr,
    /// Momentum contrast with a queue of keys (Chen et al. 2020b)
    Mocov2 = mocov2::Mocov2,
    /// Momentum contrast within the batch (Chen et al. 2021)
    Mocov3 = mocov3::Mocov3,
    /// Prediction of a slow teacher's projection (Grill et al. 2020)
    Byol = byol::Byol,
    /// Prediction of the other view's projection (Chen & He 2021)
    Simsiam = simsiam::Simsiam,
    /// Variance, invariance and covariance (Bardes et al. 2022)
    Vicreg = vicreg::Vicreg,
    /// Redundancy reduction (Zbontar et al. 2021)
    BarlowTwins = barlow_twins::BarlowTwins,
    /// Prediction of how an image was turned (Gidaris et al. 2018)
    Rotation = rotation::Rotation,
    /// Reconstruction of the patches that a transformer did not see (He et al. 2022)
    Mae = mae::MaskedAutoencoder,
    /// Reconstruction of masked patches or spans from the tokens in their places (Xie et al. 2022)
    Masked = masked::Masked,
    /// Reconstruction of a sample from a corrupted one (Vincent et al. 2008)
    Denoising = denoising::Denoising,
    /// Restricted Boltzmann machines, one a layer (Hinton, Osindero & Teh 2006)
    Rbm = rbm::Boltzmann,
    /// Prediction of what is to come in a window, among others (van den Oord et al. 2018)
    Cpc = predictive_coding::PredictiveCoding,
    /// Whether two windows follow each other, in this order (Misra et al. 2016)
    NextSegment = next_segment::NextSegment,
    /// Prediction of how the sensor's axes were turned (Saeed et al. 2019)
    FrameRotation = frame_rotation::FrameRotation,
    /// Contrast of frames near in time with others (Sermanet et al. 2018)
    TemporalContrast = temporal_contrast::TemporalContrast,
    /// Contrast of camera frames with what the IMU felt around their time (Radford et al. 2021)
    CrossModal = cross_modal::CrossModal,
    /// Prediction of a large encoder's embeddings (Romero et al. 2015; Navaneet et al. 2021)
    Distil = distil::Distil,
    /// Prediction of hidden bytes of a text (Devlin et al. 2019)
    MaskedTokens = masked_tokens::MaskedTokens,
    /// Prediction of every next byte of a text (Radford et al. 2018)
    NextToken = next_token::NextToken,
    /// Whether two lines of text follow each other (Devlin et al. 2019)
    NextSentence = next_sentence::NextSentence,
    /// Prediction of what a slow teacher makes of the whole sample (Baevski et al. 2022)
    #[value(name = "data2vec")]
    #[serde(rename = "data2vec")]
    Data2Vec = data2vec::Data2Vec,
}

impl Method {
    /// The name by which it is asked for.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().into())
    }

    /// Whether it trains another encoder than most methods do where nothing is said.
    pub fn is_particular(self, modality: Modality) -> bool {
        self.preset(modality) != Self::Simclr.preset(modality)
    }

    /// Every method that can be used on samples of `modality`.
    pub fn fitting(modality: Modality) -> impl Iterator<Item = Self> {
        let all = <Self as clap::ValueEnum>::value_variants().iter().copied();
        all.filter(move |method| method.fits().contains(&modality))
    }

    /// Whether it can be used on samples of `modality`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the methods that can.
    pub fn check(self, modality: Modality) -> Result<(), ConfigError> {
        if self.fits().contains(&modality) {
            return Ok(());
        }
        let fitting: Vec<String> = Self::fitting(modality).map(Self::name).collect();
        Err(ConfigError::Value {
            field: "method",
            found: self.name(),
            wanted: format!("one for data of modality {modality}: {}", fitting.join(", ")),
        })
    }

    /// How views of images are made unless the run says so itself.
    pub fn image_augment(self) -> ImageAugment {
        let strong = ImageAugment::default();
        let crops = ImageAugment {
            crop_probability: strong.crop_probability,
            crop_area: [0.2, 1.0],
            ..ImageAugment::none()
        };
        match self.strength() {
            Strength::Strong => strong,
            Strength::Crops => crops,
            Strength::Light => ImageAugment { flip_probability: strong.flip_probability, ..crops },
        }
    }

    /// How views of windows are made unless the run says so itself.
    pub fn window_augment(self) -> WindowAugment {
        match self.strength() {
            Strength::Strong => WindowAugment::default(),
            Strength::Crops | Strength::Light => WindowAugment::none(),
        }
    }

    /// How views of texts are made unless the run says so itself.
    pub fn text_augment(self) -> TextAugment {
        match self.strength() {
            Strength::Strong => TextAugment::default(),
            _ => TextAugment::none(),
        }
    }
}

/// The momentum of a teacher that rises from `start` to one along a cosine (Grill et al. 2020, section 3.3).
fn momentum(start: f64, progress: f64) -> f64 {
    1.0 - (1.0 - start) * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0
}

/// How many of `places` are hidden by `mask_ratio`: at least one, and not all.
///
/// # Errors
/// When the ratio is not between 0 and 1, or there are fewer than two places.
fn hidden(mask_ratio: f64, places: usize) -> Result<usize, ConfigError> {
    if mask_ratio > 0.0 && mask_ratio < 1.0 && places > 1 {
        return Ok(((places as f64 * mask_ratio).ceil() as usize).clamp(1, places - 1));
    }
    Err(ConfigError::Value {
        field: "pretext.mask_ratio",
        found: mask_ratio.to_string(),
        wanted: format!("above 0 and below 1, of at least 2 places to mask ({places} here)"),
    })
}

/// A method's settings from the `[pretext]` table.
fn read<S: DeserializeOwned>(method: Method, given: &toml::Table) -> Result<S, ConfigError> {
    S::deserialize(given.clone())
        .map_err(|e| ConfigError::Pretext { method: method.name(), reason: e.message().replace('\n', " ") })
}
