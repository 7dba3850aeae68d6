#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use sedge_node::{Imu, Node};
use sedge_wire::Pacing;

use super::*;

/// A chip whose every sample says how many were taken before it.
#[derive(Default)]
struct Counting {
    taken: u32,
    fault: Option<SampleFault>,
}

impl Imu for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }
    fn open(&mut self, settings: &Settings) -> Result<(), SampleFault> {
        if settings.rate_hz == 500 { Err(SampleFault::Setting) } else { Ok(()) }
    }
    fn sample(&mut self) -> Result<ImuSample, SampleFault> {
        self.taken += 1;
        self.fault.map_or(Ok(ImuSample::from_channels([self.taken as f32; 6])), Err)
    }
    fn drain(&mut self, _: &mut [ImuSample]) -> Result<usize, SampleFault> {
        Err(SampleFault::NotReady)
    }
}

fn node() -> Node<Counting> {
    Node::new(Counting::default(), Settings::default(), |_| 0)
}

/// A host and a node on a line with delay and jitter, in simulated time of 250 µs steps.
struct Rig {
    session: Session,
    node: Node<Counting>,
    /// The node's crystal against the host's.
    ppm: f64,
    node_began: u64,
    now: u64,
    state: u64,
    to_node: VecDeque<(u64, Vec<u8>)>,
    to_host: VecDeque<(u64, Vec<u8>)>,
    got: Vec<(u64, Reading<ImuSample>)>,
}

const STEP: u64 = 250_000;

impl Rig {
    fn new(wanted: Settings) -> Self {
        Self {
            session: Session::new(wanted),
            node: node(),
            ppm: 80.0,
            node_began: 0,
            now: 3_000_000_000,
            state: 1,
            to_node: VecDeque::new(),
            to_host: VecDeque::new(),
            got: vec![],
        }
    }

    /// Up to 4 ms, and no message overtakes another.
    fn arrival(&mut self, line: &VecDeque<(u64, Vec<u8>)>) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = self.now + 500_000 + (self.state >> 33) % 4_000_000;
        line.back().map_or(at, |(last, _)| at.max(*last))
    }

    fn node_us(&self) -> u64 {
        ((self.now - self.node_began) as f64 * (1.0 - self.ppm * 1e-6) / 1e3) as u64
    }

    fn run(&mut self, millis: u64) {
        let end = self.now + millis * 1_000_000;
        while self.now < end {
            self.now += STEP;
            let mut asked = vec![];
            self.session.ask(Timestamp::from_nanos(self.now), &mut asked);
            if !asked.is_empty() {
                let line = std::mem::take(&mut self.to_node);
                let at = self.arrival(&line);
                self.to_node = line;
                self.to_node.push_back((at, asked));
            }
            let mut came = vec![];
            while self.to_node.front().is_some_and(|(at, _)| *at <= self.now) {
                came.extend(self.to_node.pop_front().unwrap().1);
            }
            let mut out = [0; 1024];
            let count = self.node.poll(self.node_us(), &came, &mut out);
            if count > 0 {
                let line = std::mem::take(&mut self.to_host);
                let at = self.arrival(&line);
                self.to_host = line;
                self.to_host.push_back((at, out[..count].to_vec()));
            }
            while self.to_host.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, bytes) = self.to_host.pop_front().unwrap();
                self.session.receive(Timestamp::from_nanos(self.now), &bytes);
            }
            let now = self.now;
            self.got.extend(self.session.readings().map(|reading| (now, reading)));
        }
    }
}

fn wanted(rate_hz: u16) -> Settings {
    Settings { rate_hz, accel_full_scale_g: 8, gyro_full_scale_dps: 1000, pacing: Pacing::Timer }
}

#[test]
fn a_node_is_set_up_started_and_its_samples_are_dated_on_this_clock() {
    let mut rig = Rig::new(wanted(200));
    rig.run(30_000);
    assert_eq!(rig.session.hello().unwrap().settings, wanted(200));
    assert!((5_700..=6_000).contains(&rig.got.len()), "{}", rig.got.len());
    assert_eq!((rig.session.counts.lost, rig.session.counts.undated, rig.session.counts.restarts), (0, 0, 0));
    // A sample is due each 5 ms of the node: where on this clock, the first one and the drift say.
    let first_ns = rig.got[0].1.at.nanos() as f64;
    let mut worst = 0.0f64;
    for (at, (arrived, reading)) in rig.got.iter().enumerate() {
        assert_eq!(reading.value.unwrap().accel[0], (at + 1) as f32);
        assert!(reading.at.nanos() <= *arrived);
        let true_ns = first_ns + at as f64 * 5e6 / (1.0 - 80e-6);
        worst = worst.max((reading.at.nanos() as f64 - true_ns).abs() / 1e6);
    }
    // 4 ms of jitter each way, and the node polls each quarter of a millisecond.
    assert!(worst < 1.5, "{worst} ms");
    assert!(rig.got.windows(2).all(|pair| pair[1].1.at > pair[0].1.at));
}

#[test]
fn a_node_that_begins_anew_is_set_up_anew() {
    let mut rig = Rig::new(wanted(100));
    rig.run(5_000);
    rig.node = node();
    rig.node_began = rig.now;
    rig.to_node.clear();
    let before = rig.got.len();
    rig.run(5_000);
    let after = &rig.got[before..];
    assert!(after.len() > 420, "{}", after.len());
    assert_eq!(rig.session.hello().unwrap().settings, wanted(100));
    assert_eq!(rig.session.counts.restarts, 1);
    // The batch that the line held as the node went may come with them; the rest is of the new node.
    let last = after.last().unwrap();
    assert!(last.0 - last.1.at.nanos() < 120_000_000, "{last:?}");
}

#[test]
fn settings_that_a_node_refuses_are_not_insisted_on() {
    let mut rig = Rig::new(wanted(500));
    rig.run(20_000);
    assert!(rig.got.is_empty());
    assert_eq!(rig.session.hello().unwrap().fault, Some(SampleFault::Setting));
    assert!(rig.session.line().messages < 200, "{:?}", rig.session.line());
}

#[test]
fn what_a_node_misses_has_its_reason() {
    let mut rig = Rig::new(wanted(100));
    rig.run(2_000);
    rig.node.imu_mut().fault = Some(SampleFault::Bus);
    rig.run(1_000);
    rig.node.imu_mut().fault = None;
    rig.run(1_000);
    let missing = rig.got.iter().filter(|(_, reading)| reading.value == Err(NoData::Bus)).count() as u64;
    assert!(missing >= 3 && missing == rig.session.counts.missing, "{missing}");
    assert!(rig.got.last().unwrap().1.value.is_ok());
    assert_eq!(rig.session.counts.lost, 0);
}

#[test]
fn a_line_that_falls_silent_is_noticed() {
    let mut rig = Rig::new(wanted(100));
    rig.run(2_000);
    assert!(!rig.session.is_silent(Timestamp::from_nanos(rig.now)));
    assert!(rig.session.is_silent(Timestamp::from_nanos(rig.now + 2_100_000_000)));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_borne(chunks in proptest::collection::vec(proptest::collection::vec(0u8.., 0..200), 0..20)) {
        let mut session = Session::new(Settings::default());
        let mut out = vec![];
        for (at, bytes) in chunks.iter().enumerate() {
            let now = Timestamp::from_nanos(at as u64 * 100_000_000);
            session.ask(now, &mut out);
            session.receive(now, bytes);
        }
        proptest::prop_assert!(session.readings().count() == 0);
    }
}
