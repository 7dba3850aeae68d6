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
