//! What an encoder in training is measured on: a small sample without labels, with two views of each
//! of its samples, and, where there are labels, known and asked samples that share no group. Chosen once
//! at the start by seeds of its own, so that the same samples are measured every time and measuring
//! changes nothing of the run. The sample is of the training data, which a gauge of collapse may well
//! be: it asks whether features differ, not whether they generalise. Labels only measure.

use std::error::Error;
use std::sync::Arc;

use ndarray::{Array2, ArrayD, ArrayView2, Axis};
use sedge_engine::{Encoder, Options};
use sedge_models::InputSpec;

use super::measures::Measures;
use crate::data::{Augment, DataError, Dataset, Loader, split};
use crate::evaluate::{Gauges, Knn, Labelled, Penalty, Probe, Standardiser, accuracy};

/// Share of the groups whose samples are asked about, the rest being their neighbours.
const ASKED: f64 = 0.2;
/// Most samples asked about, and most neighbours: enough to see the trend and quick beside an epoch.
const MOST_ASKED: usize = 500;
const MOST_NEIGHBOURS: usize = 2000;
/// Most samples whose features are gauged.
const MOST_GAUGED: usize = 512;
/// Most values of all views that are gauged, and of all samples of a part: of large images there are fewer.
const MOST_VIEWED: usize = 1 << 23;
const MOST_KEPT: usize = 1 << 26;
/// As many are taken however large they are.
const FEWEST: usize = 32;
/// Most weights of a probe; one with more is left out, as it would take longer than an epoch may.
const MOST_WEIGHTS: usize = 1 << 18;
/// Samples embedded at once.
const BATCH: usize = 64;
/// Tells the views that are measured from those that are trained on.
const VIEWS_SEED: u64 = 0x7965_6172_6473_7469;

/// The samples that an encoder is measured on.
pub struct Yardstick {
    input: InputSpec,
    seed: u64,
    sample: Dataset,
    /// Two views of each of the sample, the second ones behind all first ones; none of data that has no
    /// augmentation.
    views: Option<ArrayD<f32>>,
    labelled: Option<Parts>,
}

/// Labelled samples in two parts that share no group.
struct Parts {
    known: Dataset,
    asked: Dataset,
    classes: usize,
}

impl Yardstick {
    /// Chooses samples of `data` as an encoder for `input` reads them, with views by `augment`.
    ///
    /// # Errors
    /// When the data does not fit `input` or `augment`.
    pub fn of(data: &Dataset, input: &InputSpec, augment: &Augment, seed: u64) -> Result<Self, DataError> {
        let all: Vec<usize> = (0..data.len()).collect();
        let values = input.shape.iter().product::<usize>().max(1);
        let sample = data.subset(&spread(&all, within(MOST_GAUGED, MOST_VIEWED / 2 / values)))?;
        let views = views(&sample, input, augment, seed ^ VIEWS_SEED)?;
        Ok(Self { input: input.clone(), seed, views, labelled: Parts::of(data, values, seed)?, sample })
    }

    /// Measures the ONNX `encoder`.
    ///
    /// # Errors
    /// When it cannot be run, or its features are not finite.
    pub fn measure(&self, encoder: &[u8]) -> Result<Measures, Box<dyn Error + Send + Sync>> {
        let mut encoder = Encoder::with_options(encoder, BATCH, Options::parallel())?;
        let mut measures = Measures { gauges: self.gauges(&mut encoder)?, ..Measures::default() };
        if let Some(parts) = &self.labelled {
            let (known, asked) =
                (self.embed(&mut encoder, &parts.known)?, self.embed(&mut encoder, &parts.asked)?);
            let (known_labels, asked_labels) = (labels(&parts.known), labels(&parts.asked));
            let knn = Knn::default();
            let found =
                knn.accuracy(known.view(), known_labels, asked.view(), asked_labels, parts.classes)?;
            measures.knn = Some(found);
            measures.linear = self.linear(parts, known.view(), asked.view())?;
        }
        Ok(measures)
    }

    /// Gauges of the sample as it is, and how well its two views agree.
    fn gauges(&self, encoder: &mut Encoder) -> Result<Option<Gauges>, Box<dyn Error + Send + Sync>> {
        if self.sample.len() < 2 {
            return Ok(None);
        }
        let features = self.embed(encoder, &self.sample)?;
        let mut gauges = Gauges::of(features.view(), None)?;
        if let Some(views) = &self.views {
            let embedded = encoder.embed(views.view())?;
            let (first, second) = embedded.view().split_at(Axis(0), self.sample.len());
            gauges = gauges.aligned(first, second)?;
        }
        Ok(Some(gauges))
    }

    /// Accuracy of a linear probe: a fixed penalty and few iterations, since it is the trend that counts.
    fn linear(
        &self,
        parts: &Parts,
        known: ArrayView2<'_, f32>,
        asked: ArrayView2<'_, f32>,
    ) -> Result<Option<f64>, Box<dyn Error + Send + Sync>> {
        let (n, columns) = known.dim();
        if (columns + 1).saturating_mul(parts.classes) > MOST_WEIGHTS {
            return Ok(None);
        }
        let rows: Vec<usize> = (0..n).collect();
        let labelled = Labelled {
            features: known,
            labels: labels(&parts.known),
            groups: parts.known.groups(),
            rows: &rows,
            classes: parts.classes,
        };
        let probe = Probe { penalty: Penalty::Fixed(1.0 / n as f64), max_iterations: 100, tolerance: 1e-3 };
        let fitted = probe.fit(labelled, &Standardiser::fit(known)?, self.seed)?;
        Ok(Some(accuracy(&fitted.predict(asked)?, labels(&parts.asked))?))
    }

    fn embed(
        &self,
        encoder: &mut Encoder,
        data: &Dataset,
    ) -> Result<Array2<f32>, Box<dyn Error + Send + Sync>> {
        let all: Vec<usize> = (0..data.len()).collect();
        let mut features = Array2::zeros((0, encoder.dim()));
        for rows in all.chunks(BATCH) {
            let batch = data.batch_f32(rows, &self.input)?;
            features.append(Axis(0), encoder.embed(batch.view())?.view())?;
        }
        Ok(features)
    }
}

impl Parts {
    /// `None` when there are no labels, one class only, or no two groups to keep apart. A sample has so many
    /// `values`.
    fn of(data: &Dataset, values: usize, seed: u64) -> Result<Option<Self>, DataError> {
        let classes = data.labels().map_or(0, |labels| labels.names.len());
        let groups = data.groups();
        if classes < 2 || groups.iter().min() == groups.iter().max() {
            return Ok(None);
        }
        let parts = split::by_group(groups, ASKED, seed)?;
        let known = data.subset(&spread(&parts.train, within(MOST_NEIGHBOURS, MOST_KEPT / values)))?;
        let asked = data.subset(&spread(&parts.held, within(MOST_ASKED, MOST_KEPT / values)))?;
        Ok(Some(Self { known, asked, classes }))
    }
}

/// Two views of each sample, first ones first.
fn views(
    sample: &Dataset,
    input: &InputSpec,
    augment: &Augment,
    seed: u64,
) -> Result<Option<ArrayD<f32>>, DataError> {
    let loader =
        Loader::new(Arc::new(sample.clone()), input.clone(), augment.clone(), sample.len(), seed, 1)?;
    let Some(batch) = loader.epoch(0, 0)?.next().transpose()? else { return Ok(None) };
    Ok(batch.into_views())
}

fn labels(data: &Dataset) -> &[u32] {
    data.labels().map_or(&[], |labels| labels.ids.as_slice())
}

/// So many samples that neither limit is passed, but [`FEWEST`] in any case.
fn within(samples: usize, fitting: usize) -> usize {
    samples.min(fitting.max(FEWEST))
}

/// At most `most` of `indices`, evenly spread.
pub(super) fn spread(indices: &[usize], most: usize) -> Vec<usize> {
    let n = indices.len().min(most);
    (0..n).filter_map(|i| indices.get(i * indices.len() / n)).copied().collect()
}
