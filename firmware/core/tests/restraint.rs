//! Heat, throttling and memory, over simulated time.

#![allow(clippy::unwrap_used, clippy::panic)]

use sedge_core::{Budget, BudgetConfig, Cost, Rest, Restraint, RestraintConfig, Warmth};
use sedge_readings::{Span, Timestamp};

const CONFIG: RestraintConfig = RestraintConfig {
    slow_millicelsius: 70_000,
    stop_millicelsius: 80_000,
    hysteresis_millicelsius: 3_000,
    calm: Span::from_millis(10_000),
    memory_bytes: 160,
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn warm(celsius: f32) -> Warmth {
    Warmth { millicelsius: Some((celsius * 1e3) as i32), throttled: false }
}

#[test]
fn the_share_falls_in_a_straight_line_between_the_limits() {
    let mut restraint = Restraint::new(CONFIG);
    assert_eq!(restraint.share_ppm(at(0)), 1_000_000, "nothing is known yet");
    for (celsius, share) in
        [(20.0, 1_000_000), (69.9, 1_000_000), (70.0, 1_000_000), (72.5, 750_000), (79.0, 100_000), (80.0, 0)]
    {
        let mut restraint = Restraint::new(CONFIG);
        restraint.feel(at(0), warm(celsius));
        assert_eq!(restraint.share_ppm(at(0)), share, "{celsius} °C");
    }
    restraint.feel(at(0), Warmth { millicelsius: None, throttled: false });
    assert_eq!(restraint.share_ppm(at(0)), 1_000_000);
}

#[test]
fn a_rest_ends_well_below_the_limit_that_began_it() {
    let mut restraint = Restraint::new(CONFIG);
    let mut rests = |celsius| {
        restraint.feel(at(0), warm(celsius));
        restraint.rest(at(0))
    };
    assert_eq!(
        [79.9, 80.0, 79.0, 77.0, 76.9, 78.0, 79.9, 80.1].map(&mut rests),
        [None, Some(Rest::Heat), Some(Rest::Heat), Some(Rest::Heat), None, None, None, Some(Rest::Heat)]
    );
    // A thermometer that is gone holds nothing back.
    restraint.feel(at(0), Warmth { millicelsius: None, throttled: false });
    assert_eq!(restraint.rest(at(0)), None);
}

#[test]
fn throttling_rests_until_a_while_after_the_last() {
    let mut restraint = Restraint::new(CONFIG);
    let throttled = Warmth { throttled: true, ..warm(60.0) };
    restraint.feel(at(1_000), throttled);
    assert_eq!((restraint.rest(at(1_000)), restraint.share_ppm(at(1_000))), (Some(Rest::Throttled), 0));
    restraint.feel(at(5_000), warm(60.0));
    assert_eq!(restraint.rest(at(10_999)), Some(Rest::Throttled));
    assert_eq!(restraint.rest(at(11_000)), None);
    restraint.feel(at(10_500), throttled);
    assert_eq!(restraint.rest(at(20_499)), Some(Rest::Throttled));
    assert_eq!(restraint.rest(at(20_500)), None);
}

#[test]
fn memory_rests_at_its_ceiling_and_goes_on_a_sixteenth_below() {
    let mut restraint = Restraint::new(CONFIG);
    let mut rests = |bytes| {
        restraint.weigh(bytes);
        restraint.rest(at(0)) == Some(Rest::Memory)
    };
    assert_eq!(
        [100, 159, 160, 155, 150, 149, 159].map(&mut rests),
        [false, false, true, true, true, false, false]
    );
}

#[test]
fn without_limits_nothing_is_held_back_but_by_throttling() {
    let mut restraint = Restraint::new(RestraintConfig::default());
    restraint.feel(at(0), warm(500.0));
    restraint.weigh(u64::MAX - 1);
    assert_eq!((restraint.rest(at(0)), restraint.share_ppm(at(0))), (None, 1_000_000));
}

/// Steps of 100 ms that a budget of a quarter allows over a minute at this temperature.
fn steps_in_a_minute(celsius: f32) -> u32 {
    let mut restraint = Restraint::new(CONFIG);
    let mut budget = Budget::new(BudgetConfig::default());
    let mut steps = 0;
    for millis in (0..60_000).step_by(10) {
        if millis % 1_000 == 0 {
            restraint.feel(at(millis), warm(celsius));
        }
        budget.slow(at(millis), restraint.share_ppm(at(millis)));
        if budget.allow(at(millis), Cost::Step) {
            budget.spend(at(millis), Cost::Step, Span::default());
            steps += 1;
        }
    }
    steps
}

#[test]
fn the_budget_slows_with_the_share() {
    // A quarter of 60 s is 150 steps of 100 ms; at 75 °C half of that; at 80 °C none.
    assert_eq!([60.0, 75.0, 79.0, 80.0].map(steps_in_a_minute), [149, 74, 14, 0]);
}
