//! The protocol: the same questions put to every representation. Nearest neighbours; a linear probe
//! on all labels; probes on few labels, over several draws that are the same for all; and, for
//! comparison, a network trained on just those labels from scratch, which the caller provides. An
//! encoder that does not beat its own random initialisation, the raw input and that network has
//! learned nothing of use.

use serde::{Deserialize, Serialize};

use super::evaluation::compare;
use super::{
    Budget, Confusion, EvaluateError, Evaluation, FeatureSet, Gauges, Knn, LabelDraw, Labelled, Measure,
    Measurement, Probe, SetGauges, Split, Standardiser,
};

/// The most label draws that may be asked for.
pub const MAX_DRAWS: usize = 1000;
/// Classes at most for which a confusion matrix is kept.
const MAX_CONFUSION: usize = 64;

/// What is measured, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// The seed of the first label draw; the others follow by ones.
    pub seed: u64,
    /// How many draws are made of each few-label budget.
    pub draws: usize,
    /// How many labels may be seen.
    pub budgets: Vec<Budget>,
    /// How neighbours vote.
    pub knn: Knn,
    /// How probes are fitted.
    pub probe: Probe,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            seed: 0,
            draws: 5,
            budgets: Budget::USUAL.to_vec(),
            knn: Knn::default(),
            probe: Probe::default(),
        }
    }
}

/// What a reference may fail with.
pub type ReferenceError = Box<dyn std::error::Error + Send + Sync>;

/// A learner that is trained from scratch on the labels drawn.
pub struct Reference<'a> {
    /// Its name, such as `supervised`.
    pub name: String,
    /// Trains on the drawn items, seeded with the draw's seed, and returns the predicted class of
    /// every test item.
    pub train: &'a mut dyn FnMut(&LabelDraw) -> Result<Vec<u32>, ReferenceError>,
    /// How many seeds to train with all labels, which takes longest; 0 leaves that out.
    pub runs_on_all_labels: usize,
}

/// How far the protocol has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Fits done.
    pub done: usize,
    /// Fits in all.
    pub total: usize,
    /// The representation being measured.
    pub set: &'a str,
    /// Under which measure.
    pub measure: Measure,
}

impl Protocol {
    /// Measures every feature set, and the reference where there is one. The first set is the one in
    /// question: it is compared with all others. `progress` is told before each fit.
    ///
    /// # Errors
    /// Settings, features or labels that do not fit, and failures of the reference. A draw too small
    /// for one label per class is no error: its measurement has a note and no values.
    pub fn run(
        &self,
        split: &Split,
        sets: &[FeatureSet],
        reference: Option<Reference<'_>>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Evaluation, EvaluateError> {
        self.check()?;
        if sets.is_empty() {
            return Err(EvaluateError::Empty { what: "list of feature sets".to_owned() });
        }
        sets.iter().try_for_each(|set| set.check(split))?;
        let total = sets.len() * (1 + self.budgets.iter().map(|b| self.seeds_of(*b).len()).sum::<usize>())
            + reference
                .as_ref()
                .map_or(0, |r| self.budgets.iter().map(|b| self.reference_seeds(*b, r).len()).sum::<usize>());
        let mut run = Run { protocol: self, split, done: 0, total, progress };
        let mut measurements = Vec::new();
        let mut gauges = Vec::new();
        for set in sets {
            measurements.extend(run.representation(set)?);
            if set.test.nrows() > 1 {
                let found = Gauges::of(set.test.view(), None)?;
                gauges.push(SetGauges { set: set.name.clone(), gauges: found });
            }
        }
        if let Some(mut reference) = reference {
            measurements.extend(run.reference(&mut reference)?);
        }
        Ok(Evaluation {
            classes: split.classes().to_vec(),
            train_items: split.train().labels.len(),
            train_groups: split.train().group_count(),
            test_items: split.test().labels.len(),
            test_groups: split.test().group_count(),
            seeds: self.seeds(self.draws),
            knn: self.knn,
            probe: self.probe,
            comparisons: compare(&measurements),
            measurements,
            gauges,
        })
    }

    fn check(&self) -> Result<(), EvaluateError> {
        if self.draws == 0 {
            return Err(EvaluateError::Setting { name: "draws", value: 0.0, wanted: "at least 1" });
        }
        if self.draws > MAX_DRAWS {
            let what = "draws".to_owned();
            return Err(EvaluateError::TooLarge { what, found: self.draws, limit: MAX_DRAWS });
        }
        for budget in &self.budgets {
            match *budget {
                Budget::Share(value) if !(value > 0.0 && value <= 1.0) => {
                    let wanted = "above 0 and at most 1";
                    return Err(EvaluateError::Setting { name: "budgets.share", value, wanted });
                }
                Budget::PerClass(0) => {
                    let wanted = "at least 1";
                    return Err(EvaluateError::Setting { name: "budgets.per-class", value: 0.0, wanted });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn seeds(&self, count: usize) -> Vec<u64> {
        (0..count as u64).map(|draw| self.seed.wrapping_add(draw)).collect()
    }

    /// With all labels nothing is drawn, so a probe is fitted once.
    fn seeds_of(&self, budget: Budget) -> Vec<u64> {
        self.seeds(if budget == Budget::All { 1 } else { self.draws })
    }

    /// A network also differs by its initialisation, so it may be trained again on the same labels.
    fn reference_seeds(&self, budget: Budget, reference: &Reference<'_>) -> Vec<u64> {
        let all = reference.runs_on_all_labels.min(MAX_DRAWS);
        self.seeds(if budget == Budget::All { all } else { self.draws })
    }
}

/// Learns from a draw and predicts the class of every test item.
type Predict<'a> = dyn FnMut(&Protocol, &LabelDraw) -> Result<Vec<u32>, EvaluateError> + 'a;

/// A protocol under way.
struct Run<'a> {
    protocol: &'a Protocol,
    split: &'a Split,
    done: usize,
    total: usize,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Run<'_> {
    fn tell(&mut self, set: &str, measure: Measure) {
        (self.progress)(Progress { done: self.done, total: self.total, set, measure });
        self.done += 1;
    }

    fn representation(&mut self, set: &FeatureSet) -> Result<Vec<Measurement>, EvaluateError> {
        let split = self.split;
        let (labels, groups) = (&split.train().labels, &split.train().groups);
        let classes = split.classes().len();
        let mut measurements = vec![self.neighbours(set)?];
        // The statistics need no labels, so every draw may use those of the whole training part.
        let standardiser = Standardiser::fit(set.train.view())?;
        for &budget in &self.protocol.budgets {
            let seeds = self.protocol.seeds_of(budget);
            let mut lambdas = Vec::new();
            let mut measurement = self.measure(&set.name, budget, &seeds, &mut |protocol, draw| {
                let features = set.train.view();
                let labelled = Labelled { features, labels, groups, rows: &draw.items, classes };
                let fitted = protocol.probe.fit(labelled, &standardiser, draw.seed)?;
                lambdas.push(fitted.lambda);
                fitted.predict(set.test.view())
            })?;
            measurement.lambda = lambdas;
            measurements.push(measurement);
        }
        Ok(measurements)
    }

    fn neighbours(&mut self, set: &FeatureSet) -> Result<Measurement, EvaluateError> {
        self.tell(&set.name, Measure::Knn);
        let labels = &self.split.train().labels;
        let classes = self.split.classes().len();
        let predictions = self.protocol.knn.predict(set.train.view(), labels, set.test.view(), classes)?;
        let mut measurement = Measurement::empty(&set.name, Measure::Knn);
        measurement.labels = labels.len();
        measurement.add(&predictions, self.split)?;
        measurement.summarise();
        Ok(measurement)
    }

    fn reference(&mut self, reference: &mut Reference<'_>) -> Result<Vec<Measurement>, EvaluateError> {
        let mut measurements = Vec::new();
        for &budget in &self.protocol.budgets {
            let seeds = self.protocol.reference_seeds(budget, reference);
            if seeds.is_empty() {
                continue;
            }
            let name = reference.name.clone();
            measurements.push(self.measure(&name, budget, &seeds, &mut |_, draw| {
                (reference.train)(draw).map_err(|source| EvaluateError::Reference {
                    budget,
                    seed: draw.seed,
                    source,
                })
            })?);
        }
        Ok(measurements)
    }

    /// One cell: draws labels for each seed, has predictions made, and counts them.
    fn measure(
        &mut self,
        set: &str,
        budget: Budget,
        seeds: &[u64],
        predict: &mut Predict<'_>,
    ) -> Result<Measurement, EvaluateError> {
        let mut measurement = Measurement::empty(set, Measure::Labels(budget));
        for &seed in seeds {
            self.tell(set, measurement.measure);
            let draw = match LabelDraw::new(&self.split.train().labels, budget, seed) {
                Ok(draw) => draw,
                Err(too_small) => {
                    // Its size does not depend on the seed: no other draw will do better.
                    measurement.note = Some(format!("not measured, {too_small}"));
                    self.done += seeds.len() - 1;
                    break;
                }
            };
            measurement.labels = draw.items.len();
            if !draw.short_classes.is_empty() {
                let (short, all) = (draw.short_classes.len(), self.split.classes().len());
                measurement.note = Some(format!("{short} of {all} classes have fewer, and gave all"));
            }
            measurement.add(&predict(self.protocol, &draw)?, self.split)?;
        }
        measurement.summarise();
        Ok(measurement)
    }
}

impl Measurement {
    fn empty(set: &str, measure: Measure) -> Self {
        Self {
            set: set.to_owned(),
            measure,
            labels: 0,
            accuracy: Vec::new(),
            macro_f1: Vec::new(),
            accuracy_interval: None,
            macro_f1_interval: None,
            lambda: Vec::new(),
            note: None,
            confusion: None,
        }
    }

    fn add(&mut self, predictions: &[u32], split: &Split) -> Result<(), EvaluateError> {
        let confusion = Confusion::new(predictions, &split.test().labels, split.classes().len())?;
        self.accuracy.push(confusion.accuracy());
        self.macro_f1.push(confusion.macro_f1());
        let all_seen = matches!(self.measure, Measure::Knn | Measure::Labels(Budget::All));
        if all_seen && self.confusion.is_none() && split.classes().len() <= MAX_CONFUSION {
            self.confusion = Some(confusion);
        }
        Ok(())
    }
}
