//! From what is said of a loss to the objective: whatever is left out is as in the paper where that is a
//! number of its own, and scaled to the encoder where the paper's was chosen for a ResNet-50.

use sedge_models::objective::{MAX_WIDTH, Objective, ProjectionHead};
use serde::Serialize;

use super::DifferentiateError;

/// Width of the space in which views are contrasted.
const PROJECTION: usize = 32;
/// Widest hidden layer of a head unless asked for: the head of a wide encoder would outweigh what is trained.
const MAX_HIDDEN: usize = 512;
/// Keys in MoCo's queue unless asked for, where a batch is small: 65 536 in the paper, for ImageNet.
const QUEUE: usize = 1024;
/// Batches that the queue holds at least, unless asked otherwise.
const QUEUED_BATCHES: usize = 8;

/// What to train for, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Contrast two views of each sample with all others (SimCLR)
    #[value(alias = "ntxent")]
    NtXent,
    /// Contrast with keys of earlier batches in a queue
    Moco,
    /// Keep variance, drop covariance, draw views together
    #[value(name = "vicreg")]
    #[serde(rename = "vicreg")]
    VicReg,
    /// Make the correlations of two views the identity
    BarlowTwins,
    /// Predict one view from the other, which gets no gradient
    #[value(name = "simsiam")]
    #[serde(rename = "simsiam")]
    SimSiam,
    /// Predict what a slowly following teacher says of the other view
    Byol,
    /// Reconstruct what was masked out
    MaskedReconstruction,
    /// Predict labels, for reference
    CrossEntropy,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NtXent => "nt-xent",
            Self::Moco => "moco",
            Self::VicReg => "vicreg",
            Self::BarlowTwins => "barlow-twins",
            Self::SimSiam => "simsiam",
            Self::Byol => "byol",
            Self::MaskedReconstruction => "masked-reconstruction",
            Self::CrossEntropy => "cross-entropy",
        })
    }
}

/// A loss and its parameters as given.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct LossSettings {
    /// What to train for
    #[arg(long, value_enum, default_value_t = Loss::NtXent, help_heading = "Loss")]
    pub loss: Loss,
    /// Temperature of nt-xent and moco [default: 0.5 for images, 0.2 for others and moco]
    #[arg(long, value_name = "T", help_heading = "Loss")]
    pub temperature: Option<f32>,
    /// Keys that moco's queue holds [default: 8 batches, at least 1024]
    #[arg(long, value_name = "KEYS", help_heading = "Loss")]
    pub queue: Option<usize>,
    /// How much of the teacher stays at a step [default: 0.999 for moco, 0.996 for byol]
    #[arg(long, value_name = "SHARE", help_heading = "Loss")]
    pub ema: Option<f32>,
    /// Hidden width of the predictor of simsiam and byol [default: a quarter of the head's output for simsiam, the
    /// head's hidden width for byol]
    #[arg(long, value_name = "WIDTH", help_heading = "Loss")]
    pub predictor: Option<usize>,
    /// Classes that cross-entropy tells apart
    #[arg(long, value_name = "N", help_heading = "Loss")]
    pub classes: Option<usize>,
    /// Hidden width of the projection head [default: that of the embedding, at most 512]
    #[arg(long, value_name = "WIDTH", help_heading = "Loss")]
    pub head_hidden: Option<usize>,
    /// Width out of the projection head [default: 32 for nt-xent and moco, else its hidden width]
    #[arg(long, value_name = "WIDTH", help_heading = "Loss")]
    pub head_out: Option<usize>,
    /// Weight of vicreg's distance between views [default: 25]
    #[arg(long, value_name = "WEIGHT", help_heading = "Loss")]
    pub invariance: Option<f32>,
    /// Weight of vicreg's hinge on deviations [default: 25]
    #[arg(long, value_name = "WEIGHT", help_heading = "Loss")]
    pub variance: Option<f32>,
    /// Weight of vicreg's covariances [default: 1]
    #[arg(long, value_name = "WEIGHT", help_heading = "Loss")]
    pub covariance: Option<f32>,
    /// Weight of barlow-twins' correlations between features [default: 0.005]
    #[arg(long, value_name = "WEIGHT", help_heading = "Loss")]
    pub redundancy: Option<f32>,
    /// Hidden width of masked-reconstruction's decoder [default: a single linear layer]
    #[arg(long, value_name = "WIDTH", help_heading = "Loss")]
    pub decoder: Option<usize>,
}

impl LossSettings {
    /// A loss with nothing else said.
    pub fn new(loss: Loss) -> Self {
        Self {
            loss,
            temperature: None,
            queue: None,
            ema: None,
            predictor: None,
            classes: None,
            head_hidden: None,
            head_out: None,
            invariance: None,
            variance: None,
            covariance: None,
            redundancy: None,
            decoder: None,
        }
    }

    /// The objective on embeddings of `width` values of samples of shape `sample`, `rows` to a whole batch.
    ///
    /// # Errors
    /// [`DifferentiateError::ForeignParameter`] for a parameter of another loss,
    /// [`DifferentiateError::MissingParameter`] for cross-entropy without classes.
    pub fn objective(
        &self,
        width: usize,
        sample: &[usize],
        rows: usize,
    ) -> Result<Objective, DifferentiateError> {
        self.refuse_foreign()?;
        let hidden = self.head_hidden.unwrap_or(width.clamp(1, MAX_HIDDEN));
        let narrow = ProjectionHead::new(hidden, self.head_out.unwrap_or(PROJECTION));
        let wide = ProjectionHead::new(hidden, self.head_out.unwrap_or(hidden));
        let plain = if sample.len() == 3 { 0.5 } else { 0.2 };
        Ok(match self.loss {
            Loss::NtXent => {
                Objective::NtXent { head: narrow, temperature: self.temperature.unwrap_or(plain) }
            }
            Loss::Moco => Objective::Moco {
                head: narrow,
                temperature: self.temperature.unwrap_or(0.2),
                queue: self.queue.unwrap_or(rows.saturating_mul(QUEUED_BATCHES).clamp(QUEUE, MAX_WIDTH)),
                ema: self.ema.unwrap_or(0.999),
            },
            Loss::VicReg => Objective::VicReg {
                head: wide,
                invariance: self.invariance.unwrap_or(25.0),
                variance: self.variance.unwrap_or(25.0),
                covariance: self.covariance.unwrap_or(1.0),
            },
            Loss::BarlowTwins => {
                Objective::BarlowTwins { head: wide, redundancy: self.redundancy.unwrap_or(0.005) }
            }
            Loss::SimSiam => {
                Objective::SimSiam { head: wide, predictor: self.predictor.unwrap_or((wide.out / 4).max(1)) }
            }
            Loss::Byol => Objective::Byol {
                head: wide,
                predictor: self.predictor.unwrap_or(hidden),
                ema: self.ema.unwrap_or(0.996),
            },
            Loss::MaskedReconstruction => Objective::MaskedReconstruction { decoder: self.decoder },
            Loss::CrossEntropy => {
                let missing = DifferentiateError::MissingParameter { flag: "classes", loss: self.loss };
                Objective::CrossEntropy { classes: self.classes.ok_or(missing)? }
            }
        })
    }

    /// A parameter that would silently do nothing is a slip.
    fn refuse_foreign(&self) -> Result<(), DifferentiateError> {
        use Loss::{BarlowTwins, Byol, CrossEntropy, MaskedReconstruction, Moco, NtXent, SimSiam, VicReg};
        const HEADED: &[Loss] = &[NtXent, Moco, VicReg, BarlowTwins, SimSiam, Byol];
        let given: [(&'static str, bool, &[Loss]); 12] = [
            ("temperature", self.temperature.is_some(), &[NtXent, Moco]),
            ("queue", self.queue.is_some(), &[Moco]),
            ("ema", self.ema.is_some(), &[Moco, Byol]),
            ("predictor", self.predictor.is_some(), &[SimSiam, Byol]),
            ("classes", self.classes.is_some(), &[CrossEntropy]),
            ("head-hidden", self.head_hidden.is_some(), HEADED),
            ("head-out", self.head_out.is_some(), HEADED),
            ("invariance", self.invariance.is_some(), &[VicReg]),
            ("variance", self.variance.is_some(), &[VicReg]),
            ("covariance", self.covariance.is_some(), &[VicReg]),
            ("redundancy", self.redundancy.is_some(), &[BarlowTwins]),
            ("decoder", self.decoder.is_some(), &[MaskedReconstruction]),
        ];
        let foreign = given.iter().find(|(_, given, losses)| *given && !losses.contains(&self.loss));
        let Some((flag, _, losses)) = foreign else { return Ok(()) };
        let wanted = losses.iter().map(|loss| format!("--loss {loss}")).collect::<Vec<_>>().join(" or ");
        Err(DifferentiateError::ForeignParameter { flag, loss: self.loss, wanted })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_left_out_is_scaled_to_the_encoder() {
        let of = |loss| LossSettings::new(loss).objective(1280, &[3, 96, 96], 64).unwrap();
        let head = ProjectionHead::new(512, 32);
        assert_eq!(of(Loss::NtXent), Objective::NtXent { head, temperature: 0.5 });
        assert_eq!(of(Loss::Moco), Objective::Moco { head, temperature: 0.2, queue: 1024, ema: 0.999 });
        let wide = ProjectionHead::new(512, 512);
        assert_eq!(of(Loss::SimSiam), Objective::SimSiam { head: wide, predictor: 128 });
        assert_eq!(of(Loss::VicReg), Objective::vicreg(wide));
        assert_eq!(of(Loss::BarlowTwins), Objective::barlow_twins(wide));
    }

    #[test]
    fn a_parameter_of_another_loss_is_refused() {
        let settings = LossSettings { queue: Some(8), ..LossSettings::new(Loss::Byol) };
        let said = settings.objective(8, &[6, 32], 4).unwrap_err().to_string();
        assert!(said.contains("--queue") && said.contains("byol") && said.contains("--loss moco"), "{said}");
        let said = LossSettings::new(Loss::CrossEntropy).objective(8, &[6, 32], 4).unwrap_err().to_string();
        assert!(said.contains("--classes"), "{said}");
    }
}
