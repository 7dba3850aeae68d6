//! Convolution weights, packed into the panels that the product reads.

use super::geometry::Geometry;
use super::patches::{Axis, Phase};
use crate::buffer::Buffer;
use crate::error::{check_length, limit};
use crate::product::right::{Layout, Packed};
use crate::{KernelError, Threads};

/// Most pairs of group and phase of a packed kernel.
const MAX_PARTS: usize = 1 << 20;

/// What a packed kernel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// [`forward`](super::forward).
    Forward,
    /// [`input_gradient`](super::input_gradient).
    InputGradient,
}

/// The weights of a convolution, packed for one direction and the instruction set of its threads.
///
/// Packing costs about as much as convolving a few output positions. Whoever keeps the weights
/// constant keeps this; whoever trains them calls [`PackedKernel::set`] after each change.
#[derive(Debug)]
pub struct PackedKernel {
    geometry: Geometry,
    direction: Direction,
    parts: Vec<Part>,
}

/// The panels of one group and, for the input gradient, one phase.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) group: usize,
    pub(super) layout: Layout,
    pub(super) panels: Buffer,
    /// Where the rows go and what they read, by axis; forward, every row in turn.
    pub(super) phases: Option<[Phase; 2]>,
}

impl Part {
    pub(super) fn packed(&self) -> Packed<'_> {
        Packed { layout: self.layout, panels: &self.panels }
    }
}

impl PackedKernel {
    /// Packs `kernel`, which is `[out, in / groups, height, width]`.
    ///
    /// # Errors
    /// When the geometry is refused or `kernel` does not have its length.
    pub fn new(
        geometry: &Geometry,
        direction: Direction,
        kernel: &[f32],
        threads: &Threads,
    ) -> Result<Self, KernelError> {
        geometry.check("convolution kernel")?;
        let level = threads.level();
        let (group_in, group_out) = (geometry.group_in(), geometry.group_out());
        let layout = |phases: &Option<[Phase; 2]>| {
            let (taps, depth, columns) = match phases {
                None => (geometry.taps(), group_in, group_out),
                Some([vertical, horizontal]) => {
                    (vertical.axis.taps * horizontal.axis.taps, group_out, group_in)
                }
            };
            // Taps side by side in the source are one run, if no other group lies between them.
            let (across, step) = match phases {
                None => (geometry.kernel[1], geometry.dilation[1]),
                Some([_, horizontal]) => (horizontal.axis.taps, horizontal.axis.tap_step),
            };
            let run = if geometry.groups == 1 && step == 1 { across * depth } else { depth };
            Layout::with_runs(level, taps * depth, columns, run)
        };
        let phases = match direction {
            Direction::Forward => vec![None],
            Direction::InputGradient => phases(geometry).into_iter().map(Some).collect(),
        };
        if phases.len().saturating_mul(geometry.groups) > MAX_PARTS {
            return Err(KernelError::Geometry {
                kernel: "convolution input gradient",
                argument: "stride",
                value: [&geometry.stride[..], &[geometry.groups]].concat(),
                reason: "times `groups` gives more than 2^20 phases: stride less or group less",
            });
        }
        let floats: usize = phases.iter().map(|phases| layout(phases).length()).sum();
        limit("convolution kernel", "kernel", &[geometry.groups, floats])?;
        let mut parts = Vec::with_capacity(geometry.groups * phases.len());
        for group in 0..geometry.groups {
            for phases in &phases {
                let layout = layout(phases);
                parts.push(Part { group, layout, panels: Buffer::new(layout.length()), phases: *phases });
            }
        }
        let mut packed = Self { geometry: *geometry, direction, parts };
        packed.set(kernel)?;
        Ok(packed)
    }

    /// Replaces the weights.
    ///
    /// # Errors
    /// When `kernel` does not have its length.
    pub fn set(&mut self, kernel: &[f32]) -> Result<(), KernelError> {
        let geometry = &self.geometry;
        check_length("convolution kernel", "kernel", kernel.len(), &geometry.kernel_shape())?;
        let (group_in, group_out, taps) = (geometry.group_in(), geometry.group_out(), geometry.taps());
        for Part { group, layout, panels, phases } in &mut self.parts {
            let kernel = &kernel[*group * group_out * group_in * taps..];
            match phases {
                None => {
                    let first = |k: usize| k % group_in * taps + k / group_in;
                    layout.pack_strided(panels, kernel, first, group_in * taps);
                }
                Some([vertical, horizontal]) => {
                    let across = horizontal.axis.taps;
                    let first = |k: usize| {
                        let (tap, channel) = (k / group_out, k % group_out);
                        let row = vertical.kernel_tap(tap / across);
                        let column = horizontal.kernel_tap(tap % across);
                        channel * group_in * taps + row * geometry.kernel[1] + column
                    };
                    layout.pack_strided(panels, kernel, first, taps);
                }
            }
        }
        Ok(())
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| size_of_val(&*part.panels)).sum()
    }

    /// The shapes it was packed for.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The parts, if packed for `direction`.
    pub(super) fn parts(&self, kernel: &'static str, direction: Direction) -> Result<&[Part], KernelError> {
        if self.direction == direction {
            return Ok(&self.parts);
        }
        Err(KernelError::Geometry {
            kernel,
            argument: "kernel",
            value: self.geometry.kernel_shape().to_vec(),
            reason: "is packed for the other direction: pack it for this one",
        })
    }
}

/// All pairs of phases that have inputs.
fn phases(geometry: &Geometry) -> Vec<[Phase; 2]> {
    let [vertical, horizontal] = [0, 1].map(|axis| {
        let phases = (0..geometry.stride[axis]).map(move |phase| Phase::new(geometry, axis, phase));
        phases.filter(|phase| phase.axis.rows > 0).collect::<Vec<_>>()
    });
    let pairs = vertical.iter().flat_map(|v| horizontal.iter().map(|h| [*v, *h]));
    pairs.collect()
}

/// The axes of a forward gather.
pub(super) fn forward_axes(geometry: &Geometry) -> [Axis; 2] {
    [0, 1].map(|axis| Axis::forward(geometry, axis))
}
