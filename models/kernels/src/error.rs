//! Why a kernel refused its arguments.

use thiserror::Error;

/// A kernel refused its arguments; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice does not have the length that the shapes ask for.
    #[error("{kernel}: `{argument}` holds {actual} floats where its shape {shape:?} asks for {expected}")]
    Length {
        /// The kernel called.
        kernel: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// The shape that the argument must fill.
        shape: Vec<usize>,
        /// Product of the shape.
        expected: usize,
        /// Length of the slice given.
        actual: usize,
    },
    /// A shape, stride, padding or dilation that no kernel takes.
    #[error("{kernel}: `{argument}` of {value:?} {reason}")]
    Geometry {
        /// The kernel called.
        kernel: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// What was given.
        value: Vec<usize>,
        /// What is wrong with it, and what would be right.
        reason: &'static str,
    },
    /// A thread pool that cannot be had.
    #[error("a pool of {count} threads: {reason}")]
    Threads {
        /// Threads asked for.
        count: usize,
        /// Why not.
        reason: String,
    },
}

/// Most floats of one operand: far above any encoder's, and no product of sizes below it overflows.
pub const MAX_FLOATS: usize = 1 << 30;

/// Refuses a slice that does not fill its shape.
pub(crate) fn check_length(
    kernel: &'static str,
    argument: &'static str,
    actual: usize,
    shape: &[usize],
) -> Result<(), KernelError> {
    let expected = limit(kernel, argument, shape)?;
    if actual == expected {
        return Ok(());
    }
    Err(KernelError::Length { kernel, argument, shape: shape.to_vec(), expected, actual })
}

/// The floats of a shape, refused above [`MAX_FLOATS`].
pub(crate) fn limit(
    kernel: &'static str,
    argument: &'static str,
    shape: &[usize],
) -> Result<usize, KernelError> {
    let floats = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    floats.filter(|floats| *floats <= MAX_FLOATS).ok_or_else(|| KernelError::Geometry {
        kernel,
        argument,
        value: shape.to_vec(),
        reason: "is more than 2^30 floats: cut it into several calls",
    })
}
