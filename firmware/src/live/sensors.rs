//! A board's sensor at its place on a bus: read once a period, in bursts from the chip's own queue, or when
//! its interrupt says so.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sedge_boards::Board;
use sedge_boards::board::SensorSpec;
use sedge_boards::bus::Wait;
use sedge_boards::pins::Input;
use sedge_boards::sensor::{BoardSensor, Sensor};
use sedge_readings::{Event, ImuSample, Measurement, NoData, Reading, Span, Timestamp};

use super::ledger::Entry;
use super::outbox::Said;
use super::simulated::World;
use super::station::Slot;

/// Most samples taken out of a chip's queue at once.
const BURST: usize = 128;
/// Time between two looks at a chip's queue, where its samples come faster: well within the 100 ms that a
/// frame waits for the samples of its time.
const BURST_PERIOD: Span = Span::from_millis(40);
/// A queue that stays empty for this many looks has stopped.
const EMPTY_LOOKS: u32 = 8;
/// An interrupt that stays away for this many readings is not wired.
const MISSED_INTERRUPTS: u32 = 8;

/// A sensor of a board.
pub(super) struct SensorSlot {
    root: PathBuf,
    board: Arc<Board>,
    spec: SensorSpec,
    period: Span,
    /// The world behind a simulated bus.
    world: Option<World>,
    sensor: Option<BoardSensor>,
    way: Way,
    /// The sensor's interrupt, where the board has its pin.
    interrupt: Option<Input>,
    missed: u32,
}

/// How readings come.
enum Way {
    /// One each time it is asked.
    Timed,
    /// Samples from the chip's queue.
    Queued(Burst),
}

/// Samples of a chip's queue on their way.
#[derive(Default)]
struct Burst {
    waiting: VecDeque<Reading<Measurement>>,
    /// When the newest sample was taken, or the queue was started.
    newest: Timestamp,
    empty: u32,
}

impl SensorSlot {
    pub(super) fn new(
        root: PathBuf,
        board: Arc<Board>,
        spec: SensorSpec,
        world: Option<World>,
        interrupt: Option<Input>,
    ) -> Self {
        let period = Span::from_nanos(1_000_000_000 / u64::from(spec.rate_hz.max(1)));
        Self { root, board, spec, period, world, sensor: None, way: Way::Timed, interrupt, missed: 0 }
    }

    /// Time between two looks at a sensor of this rate; a chip that queues is looked at less often.
    pub(super) fn period_of(spec: &SensorSpec) -> Span {
        let period = Span::from_nanos(1_000_000_000 / u64::from(spec.rate_hz.max(1)));
        if spec.chip.has_queue() { period.max(BURST_PERIOD) } else { period }
    }

    /// Lets the simulated world go on to the present.
    fn move_world(&mut self, now: Timestamp) {
        let (Some(world), Some(bus)) =
            (&mut self.world, self.sensor.as_mut().and_then(BoardSensor::simulated))
        else {
            return;
        };
        while let Some(event) = world.due(now) {
            if let Event::Imu(Reading { value: Ok(sample), .. }) = event {
                bus.set_motion(sample);
            }
        }
    }

    /// Waits for the chip's sign that a new value is there. Without one the value is read at its time all the
    /// same, and a sign that stays away is no longer waited for.
    fn wait_for_interrupt(&mut self) {
        let Some(pin) = &mut self.interrupt else { return };
        let longest =
            Duration::from_nanos(self.period.nanos().saturating_mul(2)).min(Duration::from_millis(500));
        match pin.wait(longest) {
            Ok(true) => self.missed = 0,
            Ok(false) => self.missed += 1,
            Err(error) => {
                tracing::warn!(sensor = self.spec.name, %error, "read by time from now on");
                self.interrupt = None;
            }
        }
        if self.missed >= MISSED_INTERRUPTS {
            tracing::warn!(
                sensor = self.spec.name,
                "no data-ready interrupt comes; read by time from now on"
            );
            self.interrupt = None;
        }
    }
}

impl Burst {
    /// Empties the chip's queue and answers how many readings wait.
    fn fill(&mut self, sensor: &mut BoardSensor, period: Span, now: Timestamp) -> usize {
        let mut samples = [ImuSample::default(); BURST];
        match sensor.drain(&mut samples) {
            Ok(0) => {
                self.empty += 1;
                if self.empty >= EMPTY_LOOKS {
                    self.empty = 0;
                    self.waiting.push_back(Reading { at: now, value: Err(NoData::DropOut) });
                }
            }
            Ok(count) => {
                self.empty = 0;
                let times = spread(self.newest, now, period, count);
                for (sample, at) in samples.iter().take(count).zip(times) {
                    let finite = sample.is_finite();
                    let value = if finite { Ok(Measurement::Imu(*sample)) } else { Err(NoData::NotFinite) };
                    self.waiting.push_back(Reading { at, value });
                    self.newest = at;
                }
            }
            Err(reason) => self.waiting.push_back(Reading { at: now, value: Err(reason) }),
        }
        self.waiting.len()
    }
}

/// The times at which `count` samples of a queue were taken, the last of them at `now`: evenly from the sample
/// before them on, so that they follow the chip's own clock, or a nominal period apart where that would put
/// samples between them that were lost.
fn spread(before: Timestamp, now: Timestamp, period: Span, count: usize) -> impl Iterator<Item = Timestamp> {
    let count = count as u64;
    let longest = Span::from_nanos(period.nanos().saturating_mul(3 * count) / 2);
    let nominal = Span::from_nanos(period.nanos().saturating_mul(count));
    let from = if now.since(before) > longest { now - nominal } else { before.min(now) };
    let whole = u128::from(now.since(from).nanos());
    // At most `whole`, which is 64 bits.
    let part = move |n: u64| Span::from_nanos((whole * u128::from(n) / u128::from(count.max(1))) as u64);
    (1..=count).map(move |n| from + part(n))
}

impl Sensor for SensorSlot {
    type Value = Measurement;

    fn read(&mut self, now: Timestamp) -> Reading<Measurement> {
        let nothing = Reading { at: now, value: Err(NoData::DropOut) };
        match (&mut self.way, &mut self.sensor) {
            (Way::Queued(burst), _) => burst.waiting.pop_front().unwrap_or(nothing),
            (Way::Timed, Some(sensor)) => sensor.read(now),
            (Way::Timed, None) => Reading { at: now, value: Err(NoData::Bus) },
        }
    }
}

impl Slot for SensorSlot {
    fn open(&mut self, now: Timestamp) -> Result<(), String> {
        let mut sensor = BoardSensor::open(&self.root, &self.board, &self.spec, &mut Wait)
            .map_err(|error| error.to_string())?;
        let queued = self.spec.chip.has_queue() && sensor.start_queue().map_err(|error| error.to_string())?;
        self.way = if queued { Way::Queued(Burst { newest: now, ..Burst::default() }) } else { Way::Timed };
        if !queued
            && self.interrupt.is_some()
            && !sensor.start_interrupt().map_err(|error| error.to_string())?
        {
            self.interrupt = None;
        }
        if let Some(world) = &mut self.world {
            // What happened while the chip was away did not reach it.
            while world.due(now).is_some() {}
        }
        self.sensor = Some(sensor);
        Ok(())
    }

    fn close(&mut self) {
        self.sensor = None;
        self.way = Way::Timed;
    }

    fn gather(&mut self, now: Timestamp) -> usize {
        self.move_world(now);
        if let (Way::Queued(burst), Some(sensor)) = (&mut self.way, &mut self.sensor) {
            return burst.fill(sensor, self.period, now);
        }
        self.wait_for_interrupt();
        1
    }
}

/// A reading of the inertial sensor that feeds the learner, and of any other.
pub(super) fn feed(_: Arc<Entry>, reading: Reading<Measurement>) -> Said {
    let value = reading.value.and_then(|value| match value {
        Measurement::Imu(sample) => Ok(sample),
        _ => Err(NoData::WrongShape),
    });
    Said::Event(Event::Imu(Reading { at: reading.at, value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(before: u64, now: u64, count: usize) -> Vec<u64> {
        let at = Timestamp::from_nanos;
        spread(at(before), at(now), Span::from_nanos(10), count).map(Timestamp::nanos).collect()
    }

    #[test]
    fn a_bursts_samples_follow_the_chips_own_clock() {
        // A chip a tenth slow and one a tenth fast.
        assert_eq!(times(100, 144, 4), [111, 122, 133, 144]);
        assert_eq!(times(100, 136, 4), [109, 118, 127, 136]);
        // What came before was lost: nominal times up to now.
        assert_eq!(times(100, 500, 4), [470, 480, 490, 500]);
        // Nothing is stamped later than now, whatever came before.
        assert_eq!(times(700, 500, 2), [500, 500]);
        assert!(times(100, 200, 0).is_empty());
    }
}
