//! Measuring representations: nearest neighbours, linear probes on all and on few labels, intervals
//! over seeds, and gauges of collapse. Everything here is a function of embeddings and labels; no
//! engine runs, so the same code measures any encoder, raw input, and predictions made elsewhere.

mod check;
mod cholesky;
mod draw;
mod error;
mod evaluation;
mod gauges;
mod interval;
mod knn;
mod lbfgs;
mod metrics;
mod penalty;
mod probe;
#[cfg(test)]
mod probe_tests;
mod protocol;
#[cfg(test)]
mod protocol_tests;
mod spectrum;
mod split;
#[cfg(test)]
mod testing;

pub use check::MAX_CLASSES;
pub use draw::{Budget, LabelDraw, TooSmall};
pub use error::EvaluateError;
pub use evaluation::{Comparison, Evaluation, Measure, Measurement, SetGauges};
pub use gauges::{Gauges, Health, MAX_PAIRED_ROWS, MAX_SPECTRUM, Verdict};
pub use interval::{CONFIDENCE, Interval, t_quantile};
pub use knn::{Knn, MAX_NEIGHBOURS};
pub use metrics::{Confusion, accuracy};
pub use penalty::{GRID, LambdaFrom};
pub use probe::{FittedProbe, Labelled, MAX_PARAMETERS, Penalty, Probe, Standardiser};
pub use protocol::{MAX_DRAWS, Progress, Protocol, Reference, ReferenceError};
pub use split::{FeatureSet, Part, Split};
