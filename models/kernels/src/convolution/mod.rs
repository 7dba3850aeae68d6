//! Dense convolutions, forward and both gradients, one- and two-dimensional.
//!
//! Each is a matrix product whose left or right operand is the patches of an image. Where the values
//! of a patch lie side by side the product reads them in place (M. Dukhan, "The indirect convolution
//! algorithm", 2019); else they are gathered, a block of rows at a time, into the lines and panels
//! that the product reads. No image of patches is ever stored.

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
