//! CPU kernels for training on floats, channels last.
//!
//! Pure functions on slices: no tensor type, no graph, no allocator games. Tensors are `[n, h, w, c]`
//! (one-dimensional ones have `h = 1`), convolution weights `[out, in / groups, kh, kw]` as ONNX has
//! them. Every function checks the lengths of its slices against its shapes and refuses with a
//! [`KernelError`] before it writes anything. Results are equal, bit for bit, on any number of
//! [`Threads`].

mod buffer;
pub mod convolution;
pub mod depthwise;
pub mod elementwise;
mod error;
mod exponential;
pub mod gelu;
mod lanes;
pub mod layer_norm;
pub mod norm;
pub mod product;
pub mod simd;
pub mod softmax;
#[cfg(test)]
mod test_support;
pub mod threads;

pub use error::{KernelError, MAX_FLOATS};
pub use product::{Product, StridedProduct, Strides};
pub use simd::Level;
pub use threads::Threads;
