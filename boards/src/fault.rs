//! Faults put into a sensor on purpose: drop-outs, stuck values, bit flips, latency, disconnection.
//!
//! [`Faulty`] wraps any [`Sensor`], a camera as well as a chip, and does to its readings what cables and age
//! do. Every draw comes from one seed and is taken once a reading whatever the faults' rates are, so that a
//! rate can be changed and the rest of the run stays as it was.

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_readings::{
    Environment, Frame, ImuSample, MagneticField, Measurement, NoData, Reading, Span, Timestamp,
};

use crate::sensor::Sensor;

/// Most readings that wait for their latency to pass; with more, the oldest is given early.
pub const MAX_DELAYED: usize = 1024;

/// What is to go wrong, and how often. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Probability that a reading is lost.
    pub drop_out: f64,
    /// Probability that a reading begins a spell in which the value does not move.
    pub stuck: f64,
    /// Readings that such a spell lasts.
    pub stuck_readings: u32,
    /// Probability that one bit of a value is turned.
    pub bit_flip: f64,
    /// How long a reading is under way; it keeps the time at which it was taken.
    pub latency: Span,
    /// Times at which the device is unplugged, and for how long, in order.
    pub disconnections: Vec<(Timestamp, Span)>,
}

/// A value of which one bit can be turned.
pub trait FlipBit {
    /// Turns one bit, chosen by a random word.
    fn flip_bit(&mut self, word: u64);
}

/// Turns bit `word` of a list of numbers, counting on from the end at its beginning.
fn flip_in(numbers: &mut [f32], word: u64) {
    let bits = numbers.len() as u64 * 32;
    let Some(at) = word.checked_rem(bits) else { return };
    if let Some(number) = numbers.get_mut((at / 32) as usize) {
        *number = f32::from_bits(number.to_bits() ^ 1 << (at % 32));
    }
}

impl FlipBit for ImuSample {
    fn flip_bit(&mut self, word: u64) {
        let mut channels = self.channels();
        flip_in(&mut channels, word);
        *self = Self::from_channels(channels);
    }
}

impl FlipBit for MagneticField {
    fn flip_bit(&mut self, word: u64) {
        flip_in(&mut self.0, word);
    }
}

impl FlipBit for Environment {
    fn flip_bit(&mut self, word: u64) {
        let Self { temperature, pressure, humidity } = self;
        let mut there: Vec<&mut f32> = vec![];
        there.extend(temperature.as_mut().map(|t| &mut t.0));
        there.extend(pressure.as_mut().map(|p| &mut p.0));
        there.extend(humidity.as_mut().map(|h| &mut h.0));
        let mut numbers: Vec<f32> = there.iter().map(|number| **number).collect();
        flip_in(&mut numbers, word);
        there.into_iter().zip(numbers).for_each(|(number, flipped)| *number = flipped);
    }
}

impl FlipBit for Measurement {
    fn flip_bit(&mut self, word: u64) {
        match self {
            Self::Imu(sample) => sample.flip_bit(word),
            Self::Magnetic(field) => field.flip_bit(word),
            Self::Environment(environment) => environment.flip_bit(word),
            _ => {}
        }
    }
}

impl FlipBit for Frame {
    fn flip_bit(&mut self, word: u64) {
        let mut rgb = self.rgb().to_vec();
        // A frame has at least one pixel.
        let at = (word / 8 % rgb.len().max(1) as u64) as usize;
        if let Some(byte) = rgb.get_mut(at) {
            *byte ^= 1 << (word % 8);
        }
        if let Ok(flipped) = Self::new(self.width(), self.height(), rgb) {
            *self = flipped;
        }
    }
}

/// A sensor with faults.
#[derive(Clone, Debug)]
pub struct Faulty<S: Sensor> {
    sensor: S,
    faults: Faults,
    rng: ChaCha8Rng,
    last: Option<S::Value>,
    stuck_left: u32,
    under_way: VecDeque<Reading<S::Value>>,
}

impl<S: Sensor> Faulty<S> {
    /// `sensor` with these faults, drawn from `seed`.
    pub fn new(sensor: S, faults: Faults, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { sensor, faults, rng, last: None, stuck_left: 0, under_way: VecDeque::new() }
    }

    /// The sensor within.
    pub fn sensor_mut(&mut self) -> &mut S {
        &mut self.sensor
    }

    /// Whether the device is unplugged at this time.
    pub fn is_unplugged(&self, now: Timestamp) -> bool {
        self.faults.disconnections.iter().any(|(at, span)| (*at..*at + *span).contains(&now))
    }
}

impl<S: Sensor> Sensor for Faulty<S>
where
    S::Value: Clone + FlipBit,
{
    type Value = S::Value;

    fn read(&mut self, now: Timestamp) -> Reading<S::Value> {
        let draws: [f64; 3] = self.rng.random();
        let word: u64 = self.rng.random();
        if self.is_unplugged(now) {
            // What was under way is lost with the cable, and a chip that comes back is not stuck.
            self.under_way.clear();
            self.stuck_left = 0;
            return Reading { at: now, value: Err(NoData::Bus) };
        }
        let taken = self.taken(now, draws, word);
        if self.faults.latency == Span::default() {
            return taken;
        }
        self.under_way.push_back(taken);
        let arrived = self.under_way.front().is_some_and(|reading| reading.at + self.faults.latency <= now);
        let first =
            (arrived || self.under_way.len() > MAX_DELAYED).then(|| self.under_way.pop_front()).flatten();
        first.unwrap_or(Reading { at: now, value: Err(NoData::DropOut) })
    }
}

impl<S: Sensor> Faulty<S>
where
    S::Value: Clone + FlipBit,
{
    /// The reading as it leaves the sensor.
    fn taken(&mut self, now: Timestamp, [lost, sticks, flips]: [f64; 3], word: u64) -> Reading<S::Value> {
        let mut reading = self.sensor.read(now);
        if self.stuck_left > 0 {
            self.stuck_left -= 1;
            reading.value = self.last.clone().ok_or(NoData::DropOut);
        } else {
            if sticks < self.faults.stuck {
                self.stuck_left = self.faults.stuck_readings;
            }
            self.last = reading.value.as_ref().ok().cloned();
        }
        if flips < self.faults.bit_flip
            && let Ok(value) = &mut reading.value
        {
            value.flip_bit(word);
        }
        if lost < self.faults.drop_out {
            reading.value = Err(NoData::DropOut);
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Counts its readings along x.
    struct Counter(f32);

    impl Sensor for Counter {
        type Value = ImuSample;

        fn read(&mut self, at: Timestamp) -> Reading<ImuSample> {
            self.0 += 1.0;
            Reading { at, value: Ok(ImuSample { accel: [self.0, 0.0, 0.0], gyro: [0.0; 3] }) }
        }
    }

    fn run(faults: Faults, seed: u64, readings: u64) -> Vec<Reading<ImuSample>> {
        let mut sensor = Faulty::new(Counter(0.0), faults, seed);
        (0..readings).map(|n| sensor.read(Timestamp::from_nanos(n * 10_000_000))).collect()
    }

    fn numbers(readings: &[Reading<ImuSample>]) -> Vec<f32> {
        readings.iter().filter_map(|reading| reading.value.ok()).map(|sample| sample.accel[0]).collect()
    }

    #[test]
    fn without_faults_the_sensor_is_itself() {
        let readings = run(Faults::default(), 1, 100);
        assert_eq!(numbers(&readings), (1..=100).map(|n| n as f32).collect::<Vec<_>>());
    }

    #[test]
    fn equal_seeds_fail_equally_and_others_otherwise() {
        let faults =
            Faults { drop_out: 0.2, bit_flip: 0.1, stuck: 0.05, stuck_readings: 3, ..Faults::default() };
        let shown = |seed| format!("{:?}", run(faults.clone(), seed, 300));
        assert_eq!(shown(1), shown(1));
        assert_ne!(shown(1), shown(2));
    }

    #[test]
    fn drop_outs_come_as_often_as_asked_and_leave_the_others_as_they_were() {
        let readings = run(Faults { drop_out: 0.25, ..Faults::default() }, 3, 4000);
        let lost = readings.iter().filter(|reading| reading.value == Err(NoData::DropOut)).count() as f64;
        // Five standard deviations of a binomial.
        assert!((lost / 4000.0 - 0.25).abs() < 0.035, "{lost}");
        for (n, reading) in readings.iter().enumerate() {
            assert!(reading.value.is_err() || reading.value.unwrap().accel[0] == (n + 1) as f32);
        }
    }

    #[test]
    fn a_stuck_value_stays_for_its_spell_and_moves_again() {
        let faults = Faults { stuck: 0.02, stuck_readings: 5, ..Faults::default() };
        let values = numbers(&run(faults, 4, 1000));
        let moved = |n: usize| values[n] == (n + 1) as f32;
        let mut spells = 0;
        let mut n = 1;
        while n < values.len() - 6 {
            if !moved(n) {
                assert!(moved(n - 1));
                assert!((n..n + 5).all(|at| values[at] == values[n - 1]), "{:?}", &values[n - 1..n + 6]);
                assert!(moved(n + 5));
                spells += 1;
                n += 5;
            }
            n += 1;
        }
        assert!(spells > 5, "{spells}");
    }

    #[test]
    fn a_flipped_bit_is_one_bit_of_one_number() {
        let sample = ImuSample { accel: [1.0, 2.0, 3.0], gyro: [4.0, 5.0, 6.0] };
        for word in 0..400u64 {
            let mut flipped = sample;
            flipped.flip_bit(word);
            let bits = |sample: ImuSample| sample.channels().map(f32::to_bits);
            let changed: u32 =
                bits(sample).iter().zip(bits(flipped)).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(changed, 1);
        }
        let frame = Frame::new(2, 1, vec![0; 6]).unwrap();
        let mut flipped = frame.clone();
        flipped.flip_bit(8 * 7 + 3);
        assert_eq!(flipped.rgb(), [0, 8, 0, 0, 0, 0]);
        let mut nothing = Environment::default();
        nothing.flip_bit(9);
        assert_eq!(nothing, Environment::default());
    }

    #[test]
    fn a_late_reading_keeps_the_time_it_was_taken_at() {
        let readings = run(Faults { latency: Span::from_millis(35), ..Faults::default() }, 5, 50);
        assert!(readings[..4].iter().all(|reading| reading.value == Err(NoData::DropOut)));
        for (n, reading) in readings.iter().enumerate().skip(4) {
            assert_eq!(reading.at.nanos(), (n as u64 - 4) * 10_000_000);
            assert_eq!(reading.value.unwrap().accel[0], (n - 3) as f32);
        }
    }

    #[test]
    fn an_unplugged_device_says_nothing_until_it_is_back() {
        let gap = (Timestamp::from_nanos(100_000_000), Span::from_millis(50));
        let readings = run(Faults { disconnections: vec![gap], ..Faults::default() }, 6, 30);
        for (n, reading) in readings.iter().enumerate() {
            assert_eq!(reading.value.is_err(), (10..15).contains(&n), "{n}");
        }
    }
}
