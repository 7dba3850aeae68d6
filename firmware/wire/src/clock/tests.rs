#![allow(clippy::unwrap_used)]
use std::vec::Vec;

use super::*;

/// A line with jitter between a host and a node whose crystal is off.
struct World {
    state: u64,
    /// Host nanoseconds.
    now: u64,
    ppm: f64,
    node_began_at_us: u64,
    jitter_ns: u64,
}

const BASE_NS: u64 = 300_000;

impl World {
    /// A minute before the node's counter wraps.
    fn new(ppm: f64, jitter_ns: u64) -> Self {
        let node_began_at_us = (1 << 32) - 60_000_000;
        Self { state: 7, now: 5_000_000_000, ppm, node_began_at_us, jitter_ns }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below.max(1)
    }

    fn node_us(&self, host: u64) -> u32 {
        let since = (host as f64 - 5e9) * (1.0 - self.ppm * 1e-6);
        (self.node_began_at_us + (since / 1e3) as u64) as u32
    }

    /// One exchange, with this much more delay on the way there and on the way back.
    fn exchange(&mut self, there: u64, back: u64) -> Exchange {
        let sent = self.now;
        let arrived = sent + BASE_NS + self.random(self.jitter_ns) + there;
        let left = arrived + 20_000 + self.random(200_000);
        let received = left + BASE_NS + self.random(self.jitter_ns) + back;
        self.now = received.max(sent + 250_000_000);
        Exchange {
            sent: Timestamp::from_nanos(sent),
            node_received_us: self.node_us(arrived),
            node_sent_us: self.node_us(left),
            received: Timestamp::from_nanos(received),
        }
    }

    /// How far the estimate of the present moment is off, in milliseconds.
    fn error_ms(&self, clock: &ClockSync) -> f64 {
        let estimated = clock.host_time(self.node_us(self.now)).unwrap().nanos();
        (estimated as f64 - self.now as f64).abs() / 1e6
    }
}

/// Errors after each of `count` exchanges, in milliseconds, where `burst` adds delays.
fn run(
    world: &mut World,
    clock: &mut ClockSync,
    count: usize,
    burst: impl Fn(usize) -> (u64, u64),
) -> Vec<f64> {
    let mut errors = Vec::new();
    for at in 0..count {
        let (there, back) = burst(at);
        clock.observe(&world.exchange(there, back));
        errors.push(world.error_ms(clock));
    }
    errors
}

fn worst(errors: &[f64]) -> f64 {
    errors.iter().copied().fold(0.0, f64::max)
}

#[test]
fn half_a_millisecond_at_five_of_jitter_a_hundred_ppm_and_over_a_wrap() {
    for ppm in [-100.0, 0.0, 100.0] {
        let (mut world, mut clock) = (World::new(ppm, 5_000_000), ClockSync::new());
        let errors = run(&mut world, &mut clock, 2_400, |_| (0, 0));
        // Ten minutes. From the first exchange on within the delay's own bound, and ever closer.
        assert!(worst(&errors) < 5.6, "{}", worst(&errors));
        assert!(worst(&errors[40..]) < 0.8, "{}", worst(&errors[40..]));
        assert!(worst(&errors[120..]) < 0.6, "{}", worst(&errors[120..]));
        assert!(worst(&errors[240..]) < 0.4, "{}", worst(&errors[240..]));
        let rms = (errors[120..].iter().map(|e| e * e).sum::<f64>() / 2_280.0).sqrt();
        assert!(rms < 0.2, "{rms}");
        assert!((clock.drift_ppm().unwrap() - ppm).abs() < 12.0, "{:?}", clock.drift_ppm());
    }
}

#[test]
fn bursts_of_delay_in_one_direction_do_not_bend_the_estimate() {
    // Five seconds of every twenty, 40 ms more on the way back; every seventh exchange 200 ms more there.
    let burst = |at: usize| {
        (if at.is_multiple_of(7) { 200_000_000 } else { 0 }, if at % 80 < 20 { 40_000_000 } else { 0 })
    };
    let (mut world, mut clock) = (World::new(100.0, 5_000_000), ClockSync::new());
    let errors = run(&mut world, &mut clock, 2_400, burst);
    assert!(worst(&errors[160..]) < 0.6, "{}", worst(&errors[160..]));
}

#[test]
fn a_quiet_line_is_known_to_microseconds() {
    let (mut world, mut clock) = (World::new(50.0, 100_000), ClockSync::new());
    let errors = run(&mut world, &mut clock, 400, |_| (0, 0));
    assert!(worst(&errors[100..]) < 0.03, "{}", worst(&errors[100..]));
    assert!((clock.drift_ppm().unwrap() - 50.0).abs() < 1.0);
    assert!(clock.bound().unwrap().nanos() < 400_000);
}

#[test]
fn a_node_that_begins_anew_is_noticed_and_known_again() {
    let (mut world, mut clock) = (World::new(20.0, 1_000_000), ClockSync::new());
    run(&mut world, &mut clock, 200, |_| (0, 0));
    world.node_began_at_us = 0;
    let seen: Vec<_> = (0..4).map(|_| clock.observe(&world.exchange(0, 0))).collect();
    assert_eq!(seen, [Observed::Contradiction, Observed::Contradiction, Observed::Stepped, Observed::Taken]);
    assert!(world.error_ms(&clock) < 1.4);
}

#[test]
fn impossible_times_teach_nothing() {
    let mut clock = ClockSync::new();
    let at = Timestamp::from_nanos;
    let exchange = |sent, received, node_received_us, node_sent_us| Exchange {
        sent: at(sent),
        received: at(received),
        node_received_us,
        node_sent_us,
    };
    for bad in [
        exchange(10, 5, 0, 0),
        exchange(0, 1_000, 0, 100),
        exchange(0, 1_000, 100, 0),
        exchange(0, 3_000_000_000, 0, 0),
        exchange(u64::MAX, u64::MAX, 0, 0),
    ] {
        assert_eq!(clock.observe(&bad), Observed::Impossible, "{bad:?}");
    }
    assert_eq!((clock.host_time(1), clock.bound()), (None, None));
}

proptest::proptest! {
    #[test]
    fn any_times_are_borne(times in proptest::collection::vec(proptest::prelude::any::<(u64, u64, u32, u32)>(), 1..60)) {
        let mut clock = ClockSync::new();
        for (sent, late, node_received_us, held) in times {
            let received = Timestamp::from_nanos(sent.saturating_add(late % 2_000_000_000));
            let node_sent_us = node_received_us.wrapping_add(held % 1_000_000);
            let sent = Timestamp::from_nanos(sent);
            clock.observe(&Exchange { sent, node_received_us, node_sent_us, received });
            let _ = clock.host_time(held);
        }
    }
}
