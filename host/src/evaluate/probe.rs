//! The linear probe: multinomial logistic regression on frozen, standardised features, the standard
//! question put to a representation (Alain & Bengio, 2016): how much of the label can be read off it
//! linearly? The loss is the mean cross-entropy plus `lambda / 2` times the squared weights (the bias
//! goes free), which is scikit-learn's with `C = 1 / (lambda n)`. Rows are gathered and standardised
//! block by block, so that no second copy of the features is ever held.

use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, s};
use serde::{Deserialize, Serialize};

use super::cholesky::Cholesky;
use super::lbfgs::{self, Stop};
use super::penalty::{self, LambdaFrom};
use super::{EvaluateError, check};

/// Rows that are standardised at once.
const BLOCK: usize = 512;
/// The widest features whose products of columns are made to precondition the optimiser; wider ones
/// take more iterations, which cost less than the products would.
const MAX_PRECONDITIONED: usize = 512;
/// The most weights a probe may have; the optimiser holds about 25 vectors of that length.
pub const MAX_PARAMETERS: usize = 1 << 21;

/// How strongly weights are held small.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Penalty {
    /// This `lambda`, above 0.
    Fixed(f64),
    /// The one of a grid that does best on a quarter of the groups, held out by seed; `1 / n` where
    /// there are too few labels to hold any out.
    Chosen,
}

/// How the probe is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// How strongly weights are held small.
    pub penalty: Penalty,
    /// Iterations of the optimiser at most.
    pub max_iterations: usize,
    /// The largest gradient entry that counts as zero.
    pub tolerance: f64,
}

impl Default for Probe {
    fn default() -> Self {
        Self { penalty: Penalty::Chosen, max_iterations: 300, tolerance: 1e-5 }
    }
}

/// The labelled rows that a probe learns from.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// All features, `[n, d]`.
    pub features: ArrayView2<'a, f32>,
    /// The class of each row, as long as `features`.
    pub labels: &'a [u32],
    /// The subject or recording of each row, as long as `features`.
    pub groups: &'a [u32],
    /// The rows whose labels may be seen, each below `n`.
    pub rows: &'a [usize],
    /// How many classes there are.
    pub classes: usize,
}

/// Takes the mean of each column off and divides by its standard deviation. A constant column becomes
/// zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardiser {
    mean: Vec<f64>,
    inverse: Vec<f64>,
}

impl Standardiser {
    /// Learns the statistics of `features` (`[n, d]`), which need no labels.
    ///
    /// # Errors
    /// Empty or not finite features.
    pub fn fit(features: ArrayView2<'_, f32>) -> Result<Self, EvaluateError> {
        check::features("features to standardise", features)?;
        let (rows, columns) = features.dim();
        let mut mean = vec![0.0; columns];
        for row in features.rows() {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
        }
        mean.iter_mut().for_each(|mean| *mean /= rows as f64);
        let mut square = vec![0.0; columns];
        for row in features.rows() {
            for ((square, mean), x) in square.iter_mut().zip(&mean).zip(row) {
                *square += (f64::from(*x) - mean).powi(2);
            }
        }
        // Below this a column varies by no more than the rounding of its f32 values.
        let floor = |mean: f64| (mean.abs() * 1e-6).max(1e-12);
        let inverse = mean.iter().zip(&square).map(|(mean, square)| {
            let deviation = (square / rows as f64).sqrt();
            if deviation > floor(*mean) { 1.0 / deviation } else { 0.0 }
        });
        let inverse = inverse.collect();
        Ok(Self { mean, inverse })
    }

    /// Columns it was made for.
    pub fn columns(&self) -> usize {
        self.mean.len()
    }

    fn gather(&self, features: ArrayView2<'_, f32>, rows: &[usize], mut out: ArrayViewMut2<'_, f64>) {
        for (mut out, &row) in out.rows_mut().into_iter().zip(rows) {
            let statistics = self.mean.iter().zip(&self.inverse);
            for ((out, x), (mean, inverse)) in out.iter_mut().zip(features.row(row)).zip(statistics) {
                *out = (f64::from(*x) - mean) * inverse;
            }
        }
    }
}

/// A fitted probe.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedProbe {
    /// `[d, c]` over the classes seen.
    weights: Array2<f64>,
    /// `[c]`.
    bias: Array1<f64>,
    /// The class of each column.
    seen: Vec<u32>,
    standardiser: Standardiser,
    /// The penalty used.
    pub lambda: f64,
    /// Where the penalty came from.
    pub lambda_from: LambdaFrom,
    /// Iterations of the last fit.
    pub iterations: usize,
    /// Whether the optimiser arrived before its iterations ran out.
    pub converged: bool,
}

impl Probe {
    /// Fits the probe to the labelled rows, with the statistics of `standardiser`. Only a penalty to
    /// be chosen makes use of `seed`. Classes that no labelled row has are never predicted.
    ///
    /// # Errors
    /// Empty or not finite features, lengths, labels or rows that do not fit, a setting without
    /// meaning, more than [`MAX_PARAMETERS`] weights.
    pub fn fit(
        &self,
        labelled: Labelled<'_>,
        standardiser: &Standardiser,
        seed: u64,
    ) -> Result<FittedProbe, EvaluateError> {
        self.check(&labelled, standardiser)?;
        let mut seen: Vec<u32> = labelled.rows.iter().map(|&row| labelled.labels[row]).collect();
        seen.sort_unstable();
        seen.dedup();
        let parameters = (standardiser.columns() + 1).saturating_mul(seen.len());
        if parameters > MAX_PARAMETERS {
            let what = "number of weights of the probe".to_owned();
            return Err(EvaluateError::TooLarge { what, found: parameters, limit: MAX_PARAMETERS });
        }
        let problem = Problem { labelled, seen: &seen, standardiser };
        let (lambda, lambda_from) = match self.penalty {
            Penalty::Fixed(lambda) => (lambda, LambdaFrom::Fixed),
            Penalty::Chosen => penalty::choose(self, &problem, seed),
        };
        let mut at = vec![0.0; parameters];
        let gram = problem.gram(labelled.rows);
        let outcome = self.descend(&problem, labelled.rows, gram.as_ref(), lambda, &mut at);
        let (weights, bias) = split(&at, standardiser.columns(), seen.len());
        Ok(FittedProbe {
            weights: weights.to_owned(),
            bias: bias.row(0).to_owned(),
            seen,
            standardiser: standardiser.clone(),
            lambda,
            lambda_from,
            iterations: outcome.iterations,
            converged: outcome.converged,
        })
    }

    fn check(&self, labelled: &Labelled<'_>, standardiser: &Standardiser) -> Result<(), EvaluateError> {
        let Labelled { features, labels, groups, rows, classes } = *labelled;
        check::features("labelled features", features)?;
        check::labels("labels", labels, features.nrows(), classes)?;
        check::length("groups", groups.len(), features.nrows(), "row")?;
        let columns = "column of the standardiser";
        check::length("labelled features", features.ncols(), standardiser.columns(), columns)?;
        if rows.is_empty() {
            return Err(EvaluateError::Empty { what: "labelled rows".to_owned() });
        }
        if let Some(&found) = rows.iter().find(|row| **row >= features.nrows()) {
            let what = "labelled row".to_owned();
            return Err(EvaluateError::TooLarge { what, found, limit: features.nrows() - 1 });
        }
        if let Penalty::Fixed(value) = self.penalty
            && !(value.is_finite() && value > 0.0)
        {
            return Err(EvaluateError::Setting { name: "probe.penalty", value, wanted: "above 0" });
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            let value = self.tolerance;
            return Err(EvaluateError::Setting { name: "probe.tolerance", value, wanted: "above 0" });
        }
        Ok(())
    }

    /// Moves `at` to the minimum of the loss over `rows`, whose [`Problem::gram`] is given.
    pub(super) fn descend(
        &self,
        problem: &Problem<'_, '_>,
        rows: &[usize],
        gram: Option<&Array2<f64>>,
        lambda: f64,
        at: &mut Vec<f64>,
    ) -> lbfgs::Outcome {
        let stop = Stop { max_iterations: self.max_iterations, gradient: self.tolerance, decrease: 1e-10 };
        let mut room = Room::new(rows.len(), problem.standardiser.columns(), problem.seen.len());
        let factor = gram.and_then(|gram| preconditioner(gram, lambda));
        let classes = problem.seen.len();
        let precondition = |vector: &mut [f64]| {
            let Some(factor) = &factor else { return };
            let shape = (vector.len() / classes, classes);
            if let Ok(columns) = ArrayViewMut2::from_shape(shape, vector) {
                factor.solve(columns);
            }
        };
        lbfgs::minimise(at, stop, precondition, |at, gradient| {
            problem.loss(rows, lambda, at, gradient, &mut room)
        })
    }
}

/// What is fitted, over any subset of its rows.
pub(super) struct Problem<'a, 'b> {
    /// The rows and their labels.
    pub labelled: Labelled<'a>,
    /// The classes that occur, ascending.
    pub seen: &'b [u32],
    /// The statistics of the columns.
    pub standardiser: &'b Standardiser,
}

/// The bound on the loss's second derivative for two classes, a quarter of the products of the columns
/// (Böhning, 1992), plus the penalty: for more classes still its shape, which is all the optimiser
/// asks. The bias, last, is not penalised.
fn preconditioner(gram: &Array2<f64>, lambda: f64) -> Option<Cholesky> {
    let mut bound = gram * 0.25;
    let last = bound.nrows() - 1;
    bound.diag_mut().iter_mut().take(last).for_each(|entry| *entry += lambda);
    Cholesky::of(bound)
}

/// Blocks that are used again at every evaluation.
struct Room {
    inputs: Array2<f64>,
    scores: Array2<f64>,
}

impl Room {
    fn new(rows: usize, columns: usize, classes: usize) -> Self {
        let block = rows.min(BLOCK);
        Self { inputs: Array2::zeros((block, columns)), scores: Array2::zeros((block, classes)) }
    }
}

/// The parameters as weights `[d, c]` and bias `[1, c]`.
#[expect(clippy::expect_used, reason = "every caller makes `at` of (columns + 1) * classes numbers")]
fn split(at: &[f64], columns: usize, classes: usize) -> (ArrayView2<'_, f64>, ArrayView2<'_, f64>) {
    let whole = ArrayView2::from_shape((columns + 1, classes), at).expect("as many as the shape holds");
    whole.split_at(Axis(0), columns)
}

impl Problem<'_, '_> {
    /// The column of each class seen; every label asked for is one of them.
    fn column(&self, row: usize) -> usize {
        self.seen.partition_point(|class| *class < self.labelled.labels[row])
    }

    fn loss(&self, rows: &[usize], lambda: f64, at: &[f64], gradient: &mut [f64], room: &mut Room) -> f64 {
        let (columns, classes) = (self.standardiser.columns(), self.seen.len());
        let (weights, bias) = split(at, columns, classes);
        let share = 1.0 / rows.len() as f64;
        let mut weights_gradient = weights.mapv(|w| lambda * w);
        let mut bias_gradient = vec![0.0; classes];
        let mut loss = 0.0;
        for part in rows.chunks(BLOCK) {
            let mut inputs = room.inputs.slice_mut(s![..part.len(), ..]);
            let mut scores = room.scores.slice_mut(s![..part.len(), ..]);
            self.standardiser.gather(self.labelled.features, part, inputs.view_mut());
            scores.assign(&bias);
            ndarray::linalg::general_mat_mul(1.0, &inputs, &weights, 1.0, &mut scores);
            for (mut scores, &row) in scores.rows_mut().into_iter().zip(part) {
                let truth = self.column(row);
                loss -= log_softmax(&mut scores, truth) * share;
                // From log-probabilities to the gradient of the mean loss in the scores.
                scores.mapv_inplace(|log| log.exp() * share);
                scores[truth] -= share;
                bias_gradient.iter_mut().zip(&scores).for_each(|(sum, g)| *sum += g);
            }
            ndarray::linalg::general_mat_mul(1.0, &inputs.t(), &scores, 1.0, &mut weights_gradient);
        }
        let all = weights_gradient.iter().chain(&bias_gradient);
        gradient.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        loss + 0.5 * lambda * weights.iter().map(|w| w * w).sum::<f64>()
    }

    /// The mean over `rows` of the products of all pairs of columns, a column of ones last, `[d + 1,
    /// d + 1]`; `None` for features so wide that it is not worth making.
    pub(super) fn gram(&self, rows: &[usize]) -> Option<Array2<f64>> {
        let columns = self.standardiser.columns();
        if columns > MAX_PRECONDITIONED {
            return None;
        }
        let mut gram = Array2::zeros((columns + 1, columns + 1));
        let mut inputs = Array2::ones((rows.len().min(BLOCK), columns + 1));
        for part in rows.chunks(BLOCK) {
            let mut inputs = inputs.slice_mut(s![..part.len(), ..]);
            let features = inputs.slice_mut(s![.., ..columns]);
            self.standardiser.gather(self.labelled.features, part, features);
            let share = 1.0 / rows.len() as f64;
            ndarray::linalg::general_mat_mul(share, &inputs.t(), &inputs, 1.0, &mut gram);
        }
        Some(gram)
    }

    /// How many of `rows` the parameters get right, and their mean cross-entropy.
    pub(super) fn score(&self, rows: &[usize], at: &[f64]) -> (usize, f64) {
        let (columns, classes) = (self.standardiser.columns(), self.seen.len());
        let (weights, bias) = split(at, columns, classes);
        let mut room = Room::new(rows.len(), columns, classes);
        let (mut right, mut loss) = (0, 0.0);
        for part in rows.chunks(BLOCK) {
            let mut inputs = room.inputs.slice_mut(s![..part.len(), ..]);
            let mut scores = room.scores.slice_mut(s![..part.len(), ..]);
            self.standardiser.gather(self.labelled.features, part, inputs.view_mut());
            scores.assign(&bias);
            ndarray::linalg::general_mat_mul(1.0, &inputs, &weights, 1.0, &mut scores);
            for (mut scores, &row) in scores.rows_mut().into_iter().zip(part) {
                let truth = self.column(row);
                right += usize::from(greatest(scores.view()) == truth);
                loss -= log_softmax(&mut scores, truth);
            }
        }
        (right, loss / rows.len() as f64)
    }
}

/// Turns scores into log-probabilities and returns that of `truth`.
fn log_softmax(scores: &mut ndarray::ArrayViewMut1<'_, f64>, truth: usize) -> f64 {
    let greatest = scores.fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    let log_sum = greatest + scores.fold(0.0, |sum, score| sum + (score - greatest).exp()).ln();
    scores.mapv_inplace(|score| score - log_sum);
    scores[truth]
}

/// The first of the greatest.
fn greatest(scores: ndarray::ArrayView1<'_, f64>) -> usize {
    let mut best = 0;
    for (column, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = column;
        }
    }
    best
}

impl FittedProbe {
    /// Predicts a class for each row of `features` (`[m, d]`); ties go to the lower class.
    ///
    /// # Errors
    /// Empty or not finite features, or another width than the probe was fitted to.
    pub fn predict(&self, features: ArrayView2<'_, f32>) -> Result<Vec<u32>, EvaluateError> {
        check::features("features to predict from", features)?;
        let columns = "column of the fitted features";
        check::length("features to predict from", features.ncols(), self.weights.nrows(), columns)?;
        let rows: Vec<usize> = (0..features.nrows()).collect();
        let mut inputs = Array2::zeros((rows.len().min(BLOCK), features.ncols()));
        let mut predictions = Vec::with_capacity(rows.len());
        for part in rows.chunks(BLOCK) {
            let mut inputs = inputs.slice_mut(s![..part.len(), ..]);
            self.standardiser.gather(features, part, inputs.view_mut());
            let scores = inputs.dot(&self.weights) + &self.bias;
            // Each column of the scores has its class in `seen`.
            predictions.extend(scores.rows().into_iter().map(|scores| self.seen[greatest(scores)]));
        }
        Ok(predictions)
    }

    /// The weights over standardised features, `[d, c]`, a column for each class seen.
    pub fn weights(&self) -> ArrayView2<'_, f64> {
        self.weights.view()
    }

    /// The classes that labelled rows had, ascending.
    pub fn seen(&self) -> &[u32] {
        &self.seen
    }
}
