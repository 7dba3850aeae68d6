#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::vec::Vec;

use proptest::prelude::*;
use sedge_readings::ImuSample;

use super::*;
use crate::message::*;

/// All messages that bytes give, and what was counted.
fn read<M: Message>(chunks: &[&[u8]]) -> (Vec<M>, LineCounts) {
    let (mut decoder, mut found) = (Decoder::new(), Vec::new());
    chunks.iter().for_each(|bytes| decoder.push(bytes, |message| found.push(message)));
    (found, decoder.counts())
}

fn longest() -> [FromNode; 5] {
    let settings = Settings {
        rate_hz: u16::MAX,
        accel_full_scale_g: 16,
        gyro_full_scale_dps: u16::MAX,
        pacing: Pacing::Queue,
    };
    let losses = NodeLosses { samples: u32::MAX, late: u32::MAX, frames: u32::MAX };
    let sample = TimedSample { after_us: u32::MAX, sample: ImuSample::from_channels([f32::NAN; 6]) };
    let samples = core::iter::repeat_n(sample, MAX_BATCH).collect();
    [
        FromNode::Hello(Hello {
            protocol: u16::MAX,
            chip: core::iter::repeat_n('x', NAME_BYTES).collect(),
            settings,
            running: true,
            fault: Some(SampleFault::Overrun),
            losses,
        }),
        FromNode::Batch(Batch { first: u32::MAX, at_us: u32::MAX, samples }),
        FromNode::Missing(Missing { number: u32::MAX, at_us: u32::MAX, fault: SampleFault::Bus }),
        FromNode::Clock(NodeClock { number: u32::MAX, received_us: u32::MAX, sent_us: u32::MAX }),
        FromNode::Log(core::iter::repeat_n(255, LOG_BYTES).collect()),
    ]
}

#[test]
fn the_longest_message_of_each_kind_is_as_long_as_stated_and_fits() {
    for (message, stated) in longest().iter().zip(LONGEST) {
        let mut bytes = [0; MAX_PAYLOAD];
        assert_eq!(postcard::to_slice(message, &mut bytes).unwrap().len(), stated, "{message:?}");
        let packet = encode(message);
        assert!(packet.len() > stated && packet.len() <= MAX_FRAME);
        assert_eq!(packet.iter().position(|&byte| byte == 0), Some(packet.len() - 1));
        assert_eq!(read::<FromNode>(&[&packet]).1.messages, 1);
    }
}

#[test]
fn a_clock_request_is_these_bytes() {
    // Kind 1, number 300 as a varint, the CRC-32C of these three in little endian, stuffed. The check's value is
    // from a bit-by-bit division by 0x1EDC6F41.
    let mut crc = u32::MAX;
    for byte in [1u8, 0xAC, 0x02] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    let [a, b, c, d] = (!crc).to_le_bytes();
    assert!([a, b, c, d].iter().all(|&byte| byte != 0));
    assert_eq!(encode(&ToNode::Clock { number: 300 }).as_slice(), [8, 1, 0xAC, 0x02, a, b, c, d, 0]);
}

#[test]
fn what_is_too_long_is_skipped_to_the_next_zero() {
    let packet = encode(&ToNode::Start);
    let (found, counts) = read::<ToNode>(&[&[7; 5_000], &[0], &packet]);
    assert_eq!(found, [ToNode::Start]);
    assert_eq!(counts, LineCounts { messages: 1, oversize: 1, ..LineCounts::default() });
}

/// The frame of any bytes whose check holds.
fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    bytes.extend(CRC.checksum(payload).to_le_bytes());
    let mut frame = std::vec![0; MAX_FRAME];
    let length = cobs::encode(&bytes, &mut frame);
    frame.truncate(length + 1);
    frame
}

#[test]
fn a_later_version_is_skipped_and_its_added_fields_are() {
    let added = sealed(&[1, 42, 9, 9, 9]);
    let (found, counts) = read::<ToNode>(&[&sealed(&[200, 1, 2, 3]), &added, &encode(&ToNode::Stop)]);
    assert_eq!(found, [ToNode::Clock { number: 42 }, ToNode::Stop]);
    assert_eq!(counts, LineCounts { messages: 2, unknown: 1, ..LineCounts::default() });
}

fn message() -> impl Strategy<Value = FromNode> {
    let channels = proptest::array::uniform6(-1e3f32..1e3);
    let sample = (any::<u32>(), channels)
        .prop_map(|(after_us, c)| TimedSample { after_us, sample: ImuSample::from_channels(c) });
    let samples = proptest::collection::vec(sample, 0..=MAX_BATCH);
    prop_oneof![
        (any::<u32>(), any::<u32>(), samples).prop_map(|(first, at_us, samples)| {
            FromNode::Batch(Batch { first, at_us, samples: samples.into_iter().collect() })
        }),
        proptest::collection::vec(any::<u8>(), 0..=LOG_BYTES)
            .prop_map(|bytes| FromNode::Log(bytes.into_iter().collect())),
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(number, received_us, sent_us)| {
            FromNode::Clock(NodeClock { number, received_us, sent_us })
        }),
    ]
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in_however_the_bytes_are_cut(
        messages in proptest::collection::vec(message(), 1..6),
        cut in 1usize..40,
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
        let (found, counts) = read::<FromNode>(&bytes.chunks(cut).collect::<Vec<_>>());
        prop_assert_eq!(counts, LineCounts { messages: messages.len() as u32, ..LineCounts::default() });
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn any_bytes_are_borne_and_a_zero_begins_anew(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let good = encode(&ToNode::Identify);
        let (found, _) = read::<ToNode>(&[&bytes, &[0], &good]);
        prop_assert_eq!(found.last(), Some(&ToNode::Identify));
        let _ = read::<FromNode>(&[&bytes]);
    }

    /// Also when a flip makes a zero of a byte or a byte of the zero, and cuts or joins frames so.
    #[test]
    fn a_flipped_message_is_lost_and_never_another(
        message in message(),
        flips in proptest::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let good = encode(&message);
        let mut bad = good.to_vec();
        flips.iter().for_each(|flip| {
            let bit = flip.index(bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
        });
        let (found, counts) = read::<FromNode>(&[&bad, &[0], &good]);
        prop_assert!(found.iter().all(|other| *other == message), "{found:?}");
        prop_assert_eq!(found.last(), Some(&message));
        prop_assert!(found.len() == 2 || counts.bad + counts.oversize > 0 || bad == good.as_slice());
    }
}
