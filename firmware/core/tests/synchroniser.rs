//! The synchroniser against closed forms, and its books under arbitrary input.

use proptest::prelude::*;
use sedge_core::{Synchroniser, SynchroniserConfig};
use sedge_readings::{ImuSample, NoData, Reading, Timestamp};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn turning(millis: u64, rate: f32) -> Reading<ImuSample> {
    let sample = ImuSample { accel: [0.0, 0.0, 9.81], gyro: [0.0, 0.0, rate] };
    Reading { at: at(millis), value: Ok(sample) }
}

fn frame(millis: u64, index: u64) -> Reading<u64> {
    Reading { at: at(millis), value: Ok(index) }
}

#[test]
fn a_frame_waits_for_the_samples_of_its_interval() {
    let mut sync = Synchroniser::<64>::new(SynchroniserConfig::default());
    sync.imu(turning(0, 0.5));
    assert!(sync.frame(frame(5, 0)));
    assert!(sync.answer(at(5)).is_none(), "no sample has passed the frame yet");
    sync.imu(turning(10, 0.5));
    let (stamp, motion) = sync.answer(at(10)).unwrap();
    assert_eq!((stamp.index, motion.samples, motion.rotation), (0, 1, None), "the first has no interval");
    for millis in (20..=60).step_by(10) {
        sync.imu(turning(millis, 0.5));
    }
    sync.frame(frame(55, 1));
    let (stamp, motion) = sync.answer(at(60)).unwrap();
    assert_eq!((stamp.index, motion.samples), (1, 5));
    assert!((motion.rotation.unwrap()[2] - 0.5 * 0.050).abs() < 1e-7);
    assert!((motion.yaw().unwrap() - 0.5 * 0.050).abs() < 1e-7);
    assert!((motion.gyro_rms - 0.5).abs() < 1e-6);
    assert_eq!(sync.samples().used, 6);
    assert_eq!(sync.samples().waiting(), 1);
}

#[test]
fn a_silent_imu_delays_a_frame_only_until_the_timeout() {
    let mut sync = Synchroniser::<8>::new(SynchroniserConfig::default());
    sync.frame(frame(0, 7));
    assert!(sync.answer(at(99)).is_none());
    let (stamp, motion) = sync.answer(at(100)).unwrap();
    assert_eq!((stamp.index, motion.samples, motion.rotation), (7, 0, None));
    sync.imu(turning(0, 1.0));
    assert_eq!(sync.samples().late, 1, "its frame was answered");
}

#[test]
fn faults_are_counted_by_reason() {
    let mut sync = Synchroniser::<8>::new(SynchroniserConfig::default());
    sync.frame(frame(10, 0));
    sync.frame(frame(10, 1));
    sync.frame(frame(5, 2));
    sync.frame(Reading { at: at(20), value: Err(NoData::Corrupt) });
    let frames = *sync.frames();
    assert_eq!((frames.duplicate, frames.backwards, frames.corrupt, frames.waiting()), (1, 1, 1, 1));
    sync.imu(turning(10, f32::NAN));
    sync.imu(turning(11, 0.0));
    sync.imu(turning(11, 0.0));
    sync.imu(turning(1, 0.0));
    sync.imu(Reading { at: at(12), value: Err(NoData::Bus) });
    let imu = *sync.samples();
    assert_eq!((imu.not_finite, imu.duplicate, imu.backwards, imu.bus, imu.waiting()), (1, 1, 1, 1, 1));
    for millis in 20..40 {
        sync.imu(turning(millis, 0.0));
    }
    assert_eq!(sync.samples().overflow, 13, "21 samples in a ring of 8");
}

fn any_event() -> impl Strategy<Value = (bool, u64, u8)> {
    (any::<bool>(), prop_oneof![0u64..400, 0u64..20, Just(u64::MAX / 1_000_000)], 0u8..8)
}

proptest! {
    #[test]
    fn the_books_balance_in_any_order(events in proptest::collection::vec(any_event(), 0..300)) {
        let mut sync = Synchroniser::<16>::new(SynchroniserConfig::default());
        let (mut frames, mut samples, mut answered, mut now) = (0u64, 0u64, 0u64, at(0));
        for (is_frame, millis, kind) in events {
            now = now.max(at(millis));
            if is_frame {
                let value = if kind == 0 { Err(NoData::DropOut) } else { Ok(frames) };
                sync.frame(Reading { at: at(millis), value });
                frames += 1;
            } else {
                let rate = if kind == 1 { f32::INFINITY } else { f32::from(kind) };
                sync.imu(turning(millis, rate));
                samples += 1;
            }
            if kind > 4 {
                while let Some((_, motion)) = sync.answer(now) {
                    answered += 1;
                    prop_assert!(motion.rotation.is_none_or(|r| r.iter().all(|v| v.is_finite())));
                }
            }
            prop_assert!(sync.samples().used + sync.samples().dropped() <= samples);
        }
        sync.end();
        while sync.answer(now).is_some() {
            answered += 1;
        }
        prop_assert_eq!(sync.frames().offered, frames);
        prop_assert_eq!(answered + sync.frames().dropped(), frames);
        let imu = sync.samples();
        prop_assert_eq!((imu.offered, imu.waiting()), (samples, 0));
    }
}
