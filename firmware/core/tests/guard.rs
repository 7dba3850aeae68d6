//! The guard: what it accepts, what it refuses, and that it never lets the served weights fall behind
//! the origin.

use proptest::prelude::*;
use sedge_core::{
    Evidence, Guard, GuardConfig, Hold, Measure, PairedDifference, Rejection, StopReason, Verdict,
};

fn measure(loss: f32) -> Measure {
    Measure { loss, mean_reciprocal_rank: 0.5, spread: 1.0 }
}

fn difference(mean: f32, standard_error: f32) -> PairedDifference {
    PairedDifference { mean, standard_error, pairs: 64 }
}

/// Losses of candidate, incumbent and origin, all differences with one standard error.
fn evidence(candidate: f32, incumbent: f32, origin: f32, standard_error: f32) -> Evidence {
    Evidence {
        candidate: measure(candidate),
        incumbent: measure(incumbent),
        origin: measure(origin),
        over_incumbent: difference(incumbent - candidate, standard_error),
        over_origin: difference(origin - candidate, standard_error),
        ranks_over_incumbent: difference(0.0, 0.01),
        drift: 0.1,
    }
}

/// Margins that the cases below are written for.
fn config() -> GuardConfig {
    GuardConfig { z: 2.0, harm_z: 2.5, patience: 5, ..GuardConfig::default() }
}

fn judged(evidence: &Evidence) -> Verdict {
    Guard::new(config()).judge(evidence)
}

#[test]
fn a_paired_difference_is_the_textbook_one() {
    // Differences 1, 2, 3, 6: mean 3, sample variance 14/3, standard error sqrt(14/12).
    let d = PairedDifference::of(&[1.0, 3.0, 5.0, 6.0], &[0.0, 1.0, 2.0, 0.0]).unwrap();
    assert_eq!((d.mean, d.pairs), (3.0, 4));
    assert!((d.standard_error - (14.0f32 / 12.0).sqrt()).abs() < 1e-6);
    assert_eq!(PairedDifference::of(&[1.0], &[1.0]), None);
    assert_eq!(PairedDifference::of(&[1.0, 2.0], &[1.0]), None);
}

#[test]
fn each_criterion_decides_alone() {
    let good = evidence(0.5, 1.0, 1.0, 0.1);
    assert_eq!(judged(&good), Verdict::Accept);
    type Fault = (fn(&mut Evidence), Verdict);
    let faults: [Fault; 9] = [
        (|e| e.candidate.loss = f32::NAN, Verdict::Reject(Rejection::NotFinite)),
        (|e| e.drift = f32::INFINITY, Verdict::Reject(Rejection::NotFinite)),
        (|e| e.candidate.spread = 0.49, Verdict::Reject(Rejection::Collapsed)),
        (|e| e.drift = 0.51, Verdict::Reject(Rejection::Drifted)),
        (|e| e.over_incumbent.mean = -0.3, Verdict::Reject(Rejection::Worse)),
        (|e| e.over_origin.mean = -0.3, Verdict::Reject(Rejection::WorseThanOrigin)),
        (|e| e.ranks_over_incumbent.mean = -0.1, Verdict::Reject(Rejection::RanksLower)),
        (|e| e.over_incumbent.mean = 0.19, Verdict::Hold(Hold::Inconclusive)),
        (|e| e.over_incumbent.mean = -0.24, Verdict::Hold(Hold::Inconclusive)),
    ];
    for (i, (spoil, wanted)) in faults.into_iter().enumerate() {
        let mut spoilt = good;
        spoil(&mut spoilt);
        assert_eq!(judged(&spoilt), wanted, "fault {i}");
    }
    let mut few = good;
    few.over_origin.pairs = 15;
    assert_eq!(judged(&few), Verdict::Hold(Hold::FewPairs));
}

#[test]
fn an_incumbent_that_fell_behind_the_origin_is_taken_out_of_service() {
    assert_eq!(judged(&evidence(1.2, 1.2, 1.0, 0.5)), Verdict::Restore(Rejection::WorseThanOrigin));
    assert_eq!(judged(&evidence(0.5, 1.2, 1.0, 0.1)), Verdict::Accept, "a good candidate replaces it");
    assert_eq!(judged(&evidence(f32::NAN, f32::NAN, 1.0, 0.1)), Verdict::Restore(Rejection::NotFinite));
}

#[test]
fn harm_in_a_row_lowers_the_rate_and_then_stops() {
    let mut guard = Guard::new(GuardConfig::default());
    let bad = evidence(2.0, 1.0, 1.0, 0.1);
    let mut rates = Vec::new();
    for _ in 0..4 {
        guard.judge(&bad);
        rates.push(guard.lr_scale());
        assert_eq!(guard.stopped(), None);
    }
    assert_eq!(rates, [0.5, 0.25, 0.125, 0.0625]);
    guard.judge(&evidence(0.5, 1.0, 1.0, 0.1));
    assert_eq!(guard.lr_scale(), 0.125);
    for _ in 0..4 {
        guard.judge(&bad);
    }
    assert_eq!(guard.stopped(), None, "the acceptance began a new row");
    guard.step_failed();
    assert_eq!(guard.stopped(), Some(StopReason::HarmfulRejections(Rejection::StepFailed)));
}

#[test]
fn a_candidate_that_is_no_better_is_given_up_but_does_not_stop_adaptation() {
    let mut guard = Guard::new(config());
    let same = evidence(1.0, 1.0, 1.0, 0.1);
    for round in 0..20 {
        for _ in 0..4 {
            assert_eq!(guard.judge(&same), Verdict::Hold(Hold::Inconclusive), "round {round}");
        }
        assert_eq!(guard.judge(&same), Verdict::Reject(Rejection::NoBetter));
    }
    assert_eq!((guard.stopped(), guard.lr_scale()), (None, 1.0 / 16.0));
}

fn any_number() -> impl Strategy<Value = f32> {
    prop_oneof![6 => 0.0f32..3.0, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(f32::NEG_INFINITY)]
}

proptest! {
    #[test]
    fn what_is_served_is_never_behind_the_origin(
        looks in proptest::collection::vec((any_number(), any_number(), 0.0f32..0.5, any_number()), 1..60)
    ) {
        let mut guard = Guard::new(GuardConfig::default());
        // The loss of the served weights moves from look to look, as the stream does.
        let mut served_is_origin = true;
        for (candidate, incumbent, standard_error, drift) in looks {
            let origin = 1.0;
            let incumbent = if served_is_origin { origin } else { incumbent };
            let mut numbers = evidence(candidate, incumbent, origin, standard_error);
            numbers.drift = drift;
            let served = match guard.judge(&numbers) {
                Verdict::Accept => {
                    prop_assert!(candidate < incumbent || incumbent.is_nan());
                    served_is_origin = false;
                    candidate
                }
                Verdict::Restore(_) => {
                    served_is_origin = true;
                    origin
                }
                _ => incumbent,
            };
            prop_assert!(served <= origin, "{served} is in service");
            prop_assert!(guard.lr_scale() > 0.0 && guard.lr_scale() <= 1.0);
        }
    }
}
