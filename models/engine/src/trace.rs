//! What came of a step that is looked at, rather than taken.

use crate::Metrics;

/// A step as it went, whatever came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Scalar outputs by name, `skipped` among them; not all need be finite.
    pub metrics: Metrics,
    /// Where the first value that is not finite came from.
    pub offender: Option<Offender>,
}

/// An operator that made values that are not finite of values that are.
#[derive(Clone, Debug, PartialEq)]
pub struct Offender {
    /// Its name in the prepared graph.
    pub node: String,
    /// What it does.
    pub operator: String,
    /// Shape of what it made.
    pub shape: Vec<usize>,
    /// How many values of that are not finite.
    pub bad: usize,
    /// The least and the greatest value of each input that holds floats.
    pub inputs: Vec<[f32; 2]>,
}
