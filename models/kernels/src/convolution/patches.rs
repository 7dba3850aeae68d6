//! The patches that a convolution or its input gradient sees, gathered row by row.

use std::ops::Range;

use super::geometry::Geometry;
use crate::product::left::{Left, block_of, copy_run};
use crate::product::tile::{Block, Line, ZEROS};

/// One axis of a gather: row `i` reads, for tap `t`, the source at `origin + i * row_step + t *
/// tap_step`, or zero where that lies outside of `0..length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) rows: usize,
    pub(super) taps: usize,
    pub(super) length: usize,
    origin: isize,
    row_step: usize,
    pub(super) tap_step: usize,
}

impl Axis {
    /// Rows are outputs, the source is the input.
    pub(super) fn forward(geometry: &Geometry, axis: usize) -> Self {
        Self {
            rows: geometry.output()[axis],
            taps: geometry.kernel[axis],
            length: geometry.input[axis],
            origin: -(geometry.pad_before[axis] as isize),
            row_step: geometry.stride[axis],
            tap_step: geometry.dilation[axis],
        }
    }

    fn at(&self, row: usize, tap: usize) -> Option<usize> {
        let place = self.origin + (row * self.row_step + tap * self.tap_step) as isize;
        usize::try_from(place).ok().filter(|place| *place < self.length)
    }

    /// Those of the rows for which all taps read side by side inside of the source.
    fn whole_runs(&self, rows: Range<usize>) -> Range<usize> {
        let step = self.row_step as isize;
        let lowest = (-self.origin).max(0).unsigned_abs().div_ceil(self.row_step);
        let room = self.length as isize - self.taps as isize - self.origin;
        let end = if room < 0 { 0 } else { (room / step + 1).unsigned_abs() };
        let start = lowest.clamp(rows.start, rows.end);
        start..end.clamp(start, rows.end)
    }

    /// Where tap 0 reads, if all taps read side by side inside of the source.
    fn run(&self, row: usize) -> Option<usize> {
        let begin = usize::try_from(self.origin + (row * self.row_step) as isize).ok()?;
        (self.tap_step == 1 && begin + self.taps <= self.length).then_some(begin)
    }
}

/// The inputs of one phase of the input gradient along one axis: every `stride`th, from `first` on.
///
/// An output reaches an input by a tap only if their distance is a whole number of strides, so the
/// inputs fall into `stride` phases, each with its own taps, and no tap meets a zero between outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase {
    /// First input of the phase.
    pub(super) first: usize,
    /// Rows are the phase's inputs, the source is the output's gradient.
    pub(super) axis: Axis,
    last_tap: usize,
    kernel_step: usize,
}

impl Phase {
    /// The phase `phase` of `0..stride`; its rows may be none, and so may its taps.
    pub(super) fn new(geometry: &Geometry, axis: usize, phase: usize) -> Self {
        let (stride, dilation) = (geometry.stride[axis], geometry.dilation[axis]);
        let (pad, kernel) = (geometry.pad_before[axis], geometry.kernel[axis]);
        let first = (phase + stride - pad % stride) % stride;
        let rows = geometry.input[axis].saturating_sub(first).div_ceil(stride);
        let kernel_step = stride / greatest_common_divisor(stride, dilation);
        let first_tap = (0..kernel_step.min(kernel)).find(|tap| tap * dilation % stride == phase);
        let taps = first_tap.map_or(0, |tap| (kernel - tap).div_ceil(kernel_step));
        let last_tap = first_tap.unwrap_or(0) + taps.saturating_sub(1) * kernel_step;
        // Later taps read earlier outputs, so taps are taken from the last one on.
        let origin = (first + pad) as isize - (last_tap * dilation) as isize;
        let axis = Axis {
            rows,
            taps,
            length: geometry.output()[axis],
            origin: origin.div_euclid(stride as isize),
            row_step: 1,
            tap_step: kernel_step * dilation / stride,
        };
        Self { first, axis, last_tap, kernel_step }
    }

    /// The kernel's tap that the axis calls `tap`.
    pub(super) fn kernel_tap(&self, tap: usize) -> usize {
        self.last_tap - tap * self.kernel_step
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// An image, and a row and a column of it.
type Place = [usize; 3];

/// Places, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Places {
    next: Place,
    height: usize,
    width: usize,
}

impl Places {
    #[inline(always)]
    pub(super) fn next(&mut self) -> Place {
        let place = self.next;
        self.next[2] += 1;
        if self.next[2] == self.width {
            self.next[2] = 0;
            self.next[1] += 1;
            if self.next[1] == self.height {
                self.next[1] = 0;
                self.next[0] += 1;
            }
        }
        place
    }
}

/// Patches as the rows of a matrix: `[image, row, column]` by `[tap, tap, channel]`.
pub(super) struct Patches<'a> {
    /// `[image, height, width, channels]`.
    pub(super) source: &'a [f32],
    pub(super) axes: [Axis; 2],
    /// Channels of the source.
    pub(super) channels: usize,
    /// First channel of the group.
    pub(super) offset: usize,
    /// Channels of the group.
    pub(super) width: usize,
    /// Read them where they lie, where they lie side by side.
    pub(super) in_place: bool,
}

impl Patches<'_> {
    /// Rows of one image.
    pub(super) fn rows(&self) -> usize {
        self.axes[0].rows * self.axes[1].rows
    }

    /// The places of rows from `row` on.
    #[inline(always)]
    pub(super) fn places(&self, row: usize) -> Places {
        let [height, width] = [self.axes[0].rows.max(1), self.axes[1].rows.max(1)];
        Places { next: [row / width / height, row / width % height, row % width], height, width }
    }

    /// Columns `first..first + depth` of the row at `place` where they lie, if they lie side by side.
    #[inline(always)]
    fn direct(&self, place: Place, first: usize, depth: usize) -> Option<&[f32]> {
        let [image, row, column] = place;
        let [vertical, horizontal] = &self.axes;
        let run = horizontal.taps * self.width;
        let (tap, from) = if first == 0 { (0, 0) } else { (first / run, first % run) };
        if !self.in_place || from + depth > run {
            return None;
        }
        let Some(height) = vertical.at(row, tap) else { return ZEROS.get(..depth) };
        let (begin, from) = if self.width == self.channels && horizontal.run(column).is_some() {
            (horizontal.run(column)?, from)
        } else if from % self.width + depth <= self.width {
            match horizontal.at(column, from / self.width) {
                Some(begin) => (begin, from % self.width),
                None => return ZEROS.get(..depth),
            }
        } else {
            return None;
        };
        let start = ((image * vertical.length + height) * horizontal.length + begin) * self.channels;
        let start = start + self.offset + from;
        self.source.get(start..start + depth)
    }

    /// Writes columns `first..first + depth` of the row at `place` to the front of `line`.
    #[inline(always)]
    pub(super) fn write(&self, place: Place, first: usize, depth: usize, line: &mut [f32]) {
        let [image, row, column] = place;
        let [vertical, horizontal] = &self.axes;
        let run = horizontal.taps * self.width;
        let beside = if self.width == self.channels { horizontal.run(column) } else { None };
        let (mut tap, mut from) = if first == 0 { (0, 0) } else { (first / run, first % run) };
        let mut at = 0;
        while at < depth {
            let length = (run - from).min(depth - at);
            let height = vertical.at(row, tap);
            match (height, beside) {
                (None, _) => zero(line, at, length),
                (Some(height), Some(begin)) => {
                    let start =
                        ((image * vertical.length + height) * horizontal.length + begin) * self.channels;
                    copy_run(self.source, start + from, length, line, at);
                }
                (Some(height), None) => {
                    let start = (image * vertical.length + height) * horizontal.length;
                    self.write_taps(start, column, from, length, &mut line[at..]);
                }
            }
            at += length;
            from = 0;
            tap += 1;
        }
    }

    /// Writes columns `first..first + depth` of `rows` to the lines, all rows of one image line
    /// together: they read side by side, so most of the way to their values is the same.
    #[inline(always)]
    fn write_stretches(&self, rows: Range<usize>, first: usize, depth: usize, lines: &mut [Line]) {
        let across = self.axes[1].rows.max(1);
        let mut row = rows.start;
        while row < rows.end {
            let [image, line, column] = self.places(row).next();
            let end = rows.end.min(row + across - column);
            let lines = lines.get_mut(row - rows.start..end - rows.start).unwrap_or_default();
            let inside = self.axes[1].whole_runs(column..column + end - row);
            for (offset, into) in lines.iter_mut().enumerate() {
                if !inside.contains(&(column + offset)) {
                    self.write([image, line, column + offset], first, depth, into);
                }
            }
            if !inside.is_empty() {
                let lines = lines.get_mut(inside.start - column..inside.end - column).unwrap_or_default();
                self.write_stretch([image, line, inside.start], first, depth, lines);
            }
            row = end;
        }
    }

    /// As [`Patches::write`] for consecutive rows from `place` on, whose taps are all in the source.
    #[inline(always)]
    fn write_stretch(&self, place: Place, first: usize, depth: usize, lines: &mut [Line]) {
        let [image, row, column] = place;
        let [vertical, horizontal] = &self.axes;
        let Some(begin) = horizontal.run(column) else { return };
        let run = horizontal.taps * self.width;
        let step = horizontal.row_step * self.channels;
        let (mut tap, mut from) = if first == 0 { (0, 0) } else { (first / run, first % run) };
        let mut at = 0;
        while at < depth {
            let length = (run - from).min(depth - at);
            if let Some(height) = vertical.at(row, tap) {
                let start = ((image * vertical.length + height) * horizontal.length + begin) * self.channels;
                for (index, line) in lines.iter_mut().enumerate() {
                    copy_run(self.source, start + index * step + from, length, line, at);
                }
            } else {
                lines.iter_mut().for_each(|line| zero(line, at, length));
            }
            at += length;
            from = 0;
            tap += 1;
        }
    }

    /// Writes `length` columns from `from` on of one line of taps, tap by tap.
    fn write_taps(&self, start: usize, column: usize, from: usize, length: usize, line: &mut [f32]) {
        let horizontal = &self.axes[1];
        let (mut tap, mut channel) = (from / self.width, from % self.width);
        let mut at = 0;
        while at < length {
            let count = (self.width - channel).min(length - at);
            match horizontal.at(column, tap) {
                Some(place) => {
                    let from = (start + place) * self.channels + self.offset + channel;
                    copy_run(self.source, from, count, line, at);
                }
                None => zero(line, at, count),
            }
            at += count;
            channel = 0;
            tap += 1;
        }
    }
}

impl Left for Patches<'_> {
    fn block<'a>(
        &'a self,
        rows: Range<usize>,
        first: usize,
        depth: usize,
        lines: &'a mut [Line],
    ) -> Block<'a> {
        let run = self.axes[1].taps * self.width;
        let apart = !self.in_place || first % run.max(1) + depth > run;
        if apart && self.width == self.channels && self.axes[1].tap_step == 1 {
            self.write_stretches(rows.clone(), first, depth, lines);
            return block_of(rows, lines, |_, line| line);
        }
        let mut places = self.places(rows.start);
        block_of(rows, lines, |_, line| {
            let place = places.next();
            self.direct(place, first, depth).unwrap_or_else(|| {
                self.write(place, first, depth, line);
                line
            })
        })
    }
}

#[inline(always)]
fn zero(line: &mut [f32], at: usize, length: usize) {
    if let Some(line) = line.get_mut(at..at + length) {
        line.fill(0.0);
    }
}
