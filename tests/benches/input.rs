//! Whether input starves the trainer: images a second that decoding gives, that decoding and augmentation
//! give, and that the training step of `image-tiny` takes, over Parquet files of JPEG and of PNG written
//! here; and, in training, the share of time in which the step waits for a batch.
//!
//! ```text
//! cargo bench -p sedge-tests --bench input -- --side 64 --workers 2
//! ```
#![allow(clippy::print_stdout, reason = "a table is what a bench is for")]

use std::error::Error;
use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use image::{ImageBuffer, ImageFormat, Rgb};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge::data::stream::{Stream, StreamOptions};
use sedge::data::{Augment, LoadOptions, Loader};
use sedge_engine::{Engine, Options, TractStep, keep_memory};
use sedge_models::Modality;
use sedge_models::architecture::{Architecture, Form};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;

/// Images of a row group.
const GROUP: usize = 128;

type Failure = Box<dyn Error>;

/// Time decoding, augmentation and training steps beside each other.
#[derive(Parser)]
struct Arguments {
    /// Images written
    #[arg(long, default_value_t = 2048)]
    images: usize,
    /// Side of the images written, in pixels
    #[arg(long, default_value_t = 96)]
    stored: u32,
    /// Side of the encoder's input
    #[arg(long, default_value_t = 64)]
    side: usize,
    /// Images of a batch, two views of each
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Threads that decode, and as many that augment
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Images of a chunk
    #[arg(long, default_value_t = 512)]
    chunk: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // As our programs do.
    keep_memory();
    // The test runner passes flags of its own and wants a short run.
    let arguments = if std::env::args().any(|argument| argument == "--bench") {
        Arguments::parse()
    } else {
        Arguments { images: 48, stored: 24, side: 32, batch: 8, workers: 2, chunk: 16, bench: false }
    };
    match compare(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { images, stored, side, batch, workers, .. } = arguments;
    println!(
        "{images} images of {stored}x{stored}, batches of {batch} in two views at {side}x{side}, {workers} workers\n"
    );
    println!("| stored as | decoded/s | with augmentation/s | step alone/s | trained/s | waits for input |");
    println!("|---|---|---|---|---|---|");
    for (name, format) in [("JPEG", ImageFormat::Jpeg), ("PNG", ImageFormat::Png)] {
        let folder = tempfile::tempdir()?;
        write(&folder.path().join("train-00000.parquet"), arguments, format)?;
        let row = measure(folder.path(), arguments)?;
        let [decoded, augmented, alone, trained] = row.rates;
        println!(
            "| {name} | {decoded:.0} | {augmented:.0} | {alone:.0} | {trained:.0} | {:.1} % |",
            100.0 * row.waits
        );
    }
    Ok(())
}

/// Images a second, and the share of training that is waiting.
struct Row {
    rates: [f64; 4],
    waits: f64,
}

fn measure(folder: &Path, arguments: &Arguments) -> Result<Row, Failure> {
    let &Arguments { side, batch, workers, chunk, .. } = arguments;
    let load = LoadOptions { image_size: Some(side), workers, ..LoadOptions::default() };
    let chunk_bytes = (3 * side * side * chunk) as u64;
    let options = StreamOptions { load, chunk_bytes, align: batch, ..StreamOptions::default() };
    let stream = Arc::new(Stream::open(folder, options)?);
    let per_second = |images: usize, begin: Instant| images as f64 / begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    let mut decoded = 0;
    for chunk in stream.epoch(0, 0, 0)? {
        decoded += chunk?.data().len();
    }
    let decoded = per_second(decoded, begin);

    let augment = Augment::default_for(Modality::Image);
    let loader = Loader::new(Arc::clone(&stream), stream.input_spec(), augment, batch, 0, workers)?;
    let begin = Instant::now();
    let mut batches = loader.epoch(0, 0)?.collect::<Result<Vec<_>, _>>()?;
    let augmented = per_second(batches.len() * batch, begin);
    batches.truncate(4);

    let mut step = step(side, 2 * batch)?;
    for batch in &batches {
        step.step(&batch.given(), &[])?;
    }
    let begin = Instant::now();
    for batch in &batches {
        step.step(&batch.given(), &[])?;
    }
    let alone = per_second(batches.len() * batch, begin);

    let (begin, mut waited, mut trained) = (Instant::now(), Duration::ZERO, 0);
    let mut epoch = loader.epoch(1, 0)?;
    loop {
        let asked = Instant::now();
        let next = epoch.next();
        waited += asked.elapsed();
        let Some(next) = next else { break };
        step.step(&next?.given(), &[])?;
        trained += batch;
    }
    let waits = waited.as_secs_f64() / begin.elapsed().as_secs_f64();
    Ok(Row { rates: [decoded, augmented, alone, per_second(trained, begin)], waits })
}

/// The step that trains all of `image-tiny` by SimCLR.
fn step(side: usize, rows: usize) -> Result<TractStep, Failure> {
    let (architecture, sample) = (Architecture::preset("image-tiny")?, [3, side, side]);
    let weights = architecture.initial_weights(&sample, 1)?;
    let encoder = architecture.graph(Form::Training, Batch::Fixed(rows), &sample, &weights)?;
    let trained = weights.keys().filter(|name| !name.contains("running")).cloned().collect();
    let objective = Objective::NtXent { head: ProjectionHead::new(128, 64), temperature: 0.2 };
    let recipe =
        Recipe { statistics: weights, lr: 0.01, seed: 1, ..Recipe::new(encoder, trained, objective) };
    Ok(TractStep::with_options(&compile(recipe)?, Options::parallel())?)
}

/// Images of blurred noise, which compress about as photographs do.
fn write(path: &Path, arguments: &Arguments, format: ImageFormat) -> Result<(), Failure> {
    let schema =
        Arc::new(parse_message_type("message schema { required group image { required binary bytes; } }")?);
    let mut file = SerializedFileWriter::new(
        File::create(path)?,
        schema,
        Arc::new(WriterProperties::builder().build()),
    )?;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut left = arguments.images;
    while left > 0 {
        let count = left.min(GROUP);
        let images =
            (0..count).map(|_| encoded(&mut rng, arguments.stored, format)).collect::<Result<Vec<_>, _>>()?;
        let mut group = file.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            column.typed::<ByteArrayType>().write_batch(&images, None, None)?;
            column.close()?;
        }
        group.close()?;
        left -= count;
    }
    file.close()?;
    Ok(())
}

fn encoded(rng: &mut ChaCha8Rng, side: u32, format: ImageFormat) -> Result<ByteArray, Failure> {
    let noise =
        ImageBuffer::from_fn(side, side, |_, _| Rgb([rng.random::<u8>(), rng.random(), rng.random()]));
    let mut bytes = Cursor::new(Vec::new());
    image::imageops::fast_blur(&noise, 2.0).write_to(&mut bytes, format)?;
    Ok(bytes.into_inner().into())
}
