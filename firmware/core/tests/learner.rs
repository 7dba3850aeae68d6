//! The whole learner in a simulated stream with seeded faults.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashSet;

use proptest::prelude::*;
use sedge_core::{
    Action, BudgetConfig, ConfigError, Evidence, GuardConfig, Input, Learner, LearnerConfig, Measure,
    PairedDifference, PairingConfig, Pcg32, Refusal, Rejection, Rest, RestraintConfig, Senses, Set,
    StopReason, SynchroniserConfig, Verdict, Warmth, WindowConfig,
};
use sedge_readings::{ImuSample, NoData, Reading, Span, Timestamp};

type Small = Learner<32, 8, 4, 64>;

fn config(seed: u64) -> LearnerConfig {
    LearnerConfig {
        seed,
        senses: Senses::Frames(SynchroniserConfig::default()),
        pairing: PairingConfig::default(),
        dimensions: 4,
        pairs: 32,
        eviction: Default::default(),
        held_out_pairs: 8,
        held_out_eviction: Default::default(),
        hold_out_every: 4,
        adapt: true,
        min_pairs: 12,
        batch_pairs: 8,
        steps_per_candidate: 5,
        warm_up_steps: 4,
        budget: BudgetConfig::default(),
        restraint: RestraintConfig {
            slow_millicelsius: 70_000,
            stop_millicelsius: 80_000,
            ..RestraintConfig::default()
        },
        guard: GuardConfig { min_pairs: 4, ..Default::default() },
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn evidence(candidate: f32) -> Evidence {
    let measure = |loss| Measure { loss, mean_reciprocal_rank: 0.5, spread: 1.0 };
    let difference = |mean| PairedDifference { mean, standard_error: 0.01, pairs: 8 };
    Evidence {
        candidate: measure(candidate),
        incumbent: measure(1.0),
        origin: measure(1.0),
        over_incumbent: difference(1.0 - candidate),
        over_origin: difference(1.0 - candidate),
        ranks_over_incumbent: difference(0.0),
        drift: 0.0,
    }
}

/// A shell that keeps what a shell must keep, and checks what it is asked.
struct Shell {
    learner: Box<Small>,
    rng: Pcg32,
    held: HashSet<u64>,
    slots: [Option<(u64, u64)>; 32],
    kept: Vec<(Set, u64, u64)>,
    log: Vec<Action>,
    candidate_loss: f32,
    embedded: u64,
}

impl Shell {
    fn new(config: LearnerConfig) -> Self {
        Self {
            learner: Box::new(Small::new(config).unwrap()),
            rng: Pcg32::new(config.seed, 99),
            held: HashSet::new(),
            slots: [None; 32],
            kept: Vec::new(),
            log: Vec::new(),
            candidate_loss: 0.9,
            embedded: 0,
        }
    }

    fn on(&mut self, now: Timestamp, input: Input<'_>) {
        if let Input::Frame(Reading { value: Ok(index), .. }) = input {
            self.held.insert(index);
        }
        self.learner.on(now, input).unwrap();
        loop {
            let action = self.learner.poll(now);
            if let Action::Rest(_) = action {
                break;
            }
            self.act(now, action);
            self.log.push(action);
        }
        let learner = &self.learner;
        self.held.retain(|index| learner.holds(*index));
    }

    fn act(&mut self, now: Timestamp, action: Action) {
        match action {
            Action::EmbedFrame { index, .. } => {
                assert!(self.held.contains(&index), "frame {index} was forgotten");
                let embedding: [f32; 4] = core::array::from_fn(|_| self.rng.next_u32() as f32 / 1e9 - 2.0);
                self.embedded += 1;
                self.learner.on(now, Input::Embedded { index, embedding: &embedding }).unwrap();
            }
            Action::EmbedWindow { index, .. } => {
                assert_eq!(self.learner.window().count(), 16);
                self.embedded += 1;
                self.held.insert(index);
                self.learner.on(now, Input::Embedded { index, embedding: &[1.0; 4] }).unwrap();
            }
            Action::Keep { set, slot, anchor, neighbour } => {
                assert!(self.held.contains(&anchor) && self.held.contains(&neighbour));
                if set == Set::Training {
                    self.slots[slot as usize] = Some((anchor, neighbour));
                }
                self.kept.push((set, anchor, neighbour));
            }
            Action::Adapt { lr_scale, .. } => {
                assert!(lr_scale > 0.0 && lr_scale <= 1.0);
                let batch: HashSet<u16> = self.learner.batch().iter().copied().collect();
                assert_eq!(batch.len(), 8);
                assert!(batch.iter().all(|slot| self.slots[*slot as usize].is_some()));
                self.learner.on(now, Input::Stepped { took: Span::from_millis(80) }).unwrap();
            }
            Action::Evaluate => {
                let evidence = evidence(self.candidate_loss);
                self.learner.on(now, Input::Evaluated { evidence, took: Span::from_millis(80) }).unwrap();
            }
            Action::Decide(_) | Action::Stop(_) | Action::Rest(_) => {}
        }
    }

    /// `seconds` of frames at 20 Hz and samples at 100 Hz.
    fn stream(&mut self, seconds: u64, faults: bool) {
        let mut frames = 0;
        for tick in 0..seconds * 100 {
            let mut time = tick * 10;
            let fault = if faults { self.rng.below(40) } else { 99 };
            if fault == 0 {
                time = time.saturating_sub(500);
            }
            let value = match fault {
                1 => Err(NoData::Bus),
                2 => Ok(ImuSample::from_channels([f32::NAN; 6])),
                _ => Ok(ImuSample { accel: [0.0, 0.0, 9.81], gyro: [0.0, 0.0, 0.1] }),
            };
            self.on(at(time), Input::Imu(Reading { at: at(time), value }));
            if tick % 5 == 0 {
                let value = if fault == 3 { Err(NoData::DropOut) } else { Ok(frames) };
                frames += 1;
                self.on(at(time), Input::Frame(Reading { at: at(time), value }));
            }
        }
        self.on(at(seconds * 1_000), Input::End);
    }

    fn check_books(&self, frames: u64, samples: u64) {
        let learner = &self.learner;
        assert_eq!((learner.frames().offered, learner.frames().waiting()), (frames, 0));
        assert_eq!((learner.imu().offered, learner.imu().waiting()), (samples, 0));
        let pairs = learner.pairs();
        let lost = pairs.lost_to_gap
            + pairs.lost_to_rotation
            + pairs.lost_to_unknown_rotation
            + pairs.lost_to_distance;
        assert_eq!(pairs.offered, self.embedded);
        let open = pairs.offered - 2 * pairs.pairs - pairs.passed_over - lost;
        assert!(open <= 1, "{pairs:?}");
    }
}

#[test]
fn a_clean_stream_is_paired_trained_on_and_served() {
    let mut shell = Shell::new(config(1));
    shell.stream(60, false);
    shell.check_books(1_200, 6_000);
    assert_eq!(shell.learner.frames().used, 1_200);
    let pairs = shell.learner.pairs();
    // An anchor, three passed over (50, 100, 150 ms), a neighbour at 200 ms.
    assert_eq!((pairs.pairs, pairs.passed_over), (240, 720));
    assert_eq!(shell.kept.iter().filter(|(set, ..)| *set == Set::HeldOut).count(), 60);
    let progress = shell.learner.progress();
    assert_eq!(progress.steps / 5, progress.evaluations);
    assert_eq!(progress.accepted, progress.evaluations);
    // Sixteen pairs are there at 3.95 s; a quarter of the 56.05 s left is 14.01 s, which pays for 17
    // rounds of five steps (100 ms) and a look (300 ms), and four steps more.
    assert_eq!((progress.steps, progress.evaluations), (89, 17));
    let first = shell.log.iter().find_map(|a| match a {
        Action::Adapt { lr_scale, .. } => Some(*lr_scale),
        _ => None,
    });
    assert_eq!(first, Some(0.25), "the first of four warming steps");
    let mut seen = HashSet::new();
    for (_, anchor, neighbour) in &shell.kept {
        assert!(seen.insert(*anchor) && seen.insert(*neighbour), "a frame is in two pairs");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    let run = |seed| {
        let mut shell = Shell::new(config(seed));
        shell.stream(30, true);
        shell.log
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn faults_are_booked_and_survived() {
    for seed in 0..8 {
        let mut shell = Shell::new(config(seed));
        shell.stream(30, true);
        shell.check_books(600, 3_000);
        let (frames, imu) = (shell.learner.frames(), shell.learner.imu());
        assert!(frames.drop_out > 0 && frames.used > 400, "{frames:?}");
        assert!(imu.bus > 0 && imu.not_finite > 0 && imu.backwards > 0, "{imu:?}");
        assert!(shell.learner.progress().steps > 10);
    }
}

#[test]
fn harmful_candidates_stop_adaptation_but_not_embedding() {
    let mut shell = Shell::new(config(2));
    shell.candidate_loss = 1.5;
    shell.stream(60, false);
    let stops: Vec<_> = shell.log.iter().filter(|a| matches!(a, Action::Stop(_))).collect();
    let reason = StopReason::HarmfulRejections(Rejection::Worse);
    assert_eq!(stops, [&Action::Stop(reason)]);
    assert_eq!(shell.learner.progress().rejected, 5);
    assert_eq!(shell.learner.poll(at(60_000)), Action::Rest(Rest::Stopped(reason)));
    assert_eq!(shell.learner.frames().used, 1_200);
    assert!(!shell.log.contains(&Action::Decide(Verdict::Accept)));
}

#[test]
fn a_hot_machine_embeds_and_does_not_adapt_and_a_warm_one_adapts_less() {
    let mut shell = Shell::new(config(6));
    let warmth = |celsius: i32| Warmth { millicelsius: Some(celsius * 1_000), throttled: false };
    shell.on(at(0), Input::Heat(warmth(85)));
    shell.stream(30, false);
    assert_eq!((shell.learner.progress().steps, shell.learner.frames().used), (0, 600));
    let mut shell = Shell::new(config(6));
    shell.on(at(0), Input::Heat(warmth(79)));
    shell.stream(30, false);
    let slow = shell.learner.progress().steps;
    let mut shell = Shell::new(config(6));
    shell.on(at(0), Input::Memory { bytes: 1 << 40 });
    shell.stream(30, false);
    let free = shell.learner.progress().steps;
    // A tenth of the time; the first pairs are there at 3.95 s.
    assert!(slow > 0 && slow * 8 < free, "{slow} steps at 79 °C, {free} when cool");
}

#[test]
fn turning_away_spoils_a_pair() {
    let mut shell = Shell::new(config(3));
    for tick in 0..400u64 {
        // 4 rad/s turn through the largest rotation before the shortest distance.
        let sample = ImuSample { accel: [0.0, 0.0, 9.81], gyro: [0.0, 0.0, 4.0] };
        shell.on(at(tick * 10), Input::Imu(Reading { at: at(tick * 10), value: Ok(sample) }));
        if tick % 5 == 0 {
            shell.on(at(tick * 10), Input::Frame(Reading { at: at(tick * 10), value: Ok(tick) }));
        }
    }
    assert_eq!(shell.learner.pairs().pairs, 0);
    assert!(shell.learner.pairs().lost_to_rotation > 20);
}

#[test]
fn windows_are_embedded_and_frames_are_counted_as_unused() {
    let window =
        WindowConfig { length: 16, stride: 8, period: Span::from_millis(10), max_gap: Span::from_millis(50) };
    let pairing = PairingConfig { min: Span::from_millis(80), ..Default::default() };
    let mut shell = Shell::new(LearnerConfig { senses: Senses::Windows(window), pairing, ..config(4) });
    shell.stream(30, false);
    shell.check_books(600, 3_000);
    assert_eq!(shell.learner.frames().unused, 600);
    let windows = shell.learner.windows();
    assert_eq!((windows.offered, windows.used), ((3_000 - 16) / 8 + 1, shell.embedded));
    assert!(shell.learner.pairs().pairs > 100);
}

#[test]
fn answers_nobody_asked_for_are_refused() {
    let mut learner = Box::new(Small::new(config(0)).unwrap());
    let took = Span::default();
    for input in [
        Input::Embedded { index: 0, embedding: &[0.0; 4] },
        Input::NotEmbedded { index: 0 },
        Input::Stepped { took },
        Input::StepFailed { took },
        Input::Evaluated { evidence: evidence(0.5), took },
    ] {
        assert_eq!(learner.on(at(0), input), Err(Refusal::NotAsked));
    }
    learner.on(at(0), Input::Frame(Reading { at: at(0), value: Ok(3) })).unwrap();
    learner.on(at(500), Input::End).unwrap();
    assert!(matches!(learner.poll(at(500)), Action::EmbedFrame { index: 3, .. }));
    assert!(!learner.is_settled());
    let nan = learner.on(at(500), Input::Embedded { index: 3, embedding: &[f32::NAN; 4] });
    assert!(matches!(nan, Err(Refusal::Embedding(_))));
    assert_eq!((learner.frames().failed, learner.frames().waiting()), (1, 0));
    assert!(learner.is_settled());
}

#[test]
fn configurations_that_make_no_sense_are_named() {
    let refused = |change: fn(&mut LearnerConfig)| {
        let mut config = config(0);
        change(&mut config);
        Small::new(config).err().unwrap()
    };
    let size = |error| match error {
        ConfigError::Size { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(size(refused(|c| c.pairs = 33)), "pairs");
    assert_eq!(size(refused(|c| c.dimensions = 5)), "dimensions");
    assert_eq!(size(refused(|c| c.hold_out_every = 1)), "hold_out_every");
    assert_eq!(size(refused(|c| c.batch_pairs = 0)), "batch_pairs");
    assert_eq!(size(refused(|c| c.budget.duty_ppm = 1_000_001)), "budget.duty_ppm");
    assert_eq!(refused(|c| c.pairing.min = Span::from_millis(9_000)), ConfigError::Distances);
    assert!(matches!(refused(|c| c.guard.z = f32::NAN), ConfigError::Number { field: "guard.z", .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_order_of_time_panics_or_unbalances_the_books(
        events in proptest::collection::vec((any::<bool>(), any::<bool>(), 0u64..3_000, 0u8..6), 0..300),
        windows in any::<bool>(),
    ) {
        let mut config = config(1);
        if windows {
            let period = Span::from_millis(10);
            let max_gap = Span::from_millis(50);
            config.senses = Senses::Windows(WindowConfig { length: 16, stride: 8, period, max_gap });
        }
        let mut shell = Shell::new(config);
        let (mut frames, mut samples) = (0, 0);
        for (is_frame, jump, millis, kind) in events {
            let now = if jump { Timestamp::from_nanos(u64::MAX - millis) } else { at(millis) };
            if is_frame {
                let value = if kind == 0 { Err(NoData::WrongShape) } else { Ok(frames) };
                frames += 1;
                shell.on(now, Input::Frame(Reading { at: now, value }));
            } else {
                samples += 1;
                let channel = [f32::NAN, f32::MAX, -f32::MAX, 0.0, 1.0, -1.0][usize::from(kind)];
                let value = Ok(ImuSample::from_channels([channel; 6]));
                shell.on(now, Input::Imu(Reading { at: now, value }));
            }
        }
        shell.on(at(0), Input::End);
        shell.check_books(frames, samples);
    }
}
