//! The gradient of a convolution's weights: the output's gradient times the patches, over positions.

use std::ops::Range;

use super::geometry::Geometry;
use super::kernel::forward_axes;
use super::patches::Patches;
use crate::error::check_length;
use crate::product::left::{Columns, Left};
use crate::product::multiply::{Lines, multiply};
use crate::product::right::{Layout, Packed};
use crate::product::tile::{Block, COLUMN_DEPTH, Finish, padded};
use crate::{KernelError, Threads};

/// Most columns of patches that are packed at a time: no more than a line holds.
const MAX_COLUMNS: usize = 256;

/// Positions that are worth a sum of their own.
const CHUNK_POSITIONS: usize = 2048;

/// Most sums of their own, and most floats of all together.
const MAX_CHUNKS: usize = 8;
const MAX_SUMS: usize = 1 << 20;

/// Writes to `dkernel`, `[out, in / groups, height, width]`, the gradient of the weights, and to
/// `dbias` that of the bias, given input `x` and gradient `dy` of the output; adds if `accumulate`.
///
/// The positions are cut into chunks by the shape alone, whose sums are added in order. Works in
/// 250 KiB for each thread and 4 MiB, or the size of the weights where that is more, for all.
///
/// # Errors
/// When the geometry is refused or a slice does not have the length of its shape.
pub fn weight_gradient(
    x: &[f32],
    dy: &[f32],
    geometry: &Geometry,
    dkernel: &mut [f32],
    dbias: Option<&mut [f32]>,
    accumulate: bool,
    threads: &Threads,
) -> Result<(), KernelError> {
    let name = "convolution weight gradient";
    geometry.check(name)?;
    check_length(name, "x", x.len(), &geometry.input_shape())?;
    check_length(name, "dy", dy.len(), &geometry.output_shape())?;
    check_length(name, "dkernel", dkernel.len(), &geometry.kernel_shape())?;
    if let Some(dbias) = &dbias {
        check_length(name, "dbias", dbias.len(), &[geometry.channels_out])?;
    }
    let plan = Plan::new(geometry, dbias.is_some(), threads.count());
    let mut sums = threads.scratch(plan.length());
    let mut work = Vec::new();
    let mut rest = &mut *sums;
    for part in plan.parts() {
        let (sums, after) = rest.split_at_mut(part.length(geometry));
        rest = after;
        work.push((part, sums));
    }
    threads.for_each(work, |(part, sums)| part.run(x, dy, geometry, sums, threads));
    plan.gather(&sums, dkernel, accumulate);
    if let Some(dbias) = dbias {
        plan.gather_bias(&sums, dbias, accumulate);
    }
    Ok(())
}

/// How the sums are cut: by group, chunk of positions and piece of columns, in this order.
struct Plan<'a> {
    geometry: &'a Geometry,
    bias: bool,
    columns: usize,
    chunks: Vec<Range<usize>>,
    pieces: Vec<Range<usize>>,
}

/// One sum: a group's outputs by a piece of its columns, over a chunk of positions; then, where the
/// bias is asked for and with the first piece, one sum of the gradient for each output.
struct Part {
    group: usize,
    bias: bool,
    chunk: Range<usize>,
    piece: Range<usize>,
}

impl<'a> Plan<'a> {
    fn new(geometry: &'a Geometry, bias: bool, threads: usize) -> Self {
        let [batch, height, width, outputs] = geometry.output_shape();
        let positions = batch * height * width;
        let columns = geometry.group_in() * geometry.taps();
        let chunks = (positions / CHUNK_POSITIONS).min(MAX_SUMS / (columns * outputs)).clamp(1, MAX_CHUNKS);
        let chunk = positions.div_ceil(chunks).next_multiple_of(COLUMN_DEPTH);
        // Only the pieces may depend on the threads: no sum crosses from one to another.
        let pieces = threads.div_ceil(chunks * geometry.groups).max(columns.div_ceil(MAX_COLUMNS));
        let piece = columns.div_ceil(pieces).next_multiple_of(32);
        Self { geometry, bias, columns, chunks: cut(positions, chunk), pieces: cut(columns, piece) }
    }

    fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        (0..self.geometry.groups).flat_map(move |group| {
            self.chunks.iter().flat_map(move |chunk| {
                self.pieces.iter().map(move |piece| Part {
                    group,
                    bias: self.bias && piece.start == 0,
                    chunk: chunk.clone(),
                    piece: piece.clone(),
                })
            })
        })
    }

    fn length(&self) -> usize {
        self.parts().map(|part| part.length(self.geometry)).sum()
    }

    /// Adds the chunks of each weight in order and puts them where ONNX has them.
    fn gather(&self, sums: &[f32], dkernel: &mut [f32], accumulate: bool) {
        let (channels, taps, outputs) =
            (self.geometry.group_in(), self.geometry.taps(), self.geometry.group_out());
        if !accumulate {
            dkernel.fill(0.0);
        }
        let mut rest = sums;
        for part in self.parts() {
            let (sums, after) = rest.split_at(part.length(self.geometry));
            rest = after;
            for (output, sums) in sums.chunks_exact(part.piece.len()).take(outputs).enumerate() {
                let weights = &mut dkernel[(part.group * outputs + output) * self.columns..][..self.columns];
                let (mut tap, mut channel) = (part.piece.start / channels, part.piece.start % channels);
                for sum in sums {
                    weights[channel * taps + tap] += sum;
                    channel += 1;
                    if channel == channels {
                        channel = 0;
                        tap += 1;
                    }
                }
            }
        }
    }

    fn gather_bias(&self, sums: &[f32], dbias: &mut [f32], accumulate: bool) {
        let outputs = self.geometry.group_out();
        if !accumulate {
            dbias.fill(0.0);
        }
        let mut rest = sums;
        for part in self.parts() {
            let (sums, after) = rest.split_at(part.length(self.geometry));
            rest = after;
            if part.bias {
                let bias = &sums[outputs * part.piece.len()..];
                for (place, sum) in dbias[part.group * outputs..].iter_mut().zip(bias) {
                    *place += sum;
                }
            }
        }
    }
}

impl Part {
    fn length(&self, geometry: &Geometry) -> usize {
        geometry.group_out() * (self.piece.len() + usize::from(self.bias))
    }

    fn run(&self, x: &[f32], dy: &[f32], geometry: &Geometry, sums: &mut [f32], threads: &Threads) {
        let (width, outputs, columns) = (geometry.group_in(), geometry.group_out(), self.piece.len());
        let padded = padded(threads.level(), columns);
        let patches = Patches {
            source: x,
            axes: forward_axes(geometry),
            channels: geometry.channels_in,
            offset: self.group * width,
            width,
            // A row in place ends where its columns do: panels want theirs whole.
            in_place: columns == padded,
        };
        let (sums, bias) = sums.split_at_mut(outputs * columns);
        bias.fill(0.0);
        let block = Layout::for_columns(threads.level(), COLUMN_DEPTH, columns);
        let mut panels = threads.scratch(block.length());
        let mut gathered = Lines::new(threads);
        let mut lines = Lines::new(threads);
        for position in self.chunk.clone().step_by(COLUMN_DEPTH) {
            let depth = COLUMN_DEPTH.min(self.chunk.end - position);
            let layout = block.one_block(depth);
            let rows = gathered.as_slice().len();
            for start in (position..position + depth).step_by(rows) {
                let end = (start + rows).min(position + depth);
                let block = patches.block(start..end, self.piece.start, columns, gathered.as_slice());
                let Block::Rows(found) = block else { continue };
                for (k, row) in (start - position..end - position).zip(found) {
                    layout.pack_row(&mut panels, k, row);
                }
            }
            let stride = geometry.channels_out;
            let values = &dy[position * stride + self.group * outputs..];
            if !bias.is_empty() {
                for values in values.chunks(stride).take(depth) {
                    bias.iter_mut().zip(values).for_each(|(bias, value)| *bias += value);
                }
            }
            let finish = Finish { accumulate: position > self.chunk.start, bias: None, clip: None };
            let place = |row| row * columns;
            let left = Columns { values, stride };
            let right = Packed { layout, panels: &panels };
            multiply(&left, 0..outputs, right, sums, place, finish, &mut lines);
        }
    }
}

/// Ranges of `length` that cover `0..end`.
fn cut(end: usize, length: usize) -> Vec<Range<usize>> {
    (0..end).step_by(length).map(|start| start..(start + length).min(end)).collect()
}
