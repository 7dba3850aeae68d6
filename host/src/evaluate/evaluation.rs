//! What was measured, as it is stored and shown: every value of every seed, so that a reader can make
//! other intervals than ours, and the tables made of them.

use serde::{Deserialize, Serialize};

use super::{Budget, Confusion, EvaluateError, Gauges, Interval, Knn, Probe};
use crate::report::{Bar, BarChart, BarSeries, Table};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Weighted nearest neighbours among all labels.
    Knn,
    /// What can be learned from that many labels: by a linear probe on the features, or by the whole
    /// network in the supervised reference.
    Labels(Budget),
}

impl std::fmt::Display for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Knn => f.write_str("kNN"),
            Self::Labels(budget) => budget.fmt(f),
        }
    }
}

/// One cell of the table: a representation under a measure, over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The representation's name.
    pub set: String,
    /// What was measured.
    pub measure: Measure,
    /// Labels that were seen; 0 where the draw was too small to be made.
    pub labels: usize,
    /// The share right in the test part, for each seed in turn (a single value where nothing is
    /// drawn, none where the draw was too small).
    pub accuracy: Vec<f64>,
    /// The macro-averaged F1 for each seed.
    pub macro_f1: Vec<f64>,
    /// Mean and interval of `accuracy`.
    pub accuracy_interval: Option<Interval>,
    /// Mean and interval of `macro_f1`.
    pub macro_f1_interval: Option<Interval>,
    /// The probe's penalty for each seed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lambda: Vec<f64>,
    /// What a reader must know of it, such as why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Truth against prediction for the first seed, where all labels were seen and there are at most
    /// 64 classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
}

/// The first representation against another, paired by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The representation in question.
    pub set: String,
    /// What it is compared with.
    pub against: String,
    /// Under which measure.
    pub measure: Measure,
    /// The accuracy of `set` minus that of `against`.
    pub difference: Interval,
}

/// The gauges of a representation, over the test part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetGauges {
    /// The representation's name.
    pub set: String,
    /// Its gauges.
    pub gauges: Gauges,
}

/// Everything that one run of the protocol found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Items of the training part.
    pub train_items: usize,
    /// Subjects or recordings of the training part.
    pub train_groups: usize,
    /// Items of the test part.
    pub test_items: usize,
    /// Subjects or recordings of the test part.
    pub test_groups: usize,
    /// The seeds of the label draws.
    pub seeds: Vec<u64>,
    /// How neighbours voted.
    pub knn: Knn,
    /// How probes were fitted.
    pub probe: Probe,
    /// The cells of the table.
    pub measurements: Vec<Measurement>,
    /// The first representation against each other.
    pub comparisons: Vec<Comparison>,
    /// The gauges of each representation.
    pub gauges: Vec<SetGauges>,
}

impl Evaluation {
    /// The measurement of `set` under `measure`.
    pub fn get(&self, set: &str, measure: Measure) -> Option<&Measurement> {
        self.measurements.iter().find(|m| m.set == set && m.measure == measure)
    }

    /// The representations, in the order given.
    pub fn sets(&self) -> Vec<&str> {
        unique(self.measurements.iter().map(|m| m.set.as_str()))
    }

    /// The measures, in the order made.
    pub fn measures(&self) -> Vec<Measure> {
        unique(self.measurements.iter().map(|m| m.measure))
    }

    /// Puts runs of one protocol on one split together, as over encoders pretrained from several
    /// seeds: the values of a cell become those of all runs in turn, and intervals and comparisons
    /// are made anew. Gauges and confusions are the first run's.
    ///
    /// # Errors
    /// No runs, or [`EvaluateError::Unlike`] where they differ in anything but the values.
    pub fn pool(runs: &[Self]) -> Result<Self, EvaluateError> {
        let Some((first, others)) = runs.split_first() else {
            return Err(EvaluateError::Empty { what: "evaluations to pool".to_owned() });
        };
        let mut pooled = first.clone();
        for run in others {
            first.check_like(run)?;
            pooled.seeds.extend(&run.seeds);
            for (all, one) in pooled.measurements.iter_mut().zip(&run.measurements) {
                all.accuracy.extend(&one.accuracy);
                all.macro_f1.extend(&one.macro_f1);
                all.lambda.extend(&one.lambda);
            }
        }
        pooled.measurements.iter_mut().for_each(Measurement::summarise);
        pooled.comparisons = compare(&pooled.measurements);
        Ok(pooled)
    }

    fn check_like(&self, other: &Self) -> Result<(), EvaluateError> {
        let sizes = |e: &Self| [e.train_items, e.train_groups, e.test_items, e.test_groups];
        let cells = |e: &Self| -> Vec<(String, Measure)> {
            e.measurements.iter().map(|m| (m.set.clone(), m.measure)).collect()
        };
        let what = if self.classes != other.classes {
            "their classes"
        } else if sizes(self) != sizes(other) {
            "the sizes of their parts"
        } else if self.knn != other.knn || self.probe != other.probe {
            "their settings"
        } else if cells(self) != cells(other) {
            "what they measured"
        } else {
            return Ok(());
        };
        Err(EvaluateError::Unlike { what })
    }

    /// Accuracy in per cent, a column for each representation and a row for each measure.
    pub fn accuracy_table(&self) -> Table {
        self.table("Accuracy on the test part, % (mean ± 95 % interval)", |m| m.accuracy_interval)
    }

    /// Macro-averaged F1 in per cent, laid out as the accuracy is.
    pub fn macro_f1_table(&self) -> Table {
        self.table("Macro-averaged F1 on the test part, % (mean ± 95 % interval)", |m| m.macro_f1_interval)
    }

    fn table(&self, title: &str, interval: impl Fn(&Measurement) -> Option<Interval>) -> Table {
        let sets = self.sets();
        let mut table = Table::new(title, std::iter::once("").chain(sets.iter().copied()));
        let mut notes: Vec<String> = Vec::new();
        for measure in self.measures() {
            let mut row = vec![measure.to_string()];
            for set in &sets {
                let found = self.get(set, measure);
                row.push(found.and_then(&interval).map_or("-".to_owned(), |i| i.percent()));
                notes.extend(found.and_then(|m| m.note.as_ref()).map(|note| format!("{measure}: {note}.")));
            }
            table.row(row);
        }
        unique(notes.into_iter()).into_iter().for_each(|note| {
            table.note(note);
        });
        table.note(format!(
            "{} classes; {} training items of {} groups, {} test items of {} other groups; {} label draws.",
            self.classes.len(),
            self.train_items,
            self.train_groups,
            self.test_items,
            self.test_groups,
            self.seeds.len()
        ));
        table
    }

    /// By how many points the first representation is ahead of each other, paired by seed.
    pub fn difference_table(&self) -> Table {
        let set = self.sets().first().copied().unwrap_or_default().to_owned();
        let against = unique(self.comparisons.iter().map(|c| c.against.as_str()));
        let header = std::iter::once(String::new()).chain(against.iter().map(|a| format!("over {a}")));
        let title = format!("Points by which {set} is ahead (same label draws, mean ± 95 % interval)");
        let mut table = Table::new(title, header);
        for measure in unique(self.comparisons.iter().map(|c| c.measure)) {
            let mut row = vec![measure.to_string()];
            row.extend(against.iter().map(|against| {
                let found = self
                    .comparisons
                    .iter()
                    .find(|c| c.measure == measure && c.against == *against)
                    .map(|c| c.difference);
                found.map_or("-".to_owned(), |d| {
                    let mark = if d.excludes_zero() { " *" } else { "" };
                    format!("{}{mark}", d.signed_percent())
                })
            }));
            table.row(row);
        }
        table.note("* the interval excludes zero.");
        table
    }

    /// The gauges in plain words.
    pub fn gauge_table(&self) -> Table {
        let mut table = Table::new("Gauges of collapse", ["", "gauge", "value", "", "meaning"]);
        for SetGauges { set, gauges } in &self.gauges {
            for verdict in gauges.verdicts() {
                let word = verdict.health.word().to_owned();
                table.row([set.clone(), verdict.gauge, verdict.value, word, verdict.words]);
            }
        }
        table
    }

    /// Accuracy as bars: a group for each measure that was made, a colour for each representation,
    /// and a line at what always saying the commonest class would score.
    pub fn accuracy_chart(&self) -> BarChart {
        let bar = |set: &str, measure: Measure| self.get(set, measure)?.accuracy_interval.map(Bar::percent);
        let sets = self.sets();
        let mut measures = self.measures();
        measures.retain(|measure| sets.iter().any(|set| bar(set, *measure).is_some()));
        let series = sets.iter().map(|set| BarSeries {
            name: (*set).to_owned(),
            bars: measures.iter().map(|measure| bar(set, *measure)).collect(),
        });
        let confusion = self.measurements.iter().find_map(|m| m.confusion.as_ref());
        let commonest = confusion.and_then(|confusion| {
            let sizes: Vec<u64> = confusion.counts().iter().map(|row| row.iter().sum()).collect();
            let share = *sizes.iter().max()? as f64 / sizes.iter().sum::<u64>() as f64;
            Some(("always the commonest class".to_owned(), 100.0 * share))
        });
        BarChart {
            title: "Accuracy by number of labels".to_owned(),
            y_label: "accuracy, % (bars: 95 % interval)".to_owned(),
            groups: measures.iter().map(Measure::to_string).collect(),
            series: series.collect(),
            guide: commonest,
        }
    }

    /// All tables as plain text, for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = self.accuracy_table().to_string();
        for table in [self.difference_table(), self.gauge_table()] {
            if !table.rows().is_empty() {
                text.push('\n');
                text.push_str(&table.to_string());
            }
        }
        text
    }
}

impl Measurement {
    /// Makes the intervals of the values there are.
    pub(super) fn summarise(&mut self) {
        self.accuracy_interval = Interval::of(&self.accuracy);
        self.macro_f1_interval = Interval::of(&self.macro_f1);
    }
}

/// The first representation against each other, paired by seed, where both have values.
pub(super) fn compare(measurements: &[Measurement]) -> Vec<Comparison> {
    let Some(subject) = measurements.first().map(|m| m.set.as_str()) else { return Vec::new() };
    let ours = |measure| measurements.iter().find(|m| m.set == subject && m.measure == measure);
    let others = measurements.iter().filter(|m| m.set != subject);
    others
        .filter_map(|other| {
            let (ours, theirs) = even(&ours(other.measure)?.accuracy, &other.accuracy);
            let difference = Interval::of_differences(&ours, &theirs)?;
            Some(Comparison {
                set: subject.to_owned(),
                against: other.set.clone(),
                measure: other.measure,
                difference,
            })
        })
        .collect()
}

/// Both lists as long as each other, where one is a single value: what nothing was drawn for is the
/// same for every seed of the other.
fn even(a: &[f64], b: &[f64]) -> (Vec<f64>, Vec<f64>) {
    match (a, b) {
        ([a], b) if b.len() > 1 => (vec![*a; b.len()], b.to_vec()),
        (a, [b]) if a.len() > 1 => (a.to_vec(), vec![*b; a.len()]),
        (a, b) => (a.to_vec(), b.to_vec()),
    }
}

/// The items without repetitions, in order of first occurrence.
fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}
