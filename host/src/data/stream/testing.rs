//! What a stream gives beside what is held, in one order.

use super::super::{Dataset, Samples};
use super::Stream;

/// Order, group, class and bytes of a sample.
pub(super) type Row = (u64, u32, Option<u32>, Vec<u8>);

/// All samples of a data set.
pub(super) fn rows_of(data: &Dataset) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..data.len())
        .map(|index| {
            let bytes = match data.samples() {
                Samples::Images { pixels, .. } => {
                    let stride = pixels.len() / data.len();
                    pixels[index * stride..][..stride].to_vec()
                }
                _ => data.window(index).unwrap().iter().flat_map(|value| value.to_le_bytes()).collect(),
            };
            let label = data.labels().map(|labels| labels.ids[index]);
            (data.order()[index], data.groups()[index], label, bytes)
        })
        .collect();
    rows.sort();
    rows
}

/// All samples of an epoch.
pub(super) fn all_of(stream: &Stream, seed: u64) -> Vec<Row> {
    let chunks = stream.epoch(seed, 0, 0).unwrap();
    let mut rows: Vec<Row> = chunks.flat_map(|chunk| rows_of(chunk.unwrap().data())).collect();
    rows.sort();
    rows
}

/// What is said of the bad records of an epoch.
pub(super) fn named_bad(stream: &Stream, seed: u64) -> Vec<String> {
    let of = |chunk: super::Chunk| {
        let named = chunk.data().skipped().named().iter();
        named.map(|bad| format!("{}: {}", bad.what, bad.why)).collect::<Vec<_>>()
    };
    stream.epoch(seed, 0, 0).unwrap().flat_map(|chunk| of(chunk.unwrap())).collect()
}
