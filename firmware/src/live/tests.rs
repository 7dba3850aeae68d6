//! Stations in simulated time: the same code as in the threads, stepped by a clock that a test moves.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::Cell;
use std::sync::mpsc::sync_channel;

use sedge_boards::fault::Faults;
use sedge_readings::{Event, NoData, Reading, Span};

use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// Steps a station over this many seconds; what it said.
fn hear<S: Slot>(mut station: Station<S>, seconds: u64) -> Vec<Said>
where
    S::Value: Clone + FlipBit,
{
    let (sender, inbox) = sync_channel(1 << 16);
    let mut outbox = Outbox::new(sender, Arc::new(Overrun::default()));
    let now = Cell::new(Timestamp::default());
    while now.get() < at(seconds * 1_000) {
        let until = station.step(&|| now.get(), &mut outbox);
        // A step takes a tenth of a millisecond.
        now.set(until.max(now.get() + Span::from_nanos(SECOND / 10_000)));
    }
    drop(outbox);
    inbox.into_iter().collect()
}

/// The simulated board's chip, read through the simulated bus.
fn imu(faults: Faults, seed: u64) -> (Station<SensorSlot>, Arc<Entry>) {
    let board = Arc::new(Board::named("sim").unwrap());
    let spec = board.sensors[0].clone();
    let world = World::felt(seed, Timestamp::default(), &spec).unwrap();
    let slot = SensorSlot::new("/".into(), board, spec.clone(), Some(world), None);
    let entry = Entry::new("imu");
    let device = Faulty::new(slot, faults, seed);
    let post = Post::new(device, entry.clone(), SensorSlot::period_of(&spec), sensors::feed);
    (Station::new(vec![post], None, Timestamp::default(), seed).unwrap(), entry)
}

fn camera(faults: Faults, seed: u64, rota: Option<Rota>) -> Station<CameraSlot> {
    let spec = Board::named("sim").unwrap().cameras[0].clone();
    let world = World::seen(seed, Timestamp::default(), &spec).unwrap();
    let slot = CameraSlot::simulated(spec.clone(), SimulatedCamera::new(world));
    let device = Faulty::new(slot, faults, seed);
    let post = Post::new(device, Entry::new("eye"), CameraSlot::period_of(&spec), camera::feed);
    Station::new(vec![post], rota, Timestamp::default(), seed).unwrap()
}

fn samples(said: &[Said]) -> Vec<Reading<sedge_readings::ImuSample>> {
    let sample =
        |said: &Said| if let Said::Event(Event::Imu(reading)) = said { Some(*reading) } else { None };
    said.iter().filter_map(sample).collect()
}

fn changes(said: &[Said]) -> Vec<(DeviceChange, u64)> {
    let change = |said: &Said| match said {
        Said::Changed { change, at, .. } => Some((*change, at.nanos() / 1_000_000)),
        _ => None,
    };
    said.iter().filter_map(change).collect()
}

#[test]
fn a_chips_queue_gives_its_samples_at_its_rate_and_in_order() {
    let (station, entry) = imu(Faults::default(), 1);
    let said = hear(station, 10);
    let samples = samples(&said);
    // A hundred a second; those of the last burst may be under way.
    assert!((990..=1_000).contains(&samples.len()), "{}", samples.len());
    assert!(samples.iter().all(|reading| reading.value.is_ok()));
    let steps: Vec<u64> = samples.windows(2).map(|pair| pair[1].at.since(pair[0].at).nanos()).collect();
    assert!(steps.iter().all(|step| (8_000_000..=12_500_000).contains(step)), "{:?}", steps.iter().max());
    assert_eq!(changes(&said), [(DeviceChange::Opened, 0)]);
    assert_eq!(entry.account().readings, samples.len() as u64);
}

#[test]
fn the_chip_feels_the_drive_that_the_rig_drives() {
    let (station, _) = imu(Faults::default(), 4);
    let felt = samples(&hear(station, 5));
    let config = sedge_boards::sim::RigConfig { drive_seed: 4, ..Default::default() };
    let driven = sedge_boards::sim::Rig::new(config).unwrap().without_camera();
    let driven = driven.filter_map(|event| match event {
        Event::Imu(reading) => reading.value.ok(),
        Event::Frame(_) => None,
    });
    // The drive's first samples were over before the chip's queue was started.
    let first = felt[0].value.unwrap();
    let driven: Vec<_> = driven.collect();
    let close = |a: &sedge_readings::ImuSample, b: &sedge_readings::ImuSample| {
        a.channels().iter().zip(b.channels()).all(|(a, b)| (a - b).abs() < 3e-3)
    };
    let start = driven.iter().position(|sample| close(sample, &first)).unwrap();
    assert!(start < 3, "{start}");
    for (felt, driven) in felt.iter().zip(&driven[start..]) {
        assert!(close(&felt.value.unwrap(), driven), "{felt:?} {driven:?}");
    }
}

#[test]
fn drop_outs_are_counted_and_not_told_one_by_one() {
    let (station, entry) = imu(Faults { drop_out: 0.1, ..Faults::default() }, 2);
    let said = hear(station, 20);
    let samples = samples(&said);
    let lost = samples.iter().filter(|reading| reading.value == Err(NoData::DropOut)).count();
    // Five standard deviations of a binomial.
    assert!((lost as f64 / samples.len() as f64 - 0.1).abs() < 0.035, "{lost} of {}", samples.len());
    assert!(samples.len() > 1_950, "a queue loses nothing while its reader waits: {}", samples.len());
    assert_eq!(changes(&said), [(DeviceChange::Opened, 0)]);
    assert_eq!(entry.account().failures, lost as u64);
}

#[test]
fn an_unplugged_device_is_told_lost_and_taken_back() {
    let faults = Faults { disconnections: vec![(at(2_000), Span::from_millis(3_000))], ..Faults::default() };
    let (station, entry) = imu(faults, 3);
    let said = hear(station, 20);
    let [(opened, _), (failing, first), (lost, then), (returned, back)] = changes(&said)[..] else {
        panic!("{:?}", changes(&said))
    };
    assert_eq!(
        (opened, failing, lost, returned),
        (DeviceChange::Opened, DeviceChange::Failing, DeviceChange::Lost, DeviceChange::Returned)
    );
    assert!((2_000..2_300).contains(&first) && (first..2_500).contains(&then), "{first} {then}");
    // Pauses double from 10 ms, so the last is about as long as the time away.
    assert!((5_000..9_000).contains(&back), "{back}");
    assert_eq!(entry.condition(), DeviceCondition::Live);
    let samples = samples(&said);
    assert!(samples.iter().any(|reading| reading.value == Err(NoData::Lost)));
    let after =
        samples.iter().filter(|reading| reading.at > at(back) && reading.value.is_ok()).count() as u64;
    assert!(after >= (20_000 - back) / 10 - 10, "{after} samples since {back} ms");
}

#[test]
fn equal_seeds_say_the_same_and_others_otherwise() {
    let faults = || Faults {
        drop_out: 0.05,
        stuck: 0.01,
        stuck_readings: 30,
        bit_flip: 0.01,
        disconnections: vec![(at(3_000), Span::from_millis(1_000))],
        ..Faults::default()
    };
    let run = |seed| {
        let eye = hear(camera(faults(), seed, None), 8);
        format!("{:?} {:?}", samples(&hear(imu(faults(), seed).0, 8)), frames(&eye))
    };
    let first = run(7);
    assert!(first == run(7), "simulated time leaves nothing to chance");
    assert!(first != run(8));
}

fn frames(said: &[Said]) -> Vec<Reading<sedge_readings::Frame>> {
    let frame = |said: &Said| match said {
        Said::Event(Event::Frame(reading)) => Some(reading.clone()),
        _ => None,
    };
    said.iter().filter_map(frame).collect()
}

#[test]
fn a_camera_gives_every_frame_of_the_world_once() {
    let frames = frames(&hear(camera(Faults::default(), 1, None), 5));
    assert!((99..=101).contains(&frames.len()), "{}", frames.len());
    let steps = frames.windows(2).map(|pair| pair[1].at.since(pair[0].at).nanos());
    assert!(steps.into_iter().all(|step| step == SECOND / 20));
}

#[test]
fn a_camera_in_reserve_serves_while_the_first_is_lost_and_no_longer() {
    let lost: Arc<[AtomicBool]> = Arc::from([AtomicBool::new(false), AtomicBool::new(false)]);
    let rota = |own| Some(Rota { lost: lost.clone(), own });
    let mut reserve = camera(Faults::default(), 1, rota(1));
    let (sender, inbox) = sync_channel(1 << 10);
    let mut outbox = Outbox::new(sender, Arc::new(Overrun::default()));
    let mut run = |from: u64, to: u64| {
        let now = Cell::new(at(from));
        while now.get() < at(to) {
            let until = reserve.step(&|| now.get(), &mut outbox);
            now.set(until.max(now.get() + Span::from_nanos(SECOND / 1_000)));
        }
        frames(&inbox.try_iter().collect::<Vec<_>>()).len()
    };
    assert_eq!(run(0, 2_000), 0);
    lost[0].store(true, Ordering::Release);
    assert!(run(2_000, 4_000) >= 38);
    lost[0].store(false, Ordering::Release);
    assert_eq!(run(4_000, 6_000), 0);
}

#[test]
fn a_full_queue_drops_readings_and_counts_them_but_keeps_the_news() {
    let (sender, inbox) = sync_channel(2);
    let overrun = Arc::new(Overrun::default());
    let mut outbox = Outbox::new(sender, overrun.clone());
    let entry = Entry::new("imu");
    let sample = || Said::Event(Event::Imu(Reading { at: at(0), value: Err(NoData::DropOut) }));
    (0..5).for_each(|_| outbox.say(&entry, sample()));
    assert_eq!((overrun.counts(), entry.account().dropped), ([0, 3], 3));
    let teller = std::thread::spawn({
        let (mut outbox, entry) = (outbox.clone(), entry.clone());
        move || {
            let change = DeviceChange::Lost;
            let news = Said::Changed { device: entry.clone(), at: at(1), change, reason: None };
            outbox.say(&entry, news);
        }
    });
    drop(outbox);
    assert_eq!(inbox.into_iter().count(), 3, "news waits for room");
    teller.join().unwrap();
}

#[test]
fn a_board_without_what_the_encoder_reads_is_refused() {
    let plan = |board: &str, modality| LivePlan {
        board: Board::named(board).unwrap(),
        root: "/".into(),
        faults: vec![],
        seed: 0,
        modality,
    };
    let error = Live::start(plan("virtual-pi", Modality::Imu), at(0), 0).map(|_| ()).unwrap_err();
    assert!(matches!(&error, LiveError::Lacks { .. }) && error.to_string().contains("virtual-pi"), "{error}");
    Live::start(plan("sim", Modality::Imu), at(0), 0).map(|_| ()).unwrap();
}

#[test]
fn the_label_button_is_heard_with_its_number_and_the_light_shines() {
    use sedge_boards::board::{Line, PinSpec, PinsSpec};
    let pin = |line, active_low| Some(PinSpec { line: Line::Number(line), header: None, active_low });
    let spec = PinsSpec {
        driver: Driver::Simulated,
        device: None,
        label_button: pin(17, true),
        status_led: pin(27, false),
        data_ready: None,
    };
    let Pins { label_button, status_led, .. } = Pins::open(&spec).unwrap();
    let wire = label_button.as_ref().unwrap().simulated_level().unwrap();
    let (sender, inbox) = sync_channel(4);
    let outbox = Outbox::new(sender, Arc::new(Overrun::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let (light, clock) = (Light::new(), Clock::new(at(5_000)));
    let panel = Panel { button: label_button, presses: 2, led: status_led, light, clock, stop: stop.clone() };
    let thread = panel.serve(outbox).unwrap();
    for wanted in [3, 4] {
        wire.store(false, Ordering::SeqCst);
        let said = inbox.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(
            matches!(said, Said::Label { at: when, press } if press == wanted && when >= at(5_000)),
            "{said:?}"
        );
        wire.store(true, Ordering::SeqCst);
        std::thread::park_timeout(Duration::from_millis(200));
    }
    stop.store(true, Ordering::Release);
    thread.join().unwrap();
}

#[test]
fn a_microcontroller_that_is_not_there_is_lost_with_its_reason_and_asked_for_again() {
    let text = format!(
        "{}\n[[nodes]]\nname = \"wrist\"\ndevice = \"/dev/ttyNONE9\"\nbaud = 921600\nrate_hz = 100\n\
         accel_full_scale_g = 4\ngyro_full_scale_dps = 250\n",
        Board::text_of("generic-linux").unwrap()
    );
    let node = Board::from_toml(&text, "mine.toml").unwrap().nodes[0].clone();
    let entry = Entry::new("wrist");
    let device = Faulty::new(NodeSlot::new(node, Clock::new(Timestamp::default())), Faults::default(), 1);
    let post = Post::new(device, entry.clone(), NodeSlot::period(), sensors::feed);
    let station = Station::new(vec![post], None, Timestamp::default(), 1).unwrap();
    let said = hear(station, 60);
    assert_eq!(entry.condition(), DeviceCondition::Lost);
    let lost = said.iter().find_map(|said| match said {
        Said::Changed { change: DeviceChange::Lost, reason, .. } => reason.clone(),
        _ => None,
    });
    assert!(lost.is_some_and(|reason| reason.contains("/dev/ttyNONE9") && reason.contains("dialout")));
    assert!(entry.account().failures > 8, "{:?}", entry.account());
}
