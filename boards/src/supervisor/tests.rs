#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;
use sedge_readings::{ImuSample, NoData, Reading};

use super::*;
use crate::fault::{Faults, Faulty};
use crate::sensor::Sensor;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * MS)
}

fn steady() -> Patience {
    Patience { jitter: 0.0, longest: Span::from_millis(80), failures: 3, ..Patience::default() }
}

fn watch(periods_ms: &[u64], patience: Patience) -> Supervisor {
    let periods: Vec<Span> = periods_ms.iter().map(|ms| Span::from_millis(*ms)).collect();
    Supervisor::new(&periods, patience, at(0), 1).unwrap()
}

#[test]
fn devices_that_work_are_read_on_their_beat() {
    let mut watch = watch(&[10, 25], steady());
    let mut read = vec![];
    let mut now = at(0);
    while now < at(100) {
        match watch.next(now) {
            Action::Rest(until) => now = until,
            Action::Read(device) => {
                read.push((now.nanos() / MS, device));
                // A reading that takes 3 ms does not put the beat off.
                now = now + Span::from_millis(3);
                assert_eq!(watch.report(device, now, true), None);
            }
            Action::Reopen(_) => panic!("nothing failed"),
        }
    }
    let of =
        |which| read.iter().filter(|(_, device)| *device == which).map(|(ms, _)| *ms).collect::<Vec<_>>();
    assert_eq!(of(0).len(), 10);
    assert!(
        of(0).iter().zip((0..).step_by(10)).all(|(found, beat)| (beat..beat + 4).contains(found)),
        "{read:?}"
    );
    assert_eq!(of(1).len(), 4);
}

#[test]
fn pauses_double_to_their_limit_and_a_lost_device_is_opened_again() {
    let mut watch = watch(&[10], steady());
    let mut now = at(0);
    let mut pauses = vec![];
    let mut changes = vec![];
    for attempt in 0..8 {
        let wanted = if attempt < 3 { Action::Read(0) } else { Action::Reopen(0) };
        assert_eq!(watch.next(now), wanted, "{attempt}");
        changes.extend(watch.report(0, now, false));
        let Action::Rest(until) = watch.next(now) else {
            panic!("a failed device is left alone for a while")
        };
        pauses.push(until.since(now).nanos() / MS);
        now = until;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 80, 80, 80, 80]);
    assert_eq!(changes, [Change::Failing, Change::Lost]);
    assert_eq!(watch.condition(0), Some(Condition::Lost));
    assert_eq!(watch.left().count(), 0);
    assert_eq!(watch.report(0, now, true), Some(Change::Returned));
    assert_eq!(watch.condition(0), Some(Condition::Live));
    // Patience begins anew.
    let Action::Rest(beat) = watch.next(now) else { panic!("it was just read") };
    assert_eq!(watch.report(0, beat, false), Some(Change::Failing));
    assert_eq!(watch.next(beat), Action::Rest(beat + Span::from_millis(10)));
}

#[test]
fn a_device_that_fails_once_recovers_without_having_been_lost() {
    let mut watch = watch(&[10], steady());
    assert_eq!(watch.report(0, at(0), false), Some(Change::Failing));
    assert_eq!(watch.condition(0), Some(Condition::Failing(1)));
    assert_eq!(watch.report(0, at(10), true), Some(Change::Recovered));
    assert_eq!(watch.report(9, at(10), true), None);
}

#[test]
fn a_watch_that_makes_no_sense_is_refused_in_words() {
    let new =
        |periods: &[Span], patience| Supervisor::new(periods, patience, at(0), 1).map(|_| ()).unwrap_err();
    let one = [Span::from_millis(1)];
    assert_eq!(new(&[one[0]; 65], steady()), SupervisorError::TooMany { found: 65 });
    assert_eq!(new(&[one[0], Span::default()], steady()), SupervisorError::Period { device: 1 });
    for (patience, what) in [
        (Patience { first: Span::default(), ..steady() }, "first"),
        (Patience { longest: Span::from_millis(1), ..steady() }, "longest"),
        (Patience { failures: 0, ..steady() }, "failures"),
        (Patience { jitter: f64::NAN, ..steady() }, "jitter"),
    ] {
        assert!(new(&one, patience).to_string().starts_with(what));
    }
}

/// A sensor that must be opened again after it was unplugged, as a chip that forgot its settings.
struct Forgetful {
    is_open: bool,
}

impl Sensor for Forgetful {
    type Value = ImuSample;

    fn read(&mut self, at: Timestamp) -> Reading<ImuSample> {
        let value = if self.is_open { Ok(ImuSample::default()) } else { Err(NoData::Corrupt) };
        Reading { at, value }
    }
}

/// What one run of the simulation gave.
#[derive(Debug, Default, PartialEq)]
struct Ran {
    /// Good readings of each device, by tenth of a second.
    good: Vec<[u32; 3]>,
    changes: Vec<(u64, usize, Change)>,
    attempts: [u32; 3],
}

/// Ten seconds of three devices at 100 Hz: a sound one, one that drops a fifth, and one that is unplugged from
/// the second to the sixth second and forgets its settings.
fn simulate(seed: u64) -> Ran {
    let gap = (at(2000), Span::from_millis(4000));
    let faults = [
        Faults::default(),
        Faults { drop_out: 0.2, ..Faults::default() },
        Faults { disconnections: vec![gap], ..Faults::default() },
    ];
    let mut devices: Vec<_> = faults
        .into_iter()
        .zip(seed..)
        .map(|(faults, seed)| Faulty::new(Forgetful { is_open: true }, faults, seed))
        .collect();
    let patience = Patience { longest: Span::from_millis(500), ..Patience::default() };
    let mut watch = Supervisor::new(&[Span::from_millis(10); 3], patience, at(0), seed).unwrap();
    let mut ran = Ran { good: vec![[0; 3]; 100], ..Ran::default() };
    let mut now = at(0);
    while now < at(10_000) {
        let (device, worked) = match watch.next(now) {
            Action::Rest(until) => {
                now = until;
                continue;
            }
            Action::Read(device) => (device, devices[device].read(now).value.is_ok()),
            Action::Reopen(device) => {
                let is_there = !devices[device].is_unplugged(now);
                devices[device].sensor_mut().is_open = is_there;
                (device, is_there)
            }
        };
        if devices[device].is_unplugged(now) {
            devices[device].sensor_mut().is_open = false;
        }
        ran.attempts[device] += 1;
        ran.good[(now.nanos() / MS / 100) as usize][device] += u32::from(worked);
        if let Some(change) = watch.report(device, now, worked) {
            ran.changes.push((now.nanos() / MS, device, change));
        }
    }
    ran
}

#[test]
fn the_sound_device_never_notices_and_the_others_come_back() {
    let ran = simulate(11);
    assert!(ran.good.iter().all(|tenth| tenth[0] == 10), "{:?}", ran.good);
    assert!(ran.changes.iter().all(|(_, device, _)| *device != 0));
    // The one that drops a fifth is never given up: five in a row are one in three thousand, over a thousand
    // readings; this seed has none.
    let of = |device| ran.changes.iter().filter(move |(_, which, _)| *which == device);
    assert!(of(1).all(|(_, _, change)| matches!(change, Change::Failing | Change::Recovered)));
    let third: Vec<Change> = of(2).map(|(_, _, change)| *change).collect();
    assert_eq!(third, [Change::Failing, Change::Lost, Change::Returned], "{:?}", ran.changes);
    let when: Vec<u64> = of(2).map(|(ms, ..)| *ms).collect();
    assert!((2000..2020).contains(&when[0]), "{when:?}");
    assert!(when[1] < 2200, "given up within five failures: {when:?}");
    assert!((6000..6500).contains(&when[2]), "back within the longest pause: {when:?}");
    // While it is away it is knocked at a handful of times, not four hundred.
    let knocks = ran.attempts[2] - ran.good.iter().map(|tenth| tenth[2]).sum::<u32>();
    assert!((8..30).contains(&knocks), "{knocks}");
    assert!(ran.good[66..].iter().all(|tenth| tenth[2] == 10));
}

#[test]
fn equal_seeds_run_equally() {
    assert_eq!(simulate(3), simulate(3));
    assert_ne!(simulate(3).changes, simulate(4).changes);
}

proptest! {
    /// Whatever fails and whenever it is asked: a device is never acted on before it is due, never starved, and
    /// time always moves on.
    #[test]
    fn no_history_starves_a_device(worked in proptest::collection::vec(any::<bool>(), 200), seed: u64) {
        let patience = Patience { longest: Span::from_millis(100), ..Patience::default() };
        let periods = [10, 15, 40].map(Span::from_millis);
        let mut watch = Supervisor::new(&periods, patience, at(0), seed).unwrap();
        let mut now = at(0);
        let mut seen = [at(0); 3];
        for worked in worked {
            while let Action::Rest(until) = watch.next(now) {
                prop_assert!(until > now);
                now = until;
            }
            let (Action::Read(device) | Action::Reopen(device)) = watch.next(now) else { unreachable!() };
            seen[device] = now;
            watch.report(device, now, worked);
            for last in seen {
                prop_assert!(now.since(last) <= Span::from_millis(101));
            }
        }
    }
}
