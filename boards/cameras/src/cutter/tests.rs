#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

/// A JPEG of noise, which has much stuffing, of this side.
pub(crate) fn noise(side: u32, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let pixels = (0..side * side * 3).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let mut bytes = vec![];
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.encode(&pixels.collect::<Vec<_>>(), side, side, image::ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// The same with a segment after its start that holds another JPEG, as a preview does.
fn with_preview(jpeg: &[u8], preview: &[u8]) -> Vec<u8> {
    let length = u16::try_from(preview.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, preview, &jpeg[2..]].concat()
}

fn cut(stream: &[u8], chunk: usize, most: usize) -> Vec<Vec<u8>> {
    let (mut cutter, mut frames) = (Cutter::jpeg(most), vec![]);
    stream.chunks(chunk).for_each(|bytes| cutter.push(bytes, |frame| frames.push(frame)));
    frames
}

#[test]
fn frames_are_cut_whole_however_they_arrive() {
    let frames = [noise(16, 1), with_preview(&noise(40, 2), &noise(16, 3)), noise(24, 4)];
    assert!(frames[1].windows(2).filter(|pair| pair == &[0xFF, 0xD9]).count() == 2);
    assert!(frames[1].windows(2).any(|pair| pair == [0xFF, 0x00]), "no stuffing to be passed over");
    for chunk in [1, 7, 4096, 1 << 20] {
        assert_eq!(cut(&frames.concat(), chunk, 1 << 20), frames, "{chunk}");
    }
}

#[test]
fn garbage_costs_no_frame_but_the_broken_one() {
    let (a, b, c) = (noise(16, 1), noise(24, 2), noise(32, 3));
    let half = &b[..b.len() / 2];
    let stream = [&[0xFF, 0xD8, 0, 0xFF, 0xFF][..], &a, b"garbage\xFF\xD9", half, &c, &[0; 100], &a].concat();
    assert_eq!(cut(&stream, 11, 1 << 20), [a.clone(), c.clone(), a.clone()]);
    // A segment of a length that makes no sense, and a marker that there is not.
    for bad in
        [&[0xFF, 0xD8, 0xFF, 0xE0, 0, 1][..], &[0xFF, 0xD8, 0xFF, 0x05], &[0xFF, 0xD8, 0xFF, 0xE0, 0, 2, 7]]
    {
        assert_eq!(cut(&[bad, &a, &b].concat(), 5, 1 << 20), [a.clone(), b.clone()]);
    }
}

#[test]
fn a_frame_over_the_limit_is_dropped_and_its_bytes_are_counted() {
    let (small, large) = (noise(16, 1), noise(64, 2));
    let most = (small.len() + large.len()) / 2;
    assert_eq!(cut(&[&large[..], &small].concat(), 100, most), std::slice::from_ref(&small));
    let mut cutter = Cutter::jpeg(most);
    cutter.push(&large, |_| ());
    cutter.push(&small, |_| ());
    assert_eq!(cutter.discarded(), large.len() as u64);
    assert!(cutter.frame.capacity() <= 2 * most);
}

#[test]
fn frames_of_fixed_size_are_counted_off() {
    let stream: Vec<u8> = (0..250).collect();
    for chunk in [1, 7, 100, 250] {
        let (mut cutter, mut frames) = (Cutter::fixed(100), vec![]);
        stream.chunks(chunk).for_each(|bytes| cutter.push(bytes, |frame| frames.push(frame)));
        assert_eq!(frames, [stream[..100].to_vec(), stream[100..200].to_vec()], "{chunk}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_cut_within_the_limit(
        bytes in prop::collection::vec(prop_oneof![3 => Just(0xFF), 2 => 0xC0u8..=0xE2, 1 => any::<u8>()], 0..4000),
        chunk in 1usize..500,
    ) {
        for frame in cut(&bytes, chunk, 300) {
            prop_assert!(frame.len() <= 300);
            prop_assert!(frame.starts_with(&[0xFF, 0xD8]) && frame.ends_with(&[0xFF, 0xD9]));
        }
        // The chunks make no difference, and after any garbage a later frame is found.
        prop_assert_eq!(cut(&bytes, chunk, 300), cut(&bytes, bytes.len().max(1), 300));
        let good = noise(16, 9);
        let stream = [&bytes[..], &vec![0; 1 << 16], &good].concat();
        let last = cut(&stream, 4096, 2000).pop();
        prop_assert_eq!(last, Some(good));
    }
}
