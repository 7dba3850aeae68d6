//! Which moment of the host a count of the node's microseconds is.
//!
//! The host asks and the node answers, which gives four times: sent and received at the host, received and
//! sent at the node. As in NTP (D. Mills et al., RFC 5905, section 8), half the sum of the differences of the
//! two ways is the clocks' offset, and is wrong by at most half of the delay, the time that the way there and
//! back took. The exchange of the least delay in a window stands for it (the clock filter of section 10): a
//! message that waited in a queue took longer, so queues are left out without being modelled.
//!
//! Through the offsets of the last windows goes a line, by weighted least squares, whose slope is the drift
//! of one crystal against the other. A window weighs by how far its delay lies above the least of all: half
//! of that is how wrong it can be. Until the windows span enough time, the slope is held near zero by what is
//! known of crystals.
//!
//! No clock is read and nothing is sent here.

use heapless::Deque;
use sedge_readings::{Span, Timestamp};

use crate::wide::WideMicros;

/// Exchanges of a window.
const WINDOW: u8 = 8;
/// Windows that the line goes through.
const WINDOWS: usize = 64;
/// Longest delay of an exchange that says anything, in nanoseconds.
const MAX_DELAY: i64 = 1_000_000_000;
/// What remains of jitter at the least delay, in nanoseconds.
const NOISE: f64 = 150_000.0;
/// How much two crystals differ, in nanoseconds a second: 100 parts in a million.
const DRIFT: f64 = 100_000.0;
/// What the line may be off beside what the delays explain, in nanoseconds; and by how much more for each
/// nanosecond since the last exchange, as one over this.
const SLACK: i64 = 1_000_000;
const SLACK_SHARE: i64 = 2_000;
/// Contradictions in a row after which the node's clock has stepped.
const STEP: u8 = 3;

/// The four times of one question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When the host sent the question, on the host's clock.
    pub sent: Timestamp,
    /// When it came, on the node's.
    pub node_received_us: u32,
    /// When the answer left, on the node's.
    pub node_sent_us: u32,
    /// When that came, on the host's.
    pub received: Timestamp,
}

/// What an exchange was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The estimate has it.
    Taken,
    /// Its times cannot be: an answer before its question, or a delay of over a second.
    Impossible,
    /// It contradicts the estimate by more than its delay can explain, and was left out.
    Contradiction,
    /// The third contradiction in a row: the node's clock has stepped, and the estimate begins anew with
    /// this exchange.
    Stepped,
}

/// One exchange: the node's time in its middle, and what the host's clock is ahead, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Point {
    node: i64,
    offset: i64,
    delay: i64,
}

/// Offset over the node's time: `offset + slope * (node - origin)`.
#[derive(Clone, Copy, Debug)]
struct Line {
    origin: i64,
    offset: i64,
    slope: f64,
    /// The least delay of its points.
    delay: i64,
}

/// The estimate of a node's clock. Of a fixed size, about two kilobytes.
#[derive(Clone, Debug, Default)]
pub struct ClockSync {
    wide: WideMicros,
    windows: Deque<Point, WINDOWS>,
    best: Option<Point>,
    in_window: u8,
    contradictions: u8,
    line: Option<Line>,
}

impl ClockSync {
    /// An estimate that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns from an exchange.
    pub fn observe(&mut self, exchange: &Exchange) -> Observed {
        let Some(point) = self.point(exchange) else { return Observed::Impossible };
        let mut observed = Observed::Taken;
        if self.line.is_some_and(|line| line.contradicts(&point)) {
            self.contradictions += 1;
            if self.contradictions < STEP {
                return Observed::Contradiction;
            }
            *self = Self { wide: self.wide, ..Self::default() };
            observed = Observed::Stepped;
        }
        self.contradictions = 0;
        self.wide.take(exchange.node_sent_us);
        if self.best.is_none_or(|best| point.delay < best.delay) {
            self.best = Some(point);
        }
        self.in_window += 1;
        if self.in_window == WINDOW
            && let Some(best) = self.best.take()
        {
            self.in_window = 0;
            if self.windows.is_full() {
                self.windows.pop_front();
            }
            // Room was made above.
            let _ = self.windows.push_back(best);
        }
        self.line = fit(|| self.windows.iter().chain(&self.best));
        observed
    }

    /// The moment on the host's clock of a count of the node's microseconds, at most 35 minutes from the last
    /// exchange; `None` before the first.
    pub fn host_time(&self, node_us: u32) -> Option<Timestamp> {
        let node = self.wide.near(node_us).saturating_mul(1_000);
        let host = node.saturating_add(self.line?.at(node));
        Some(Timestamp::from_nanos(u64::try_from(host).unwrap_or(0)))
    }

    /// How far the estimate can be off, whatever the line did: half of the least delay.
    pub fn bound(&self) -> Option<Span> {
        self.line.map(|line| Span::from_nanos(line.delay.unsigned_abs() / 2))
    }

    /// By how many parts in a million the host's clock is faster than the node's.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.line.map(|line| line.slope * 1e6)
    }

    /// Forgets everything: the node has begun anew.
    pub fn restart(&mut self) {
        *self = Self::new();
    }

    fn point(&self, exchange: &Exchange) -> Option<Point> {
        let sent = i64::try_from(exchange.sent.nanos()).ok()?;
        let received = i64::try_from(exchange.received.nanos()).ok()?;
        let held = exchange.node_sent_us.wrapping_sub(exchange.node_received_us);
        let leaving = self.wide.near(exchange.node_sent_us);
        let node_sent = leaving.checked_mul(1_000)?;
        let node_received = node_sent.checked_sub(i64::from(held) * 1_000)?;
        let delay = received.checked_sub(sent)?.checked_sub(node_sent - node_received)?;
        if !(0..=MAX_DELAY).contains(&delay) {
            return None;
        }
        let there = sent.checked_sub(node_received)?;
        let back = received.checked_sub(node_sent)?;
        let node = node_received + (node_sent - node_received) / 2;
        // Halves first: their sum may not fit.
        Some(Point { node, offset: there / 2 + back / 2, delay })
    }
}

impl Line {
    fn at(&self, node: i64) -> i64 {
        let seconds_as_nanos = node.saturating_sub(self.origin) as f64;
        self.offset.saturating_add((self.slope * seconds_as_nanos) as i64)
    }

    /// Whether the truth cannot lie both where the delay of `point` puts it and near this line.
    fn contradicts(&self, point: &Point) -> bool {
        let since = point.node.saturating_sub(self.origin).saturating_abs();
        let allowed = (point.delay + self.delay) / 2 + SLACK + since / SLACK_SHARE;
        point.offset.saturating_sub(self.at(point.node)).saturating_abs() > allowed
    }
}

/// The weighted line of least squares through `points`, its slope drawn towards zero as one more observation
/// of a slope of zero, off by [`DRIFT`], would.
fn fit<'a, I: Iterator<Item = &'a Point>>(points: impl Fn() -> I) -> Option<Line> {
    let newest = *points().last()?;
    let delay = points().map(|point| point.delay).min()?;
    let [mut weights, mut x1, mut y1, mut xx, mut xy] = [0.0; 5];
    for point in points() {
        // Seconds and nanoseconds from the newest point: small numbers, which a float holds well.
        let x = point.node.saturating_sub(newest.node) as f64 * 1e-9;
        let y = point.offset.saturating_sub(newest.offset) as f64;
        let doubt = (point.delay - delay) as f64 / 2.0;
        let weight = 1.0 / (NOISE * NOISE + doubt * doubt);
        weights += weight;
        x1 += weight * x;
        y1 += weight * y;
        xx += weight * x * x;
        xy += weight * x * y;
    }
    // At least one point, so `weights` is above zero.
    let (x_mean, y_mean) = (x1 / weights, y1 / weights);
    let spread = (xx - x1 * x_mean).max(0.0) + 1.0 / (DRIFT * DRIFT);
    let slope = (xy - x1 * y_mean) / spread;
    let offset = newest.offset.saturating_add((y_mean - slope * x_mean) as i64);
    Some(Line { origin: newest.node, offset, slope: slope * 1e-9, delay })
}

#[cfg(test)]
mod tests;
