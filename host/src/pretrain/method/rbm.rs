//! Restricted Boltzmann machines, stacked greedily into an encoder of logistic units (Hinton, Osindero & Teh
//! 2006): every layer is the hidden side of a machine whose data are what the layers below make of a sample.
//! Each layer has an equal share of the epochs, from the lowest up, in which it learns and the others stay. The
//! lowest machine's visible units are Gaussian of deviation one, as normalised samples are (Hinton 2010, section
//! 13.2); those above are binary. Negatives are drawn by contrastive divergence (Hinton 2002), or by chains that
//! go on from step to step (Tieleman 2008).
//!
//! The learning rate stays, unless the run says otherwise: under one that falls the last layers would hardly
//! learn. The loss is a difference of free energies and says little; what should fall is `reconstruction.<i>`
//! of the layer that learns (Hinton 2010, section 5).

use ndarray::{Array3, ArrayD, Axis};
use rand::RngExt;
use sedge_augment::normal_pair;
use sedge_models::Modality;
use sedge_models::architecture::{Architecture, Nonlinearity};
use sedge_models::compile::VIEWS;
use sedge_models::objective::{MAX_GIBBS_STEPS, Objective, Visible};
use serde::{Deserialize, Serialize};

use super::{IMAGES_AND_WINDOWS, Known, Pretext, Setup, Strength};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;
use crate::pretrain::config::Schedule;

/// Purpose of the draws of Gibbs steps; views have the numbers below.
const NOISE: u64 = 1 << 32;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Gibbs steps from data, or chains, to negatives: the k of CD-k.
    steps: usize,
    /// Whether chains go on from step to step, a chain a sample of a batch, or begin at the data.
    persistent: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { steps: 1, persistent: false }
    }
}

/// A stack of machines of one encoder.
#[derive(Debug)]
pub(super) struct Boltzmann {
    settings: Settings,
    /// Units of each machine, visible and hidden.
    machines: Vec<[usize; 2]>,
    epochs: u64,
}

impl Known for Boltzmann {
    type Settings = Settings;

    const FITS: &'static [Modality] = IMAGES_AND_WINDOWS;
    const VIEWS: Strength = Strength::Light;
    const SCHEDULE: Schedule = Schedule::Constant;

    fn preset(modality: Modality) -> &'static str {
        match modality {
            Modality::Imu => "imu-mlp",
            _ => "image-mlp",
        }
    }

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let refused = |field, found: String, wanted| Err(ConfigError::Value { field, found, wanted });
        let widths = match setup.architecture {
            Architecture::Perceptron(net) if net.nonlinearity == Nonlinearity::Sigmoid => &net.widths,
            _ => {
                let preset = Self::preset(setup.input.modality);
                let wanted = format!(
                    "a perceptron with sigmoid units, such as {preset}: they are the hidden units of a machine"
                );
                return refused("architecture", setup.config.architecture_name(), wanted);
            }
        };
        if !(1..=MAX_GIBBS_STEPS).contains(&settings.steps) {
            let wanted = format!("1 to {MAX_GIBBS_STEPS} Gibbs steps");
            return refused("pretext.steps", settings.steps.to_string(), wanted);
        }
        let epochs = setup.config.epochs;
        if (epochs as usize) < widths.len() {
            let wanted = format!("{} or more, one for each layer", widths.len());
            return refused("epochs", epochs.to_string(), wanted);
        }
        let below = std::iter::once(setup.input.values()).chain(widths.iter().copied());
        let machines = below.zip(widths).map(|(visible, &hidden)| [visible, hidden]).collect();
        Ok(Self { settings, machines, epochs: epochs.into() })
    }
}

impl Boltzmann {
    /// The layer that learns in `epoch`.
    fn learning(&self, epoch: u64) -> usize {
        // Less than the number of layers, where the epoch is less than that of epochs.
        (epoch.min(self.epochs - 1) * self.machines.len() as u64 / self.epochs) as usize
    }

    /// What Gibbs steps of machine `at` are drawn with, one value a step, sample and unit, of the hidden and
    /// of the visible units. A machine that does not learn needs none, and has zeros.
    fn noise(&self, draw: &Draw<'_>, at: usize, [visible, hidden]: [usize; 2]) -> [ArrayD<f32>; 2] {
        let zeros = |width| Array3::<f32>::zeros((self.settings.steps, draw.len(), width));
        let (mut below, mut above) = (zeros(visible), zeros(hidden));
        if at == self.learning(draw.epoch()) {
            for (row, &index) in draw.indices().iter().enumerate() {
                let mut rng = draw.rng(index, NOISE);
                let normals = std::iter::from_fn(|| Some(normal_pair(&mut rng))).flatten();
                let mut below = below.index_axis_mut(Axis(1), row);
                if at == 0 {
                    below.iter_mut().zip(normals).for_each(|(value, normal)| *value = normal);
                } else {
                    below.mapv_inplace(|_| rng.random());
                }
                above.index_axis_mut(Axis(1), row).mapv_inplace(|_| rng.random());
            }
        }
        [above.into_dyn(), below.into_dyn()]
    }
}

impl Pretext for Boltzmann {
    fn objective(&self) -> Objective {
        let Settings { steps, persistent } = self.settings;
        Objective::Boltzmann { steps, persistent, visible: Visible::Gaussian }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }
}

impl Sampler for Boltzmann {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let learning = self.learning(draw.epoch());
        let gates =
            (0..self.machines.len()).map(|at| f32::from(u8::from(at == learning))).collect::<Vec<_>>();
        let mut inputs = vec![(VIEWS.into(), draw.views(1)?)];
        inputs.push(("gates".into(), ndarray::Array1::from(gates).into_dyn()));
        for (at, &machine) in self.machines.iter().enumerate() {
            let [hidden, visible] = self.noise(draw, at, machine);
            inputs.push((format!("noise.{at}.hidden"), hidden));
            inputs.push((format!("noise.{at}.visible"), visible));
        }
        Ok(inputs)
    }
}
