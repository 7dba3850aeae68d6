//! Dense convolutions, forward and both gradients, one- and two-dimensional.
//!
//! Each is a matrix product whose left or right operand is the patches of an image. The patches are
//! gathered a block of rows at a time into the lines and panels that the product reads, so no image
//! of patches is ever stored (M. Cho and D. Brand, "MEC: memory-efficient convolution", 2017, avoid
//! it in part; here nothing of it is left).

mod forward;
mod geometry;
mod input_gradient;
mod kernel;
mod patches;
mod weight_gradient;

pub use forward::forward;
pub use geometry::{Geometry, MAX_SIZE, MAX_STRIDE};
pub use input_gradient::input_gradient;
pub use kernel::{Direction, PackedKernel};
pub use weight_gradient::weight_gradient;

#[cfg(test)]
mod tests;
