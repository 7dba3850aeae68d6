//! Methods side by side: each pretrains the encoder on the same data for as long, and all are put to the same
//! protocol on the same part of the data, which none of them saw. What a table of methods should be made by.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::data::Dataset;
use crate::evaluate::{Budget, Evaluation, Measure, Protocol};
use crate::files::{FileError, write_atomic};
use crate::measure::{AssessOptions, MeasureError, Sides, Subject, assess};
use crate::pretrain::{
    Method, Outcome, PretrainConfig, PretrainError, Pretraining, Progress, RunDirectory, Settings, Stop,
};
use crate::report::Table;

/// The representation in question and the reference that has an architecture, as [`assess`] calls them.
const ENCODER: &str = "encoder";
const RANDOM: &str = "random";

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Methods, in the order of the table.
    pub methods: Vec<Method>,
    /// Settings of every run but its method.
    pub settings: Settings,
    /// How encoders are measured.
    pub protocol: Protocol,
    /// Holds a run directory for each method, and the results.
    pub out: PathBuf,
}

/// Why methods could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A run failed.
    #[error("method {method}: {source}")]
    Pretrain {
        /// Its method.
        method: String,
        /// What failed.
        source: Box<PretrainError>,
    },
    /// An encoder could not be measured.
    #[error("method {method}: {source}")]
    Measure {
        /// Its method.
        method: String,
        /// What failed.
        source: Box<MeasureError>,
    },
    /// No method is left.
    #[error("no method can be used here: {reasons}")]
    None {
        /// Why not, for each.
        reasons: String,
    },
    /// The results cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Numbers that JSON cannot hold.
    #[error("the results cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// One method's run, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The method.
    pub method: String,
    /// Trained values, heads included.
    pub parameters: usize,
    /// Seconds of training.
    pub seconds: f64,
    /// The resolved configuration.
    pub config: PretrainConfig,
    /// What was found of the encoder; in the first row of an architecture also of the same encoder with random
    /// weights, and of the raw input.
    pub evaluation: Evaluation,
}

/// What came of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Version of Sedge.
    pub version: &'static str,
    /// The methods' runs.
    pub rows: Vec<Row>,
    /// Methods that were left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// Runs `plan` on `sides`: pretrains on the training part without its labels. Runs that are there already are
/// gone on with, so that a comparison that was cut goes on where it was. `None` when `stop` was asked for.
///
/// # Errors
/// [`CompareError`] with the method.
pub fn compare(
    plan: &Plan,
    sides: &Sides,
    progress: &mut dyn FnMut(Method) -> Progress,
    stop: &Stop,
) -> Result<Option<Compared>, CompareError> {
    let mut compared = Compared { version: env!("CARGO_PKG_VERSION"), rows: vec![], left_out: vec![] };
    let data = Arc::new(sides.train.clone());
    for &method in &plan.methods {
        let failed = |source: PretrainError| CompareError::Pretrain {
            method: method.name(),
            source: Box::new(source),
        };
        let (pretraining, config) = match prepare(plan, method, &data) {
            // A method that does not fit the encoder or the data is no fault of the others.
            Err(why @ (PretrainError::Config(_) | PretrainError::Data(_))) => {
                compared.left_out.push((method.name(), why.to_string()));
                continue;
            }
            other => other.map_err(failed)?,
        };
        let run = directory(&plan.out.join(method.name()), &config).map_err(failed)?;
        match pretraining.run(&run, &mut progress(method), stop).map_err(failed)? {
            Outcome::Interrupted(_) => return Ok(None),
            Outcome::Finished(summary) => {
                let known = compared.rows.iter().any(|row| row.config.architecture == config.architecture);
                let evaluation = measure(run.path(), sides, plan, !known).map_err(|source| {
                    CompareError::Measure { method: method.name(), source: Box::new(source) }
                })?;
                let (parameters, seconds) = (summary.parameters, summary.seconds);
                compared.rows.push(Row { method: method.name(), parameters, seconds, config, evaluation });
            }
        }
    }
    if compared.rows.is_empty() {
        let reasons = compared.left_out.iter().map(|(method, why)| format!("{method}: {why}"));
        return Err(CompareError::None { reasons: reasons.collect::<Vec<_>>().join("; ") });
    }
    compared.write(&plan.out)?;
    Ok(Some(compared))
}

/// The run of `method` with the plan's encoder, or, where the method cannot train that and has one of its own, with
/// its own. Where neither can be trained, the error is that of the plan's encoder.
fn prepare(
    plan: &Plan,
    method: Method,
    data: &Arc<Dataset>,
) -> Result<(Pretraining, PretrainConfig), PretrainError> {
    let modality = data.modality();
    let with = |architecture| {
        let settings = Settings { method: Some(method), architecture, ..plan.settings.clone() };
        let config = settings.resolve(modality)?;
        Ok((Pretraining::prepare(Arc::clone(data), &config)?, config))
    };
    match with(plan.settings.architecture.clone()) {
        Err(PretrainError::Config(why))
            if plan.settings.architecture.is_some() && method.is_particular(modality) =>
        {
            with(None).map_err(|_| why.into())
        }
        other => other,
    }
}

/// The run's directory: a new one, or the one of an earlier sitting with the same settings.
fn directory(path: &Path, config: &PretrainConfig) -> Result<RunDirectory, PretrainError> {
    match RunDirectory::open(path) {
        Ok(run) if run.config()?.digest()? == config.digest()? => Ok(run),
        Ok(_) => Err(PretrainError::Exists { path: path.into() }),
        Err(_) => RunDirectory::create(path, config),
    }
}

fn measure(run: &Path, sides: &Sides, plan: &Plan, references: bool) -> Result<Evaluation, MeasureError> {
    let subject = Subject::of_run(run)?;
    let protocol = plan.protocol.clone();
    let options = AssessOptions { protocol, references, supervised_steps: 0, ..AssessOptions::default() };
    Ok(assess(&subject, sides, &options, &mut |_| {})?.evaluation)
}

impl Compared {
    /// A row a method, then those of the references; accuracy in per cent, with 95 % intervals over draws.
    pub fn table(&self) -> Table {
        let measures = [
            Measure::Knn,
            Measure::Labels(Budget::All),
            Measure::Labels(Budget::PerClass(10)),
            Measure::Labels(Budget::Share(0.01)),
            Measure::Labels(Budget::Share(0.1)),
        ];
        let header = ["method", "encoder"].map(str::to_owned).into_iter();
        let names = measures.iter().map(ToString::to_string);
        let mut table = Table::new(
            "Accuracy of features on the part held out, %",
            header.chain(names).chain(["training, s".to_owned()]),
        );
        let cells = |evaluation: &Evaluation, set: &str| -> Vec<String> {
            let cell = |measure| evaluation.get(set, measure).and_then(|m| m.accuracy_interval);
            measures.iter().map(|&m| cell(m).map_or("-".into(), |i| i.percent())).collect()
        };
        for row in &self.rows {
            let first = [row.method.clone(), row.config.architecture_name()];
            let last = [format!("{:.0}", row.seconds)];
            table.row(first.into_iter().chain(cells(&row.evaluation, ENCODER)).chain(last));
        }
        let mut seen = BTreeSet::new();
        for row in &self.rows {
            for set in row.evaluation.sets().into_iter().filter(|set| *set != ENCODER) {
                let encoder = if set == RANDOM { row.config.architecture_name() } else { "-".into() };
                if seen.insert((set, encoder.clone())) {
                    let first = [set.to_owned(), encoder];
                    table.row(first.into_iter().chain(cells(&row.evaluation, set)).chain(["-".to_owned()]));
                }
            }
        }
        for (method, why) in &self.left_out {
            table.note(format!("{method} was left out: {why}"));
        }
        table
    }

    fn write(&self, out: &Path) -> Result<(), CompareError> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomic(&out.join("compare.json"), &text)?;
        Ok(write_atomic(&out.join("compare.md"), self.table().to_markdown().as_bytes())?)
    }
}

#[cfg(test)]
mod tests;
