//! Which of two windows came first, and whether they belong together: of two windows, tell whether the second
//! is what followed the first (for frames of a video Misra et al. 2016; for sentences Devlin et al. 2019,
//! section 3.1). Half of the pairs follow each other, a quarter are such pairs in the wrong order, and a
//! quarter are windows from elsewhere. The next window is the first that shares no row with its own, so that
//! an overlap gives nothing away.

use ndarray::{Array2, ArrayD, Axis};
use rand::RngExt;
use sedge_models::Modality;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup, Strength};
use crate::data::{DataError, Dataset, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Purpose of the draw of a pair; views have the numbers below.
const PAIR: u64 = 1 << 32;
/// The number of the second window's view, which is never taken from a neighbour as view 1 may be.
const SECOND: u64 = 2;
/// Draws of a window from elsewhere before a pair in the wrong order is taken instead.
const TRIES: usize = 16;
/// Windows after which what comes is no longer next.
const FAR: u64 = 2;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Width between the two embeddings and the answer.
    hidden: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 64 }
    }
}

/// Next-segment prediction on one encoder.
#[derive(Debug)]
pub(super) struct NextSegment {
    hidden: usize,
    /// A window's extent as the data orders windows: in nanoseconds, or in rows where no rate is known.
    extent: u64,
}

impl Known for NextSegment {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Imu];
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let rate = f64::from(setup.input.rate_hz);
        let row = if rate > 0.0 { 1e9 / rate } else { 1.0 };
        // Windows begin at whole rows, whose times are rounded.
        let rows = setup.input.shape.get(1).map_or(0.0, |rows| *rows as f64 - 0.5);
        Ok(Self { hidden: settings.hidden, extent: ((rows * row) as u64).max(1) })
    }
}

impl Pretext for NextSegment {
    fn objective(&self) -> Objective {
        Objective::PairPrediction { hidden: self.hidden }
    }
}

impl NextSegment {
    /// The first window after `index` in its stream that shares no row with it.
    fn next(&self, data: &Dataset, index: usize) -> Option<usize> {
        let (order, groups) = (data.order(), data.groups());
        let begin = *order.get(index)?;
        // Order falls where one stream ends and the next begins.
        let later = order.iter().zip(groups).enumerate().skip(index + 1);
        later
            .take_while(|(_, (at, group))| {
                **at > begin && **at - begin <= FAR * self.extent && groups.get(index) == Some(group)
            })
            .find(|(_, (at, _))| **at - begin >= self.extent)
            .map(|(next, _)| next)
    }

    /// Two windows that follow each other, the first of them `index` or the nearest after it that has a next.
    fn pair(&self, data: &Dataset, index: usize) -> Result<[usize; 2], DataError> {
        let candidates = (index..data.len()).chain(0..index);
        let mut pairs = candidates.filter_map(|first| Some([first, self.next(data, first)?]));
        pairs.next().ok_or_else(|| DataError::Mismatch {
            found: "windows of which none follows another".into(),
            wanted: "streams of two windows or more, at most two windows from one to the next".into(),
            mend: "give longer recordings, or a smaller stride",
        })
    }

    /// Whether two windows are of one stream and close.
    fn near(&self, data: &Dataset, a: usize, b: usize) -> bool {
        let (order, groups) = (data.order(), data.groups());
        let close = order.get(a).zip(order.get(b)).is_some_and(|(a, b)| a.abs_diff(*b) <= FAR * self.extent);
        close && groups.get(a) == groups.get(b)
    }

    /// Two windows and whether the second follows the first.
    fn drawn(&self, draw: &Draw<'_>, index: usize) -> Result<([usize; 2], bool), DataError> {
        let data = draw.data();
        let [first, second] = self.pair(data, index)?;
        let mut rng = draw.rng(index, PAIR);
        let kind = rng.random_range(0..4);
        if kind < 2 {
            return Ok(([first, second], true));
        }
        let mut elsewhere = (0..if kind == 2 { TRIES } else { 0 }).map(|_| rng.random_range(0..data.len()));
        let other = elsewhere.find(|&other| !self.near(data, first, other));
        Ok((other.map_or([second, first], |other| [first, other]), false))
    }
}

impl Sampler for NextSegment {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let (samples, shape) = (draw.len(), &draw.spec().shape);
        let rows: Vec<usize> = std::iter::once(2 * samples).chain(shape.iter().copied()).collect();
        let mut views = ArrayD::zeros(rows);
        let mut targets = Array2::zeros((samples, 1));
        for (row, &index) in draw.indices().iter().enumerate() {
            let (pair, follows) = self.drawn(draw, index)?;
            for (row, (window, which)) in
                [row, row + samples].into_iter().zip(pair.into_iter().zip([0, SECOND]))
            {
                if let Some(out) = views.index_axis_mut(Axis(0), row).as_slice_mut() {
                    draw.view(window, which, out)?;
                }
            }
            targets[[row, 0]] = f32::from(u8::from(follows));
        }
        Ok(vec![(VIEWS.into(), views), ("targets".into(), targets.into_dyn())])
    }
}
