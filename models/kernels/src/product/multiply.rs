//! A left operand times packed panels, block by block.

use std::ops::Range;

use super::left::Left;
use super::right::Packed;
use super::tile::{BlockProduct, Finish, Line, STRIDE, block_rows, padded};
use crate::Threads;
use crate::threads::Scratch;

/// Lines of one block, which one part of the work reuses for all of its blocks.
pub(crate) struct Lines<'a>(Scratch<'a>);

impl<'a> Lines<'a> {
    pub(crate) fn new(threads: &'a Threads) -> Self {
        Self(threads.scratch(block_rows(threads.level()) * STRIDE))
    }

    pub(crate) fn as_slice(&mut self) -> &mut [Line] {
        self.0.as_chunks_mut().0
    }
}

/// Rows `rows` of `left` times the packed operand, each to `out` from `place(row)` on.
///
/// Every output is the same sum in the same order, whatever the rows it is computed with.
pub(crate) fn multiply(
    left: &impl Left,
    rows: Range<usize>,
    right: Packed<'_>,
    out: &mut [f32],
    place: impl Fn(usize) -> usize,
    finish: Finish<'_>,
    lines: &mut Lines<'_>,
) {
    let lines = lines.as_slice();
    let Packed { layout, panels } = right;
    // The operand may be packed for another level than that of the threads.
    let most = lines.len().min(block_rows(layout.level));
    let mut places = Vec::with_capacity(lines.len());
    let last = layout.blocks().count() - 1;
    let mut row = rows.start;
    while row < rows.end {
        let count = most.min(rows.end - row);
        places.clear();
        places.extend((row..row + count).map(&place));
        for (block, (first, depth)) in layout.blocks().enumerate() {
            let block_of_left = left.block(row..row + count, first, depth, lines);
            let start = first * padded(layout.level, layout.columns);
            layout.level.run(BlockProduct {
                level: layout.level,
                left: &block_of_left,
                depth,
                panels: panels.get(start..).unwrap_or_default(),
                columns: layout.columns,
                out,
                places: &places,
                finish: Finish {
                    accumulate: finish.accumulate || block > 0,
                    bias: finish.bias.filter(|_| block == last),
                    clip: finish.clip.filter(|_| block == last),
                },
            });
        }
        row += count;
    }
}
