//! `report.html`: the same numbers as `report.json`, drawn.

use std::path::Path;

use super::camera::{Map, SETS};
use super::outcome::Device;
use super::{QuickstartError, Report};
use crate::evaluate::Measure;
use crate::report::{
    Bar, BarChart, BarSeries, LineChart, Page, Picture, Plane, Scatter, Section, Series, Table, Tile,
};

pub(super) fn write(report: &Report, path: &Path) -> Result<(), QuickstartError> {
    let mut page = Page::new("Sedge quickstart");
    page.lead(
        "An encoder was pretrained without labels on a simulated robot's drives, packed for a board, and \
         adapted there, without labels again, to rooms and light it had never seen. Labels and ground truth \
         served only to measure what that was worth.",
    );
    page.section(summary(report));
    page.section(rig(report)?);
    page.section(pretraining(report)?);
    page.section(adaptation(report)?);
    page.section(rooms(report)?);
    if let Some(map) = &report.camera.map {
        page.section(embedding_map(map)?);
    }
    page.section(floors(report)?);
    page.footer(format!(
        "sedge {} · seed {} · {:.0} s · the same numbers are in report.json",
        report.version, report.seed, report.seconds
    ));
    page.write(path)?;
    Ok(())
}

fn tile(value: String, label: &str) -> Tile {
    Tile { value, label: label.into(), detail: String::new() }
}

fn summary(report: &Report) -> Section {
    let camera = &report.camera;
    let last = camera.accuracy.last().map(|(_, measure, _)| *measure);
    let mut tiles = vec![];
    for (set, measure, interval) in &camera.accuracy {
        if Some(*measure) == last && set != SETS[3] {
            tiles.push(tile(
                format!("{} %", interval.percent()),
                &format!("rooms told apart, {set}, {measure}"),
            ));
        }
    }
    tiles.push(tile(format!("{:.0} kB", camera.pretrained.bundle_bytes as f64 / 1e3), "camera bundle"));
    tiles.push(tile(format!("{:.0} s", report.seconds), "for everything"));
    let mut section = Section::new("What happened").tiles(&tiles);
    for comparison in &camera.comparisons {
        section = section.text(&comparison.sentence());
    }
    section
}

fn rig(report: &Report) -> Result<Section, QuickstartError> {
    let mut pictures = vec![];
    for (caption, width, height, rgb) in &report.camera.frames {
        pictures.push(Picture::rgb(*width, *height, rgb, caption.clone())?);
    }
    let plan = &report.plan;
    Ok(Section::new("What the robot sees")
        .text(&format!(
            "Pretraining: {} buildings, {} s of driving in each. Use: {} robots, each in a building of its own, \
             under {}.",
            plan.buildings, plan.training_seconds, plan.robots, plan.shift
        ))
        .pictures(&pictures, "Camera frames from pretraining and from the new rooms"))
}

fn pretraining(report: &Report) -> Result<Section, QuickstartError> {
    let mut table = Table::new(
        "Two encoders, trained without labels",
        ["", "samples", "parameters", "steps", "seconds", "bundle kB", "export parity", "the board trains"],
    );
    for (name, p) in [("camera", &report.camera.pretrained), ("imu", &report.motion.pretrained)] {
        table.row([
            name.to_string(),
            p.samples.to_string(),
            p.parameters.to_string(),
            p.steps.to_string(),
            format!("{:.0}", p.seconds),
            format!("{:.0}", p.bundle_bytes as f64 / 1e3),
            format!("{:.1e}", p.parity.relative),
            p.trains.clone(),
        ]);
    }
    let series = |name: &str, points: &[(f64, f64)]| Series { name: name.into(), points: points.to_vec() };
    let chart = LineChart {
        title: "Contrastive loss while pretraining".into(),
        x_label: "step".into(),
        y_label: "loss".into(),
        series: vec![
            series("camera", &report.camera.pretrained.losses),
            series("imu", &report.motion.pretrained.losses),
        ],
    };
    Ok(Section::new("Pretraining on the host").table(&table).figure(&chart.draw()?, "Loss of every step"))
}

fn adaptation(report: &Report) -> Result<Section, QuickstartError> {
    let mut table = Table::new(
        "Every reading accounted for, every candidate judged on pairs never trained on",
        ["", "frames or windows", "used", "steps", "accepted", "rejected", "held-out loss", "served after"],
    );
    let row = |table: &mut Table, name: String, device: &Device, windows: bool| {
        let report = &device.report;
        let account = if windows { &report.windows } else { &report.frames };
        let progress = &report.adaptation.progress;
        let held_out = report.adaptation.held_out.as_ref();
        table.row([
            name,
            account.offered.to_string(),
            account.used.to_string(),
            progress.steps.to_string(),
            progress.accepted.to_string(),
            progress.rejected.to_string(),
            held_out.map_or("-".into(), |h| format!("{:.3}", h.origin.loss)),
            held_out.map_or("-".into(), |h| format!("{:.3}", h.served.loss)),
        ]);
    };
    for (i, device) in report.camera.devices.iter().enumerate() {
        row(&mut table, format!("camera robot {}", i + 1), device, false);
    }
    row(&mut table, "imu robot".into(), &report.motion.device, true);
    let series = report
        .camera
        .devices
        .iter()
        .enumerate()
        .map(|(i, device)| Series { name: format!("robot {}", i + 1), points: device.losses.clone() });
    let chart = LineChart {
        title: "Contrastive loss while adapting".into(),
        x_label: "step on the device".into(),
        y_label: "loss".into(),
        series: series.filter(|series| !series.points.is_empty()).collect(),
    };
    let section = Section::new("Adapting on the device").table(&table);
    if chart.series.is_empty() {
        return Ok(section.text("No device took a step: the streams were too short to gather pairs."));
    }
    Ok(section.figure(&chart.draw()?, "Loss of every step"))
}

fn rooms(report: &Report) -> Result<Section, QuickstartError> {
    let accuracy = &report.camera.accuracy;
    let measures = report.camera.measures();
    let cell = |set: &str, measure: &Measure| {
        accuracy.iter().find(|(s, m, _)| s == set && m == measure).map(|c| c.2)
    };
    let mut differences = Table::new("Paired differences over robots, points", ["", "measure", "difference"]);
    for c in &report.camera.comparisons {
        differences.row([
            format!("{} - {}", c.better, c.worse),
            c.measure.to_string(),
            c.difference.signed_percent(),
        ]);
    }
    let chart = BarChart {
        title: "Rooms told apart by few labels".into(),
        y_label: "accuracy, %".into(),
        groups: measures.iter().map(ToString::to_string).collect(),
        series: SETS
            .iter()
            .map(|set| BarSeries {
                name: (*set).into(),
                bars: measures.iter().map(|m| cell(set, m).map(Bar::percent)).collect(),
            })
            .collect(),
        guide: None,
    };
    Ok(Section::new("Camera: which room is this?")
        .text(
            "Linear probes and nearest neighbours on frames of one drive, tested on another drive through the \
             same rooms. Robots are the seeds: each has its own building, drives, random encoder and label draws.",
        )
        .figure(&chart.draw()?, "Mean over robots with 95 % intervals")
        .table(&report.camera.table())
        .table(&differences))
}

fn embedding_map(map: &Map) -> Result<Section, QuickstartError> {
    let mut section = Section::new("Camera: the embeddings of one robot");
    for (title, features) in [("As shipped", &map.pretrained), ("As adapted", &map.adapted)] {
        let plane = Plane::of(features.view())?;
        let scatter = Scatter {
            title: title.into(),
            points: plane.project(features.view())?,
            classes: map.rooms.clone(),
            names: map.names.clone(),
        };
        section = section.figure(&scatter.draw()?, "Test frames on their first two principal axes, by room");
    }
    Ok(section)
}

fn floors(report: &Report) -> Result<Section, QuickstartError> {
    let mut section = Section::new("IMU: which floor is this?")
        .text("Windows of 1.28 s of acceleration and angular rate from new robots whose bias drifts.")
        .table(&report.motion.table());
    if let Some(first) = report.motion.evaluations.first() {
        section = section
            .figure(
                &first.accuracy_chart().draw()?,
                "The first robot: mean over label draws with 95 % intervals",
            )
            .table(&first.gauge_table());
    }
    Ok(section)
}
