//! Named arrays: weights, optimiser state, running statistics. One plain type at every seam, so
//! that nothing above this crate needs to know which engine ran a graph.

use std::collections::BTreeMap;

use ndarray::ArrayD;

/// Arrays of `f32` by name, in name order (which makes every digest and file deterministic).
pub type Tensors = BTreeMap<String, ArrayD<f32>>;

/// The name of the first array holding a NaN or an infinity, if any does.
pub fn first_non_finite(tensors: &Tensors) -> Option<&str> {
    tensors.iter().find(|(_, array)| array.iter().any(|v| !v.is_finite())).map(|(name, _)| name.as_str())
}
