#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use std::cell::RefCell;

use proptest::prelude::*;
use sedge_boards::bus::SimulatedI2c;
use sedge_boards::imu::MpuChip;
use sedge_boards::registers::OverI2c;
use sedge_wire::{Batch, Gap, Sequence};

use super::*;
use crate::{MpuImu, SharedBus};

fn silent(_: &mut [u8]) -> usize {
    0
}

/// A host's end of the line.
#[derive(Default)]
struct Host {
    decoder: Decoder<FromNode>,
    said: List<FromNode>,
}

/// Not the one without an allocator.
type List<T> = std::vec::Vec<T>;

impl Host {
    fn hear(&mut self, bytes: &[u8]) {
        let said = &mut self.said;
        self.decoder.push(bytes, |message| said.push(message));
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.said
            .iter()
            .filter_map(|message| if let FromNode::Batch(batch) = message { Some(batch) } else { None })
    }

    /// Numbers, times and values of all samples.
    fn samples(&self) -> impl Iterator<Item = (u32, u32, ImuSample)> {
        self.batches().flat_map(|batch| {
            let place = |(at, timed): (usize, &sedge_wire::TimedSample)| {
                (batch.first.wrapping_add(at as u32), batch.at_us.wrapping_add(timed.after_us), timed.sample)
            };
            batch.samples.iter().enumerate().map(place)
        })
    }

    fn hello(&self) -> &Hello {
        let mut newest_first = self.said.iter().rev();
        newest_first
            .find_map(|said| if let FromNode::Hello(hello) = said { Some(hello) } else { None })
            .unwrap()
    }

    fn missing(&self) -> List<SampleFault> {
        let fault =
            |message: &FromNode| if let FromNode::Missing(m) = message { Some(m.fault) } else { None };
        self.said.iter().filter_map(fault).collect()
    }
}

/// Steps each millisecond of `span`, with the requests of the first.
fn run<I: Imu>(
    node: &mut Node<I>,
    host: &mut Host,
    span: core::ops::Range<u64>,
    requests: &[ToNode],
    room: usize,
) {
    let mut bytes: List<u8> = requests.iter().flat_map(encode).collect();
    let mut out = vec![0; room];
    for ms in span {
        let count = node.poll(ms * 1_000, &bytes, &mut out);
        host.hear(&out[..count]);
        bytes.clear();
    }
}

fn motion() -> ImuSample {
    ImuSample { accel: [1.0, -2.0, 9.0], gyro: [0.5, -0.25, 0.125] }
}

fn settings(rate_hz: u16) -> Settings {
    Settings { rate_hz, ..Settings::default() }
}

fn node_on(bus: &RefCell<SimulatedI2c>) -> Node<impl Imu + '_> {
    let connect = move || OverI2c::new(SharedBus::new(bus), 0x68);
    Node::new(MpuImu::new(MpuChip::Mpu6050, connect), Settings::default(), silent)
}

#[test]
fn samples_come_at_their_rate_in_order_and_in_si() {
    let bus = RefCell::new(SimulatedI2c::new(0x68));
    bus.borrow_mut().set_motion(motion());
    let (mut node, mut host) = (node_on(&bus), Host::default());
    run(&mut node, &mut host, 0..10, &[], 1024);
    assert_eq!((host.hello().chip.as_str(), host.hello().running), ("MPU-6050", false));
    run(&mut node, &mut host, 10..10_011, &[ToNode::Configure(settings(125)), ToNode::Start], 1024);
    assert!(host.hello().running && host.hello().fault.is_none());
    assert_eq!(host.hello().settings.rate_hz, 125);
    let samples: List<_> = host.samples().collect();
    // Ten seconds; those of the last batch are not out yet.
    assert!((1_243..=1_251).contains(&samples.len()), "{}", samples.len());
    for (at, (number, at_us, sample)) in samples.iter().enumerate() {
        assert_eq!((*number, *at_us), (at as u32, 10_000 + 8_000 * at as u32));
        let off = sample.channels().into_iter().zip(motion().channels()).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 2e-3, "{sample:?}");
    }
    run(&mut node, &mut host, 10_011..10_100, &[ToNode::Stop], 1024);
    let count = host.samples().count();
    run(&mut node, &mut host, 10_100..11_000, &[], 1024);
    assert!(!host.hello().running);
    assert_eq!(host.samples().count(), count);
}

#[test]
fn the_clock_is_told_with_the_questions_number_before_all_else() {
    let bus = RefCell::new(SimulatedI2c::new(0x68));
    let (mut node, mut host) = (node_on(&bus), Host::default());
    let question = encode(&ToNode::Clock { number: 77 });
    let mut out = [0; 512];
    // The counter of the line wraps where the node's own does not.
    let now = (1 << 32) + 123;
    let count = node.poll(now, &question, &mut out[..20]);
    host.hear(&out[..count]);
    assert_eq!(host.said, [FromNode::Clock(NodeClock { number: 77, received_us: 123, sent_us: 123 })]);
    let count = node.poll(now + 1_000, &[], &mut out);
    host.hear(&out[..count]);
    assert!(matches!(host.said[1..], [FromNode::Hello(_)]));
}

#[test]
fn a_line_without_room_loses_the_oldest_and_both_ends_know_how_many() {
    let bus = RefCell::new(SimulatedI2c::new(0x68));
    let (mut node, mut host) = (node_on(&bus), Host::default());
    run(&mut node, &mut host, 0..1_000, &[ToNode::Start], 1024);
    run(&mut node, &mut host, 1_000..5_000, &[], 0);
    run(&mut node, &mut host, 5_000..6_000, &[ToNode::Identify], 1024);
    run(&mut node, &mut host, 6_000..6_100, &[ToNode::Identify], 1024);
    let mut sequence = Sequence::default();
    let lost: u32 = host
        .batches()
        .map(|batch| match sequence.take(batch.first, batch.samples.len() as u32) {
            Gap::None => 0,
            Gap::Lost(count) => count,
            Gap::Back => panic!("numbers go back"),
        })
        .sum();
    assert!((250..300).contains(&lost), "{lost}");
    assert_eq!(host.hello().losses.samples, lost);
}

#[test]
fn a_late_step_leaves_numbers_out() {
    let bus = RefCell::new(SimulatedI2c::new(0x68));
    let (mut node, mut host) = (node_on(&bus), Host::default());
    run(&mut node, &mut host, 0..100, &[ToNode::Start], 1024);
    run(&mut node, &mut host, 205..300, &[ToNode::Identify], 1024);
    run(&mut node, &mut host, 300..330, &[], 1024);
    let numbers: List<u32> = host.samples().map(|(number, ..)| number).collect();
    assert_eq!(host.hello().losses.late, 10);
    assert!(
        numbers.contains(&9) && !numbers.contains(&10) && !numbers.contains(&19) && numbers.contains(&20)
    );
}

#[test]
fn a_chip_that_fails_is_named_opened_anew_and_goes_on() {
    let bus = RefCell::new(SimulatedI2c::new(0x68));
    let (mut node, mut host) = (node_on(&bus), Host::default());
    run(&mut node, &mut host, 0..500, &[ToNode::Start], 1024);
    bus.borrow_mut().fail_next(4);
    run(&mut node, &mut host, 500..3_000, &[], 1024);
    // Three samples, then one attempt to open it.
    assert_eq!(host.missing(), [SampleFault::Bus; 4]);
    run(&mut node, &mut host, 3_000..3_010, &[ToNode::Identify], 1024);
    assert_eq!(host.hello().fault, None);
    let last = host.samples().last().unwrap();
    assert!(last.1 > 2_900_000, "{last:?}");
}

#[test]
fn a_chip_that_is_not_there_is_said_each_half_second() {
    let bus = RefCell::new(SimulatedI2c::new(0x50));
    let (mut node, mut host) = (node_on(&bus), Host::default());
    run(&mut node, &mut host, 0..2_600, &[ToNode::Start], 1024);
    run(&mut node, &mut host, 2_600..2_610, &[ToNode::Identify], 1024);
    assert_eq!(host.missing(), [SampleFault::Bus; 6]);
    assert_eq!(host.hello().fault, Some(SampleFault::Bus));
}

#[test]
fn settings_that_the_chip_does_not_have_are_refused_and_the_old_ones_hold() {
    let bus = RefCell::new(SimulatedI2c::new(0x68));
    let (mut node, mut host) = (node_on(&bus), Host::default());
    run(&mut node, &mut host, 0..200, &[ToNode::Start], 1024);
    for bad in [settings(0), settings(333), Settings { accel_full_scale_g: 5, ..settings(100) }] {
        run(&mut node, &mut host, 200..300, &[ToNode::Configure(bad)], 1024);
        assert_eq!(host.hello().fault, Some(SampleFault::Setting));
        assert_eq!(host.hello().settings, Settings::default());
    }
    let before = host.samples().count();
    run(&mut node, &mut host, 300..1_000, &[ToNode::Identify], 1024);
    assert!(host.samples().count() > before + 60);
}

/// A chip with a queue that fills at its own pace.
struct Queued {
    taken: u64,
    now_us: u64,
    ran_over: bool,
}

impl Imu for Queued {
    fn name(&self) -> &'static str {
        "queued"
    }
    fn open(&mut self, _: &Settings) -> Result<(), SampleFault> {
        self.taken = self.now_us / 4_900;
        Ok(())
    }
    fn sample(&mut self) -> Result<ImuSample, SampleFault> {
        Err(SampleFault::NotReady)
    }
    fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SampleFault> {
        if core::mem::take(&mut self.ran_over) {
            self.taken = self.now_us / 4_900;
            return Err(SampleFault::Overrun);
        }
        let count = (self.now_us / 4_900 - self.taken).min(into.len() as u64);
        for slot in &mut into[..count as usize] {
            self.taken += 1;
            *slot = ImuSample::from_channels([self.taken as f32; 6]);
        }
        Ok(count as usize)
    }
}

#[test]
fn a_queue_is_emptied_without_loss_and_its_samples_are_dated() {
    let mut node = Node::new(Queued { taken: 0, now_us: 0, ran_over: false }, settings(200), silent);
    let mut host = Host::default();
    let queue = Settings { pacing: Pacing::Queue, ..settings(200) };
    let step = |node: &mut Node<_>, host: &mut Host, ms: u64, request: &[ToNode]| {
        let imu: &mut Queued = node.imu_mut();
        imu.now_us = ms * 1_000;
        imu.ran_over = ms == 4_000;
        run(node, host, ms..ms + 1, request, 1024);
    };
    step(&mut node, &mut host, 0, &[ToNode::Configure(queue), ToNode::Start]);
    (1..8_000).for_each(|ms| step(&mut node, &mut host, ms, &[]));
    let samples: List<_> = host.samples().collect();
    assert_eq!(host.missing(), [SampleFault::Overrun]);
    assert!(samples.len() > 1_600, "{}", samples.len());
    for pair in samples.windows(2) {
        assert!(pair[1].1 > pair[0].1, "{pair:?}");
        let (ahead, apart) = (pair[1].2.accel[0] - pair[0].2.accel[0], pair[1].0 - pair[0].0);
        assert!(ahead == 1.0 || (apart == 2 && ahead > 1.0), "{pair:?}");
    }
    // Taken each 4.9 ms by a chip that should take one each 5.
    for (_, at_us, sample) in &samples[20..] {
        let off = f64::from(*at_us) - f64::from(sample.accel[0]) * 4_900.0;
        assert!(off.abs() <= 5_100.0, "{off}");
    }
}

/// Flips about one bit in `one_in` bytes.
fn disturb(bytes: &mut [u8], state: &mut u64, one_in: u64) {
    for byte in bytes {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (*state >> 33).is_multiple_of(one_in) {
            *byte ^= 1 << ((*state >> 29) & 7);
        }
    }
}

#[test]
fn over_a_line_with_bit_errors_what_comes_is_true_and_what_is_lost_is_counted() {
    let bus = RefCell::new(SimulatedI2c::new(0x68));
    let (mut node, mut host) = (node_on(&bus), Host::default());
    let (mut state, mut out, mut heard) = (5, [0; 1024], 0u64);
    for ms in 0..60_000u64 {
        // The number of the sample is in the motion: due each ten milliseconds.
        let known = ImuSample { accel: [(ms / 10 % 30) as f32, 0.0, 9.0], gyro: [0.0; 3] };
        bus.borrow_mut().set_motion(known);
        let asked = ms % 250 == 0;
        let request = if ms % 1_000 == 0 { ToNode::Start } else { ToNode::Clock { number: ms as u32 } };
        let mut bytes = if asked { encode(&request).to_vec() } else { vec![] };
        disturb(&mut bytes, &mut state, 200);
        let count = node.poll(ms * 1_000, &bytes, &mut out);
        heard += count as u64;
        disturb(&mut out[..count], &mut state, 2_000);
        host.hear(&out[..count]);
    }
    let counts = host.decoder.counts();
    assert!(counts.bad > 20 && counts.unknown == 0, "{counts:?} of {heard} bytes");
    let mut sequence = Sequence::default();
    let (mut lost, mut came) = (0, 0);
    for batch in host.batches() {
        came += batch.samples.len();
        if let Gap::Lost(count) = sequence.take(batch.first, batch.samples.len() as u32) {
            lost += count;
        }
    }
    assert!(lost > 50 && (came + lost as usize).abs_diff(6_000) < 150, "{came} came, {lost} lost");
    for (_, at_us, sample) in host.samples() {
        let known = (at_us / 10_000 % 30) as f32;
        assert!((sample.accel[0] - known).abs() < 2e-3, "{at_us}: {sample:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_at_any_time_are_borne(
        steps in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..300), 0usize..600), 1..20),
        requests in proptest::collection::vec((any::<u16>(), any::<u8>(), any::<u16>()), 0..5),
    ) {
        let bus = RefCell::new(SimulatedI2c::new(0x68));
        let mut node = node_on(&bus);
        let mut bytes: List<u8> = requests.into_iter().flat_map(|(rate_hz, accel_full_scale_g, gyro_full_scale_dps)| {
            let pacing = if rate_hz % 2 == 0 { Pacing::Queue } else { Pacing::Timer };
            encode(&ToNode::Configure(Settings { rate_hz, accel_full_scale_g, gyro_full_scale_dps, pacing }))
        }).collect();
        bytes.extend(encode(&ToNode::Start));
        for (now, noise, room) in steps {
            bytes.extend(noise);
            let mut out = vec![0; room];
            prop_assert!(node.poll(now, &bytes, &mut out) <= room);
            bytes.clear();
        }
    }
}
