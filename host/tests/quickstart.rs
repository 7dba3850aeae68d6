//! The quickstart end to end, as small as it can be: every stage runs, every reading is accounted for,
//! the page stands alone, and a seed means a result.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use sedge::pretrain::Stop;
use sedge::quickstart::{Plan, Report, run};
use sedge_models::bundle::Bundle;

fn plan() -> Plan {
    Plan {
        buildings: 2,
        training_seconds: 16,
        keep_every: 4,
        camera_epochs: 1,
        imu_epochs: 1,
        robots: 2,
        stream_seconds: 30,
        probe_seconds: 40,
        draws: 2,
        ..Plan::new(3)
    }
}

fn quickstart(out: &Path) -> Report {
    run(&plan(), out, &Stop::new(), &|_| {}).unwrap()
}

/// What a report says without the times that a machine took.
fn timeless(report: &Report) -> Vec<String> {
    let camera = &report.camera;
    let mut said: Vec<String> = camera.accuracy.iter().map(|cell| format!("{cell:?}")).collect();
    said.extend(camera.comparisons.iter().map(|c| c.sentence()));
    said.extend([camera.pretrained.bundle_digest.clone(), report.motion.pretrained.bundle_digest.clone()]);
    said.extend(camera.devices.iter().chain([&report.motion.device]).map(|d| d.sentence()));
    said
}

#[test]
fn the_whole_job_runs_and_a_seed_means_a_result() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = quickstart(one.path());
    assert_eq!(report.camera.devices.len(), 2);
    for device in report.camera.devices.iter().chain([&report.motion.device]) {
        assert!(device.report.balances(), "{device:?}");
        assert!(device.report.frames.offered > 0);
    }
    let page = std::fs::read_to_string(one.path().join("report.html")).unwrap();
    assert!(
        page.contains("<svg") && !page.contains("http://") || page.contains("www.w3.org"),
        "a page of its own"
    );
    assert!(!page.contains("<script"));
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(one.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(json["plan"]["robots"], 2);
    for name in ["camera.sedge", "imu.sedge"] {
        Bundle::read(&one.path().join(name)).unwrap();
    }
    assert_eq!(timeless(&report), timeless(&quickstart(two.path())));
}
