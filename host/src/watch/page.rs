//! A run as a page, while it goes on and when it is over: what is measured, drawn over its epochs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sedge_models::architecture::Form;

use super::WatchError;
use super::gallery::{Gallery, Shown};
use super::record::{Epoch, Record, Status, Step};
use super::standing::State;
use crate::encoder::onnx;
use crate::pretrain::{Pretrained, RunDirectory, span};
use crate::report::{LineChart, Page, ReportError, Section, Series, Table, Tile};

/// Metrics of the objective that are drawn beside the loss, at most.
const MAX_TOLD: usize = 6;

/// The page of a run; `gallery` shows what its encoder makes of samples.
///
/// # Errors
/// When a figure cannot be drawn.
pub fn page(record: &Record, gallery: Option<&Gallery>) -> Result<Page, WatchError> {
    let config = &record.config;
    let mut page = Page::new(format!("Pretraining {}", record.name));
    page.lead(format!(
        "{} on {}, without labels. {}",
        config.method.name(),
        config.architecture_name(),
        status(record)
    ));
    page.section(summary(record));
    for section in [training(record)?, features(record)?, accuracy(record)?].into_iter().flatten() {
        page.section(section);
    }
    for section in gallery.map(Gallery::sections).transpose()?.into_iter().flatten() {
        page.section(section);
    }
    page.section(cost(record)).section(origin(record)?);
    page.footer(format!("sedge {} · the same numbers are in metrics.jsonl", env!("CARGO_PKG_VERSION")));
    Ok(page)
}

/// Writes the page of the run in the directory `path` to `out`, or to its `report.html`, with a gallery of
/// `data` where it is given; gives the file.
///
/// # Errors
/// When the run cannot be read, its encoder cannot be run on `data`, or the file cannot be written.
pub fn report(path: &Path, data: Option<Shown<'_>>, out: Option<&Path>) -> Result<PathBuf, WatchError> {
    let record = Record::read(path)?;
    let run = RunDirectory::open(path)?;
    let gallery = match data.filter(|_| run.checkpoint_path().is_file()) {
        None => None,
        Some(data) => {
            let Pretrained { encoder, .. } = Pretrained::read(path)?;
            Some(Gallery::of(&data, &onnx(&encoder, Form::Folded)?, &encoder.input)?)
        }
    };
    let file = out.map_or_else(|| run.report_path(), Path::to_path_buf);
    page(&record, gallery.as_ref())?.write(&file)?;
    Ok(file)
}

fn status(record: &Record) -> String {
    let done = record.epochs.last().map_or(0, |epoch| epoch.epoch);
    let (epochs, are) = match record.config.epochs {
        1 => ("1 epoch".into(), "is"),
        epochs => (format!("{epochs} epochs"), "are"),
    };
    match record.status {
        Status::Finished if record.config.epochs == 1 => "Its one epoch is done.".into(),
        Status::Finished => format!("All {epochs} are done."),
        Status::NotFinite => format!("It stopped after {done} of {epochs} at a step that was not finite."),
        Status::Going(ago) if ago.as_secs() < 60 => format!("{done} of {epochs} {are} done."),
        Status::Going(ago) => {
            let ago = span(ago.as_secs_f64());
            format!("{done} of {epochs} {are} done; nothing has been logged for {ago}.")
        }
    }
}

fn tile(label: &str, value: String, detail: impl Into<String>) -> Tile {
    Tile { label: label.into(), value, detail: detail.into() }
}

fn summary(record: &Record) -> Section {
    let measures = record.measures();
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut tiles = vec![];
    if let Some(knn) = measures.knn {
        tiles.push(tile("nearest neighbours", percent(knn), "accuracy on samples set apart"));
    }
    if let Some(linear) = measures.linear {
        tiles.push(tile("linear probe", percent(linear), "accuracy on samples set apart"));
    }
    if let Some(gauges) = measures.gauges {
        let detail = format!("spread {:.2}, rank {:.0}", gauges.relative_std, gauges.effective_rank);
        tiles.push(tile("features", gauges.health().word().into(), detail));
    }
    if let Some(epoch) = record.epochs.last() {
        let first = record.epochs.first().map_or(epoch.loss, |first| first.loss);
        tiles.push(tile("loss", format!("{:.4}", epoch.loss), format!("began at {first:.4}")));
        let speed = format!("{:.0} / s", epoch.samples_per_second);
        tiles.push(tile("throughput", speed, "samples, in the last epoch"));
    } else if let Some(step) = record.steps.last() {
        tiles.push(tile("loss", format!("{:.4}", step.loss), format!("step {}", step.step)));
    }
    tiles.push(time(record));
    if let Some(cost) = record.cost() {
        let label = if cost.is_measured() { "energy" } else { "energy, an estimate" };
        tiles.push(tile(label, cost.energy(), format!("{} of CO2", cost.co2())));
    }
    let mut section = Section::new("").tiles(&tiles);
    for warning in record.standing_warnings() {
        section = section.alarm(&warning.words);
    }
    if record.status == Status::NotFinite {
        section = section.alarm(
            "A step was not finite. It is kept: `sedge replay` on the run's folder `nan` runs it again",
        );
    }
    section
}

fn time(record: &Record) -> Tile {
    let seconds = |epochs: &[Epoch]| epochs.iter().map(|epoch| epoch.seconds).sum::<f64>();
    let taken = record.summary.as_ref().map_or_else(|| seconds(&record.epochs), |summary| summary.seconds);
    let left = f64::from(record.config.epochs) - record.epochs.len() as f64;
    let detail = match (record.status, record.epochs.len()) {
        (Status::Going(_), done @ 1..) => format!("about {} left", span(taken / done as f64 * left.max(0.0))),
        _ => String::new(),
    };
    tile("time", span(taken), detail)
}

fn chart(title: &str, x: &str, y: &str, series: Vec<(&str, Vec<(f64, f64)>)>) -> LineChart {
    let series = series.into_iter().filter(|(_, points)| !points.is_empty());
    LineChart {
        title: title.into(),
        x_label: x.into(),
        y_label: y.into(),
        series: series.map(|(name, points)| Series { name: name.into(), points }).collect(),
    }
}

fn training(record: &Record) -> Result<Option<Section>, ReportError> {
    if record.steps.is_empty() {
        return Ok(None);
    }
    let steps = record.steps.iter().map(|step| (step.step as f64, f64::from(step.loss))).collect();
    // In the middle of the steps that it is the mean of.
    let begins = std::iter::once(0).chain(record.epochs.iter().map(|epoch| epoch.step));
    let middle = |(begin, epoch): (u64, &Epoch)| ((begin + 1 + epoch.step) as f64 / 2.0, epoch.loss);
    let epochs = begins.zip(&record.epochs).map(middle).collect();
    let series = vec![("steps", steps), ("mean of the epoch", epochs)];
    let loss = chart("Loss", "step", "loss", series);
    let rates = record.steps.iter().map(|step| (step.step as f64, f64::from(step.lr))).collect();
    let rate = chart("Learning rate", "step", "learning rate", vec![("learning rate", rates)]);
    let mut section = Section::new("Training").figure(
        &loss.draw()?,
        "A falling loss alone says little: an encoder that maps everything to one point can have a low one.",
    );
    if let Ok(rate) = rate.draw() {
        section = section.figure(&rate, "");
    }
    for (name, points) in told(record) {
        let title = name.replace('_', " ");
        if let Ok(drawn) = chart(&title, "step", &title, vec![(&name, points)]).draw() {
            section = section.figure(&drawn, "As the method tells it, on the batch of the step.");
        }
    }
    let mut table = Table::new("Warnings", ["epoch", "step", "about", "what"]);
    for (epoch, step, warning) in &record.warnings {
        let mark = if warning.state == State::Good { "over: " } else { "" };
        let about = format!("{:?}", warning.about).to_lowercase();
        table.row([epoch.to_string(), step.to_string(), about, format!("{mark}{}", warning.words)]);
    }
    if !record.warnings.is_empty() {
        section = section.table(&table);
    }
    Ok(Some(section))
}

/// What the objective tells beside the loss, by name, over steps; what never changes is left out.
fn told(record: &Record) -> Vec<(String, Vec<(f64, f64)>)> {
    let names = record.steps.iter().flat_map(|step| step.metrics.keys()).collect::<BTreeSet<_>>();
    let points = |name: &String| -> Vec<(f64, f64)> {
        let of = |step: &Step| Some((step.step as f64, f64::from(*step.metrics.get(name)?)));
        record.steps.iter().filter_map(of).collect()
    };
    let curves = names.into_iter().filter(|name| *name != "loss").map(|name| (name.clone(), points(name)));
    let changes = |points: &[(f64, f64)]| points.windows(2).any(|pair| pair[0].1 != pair[1].1);
    curves.filter(|(_, points)| changes(points)).take(MAX_TOLD).collect()
}

/// A curve over epochs.
fn curve(record: &Record, of: impl Fn(&Epoch) -> Option<f64>) -> Vec<(f64, f64)> {
    record.epochs.iter().filter_map(|epoch| Some((f64::from(epoch.epoch), of(epoch)?))).collect()
}

fn features(record: &Record) -> Result<Option<Section>, ReportError> {
    let Some(last) = record.measures().gauges else { return Ok(None) };
    let mut table = Table::new("Features at the last measurement", ["", "value", "", "what it means"]);
    for verdict in last.verdicts() {
        table.row([verdict.gauge, verdict.value, verdict.health.word().into(), verdict.words]);
    }
    table.note(format!("{} samples, {} values each; no labels are needed", last.rows, last.columns));
    let possible = last.columns.min(last.rows).max(1) as f64;
    let gauge = |of: fn(&crate::evaluate::Gauges) -> f64| {
        curve(record, move |epoch| epoch.measures.gauges.as_ref().map(of))
    };
    let rank =
        gauge(|gauges| gauges.effective_rank).into_iter().map(|(epoch, rank)| (epoch, rank / possible));
    let spread = chart(
        "Spread of features",
        "epoch",
        "share of the possible",
        vec![("spread", gauge(|gauges| gauges.relative_std)), ("effective rank", rank.collect())],
    );
    let aligned = curve(record, |epoch| epoch.measures.gauges?.alignment);
    let sphere = chart(
        "Alignment and uniformity",
        "epoch",
        "lower is better",
        vec![("alignment", aligned), ("uniformity", gauge(|gauges| gauges.uniformity))],
    );
    Ok(Some(
        Section::new("Features")
            .table(&table)
            .figure(
                &spread.draw()?,
                "Standard deviation of length-normalised features against that of a sphere, and RankMe (Garrido \
                 et al. 2023) against the number of directions: near zero, features have collapsed.",
            )
            .figure(
                &sphere.draw()?,
                "Distance of two views of a sample, and crowding of all samples (Wang & Isola 2020).",
            ),
    ))
}

fn accuracy(record: &Record) -> Result<Option<Section>, ReportError> {
    let percent = |share: f64| 100.0 * share;
    let series = vec![
        ("nearest neighbours", curve(record, |epoch| epoch.measures.knn.map(percent))),
        ("linear probe", curve(record, |epoch| epoch.measures.linear.map(percent))),
    ];
    let chart = chart("What can be read off features", "epoch", "accuracy, %", series);
    if chart.series.is_empty() {
        return Ok(None);
    }
    let caption = "On a small sample that shares no group with the labels used, for the trend; sedge evaluate \
                   measures in full.";
    Ok(Some(Section::new("Accuracy").figure(&chart.draw()?, caption)))
}

fn cost(record: &Record) -> Section {
    let section = Section::new("Cost");
    let Some(cost) = record.cost() else {
        return section.text("Nothing is known yet.");
    };
    let mut table = Table::new("", ["", "value", "how it is known"]);
    let time = time(record);
    table.row(["time", &time.value, "wall time of training, over all sittings"]);
    table.row(["energy", &cost.energy(), &cost.words()]);
    let of = if cost.is_measured() { "" } else { "an estimate, like the energy, " };
    let grid = format!("{of}at {} g a kWh", cost.grid_g_per_kwh);
    table.row(["CO2", &cost.co2(), &grid]);
    table.note(format!("{} g of CO2 a kWh: {}", cost.grid_g_per_kwh, cost.grid_source));
    for source in &cost.sources {
        table.note(source.clone());
    }
    section.table(&table)
}

fn origin(record: &Record) -> Result<Section, WatchError> {
    let config = record.config.to_toml().map_err(|e| WatchError::Run(Box::new(e.into())))?;
    let mut table = Table::new("Seed, version and digests", ["", "value"]);
    table.row(["seed", &record.config.seed.to_string()]);
    if let Some(summary) = &record.summary {
        table.row(["sedge", &format!("version {}", summary.version)]);
        table.row(["machine", &summary.machine]);
        let digests = &summary.digests;
        for (what, digest) in
            [("configuration", &digests.config), ("data", &digests.data), ("training step", &digests.step)]
        {
            table.row([what, &format!("sha256 {digest}")]);
        }
        for (setting, digest) in &digests.files {
            table.row([setting, &format!("sha256 {digest}")]);
        }
        table.note(format!("{} steps, {} trained values", summary.steps, summary.parameters));
    }
    Ok(Section::new("Configuration").table(&table).verbatim(&config))
}
