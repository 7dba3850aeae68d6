//! The learning rate of each step: a straight rise (Goyal et al. 2017, section 2.2), then half a
//! cosine down to zero (Loshchilov & Hutter 2017, without restarts). A pure function of the step, so
//! that a resumed run goes on where it was.

use super::config::{PretrainConfig, Schedule};

/// Learning rate by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    peak: f64,
    warmup: u64,
    total: u64,
    schedule: Schedule,
}

impl LearningRate {
    /// The schedule of a run of `steps_per_epoch` steps an epoch.
    pub fn new(config: &PretrainConfig, steps_per_epoch: usize) -> Self {
        let steps = steps_per_epoch as u64;
        Self {
            peak: config.lr,
            warmup: (config.warmup_epochs * steps as f64).round() as u64,
            total: u64::from(config.epochs) * steps,
            schedule: config.schedule,
        }
    }

    /// The rate at `step`, from zero. The first step of a warm-up is above zero and the last one of a
    /// cosine too, since a step at rate zero would be wasted.
    pub fn at(&self, step: u64) -> f32 {
        if step < self.warmup {
            return (self.peak * (step + 1) as f64 / self.warmup as f64) as f32;
        }
        match self.schedule {
            Schedule::Constant => self.peak as f32,
            Schedule::Cosine => {
                let length = self.total.saturating_sub(self.warmup).max(1) as f64;
                let done = ((step - self.warmup) as f64 / length).min(1.0);
                // From a library of its own, so that every platform trains the same.
                let fall = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done));
                (self.peak * fall) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(warmup: u64, schedule: Schedule) -> LearningRate {
        LearningRate { peak: 0.5, warmup, total: 110, schedule }
    }

    #[test]
    fn rises_in_a_straight_line_and_falls_along_a_cosine() {
        let rate = rate(10, Schedule::Cosine);
        let near = |step: u64, wanted: f64| assert!((f64::from(rate.at(step)) - wanted).abs() < 1e-7);
        near(0, 0.05);
        near(4, 0.25);
        near(9, 0.5);
        near(10, 0.5);
        // A third, half and two thirds of the way down: cos 60°, 90° and 120°, of 99 and 100 steps.
        near(60, 0.25);
        assert!(rate.at(109) > 0.0 && rate.at(109) < 2e-4);
        near(110, 0.0);
        near(1000, 0.0);
        let third = LearningRate { total: 100, ..rate };
        assert!((f64::from(third.at(40)) - 0.375).abs() < 1e-7);
    }

    #[test]
    fn a_constant_rate_stays_and_no_warmup_begins_at_the_peak() {
        assert_eq!(rate(0, Schedule::Constant).at(0), 0.5);
        assert_eq!(rate(0, Schedule::Constant).at(5000), 0.5);
        assert_eq!(rate(0, Schedule::Cosine).at(0), 0.5);
    }
}
