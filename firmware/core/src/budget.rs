//! How much of its time a device may spend on adapting: a token bucket that fills with time.
//!
//! In any stretch of time the spending is at most `duty * stretch + burst` (or one cost in place of the
//! burst, where a single cost is larger). On a live device the cost of a step is what it took; there
//! one step can overrun its estimate, and the debt is paid back before the next. A replay that runs as
//! fast as it can charges stated costs against the recording's own clock instead, so that the number
//! of steps does not depend on the machine.
//!
//! The arithmetic is in whole numbers; nothing drifts over a year.

use sedge_readings::{Span, Timestamp};

/// Parts of a whole; duty is stated in these.
const MILLION: i128 = 1_000_000;

/// What is being paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cost {
    /// One training step.
    Step,
    /// One evaluation of a candidate.
    Evaluation,
}

/// Share of time and prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BudgetConfig {
    /// Share of time in millionths; a million is all of it.
    pub duty_ppm: u32,
    /// Time that may be saved up and spent at once.
    pub burst: Span,
    /// Price of a step; where costs are measured, the first estimate of it.
    pub step: Span,
    /// Price of an evaluation; where costs are measured, the first estimate of it.
    pub evaluation: Span,
    /// Whether the measured cost is charged (a live device) or the stated one (a replay).
    pub measured: bool,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            duty_ppm: 250_000,
            burst: Span::from_millis(2_000),
            step: Span::from_millis(100),
            evaluation: Span::from_millis(300),
            measured: false,
        }
    }
}

/// The bucket.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Budget {
    config: BudgetConfig,
    /// Nanoseconds times a million.
    level: i128,
    last: Option<Timestamp>,
    /// Share of the duty that the machine's state allows, in millionths.
    #[cfg_attr(feature = "serde", serde(skip, default = "whole"))]
    share_ppm: u32,
    step: Span,
    evaluation: Span,
    spent: Span,
}

impl Budget {
    /// An empty bucket that begins to fill at the first time it is told.
    pub fn new(config: BudgetConfig) -> Self {
        let BudgetConfig { step, evaluation, .. } = config;
        Self { config, level: 0, last: None, share_ppm: whole(), step, evaluation, spent: Span::default() }
    }

    /// Whether there is time for it now. Time that runs backwards adds nothing.
    pub fn allow(&mut self, now: Timestamp, cost: Cost) -> bool {
        self.fill(now);
        self.level >= scaled(self.estimate(cost)) && self.config.duty_ppm > 0
    }

    /// Pays for what was done, which took `measured`; gives what was charged.
    pub fn spend(&mut self, now: Timestamp, cost: Cost, measured: Span) -> Span {
        self.fill(now);
        let charged = if self.config.measured { measured } else { self.estimate(cost) };
        self.level -= scaled(charged);
        self.spent = Span::from_nanos(self.spent.nanos().saturating_add(charged.nanos()));
        if self.config.measured {
            let estimate = match cost {
                Cost::Step => &mut self.step,
                Cost::Evaluation => &mut self.evaluation,
            };
            // A running mean over about eight; a single slow step does not lock the bucket.
            let old = u128::from(estimate.nanos());
            *estimate = Span::from_nanos(((old * 7 + u128::from(measured.nanos())) / 8) as u64);
        }
        charged
    }

    /// From now on fills at this share of the duty, in millionths: for a machine that is too hot for more.
    pub fn slow(&mut self, now: Timestamp, share_ppm: u32) {
        self.fill(now);
        self.share_ppm = share_ppm.min(whole());
    }

    /// All that was charged so far.
    pub fn spent(&self) -> Span {
        self.spent
    }

    fn estimate(&self, cost: Cost) -> Span {
        match cost {
            Cost::Step => self.step,
            Cost::Evaluation => self.evaluation,
        }
    }

    fn fill(&mut self, now: Timestamp) {
        let last = self.last.unwrap_or(now);
        self.last = Some(last.max(now));
        let duty = i128::from(self.config.duty_ppm).min(MILLION) * i128::from(self.share_ppm) / MILLION;
        let cap = self.config.burst.max(self.step).max(self.evaluation);
        let filled = self.level.saturating_add(i128::from(now.since(last).nanos()) * duty);
        // Not `min(cap)` alone: a cap that sank below the level takes nothing away.
        self.level = filled.min(scaled(cap).max(self.level));
    }
}

/// The share where nothing slows it.
const fn whole() -> u32 {
    1_000_000
}

fn scaled(span: Span) -> i128 {
    i128::from(span.nanos()) * MILLION
}
