//! The training copy: takes steps, looks at candidates, and swaps whole encoders.
//!
//! Three sets of weights are about: the origin (as shipped), the incumbent (in service) and the training
//! copy. A candidate is the training copy at a moment, put into the encoder's ONNX and measured as a
//! whole encoder, exactly as it would serve.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{Array2, ArrayD, Axis, stack};
use sedge_core::{Evidence, Measure, PairedDifference, Verdict};
use sedge_engine::{Encoder, Engine, TractStep};
use sedge_models::bundle::Bundle;
use sedge_models::lora;
use sedge_models::{StateRole, StepSpec, Tensors};
use serde::Serialize;

use super::measure::{self, Look};
use super::samples::{Pair, Preparation};
use crate::{DeviceConfig, DeviceError};

/// Samples embedded at once when encoders are measured.
const MEASURED_AT_ONCE: usize = 16;

/// The objective that a device can feed.
const OBJECTIVE: &str = "nt-xent";

/// Weights on their way into service.
pub(crate) struct Serving {
    /// The encoder for one sample.
    pub(crate) encoder: Encoder,
    /// The adapted weights by name.
    pub(crate) weights: Tensors,
    /// The encoder as a file.
    pub(crate) onnx: Vec<u8>,
}

/// The weights in service beside those shipped, on the same held-out pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Pairs measured.
    pub pairs: usize,
    /// The weights as shipped.
    pub origin: Measure,
    /// The weights in service.
    pub served: Measure,
    /// Origin's loss less the served weights', pair by pair; null for fewer than two pairs.
    pub improvement: Option<PairedDifference>,
}

/// An encoder with the embeddings it has already made of held-out pairs.
struct Seen {
    encoder: Encoder,
    known: HashMap<u64, (Vec<f32>, Vec<f32>)>,
}

/// Everything that adapting needs; it can live in another thread.
pub(crate) struct Trainer {
    preparation: Arc<Preparation>,
    onnx: Arc<[u8]>,
    step: TractStep,
    scalars: Vec<(String, f32)>,
    temperature: f32,
    origin: Seen,
    incumbent: Seen,
    origin_state: Tensors,
    incumbent_state: Tensors,
    reference_inputs: ArrayD<f32>,
    reference_embeddings: Array2<f32>,
}

impl Trainer {
    pub(crate) fn new(
        bundle: &Bundle,
        config: &DeviceConfig,
        preparation: Arc<Preparation>,
        reference_inputs: ArrayD<f32>,
    ) -> Result<Self, DeviceError> {
        check_step(&bundle.step.spec)?;
        let adaptation = &bundle.manifest.adaptation;
        let temperature = config.temperature.unwrap_or(adaptation.temperature);
        let given = [
            ("temperature", temperature),
            ("weight_decay", config.weight_decay.unwrap_or(adaptation.weight_decay)),
        ];
        let takes = |name: &str| bundle.step.spec.scalars.iter().any(|(scalar, _)| scalar == name);
        let scalars = given.into_iter().filter(|(name, _)| takes(name)).map(|(n, v)| (n.to_owned(), v));
        let onnx: Arc<[u8]> = bundle.encoder.as_slice().into();
        let mut step = TractStep::new(&bundle.step)?;
        config.fits_memory(step.plan())?;
        let state = step.state()?;
        // A step that cannot be put back would only be noticed at the first rejection.
        step.set_state(&state)?;
        Ok(Self {
            preparation,
            step,
            scalars: scalars.collect(),
            temperature,
            origin: Seen::new(&onnx)?,
            incumbent: Seen::new(&onnx)?,
            origin_state: state.clone(),
            incumbent_state: state,
            reference_inputs,
            reference_embeddings: bundle.reference.embeddings.clone(),
            onnx,
        })
    }

    /// One training step on views of `pairs`; gives the loss.
    pub(crate) fn step(&mut self, pairs: &[Pair], lr: f32, seed: u64) -> Result<f32, DeviceError> {
        let views = self.preparation.views(pairs, seed)?;
        let mut scalars: Vec<(&str, f32)> = self.scalars.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        scalars.push(("lr", lr));
        let metrics = self.step.step(&[("views", views.view())], &scalars)?;
        Ok(metrics.get("loss").copied().unwrap_or(f32::NAN))
    }

    /// Measures the training copy on held-out pairs. When it cannot be measured, the evidence says so
    /// and the reason comes beside it.
    pub(crate) fn evaluate(&mut self, pairs: &[Pair]) -> Result<(Evidence, Option<String>), DeviceError> {
        let origin = self.origin.look(pairs, &self.preparation, self.temperature)?;
        let incumbent = self.incumbent.look(pairs, &self.preparation, self.temperature)?;
        let candidate = self.candidate(pairs);
        Ok(match candidate {
            Ok((candidate, drift)) => {
                let evidence = measure::evidence(&candidate, &incumbent, &origin, drift);
                (evidence.unwrap_or_else(|| measure::no_evidence(&incumbent, &origin)), None)
            }
            Err(error) => (measure::no_evidence(&incumbent, &origin), Some(error.to_string())),
        })
    }

    fn candidate(&mut self, pairs: &[Pair]) -> Result<(Look, f32), DeviceError> {
        let state = self.step.state()?;
        let mut seen = Seen::new(&lora::merge(&self.onnx, &state)?)?;
        let look = seen.look(pairs, &self.preparation, self.temperature)?;
        let reference = seen.encoder.embed(self.reference_inputs.view())?;
        Ok((look, measure::drift(&reference, &self.reference_embeddings)))
    }

    /// Does what the guard decided; gives what goes into service, if anything changes.
    pub(crate) fn decide(&mut self, verdict: Verdict) -> Result<Option<Serving>, DeviceError> {
        match verdict {
            Verdict::Accept => {
                self.incumbent_state = self.step.state()?;
                self.serve().map(Some)
            }
            Verdict::Restore(_) => {
                self.incumbent_state = self.origin_state.clone();
                self.step.set_state(&self.incumbent_state)?;
                self.serve().map(Some)
            }
            Verdict::Reject(_) => {
                self.step.set_state(&self.incumbent_state)?;
                Ok(None)
            }
            Verdict::Hold(_) => Ok(None),
        }
    }

    /// The incumbent and the origin on held-out pairs.
    pub(crate) fn compare(&mut self, pairs: &[Pair]) -> Result<HeldOut, DeviceError> {
        let origin = self.origin.look(pairs, &self.preparation, self.temperature)?;
        let served = self.incumbent.look(pairs, &self.preparation, self.temperature)?;
        Ok(HeldOut {
            pairs: pairs.len(),
            origin: origin.measure,
            served: served.measure,
            improvement: measure::improvement(&served, &origin),
        })
    }

    /// The training copy's state and the incumbent's.
    pub(crate) fn states(&self) -> Result<(Tensors, Tensors), DeviceError> {
        Ok((self.step.state()?, self.incumbent_state.clone()))
    }

    /// Goes on from saved states.
    pub(crate) fn restore(&mut self, training: &Tensors, incumbent: Tensors) -> Result<Serving, DeviceError> {
        // Both are checked against the step before either is taken.
        self.step.set_state(&incumbent)?;
        self.step.set_state(training)?;
        self.incumbent_state = incumbent;
        self.serve()
    }

    /// Makes the incumbent state the encoder in service.
    fn serve(&mut self) -> Result<Serving, DeviceError> {
        let onnx = lora::merge(&self.onnx, &self.incumbent_state)?;
        self.incumbent = Seen::new(&onnx)?;
        let weights = adapted(self.step.spec(), &self.incumbent_state);
        Ok(Serving { encoder: Encoder::new(&onnx, 1)?, weights, onnx })
    }
}

/// The encoder's trained weights out of a step's state; the projection head serves training alone.
pub(crate) fn adapted(spec: &StepSpec, state: &Tensors) -> Tensors {
    let names =
        spec.state_of(StateRole::Parameter).map(|s| &s.name).filter(|name| !name.starts_with("head."));
    names.filter_map(|name| Some((name.clone(), state.get(name)?.clone()))).collect()
}

fn check_step(spec: &StepSpec) -> Result<(), DeviceError> {
    if spec.objective != OBJECTIVE {
        let what = format!("the objective `{}`; `{OBJECTIVE}` is", spec.objective);
        return Err(DeviceError::Unsupported { what });
    }
    if spec.batch < 4 || !spec.batch.is_multiple_of(2) {
        let what = format!("a batch of {} rows; an even number from 4 on is", spec.batch);
        return Err(DeviceError::Unsupported { what });
    }
    Ok(())
}

impl Seen {
    fn new(onnx: &[u8]) -> Result<Self, DeviceError> {
        Ok(Self { encoder: Encoder::new(onnx, MEASURED_AT_ONCE)?, known: HashMap::new() })
    }

    fn look(
        &mut self,
        pairs: &[Pair],
        preparation: &Preparation,
        temperature: f32,
    ) -> Result<Look, DeviceError> {
        self.known.retain(|id, _| pairs.iter().any(|pair| pair.id == *id));
        let new: Vec<&Pair> = pairs.iter().filter(|pair| !self.known.contains_key(&pair.id)).collect();
        if !new.is_empty() {
            let anchors = self.embed(new.iter().map(|pair| &pair.anchor), preparation)?;
            let neighbours = self.embed(new.iter().map(|pair| &pair.neighbour), preparation)?;
            for (pair, embeddings) in new.into_iter().zip(anchors.into_iter().zip(neighbours)) {
                self.known.insert(pair.id, embeddings);
            }
        }
        let known = pairs.iter().filter_map(|pair| self.known.get(&pair.id));
        let (anchors, neighbours): (Vec<_>, Vec<_>) = known.cloned().unzip();
        Ok(Look::new(rows(&anchors).view(), rows(&neighbours).view(), temperature))
    }

    fn embed<'a>(
        &mut self,
        samples: impl ExactSizeIterator<Item = &'a super::samples::Sample>,
        preparation: &Preparation,
    ) -> Result<Vec<Vec<f32>>, DeviceError> {
        let embeddings = self.encoder.embed(preparation.batch(samples)?.view())?;
        Ok(embeddings.rows().into_iter().map(|row| row.to_vec()).collect())
    }
}

fn rows(rows: &[Vec<f32>]) -> Array2<f32> {
    let views: Vec<_> = rows.iter().map(|row| ndarray::ArrayView1::from(row.as_slice())).collect();
    // One encoder gives rows of one length; without rows there is nothing to measure.
    stack(Axis(0), &views).unwrap_or_else(|_| Array2::zeros((0, 0)))
}
