//! The budget over every interval of a random history.

use proptest::prelude::*;
use sedge_core::{Budget, BudgetConfig, Cost};
use sedge_readings::{Span, Timestamp};

proptest! {
    #[test]
    fn stated_costs_never_exceed_duty_and_burst(
        steps in proptest::collection::vec((0u64..300, any::<bool>()), 1..120),
        duty_ppm in 0u32..=1_000_000,
        burst in 0u64..2_000,
        price in 1u64..400,
    ) {
        let config = BudgetConfig {
            duty_ppm,
            burst: Span::from_millis(burst),
            step: Span::from_millis(price),
            evaluation: Span::from_millis(3 * price),
            measured: false,
        };
        let mut budget = Budget::new(config);
        let (mut now, mut spent) = (1_000u64, Vec::new());
        for (wait, evaluate) in steps {
            now += wait;
            let cost = if evaluate { Cost::Evaluation } else { Cost::Step };
            let time = Timestamp::from_nanos(now * 1_000_000);
            if budget.allow(time, cost) {
                let charged = budget.spend(time, cost, Span::default());
                spent.push((now, charged.nanos() as f64 * 1e-6));
            }
        }
        let duty = f64::from(duty_ppm) * 1e-6;
        let allowance = burst.max(3 * price) as f64;
        for (i, (from, _)) in spent.iter().enumerate() {
            let mut sum = 0.0;
            for (to, charge) in &spent[i..] {
                sum += charge;
                prop_assert!(sum <= duty * (to - from) as f64 + allowance + 1e-6);
            }
        }
        let total: f64 = spent.iter().map(|(_, charge)| charge).sum();
        prop_assert!(total <= duty * (now - 1_000) as f64 + 1e-6, "nothing is given before its time");
    }

    #[test]
    fn measured_costs_overrun_by_one_step_at_most(
        steps in proptest::collection::vec((1u64..200, 1u64..900), 1..120),
    ) {
        let config = BudgetConfig { measured: true, ..Default::default() };
        let mut budget = Budget::new(config);
        let (mut now, mut total) = (0u64, 0u64);
        let longest = steps.iter().map(|(_, took)| *took).max().unwrap();
        for (wait, took) in steps {
            now += wait;
            if budget.allow(Timestamp::from_nanos(now * 1_000_000), Cost::Step) {
                now += took;
                total += took;
                budget.spend(Timestamp::from_nanos(now * 1_000_000), Cost::Step, Span::from_millis(took));
            }
            prop_assert!(total as f64 <= 0.25 * now as f64 + longest as f64);
        }
        prop_assert_eq!(budget.spent(), Span::from_millis(total));
    }
}

#[test]
fn a_steady_stream_gets_its_share() {
    let mut budget = Budget::new(BudgetConfig::default());
    let mut taken = 0;
    for millis in 0..100_000u64 {
        let now = Timestamp::from_nanos(millis * 1_000_000);
        if budget.allow(now, Cost::Step) {
            budget.spend(now, Cost::Step, Span::default());
            taken += 1;
        }
    }
    assert_eq!(taken, 249, "a quarter of 99.999 s in steps of 100 ms");
}

#[test]
fn time_running_backwards_earns_nothing() {
    let mut budget = Budget::new(BudgetConfig::default());
    let second = |s: u64| Timestamp::from_nanos(s * 1_000_000_000);
    budget.allow(second(100), Cost::Step);
    for _ in 0..100 {
        assert!(!budget.allow(second(0), Cost::Step));
        assert!(!budget.allow(second(100), Cost::Step));
    }
    assert!(budget.allow(second(101), Cost::Step));
    assert!(budget.allow(Timestamp::from_nanos(u64::MAX), Cost::Step));
}
