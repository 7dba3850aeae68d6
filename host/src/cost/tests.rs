//! The meter on machines made of files.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn file(root: &Path, name: &str, text: impl ToString) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text.to_string()).unwrap();
}

fn zone(root: &Path, place: &str, name: &str, now: u64, range: u64) {
    let folder = format!("sys/class/powercap/{place}");
    file(root, &format!("{folder}/name"), format!("{name}\n"));
    file(root, &format!("{folder}/energy_uj"), format!("{now}\n"));
    file(root, &format!("{folder}/max_energy_range_uj"), format!("{range}\n"));
}

fn stat(root: &Path, user: u64, system: u64) {
    file(root, "proc/self/stat", format!("7 (a (b) c) S 1 7 7 0 -1 0 9 9 9 9 {user} {system} 5 5 20 0"));
}

#[test]
fn packages_and_memory_are_counted_once_and_through_a_turn() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    zone(root, "intel-rapl:0", "package-0", 1_000_000, 10_000_000);
    zone(root, "intel-rapl:0:0", "core", 5, 10_000_000);
    zone(root, "intel-rapl:0:1", "dram", 9_000_000, 10_000_000);
    zone(root, "intel-rapl:1", "psys", 5, 10_000_000);
    zone(root, "intel-rapl-mmio:0", "package-0", 5, 10_000_000);
    let mut meter = Meter::at(root);
    assert_eq!(meter.energy(), Energy::default());
    // Three joules in the package, and two in memory, whose counter was one joule before its end.
    for (place, now) in [("intel-rapl:0", 4_000_000), ("intel-rapl:0:1", 1_000_000)] {
        file(root, &format!("sys/class/powercap/{place}/energy_uj"), now);
    }
    for other in ["intel-rapl:0:0", "intel-rapl:1", "intel-rapl-mmio:0"] {
        file(root, &format!("sys/class/powercap/{other}/energy_uj"), 9_999_999);
    }
    assert_eq!(meter.energy(), Energy { measured_joules: 5.0, estimated_joules: 0.0 });
    assert!(meter.sources()[0].contains("package-0, dram"), "{meter:?}");
    // A sensor that goes away leaves what it has counted.
    std::fs::remove_dir_all(root.join("sys")).unwrap();
    assert_eq!(meter.energy().measured_joules, 5.0);
}

#[test]
fn a_counter_that_may_not_be_read_is_told_and_the_rest_is_an_estimate() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    file(root, "sys/class/powercap/intel-rapl:0/name", "package-0");
    stat(root, 100, 50);
    let mut meter = Meter::at(root);
    stat(root, 1100, 250);
    // Twelve seconds of a core.
    assert_eq!(meter.energy(), Energy { measured_joules: 0.0, estimated_joules: 12.0 * WATTS_PER_CORE });
    let words = meter.sources().join("\n");
    assert!(words.contains("an estimate of 12 W") && words.contains("only for root"), "{words}");
}

#[test]
fn a_machine_that_tells_nothing_is_taken_to_be_busy() {
    let root = tempfile::tempdir().unwrap();
    let mut meter = Meter::at(root.path());
    let energy = meter.read(Duration::from_secs(10));
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    assert_eq!(energy.estimated_joules, 10.0 * cores * WATTS_PER_CORE);
}

fn rail(root: &Path, monitor: &str, channel: usize, name: &str, (millivolts, milliamperes): (u64, u64)) {
    let folder = format!("sys/bus/i2c/drivers/ina3221/{monitor}/hwmon/hwmon3");
    file(root, &format!("{folder}/in{channel}_label"), name);
    file(root, &format!("{folder}/in{channel}_input"), millivolts);
    file(root, &format!("{folder}/curr{channel}_input"), milliamperes);
}

#[test]
fn the_rail_of_the_whole_module_is_all_and_without_one_rails_add_up() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    rail(root, "1-0040", 1, "VDD_GPU_SOC", (5000, 1000));
    rail(root, "1-0041", 1, "VDD_CPU_CV", (5000, 400));
    rail(root, "1-0041", 3, "sum of shunt voltages", (5000, 9000));
    file(root, "sys/bus/i2c/drivers/other/1-0042/hwmon/hwmon1/in1_label", "VDD_IN");
    let mut meter = Meter::at(root);
    let energy = meter.read(Duration::from_secs(10));
    assert!((energy.measured_joules - 70.0).abs() < 1e-9, "{meter:?}");
    rail(root, "1-0040", 2, "VDD_IN", (19_000, 1000));
    let mut meter = Meter::at(root);
    rail(root, "1-0040", 2, "VDD_IN", (19_000, 3000));
    let energy = meter.read(Duration::from_secs(10));
    // From 19 W to 57 W over ten seconds.
    assert!((energy.measured_joules - 380.0).abs() < 1e-9, "{meter:?}");
    assert!(meter.sources()[0].contains("VDD_IN") && !meter.sources()[0].contains("GPU"));
}

#[cfg(unix)]
#[test]
fn cards_are_counted_while_the_run_lasts() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("nvidia-smi");
    // Two cards of 100 W and 50 W, read every half second.
    file(root.path(), "nvidia-smi", "#!/bin/sh\nwhile printf '100.00\\n50.00\\n'; do sleep 0.5; done\n");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    stat(root.path(), 0, 0);
    let begun = std::time::Instant::now();
    let mut meter = Meter::at(root.path()).with_cards(&program);
    while meter.energy().measured_joules < 100.0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{meter:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    // Whole rounds only, so that no card is missed at a seam.
    let most = 150.0 * begun.elapsed().as_secs_f64();
    assert!(meter.energy().measured_joules <= most + 1e-6, "{meter:?}, at most {most}");
    assert!(meter.sources().iter().any(|source| source.contains("nvidia-smi")));
    let without = Meter::at(root.path()).with_cards(Path::new("/nonexistent/nvidia-smi"));
    assert_eq!(without.sources().len(), 1);
}

proptest! {
    /// Whatever steps are taken, the sum of what a wrapping counter shows is what was put in.
    #[test]
    fn a_counter_adds_up(range in 1000u64..1 << 40, shares in prop::collection::vec(0u64..1000, 1..50)) {
        let mut counter = Counter::new(range);
        let (mut shown, mut sum) = (range - 1, 0u64);
        counter.read(shown);
        for share in shares {
            // Less than a turn at a time.
            let step = (u128::from(range) * u128::from(share) / 1000) as u64;
            sum += step;
            shown = (shown + step) % range;
            counter.read(shown);
        }
        prop_assert!((counter.joules() - sum as f64 / 1e6).abs() < 1e-6 * (1.0 + counter.joules()));
    }
}

#[test]
fn a_counter_that_was_set_back_does_not_jump() {
    let mut counter = Counter::new(100);
    counter.read(5_000_000);
    assert_eq!(counter.read(1_000_000), 1.0);
}

#[test]
fn power_is_summed_by_trapezoids() {
    let mut integral = PowerIntegral::default();
    let seconds = Duration::from_secs;
    integral.read(seconds(1), 10.0);
    assert_eq!(integral.read(seconds(3), 20.0), 30.0);
    for bad in [f64::NAN, -1.0] {
        assert_eq!(integral.read(seconds(4), bad), 30.0);
    }
    assert_eq!(integral.read(seconds(2), 5.0), 30.0, "time does not go back");
}

#[test]
fn a_cost_says_what_it_reckons_with() {
    let energy = Energy { measured_joules: 1.8e6, estimated_joules: 1.8e6 };
    let cost = Cost::of(energy, vec!["x".into()], WORLD_G_PER_KWH);
    assert_eq!((cost.kwh, cost.measured_share, cost.co2_g), (1.0, 0.5, 473.0));
    assert!(cost.grid_source.contains("Ember") && cost.words().starts_with("50 %"));
    let cost = Cost::of(energy, vec![], 50.0);
    assert_eq!(cost.co2_g, 50.0);
    assert!(!cost.grid_source.contains("world"));
    assert!(Cost::of(Energy::default(), vec![], 1.0).words().contains("estimate"));
}
