//! Cells of a sample: the square pieces of an image, or the stretches of a window, that its tokens stand for.
//! Tokens lie on a grid in raster or time order; a cell has the stride between neighbours along every axis.
//! Where the extent of a sample is no multiple of the stride, its last cells reach beyond it.

use tract_onnx::prelude::*;

use super::MAX_WIDTH;
use crate::compile::Setting;
use crate::graph::Graph;

/// How a sample is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cells {
    /// Shape of a sample, `[channels, ...]`.
    sample: Vec<usize>,
    /// Cells along every axis but the channels.
    pub(super) grid: Vec<usize>,
    /// Extent of a cell along every such axis.
    stride: usize,
}

impl Cells {
    /// The cells of a sample of which there are `count`: the smallest stride that gives as many. A cell may
    /// hold the part of the last stride that is left, as after convolutions that pad.
    pub(super) fn of(sample: &[usize], count: usize) -> Result<Self, Setting> {
        let spatial = sample.get(1..).unwrap_or_default();
        let longest = spatial.iter().copied().max().unwrap_or(0).min(MAX_WIDTH);
        let grid = |stride: usize| spatial.iter().map(|extent| extent.div_ceil(stride)).collect::<Vec<_>>();
        let stride = (1..=longest).find(|stride| grid(*stride).iter().product::<usize>() == count);
        let refused = || Setting {
            setting: "the encoder's `tokens`".into(),
            found: format!("{count} of a sample of shape {sample:?}"),
            wanted: "as many as equal cells that cover a sample `[channels, rows, columns]` or \
                     `[channels, time]`"
                .into(),
        };
        let stride = stride.filter(|_| (1..=2).contains(&spatial.len())).ok_or_else(refused)?;
        let cells = Self { sample: sample.into(), grid: grid(stride), stride };
        Setting::range("values of one cell", cells.values(), 1, MAX_WIDTH)?;
        Ok(cells)
    }

    /// Values of one cell.
    pub(super) fn values(&self) -> usize {
        let extents = self.grid.iter().map(|_| self.stride);
        self.sample.first().copied().unwrap_or(0) * extents.product::<usize>()
    }

    /// `x` `[batch, ...sample]` as `[batch, cells, values]`; what a cell has beyond the sample is zero. The
    /// values of a cell are its channels, then its rows, then its columns, as a pixel shuffle wants them (Shi
    /// et al. 2016, equation 4).
    pub(super) fn cut(&self, graph: &mut Graph, x: OutletId) -> TractResult<OutletId> {
        let batch = graph.shape(x)?[0];
        let channels = self.sample.first().copied().unwrap_or(0);
        let mut split = vec![batch, channels];
        let mut whole = x;
        for (i, &count) in self.grid.iter().enumerate() {
            whole = graph.fit_axis(whole, i + 2, count * self.stride)?;
            split.extend([count, self.stride]);
        }
        let mut apart = graph.reshape(whole, &split)?;
        // Axes of the grid in front of the channels, one after the other.
        for i in 0..self.grid.len() {
            apart = graph.move_axis(apart, 2 + 2 * i, 1 + i)?;
        }
        graph.reshape(apart, &[batch, self.grid.iter().product(), self.values()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_found_from_the_number_of_tokens() {
        let grid = |sample: &[usize], count| Cells::of(sample, count).unwrap().grid;
        assert_eq!(grid(&[3, 32, 32], 16), [4, 4]);
        assert_eq!(grid(&[3, 10, 8], 6), [3, 2]);
        assert_eq!(grid(&[6, 20], 10), [10]);
        assert_eq!(grid(&[6, 100], 13), [13]);
        assert_eq!(Cells::of(&[3, 10, 8], 6).unwrap().values(), 3 * 4 * 4);
    }

    #[test]
    fn other_numbers_of_tokens_are_refused() {
        assert!(Cells::of(&[3, 32, 32], 17).unwrap_err().to_string().contains("17 of a sample"));
        assert!(Cells::of(&[64], 8).is_err());
        assert!(Cells::of(&[1, 2, 2, 2], 8).is_err());
        assert!(Cells::of(&[3, 32, 32], 0).is_err());
    }
}
