//! A device: a bundle, a learner, and the samples between them. It is pushed events and does what the
//! learner says; it makes no decisions and reads no source. The daemon drives one from a stream, and
//! the host drives one from the simulated rig to rehearse exactly what the robot runs.

mod hands;
mod latency;
mod measure;
mod samples;
mod state;
mod trainer;

use std::sync::Arc;
use std::time::Instant;

use ndarray::{Array2, ArrayD};
use sedge_core::{Action, Evidence, Input, Progress, Refusal, Rest, Warmth};
use sedge_engine::Encoder;
use sedge_models::Tensors;
use sedge_models::bundle::Bundle;
use sedge_readings::{Event, Frame, NoData, Reading, Timestamp};

use crate::config::Learner;
use crate::output::{EmbeddingRecord, EventRecord, Happening, Sink};
use crate::{DeviceConfig, DeviceError, Pace, Report};
use hands::{Done, Hands, Job};
use latency::Latencies;
use samples::{Preparation, Samples};
use trainer::{Serving, Trainer};

pub use latency::Percentiles;
pub(crate) use state::{DeviceState, Figures};
pub use trainer::HeldOut;

/// Largest relative difference between the bundle's reference embeddings and this device's.
pub const SELF_TEST_LIMIT: f32 = 1e-3;

/// Stack of the thread that makes or reads a learner, which is a few megabytes of arrays and passes
/// through the stack on its way to the heap.
const LEARNER_STACK: usize = 64 << 20;

/// A bundle at work.
pub struct Device {
    pub(crate) learner: Box<Learner>,
    preparation: Arc<Preparation>,
    encoder: Encoder,
    weights: Tensors,
    onnx: Vec<u8>,
    served: u64,
    hands: Hands,
    samples: Samples,
    base_lr: f32,
    pace: Pace,
    now: Timestamp,
    next_frame: u64,
    resting: Option<Rest>,
    /// What the verdict to come is about.
    judged: Option<(Evidence, Option<String>)>,
    pub(crate) frame_times: Latencies,
    pub(crate) busy_frame_times: Latencies,
    pub(crate) step_times: Latencies,
}

impl Device {
    /// Prepares a bundle and tests that its encoder does here what it did where it was made.
    pub fn new(bundle: &Bundle, config: &DeviceConfig) -> Result<Self, DeviceError> {
        let learner_config = config.learner(&bundle.manifest)?;
        // What the file states is looked at before anything is loaded; the loaded step's own plan decides.
        bundle.manifest.plan.as_ref().map_or(Ok(()), |plan| config.fits_memory(plan))?;
        let preparation = Arc::new(Preparation::new(&bundle.manifest.input, config)?);
        let mut encoder = Encoder::new(&bundle.encoder, 1)?;
        let reference_inputs = normalised(&preparation, &bundle.reference.inputs)?;
        self_test(&mut encoder, &reference_inputs, &bundle.reference.embeddings)?;
        let trainer = Trainer::new(bundle, config, preparation.clone(), reference_inputs)?;
        let learner = on_large_stack(|| Learner::new(learner_config).map(Box::new))??;
        Ok(Self {
            learner,
            preparation,
            encoder,
            weights: trainer::adapted(&bundle.step.spec, &bundle.step.initial),
            onnx: bundle.encoder.clone(),
            served: 0,
            hands: Hands::new(trainer, config.pace)?,
            samples: Samples::default(),
            base_lr: config.lr.unwrap_or(bundle.manifest.adaptation.lr),
            pace: config.pace,
            now: Timestamp::default(),
            next_frame: 0,
            resting: None,
            judged: None,
            frame_times: Latencies::default(),
            busy_frame_times: Latencies::default(),
            step_times: Latencies::default(),
        })
    }

    /// Takes the next event of the stream and does all that follows from it.
    pub fn push(&mut self, event: Event, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        self.now = self.now.max(event.at());
        match event {
            Event::Frame(reading) => {
                let reading = self.take_frame(reading);
                self.on(Input::Frame(reading))?;
            }
            Event::Imu(reading) => self.on(Input::Imu(reading))?,
        }
        self.act(sink)
    }

    /// Lets time pass without an event, for a stream at the pace of a clock.
    pub fn tick(&mut self, now: Timestamp, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        self.now = self.now.max(now);
        self.act(sink)
    }

    /// Tells the learner how hot the machine is; whether it adapts less for that shows in what it does next.
    pub fn heat(&mut self, warmth: Warmth) -> Result<(), DeviceError> {
        self.on(Input::Heat(warmth))
    }

    /// Tells the learner how many bytes this process holds.
    pub fn memory(&mut self, bytes: u64) -> Result<(), DeviceError> {
        self.on(Input::Memory { bytes })
    }

    /// Whether a step or an evaluation is under way.
    pub fn is_adapting(&self) -> bool {
        self.hands.is_busy()
    }

    /// Why no step was taken when it was looked last, unless one was.
    pub fn resting(&self) -> Option<Rest> {
        self.resting
    }

    /// Steps and verdicts so far.
    pub fn progress(&self) -> &Progress {
        self.learner.progress()
    }

    /// Frames or windows embedded so far, earlier sessions included.
    pub fn embedded(&self) -> u64 {
        if samples::is_image(self.preparation.input()) {
            self.learner.frames().used
        } else {
            self.learner.windows().used
        }
    }

    /// Ends the stream, embeds the waiting frames with what there is, and reports.
    pub fn finish(&mut self, sink: &mut dyn Sink) -> Result<Report, DeviceError> {
        self.on(Input::End)?;
        self.report(sink)
    }

    /// What became of the stream so far; the weights in service and those shipped are measured on the
    /// held-out pairs that the device now keeps. Waits for the work under way.
    pub fn report(&mut self, sink: &mut dyn Sink) -> Result<Report, DeviceError> {
        self.settle(sink)?;
        let pairs = self.samples.held_out();
        if pairs.is_empty() {
            return Ok(Report::of(self, None));
        }
        match self.ask(Job::Compare { pairs })? {
            Done::Compared(held_out) => Ok(Report::of(self, Some(held_out))),
            _ => Err(DeviceError::Worker("answered another question than was asked".into())),
        }
    }

    /// Waits for the work under way, so that the device can be saved.
    pub(crate) fn settle(&mut self, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        self.act(sink)?;
        // Every answer may bring another job, but the budget ends that.
        while self.hands.is_busy() {
            if let Some(done) = self.hands.take(true)? {
                self.done(done, sink)?;
            }
            self.deliver(sink)?;
        }
        Ok(())
    }

    /// The adapted weights in service, by their names in the encoder.
    pub fn weights(&self) -> &Tensors {
        &self.weights
    }

    /// The encoder in service, as ONNX.
    pub fn encoder_onnx(&self) -> &[u8] {
        &self.onnx
    }

    /// Number of the weights in service: zero as shipped, one more at each change.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// The latest time of the stream's clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Gives a job and waits for its answer; nothing else may be out.
    fn ask(&mut self, job: Job) -> Result<Done, DeviceError> {
        self.hands.give(job)?;
        let done = self.hands.take(true)?;
        done.ok_or_else(|| DeviceError::Worker("gave no answer".into()))
    }

    /// Keeps a frame's pixels at the encoder's size and gives its stamp.
    fn take_frame(&mut self, reading: Reading<Frame>) -> Reading<u64> {
        let index = self.next_frame;
        self.next_frame += 1;
        let value = reading.value.and_then(|frame| {
            if samples::is_image(self.preparation.input()) {
                // The only way to fail is a side longer than can be resized.
                let sample = self.preparation.image(&frame).map_err(|_| NoData::WrongShape)?;
                self.samples.hold(index, sample);
            }
            Ok(index)
        });
        Reading { at: reading.at, value }
    }

    /// Does what the learner says until it rests, taking in what is done meanwhile.
    fn act(&mut self, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        loop {
            while let Some(done) = self.hands.take(false)? {
                self.done(done, sink)?;
            }
            match self.learner.poll(self.now) {
                Action::Rest(reason) => {
                    self.rest(reason, sink)?;
                    break;
                }
                Action::Adapt { lr_scale, seed } => {
                    let pairs = self.samples.training(self.learner.batch());
                    self.hands.give(Job::Step { pairs, lr: self.base_lr * lr_scale, seed })?;
                }
                Action::Evaluate => self.hands.give(Job::Evaluate { pairs: self.samples.held_out() })?,
                action => self.simple(action, sink)?,
            }
        }
        self.forget();
        Ok(())
    }

    /// Does what the learner says as long as it starts no new work.
    fn deliver(&mut self, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        while let Some(action) = self.learner.deliver(self.now) {
            self.simple(action, sink)?;
        }
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        let learner = &self.learner;
        self.samples.forget(|index| learner.holds(index));
    }

    /// Actions that are done on the spot.
    fn simple(&mut self, action: Action, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        match action {
            Action::EmbedFrame { index, at, motion } => {
                let record = EmbeddingRecord {
                    t_ns: at.nanos(),
                    index,
                    weights: self.served,
                    embedding: &[],
                    motion: Some(motion.into()),
                };
                self.embed(record, sink)
            }
            Action::EmbedWindow { index, at } => {
                self.samples.hold(index, self.preparation.window(self.learner.window()));
                let record = EmbeddingRecord {
                    t_ns: at.nanos(),
                    index,
                    weights: self.served,
                    embedding: &[],
                    motion: None,
                };
                self.embed(record, sink)
            }
            Action::Keep { set, slot, anchor, neighbour } => {
                // The learner only keeps what it holds, and what it holds is here.
                self.samples.keep(set, slot, anchor, neighbour);
                Ok(())
            }
            Action::Decide(verdict) => {
                if let Some((evidence, failure)) = self.judged.take() {
                    self.tell(Happening::Judged { verdict, evidence, failure }, sink)?;
                }
                self.hands.give(Job::Decide(verdict))
            }
            Action::Stop(reason) => self.tell(Happening::Stopped { reason }, sink),
            Action::Adapt { .. } | Action::Evaluate | Action::Rest(_) => Ok(()),
        }
    }

    fn embed(&mut self, record: EmbeddingRecord<'_>, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        let index = record.index;
        let start = Instant::now();
        let embedding = self.embedding(index);
        let took = start.elapsed();
        self.frame_times.add(took);
        if self.hands.is_busy() {
            self.busy_frame_times.add(took);
        }
        let reason = match embedding {
            Ok(embedding) => {
                match self.learner.on(self.now, Input::Embedded { index, embedding: &embedding }) {
                    Ok(()) => {
                        return Ok(sink.embedding(&EmbeddingRecord { embedding: &embedding, ..record })?);
                    }
                    Err(refusal @ Refusal::Embedding(_)) => refusal.to_string(),
                    Err(refusal) => return Err(DeviceError::Refused(refusal)),
                }
            }
            Err(error) => {
                self.on(Input::NotEmbedded { index })?;
                error.to_string()
            }
        };
        self.tell(Happening::NotEmbedded { index, reason }, sink)
    }

    fn embedding(&mut self, index: u64) -> Result<Vec<f32>, DeviceError> {
        let Some(sample) = self.samples.held(index) else {
            // The learner asks only for what it holds.
            return Err(DeviceError::Refused(Refusal::NotAsked));
        };
        let batch = self.preparation.batch(std::iter::once(sample))?;
        Ok(self.encoder.embed(batch.view())?.into_iter().collect())
    }

    fn done(&mut self, done: Done, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        match done {
            Done::Stepped { loss, lr, took } => {
                self.step_times.add(std::time::Duration::from_nanos(took.nanos()));
                match loss {
                    Ok(loss) => {
                        self.on(Input::Stepped { took })?;
                        let took_ms = (self.pace == Pace::Realtime).then(|| took.as_secs_f64() * 1e3);
                        let step = self.learner.progress().steps;
                        self.tell(Happening::Adapted { step, loss, lr, took_ms }, sink)
                    }
                    Err(error) => {
                        self.on(Input::StepFailed { took })?;
                        self.tell(Happening::StepFailed { reason: error.to_string() }, sink)
                    }
                }
            }
            Done::Evaluated { evidence, failure, took } => {
                self.judged = Some((evidence, failure));
                self.on(Input::Evaluated { evidence, took })
            }
            Done::Decided(Some(serving)) => {
                self.serve(serving);
                self.served += 1;
                self.tell(Happening::Serving { weights: self.served }, sink)
            }
            Done::Restored(serving) => {
                self.serve(serving);
                Ok(())
            }
            Done::Decided(None) | Done::Compared(_) | Done::States { .. } => Ok(()),
        }
    }

    /// Puts whole weights into service between two samples.
    fn serve(&mut self, serving: Serving) {
        let Serving { encoder, weights, onnx } = serving;
        (self.encoder, self.weights, self.onnx) = (encoder, weights, onnx);
    }

    fn rest(&mut self, reason: Rest, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        if reason == Rest::Busy || self.resting == Some(reason) {
            return Ok(());
        }
        self.resting = Some(reason);
        self.tell(Happening::Resting { reason }, sink)
    }

    fn on(&mut self, input: Input<'_>) -> Result<(), DeviceError> {
        self.learner.on(self.now, input).map_err(DeviceError::Refused)
    }

    fn tell(&self, what: Happening, sink: &mut dyn Sink) -> Result<(), DeviceError> {
        Ok(sink.event(&EventRecord { t_ns: self.now.nanos(), what })?)
    }
}

/// Runs `make` where there is room for a learner.
fn on_large_stack<T: Send>(make: impl FnOnce() -> T + Send) -> Result<T, DeviceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(LEARNER_STACK)
            .spawn_scoped(scope, make)
            .map_err(|error| DeviceError::Worker(format!("cannot be started: {error}")))?;
        thread.join().map_err(|_| DeviceError::Worker("died while the learner was made".into()))
    })
}

/// Reference inputs as the encoder reads them.
fn normalised(preparation: &Preparation, inputs: &ArrayD<f32>) -> Result<ArrayD<f32>, DeviceError> {
    let input = preparation.input();
    let mut inputs = inputs.as_standard_layout().into_owned();
    for sample in inputs.as_slice_mut().into_iter().flat_map(|v| v.chunks_exact_mut(input.values().max(1))) {
        sedge_augment::normalise(sample, &input.mean, &input.std)?;
    }
    Ok(inputs)
}

fn self_test(encoder: &mut Encoder, inputs: &ArrayD<f32>, wanted: &Array2<f32>) -> Result<(), DeviceError> {
    let found = encoder.embed(inputs.view())?;
    for (index, (found, wanted)) in found.rows().into_iter().zip(wanted.rows()).enumerate() {
        let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let difference = length(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
        let difference = difference / length(&mut wanted.iter().copied()).max(f32::MIN_POSITIVE);
        if difference.is_nan() || difference > SELF_TEST_LIMIT {
            return Err(DeviceError::SelfTest { index, difference, limit: SELF_TEST_LIMIT });
        }
    }
    Ok(())
}
