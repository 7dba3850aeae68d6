//! What the fuzz targets share: the networks, mutations and checks of the seeded test that runs always, and a
//! mutator that lets the fuzzer break graphs as well as bytes.

use libfuzzer_sys::fuzzer_mutate;
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tract_onnx::pb::ModelProto;

#[path = "../../src/hostile/mod.rs"]
pub mod hostile;

/// Changes `data[..size]` in place and gives the new size: three times in four a part of the graph, where the
/// bytes are one, and otherwise bytes.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.into());
    let model = ModelProto::decode(&data[..size]).ok().filter(|model| model.graph.is_some());
    if let (Some(model), true) = (model, rng.random_range(0..4) > 0) {
        let bytes = hostile::mutate::mutant(&model, &mut rng).bytes;
        if bytes.len() <= max_size.min(data.len()) {
            data[..bytes.len()].copy_from_slice(&bytes);
            return bytes.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
}
