//! Arbitrary bytes to the importer, the compiler behind it, and the way back.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use sedge_fuzz::hostile::targets;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    sedge_fuzz::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    targets::imported(data);
});
