//! Decides whether a candidate may replace the weights in service.
//!
//! The shell measures the candidate, the incumbent (in service) and the origin (as shipped) on the
//! same held-out pairs, which are never trained on, and hands over numbers. The criterion:
//!
//! 1. A candidate that is not finite, has collapsed (its embeddings spread less than
//!    [`GuardConfig::min_spread`] of the origin's) or has drifted (mean cosine distance on the
//!    bundle's reference inputs above [`GuardConfig::max_drift`]) is rejected.
//! 2. It is served only when its held-out loss is lower than the incumbent's by more than
//!    [`GuardConfig::z`] standard errors of the paired difference, lower than the origin's on
//!    average, and its retrieval ranks are not lower by more than `harm_z` standard errors.
//! 3. One that is worse than the incumbent by more than [`GuardConfig::harm_z`] standard errors is rejected. In between
//!    training goes on, and after [`GuardConfig::patience`] such looks it is rejected as no better.
//! 4. Whenever the candidate is not served and the incumbent itself is found worse than the origin on
//!    average (the stream has changed), the origin goes back into service. So what is served was never
//!    worse than the origin at the latest look.
//!
//! A rejection puts the training copy back to the incumbent and lowers the learning rate, an
//! acceptance raises it one notch; after [`GuardConfig::max_harmful`] harmful rejections in a row
//! adaptation stops. Pairs share their negatives and are looked at again and again, so `z` is a
//! margin, not a significance level.

use crate::guard::Rejection::{
    Collapsed, Drifted, NoBetter, NotFinite, RanksLower, StepFailed, Worse, WorseThanOrigin,
};

/// One encoder on the held-out pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Measure {
    /// Mean contrastive loss over the pairs; lower is better.
    pub loss: f32,
    /// Mean reciprocal rank of each pair's partner among all; one is best.
    pub mean_reciprocal_rank: f32,
    /// Mean over the dimensions of the standard deviation of embeddings of length one.
    pub spread: f32,
}

/// Mean of a difference over pairs with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PairedDifference {
    /// Mean improvement; above zero the candidate is better.
    pub mean: f32,
    /// Standard error of the mean.
    pub standard_error: f32,
    /// Pairs compared.
    pub pairs: u32,
}

impl PairedDifference {
    /// The mean of `minuend[i] - subtrahend[i]`; `None` for fewer than two pairs or unequal lengths.
    pub fn of(minuend: &[f32], subtrahend: &[f32]) -> Option<Self> {
        if minuend.len() != subtrahend.len() || minuend.len() < 2 {
            return None;
        }
        let n = minuend.len() as f64;
        let differences = || minuend.iter().zip(subtrahend).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let mean = differences().sum::<f64>() / n;
        let variance = differences().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (n - 1.0);
        Some(Self {
            mean: mean as f32,
            standard_error: libm::sqrt(variance / n) as f32,
            pairs: u32::try_from(minuend.len()).unwrap_or(u32::MAX),
        })
    }

    fn is_finite(&self) -> bool {
        self.mean.is_finite() && self.standard_error.is_finite()
    }
}

/// What the shell measured of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Evidence {
    /// The candidate.
    pub candidate: Measure,
    /// The weights in service.
    pub incumbent: Measure,
    /// The weights as shipped.
    pub origin: Measure,
    /// Incumbent's loss less the candidate's.
    pub over_incumbent: PairedDifference,
    /// Origin's loss less the candidate's.
    pub over_origin: PairedDifference,
    /// Candidate's reciprocal ranks less the incumbent's.
    pub ranks_over_incumbent: PairedDifference,
    /// Mean cosine distance between candidate and origin on the bundle's reference inputs.
    pub drift: f32,
}

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GuardConfig {
    /// Standard errors by which a candidate must be better to be served.
    pub z: f32,
    /// Standard errors by which a candidate must be worse to be thrown away. Above `z`, because an
    /// unserved candidate does no harm and training often gets worse before it gets better.
    pub harm_z: f32,
    /// Held-out pairs below which nothing is decided.
    pub min_pairs: u32,
    /// Inconclusive looks at one candidate before it is given up.
    pub patience: u32,
    /// Harmful rejections in a row after which adaptation stops.
    pub max_harmful: u32,
    /// Least spread of the candidate's embeddings as a share of the origin's.
    pub min_spread: f32,
    /// Largest drift on the reference inputs.
    pub max_drift: f32,
    /// Factor on the learning rate at a rejection; its inverse applies at an acceptance.
    pub backoff: f32,
    /// Least factor on the learning rate.
    pub min_lr_scale: f32,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            z: 1.0,
            harm_z: 3.0,
            min_pairs: 16,
            patience: 20,
            max_harmful: 5,
            min_spread: 0.5,
            max_drift: 0.5,
            backoff: 0.5,
            min_lr_scale: 1.0 / 16.0,
        }
    }
}

/// Why a candidate was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rejection {
    /// A measure was NaN or infinite.
    NotFinite,
    /// A training step failed.
    StepFailed,
    /// The embeddings spread too little.
    Collapsed,
    /// The embeddings of the reference inputs moved too far.
    Drifted,
    /// Its loss is higher than the incumbent's.
    Worse,
    /// Its loss is higher than the origin's.
    WorseThanOrigin,
    /// Its retrieval ranks are lower than the incumbent's.
    RanksLower,
    /// Not better after many looks.
    NoBetter,
}

impl Rejection {
    /// Whether training did harm, rather than no good.
    fn is_harmful(self) -> bool {
        self != NoBetter
    }
}

/// Why nothing was decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Hold {
    /// Too few held-out pairs.
    FewPairs,
    /// The difference lies within the margin.
    Inconclusive,
}

/// Why adaptation stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum StopReason {
    /// Too many harmful rejections in a row; the last one is given.
    HarmfulRejections(Rejection),
}

/// What to do with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Verdict {
    /// Serve it.
    Accept,
    /// Neither serve it nor give it up: train on.
    Hold(Hold),
    /// Put the training copy back to the incumbent.
    Reject(Rejection),
    /// Put both the served and the training copy back to the origin, for the incumbent has become worse
    /// than the origin.
    Restore(Rejection),
}

/// The judge, with the memory of its past verdicts.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Guard {
    config: GuardConfig,
    lr_scale: f32,
    inconclusive: u32,
    harmful: u32,
    stopped: Option<StopReason>,
}

impl Guard {
    /// A guard that has seen nothing.
    pub fn new(config: GuardConfig) -> Self {
        Self { config, lr_scale: 1.0, inconclusive: 0, harmful: 0, stopped: None }
    }

    /// Factor on the learning rate, at most one.
    pub fn lr_scale(&self) -> f32 {
        self.lr_scale
    }

    /// Why adaptation has stopped, if it has.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Judges a candidate.
    pub fn judge(&mut self, evidence: &Evidence) -> Verdict {
        let verdict = self.weigh(evidence);
        match verdict {
            Verdict::Accept => {
                (self.inconclusive, self.harmful) = (0, 0);
                self.lr_scale = (self.lr_scale / self.config.backoff).min(1.0);
            }
            Verdict::Hold(Hold::Inconclusive) => self.inconclusive += 1,
            Verdict::Hold(Hold::FewPairs) => {}
            Verdict::Reject(reason) | Verdict::Restore(reason) => self.reject(reason),
        }
        verdict
    }

    /// Takes note of a training step that failed: the training copy is put back as after a rejection.
    pub fn step_failed(&mut self) -> Verdict {
        self.reject(StepFailed);
        Verdict::Reject(StepFailed)
    }

    fn weigh(&self, evidence: &Evidence) -> Verdict {
        let Evidence { over_incumbent, over_origin, ranks_over_incumbent, .. } = evidence;
        let pairs = over_incumbent.pairs.min(over_origin.pairs).min(ranks_over_incumbent.pairs);
        if pairs < self.config.min_pairs {
            return Verdict::Hold(Hold::FewPairs);
        }
        let rejection = match self.fault(evidence) {
            None if self.better(over_incumbent) && over_origin.mean > 0.0 => return Verdict::Accept,
            fault => fault,
        };
        let incumbent_over_origin = evidence.origin.loss - evidence.incumbent.loss;
        if incumbent_over_origin < 0.0 || incumbent_over_origin.is_nan() {
            return Verdict::Restore(rejection.unwrap_or(WorseThanOrigin));
        }
        match rejection {
            Some(reason) => Verdict::Reject(reason),
            None if self.inconclusive + 1 >= self.config.patience => Verdict::Reject(NoBetter),
            None => Verdict::Hold(Hold::Inconclusive),
        }
    }

    /// What is wrong with the candidate beyond doubt.
    fn fault(&self, evidence: &Evidence) -> Option<Rejection> {
        let Evidence { candidate, origin, over_incumbent, over_origin, ranks_over_incumbent, drift, .. } =
            evidence;
        let finite = [candidate.loss, candidate.mean_reciprocal_rank, candidate.spread, *drift];
        let differences = [over_incumbent, over_origin, ranks_over_incumbent];
        if !finite.iter().all(|v| v.is_finite()) || !differences.iter().all(|d| d.is_finite()) {
            return Some(NotFinite);
        }
        if candidate.spread < self.config.min_spread * origin.spread {
            return Some(Collapsed);
        }
        if *drift > self.config.max_drift {
            return Some(Drifted);
        }
        if self.worse(over_incumbent) {
            return Some(Worse);
        }
        if self.worse(over_origin) {
            return Some(WorseThanOrigin);
        }
        self.worse(ranks_over_incumbent).then_some(RanksLower)
    }

    fn better(&self, difference: &PairedDifference) -> bool {
        difference.mean > 0.0 && difference.mean > self.config.z * difference.standard_error
    }

    fn worse(&self, difference: &PairedDifference) -> bool {
        difference.mean < 0.0 && difference.mean < -self.config.harm_z * difference.standard_error
    }

    fn reject(&mut self, reason: Rejection) {
        self.inconclusive = 0;
        self.lr_scale = (self.lr_scale * self.config.backoff).max(self.config.min_lr_scale);
        if reason.is_harmful() {
            self.harmful = self.harmful.saturating_add(1);
            if self.harmful >= self.config.max_harmful {
                self.stopped = Some(StopReason::HarmfulRejections(reason));
            }
        }
    }
}
