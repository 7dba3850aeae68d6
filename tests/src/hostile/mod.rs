//! Hostile ONNX: networks to begin with, ways to break them, and what must hold of every entry point that
//! reads ONNX from outside. Shared by the seeded test that runs always and by the fuzzer that runs for as
//! long as one likes.

pub mod mutate;
pub mod seeds;
pub mod targets;
