//! Who does the adapting: the caller's own thread, or one of low priority beside it.
//!
//! Work is handed over as a [`Job`] and comes back as [`Done`], in order. In line a job is done before
//! the call returns. In a thread, at most [`QUEUE`] jobs wait.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use sedge_core::{Evidence, Verdict};
use sedge_models::Tensors;
use sedge_readings::Span;

use super::samples::Pair;
use super::trainer::{HeldOut, Serving, Trainer};
use crate::{DeviceError, Pace};

/// Jobs that can wait: a verdict, the next step, and a question on top.
const QUEUE: usize = 4;

/// Something to do.
pub(crate) enum Job {
    Step { pairs: Vec<Pair>, lr: f32, seed: u64 },
    Evaluate { pairs: Vec<Pair> },
    Decide(Verdict),
    Compare { pairs: Vec<Pair> },
    States,
    Restore { training: Tensors, incumbent: Tensors },
}

/// Something done.
pub(crate) enum Done {
    Stepped { loss: Result<f32, DeviceError>, lr: f32, took: Span },
    Evaluated { evidence: Evidence, failure: Option<String>, took: Span },
    Decided(Option<Serving>),
    Compared(HeldOut),
    States { training: Tensors, incumbent: Tensors },
    Restored(Serving),
}

/// Does jobs.
pub(crate) struct Hands {
    way: Way,
    out: usize,
}

enum Way {
    Inline {
        trainer: Box<Trainer>,
        done: VecDeque<Done>,
    },
    Beside {
        jobs: Option<SyncSender<Job>>,
        done: Receiver<Result<Done, DeviceError>>,
        thread: Option<JoinHandle<()>>,
    },
}

impl Hands {
    pub(crate) fn new(trainer: Trainer, pace: Pace) -> Result<Self, DeviceError> {
        let way = match pace {
            Pace::Fast => Way::Inline { trainer: Box::new(trainer), done: VecDeque::new() },
            Pace::Realtime => beside(trainer)?,
        };
        Ok(Self { way, out: 0 })
    }

    /// Hands a job over.
    pub(crate) fn give(&mut self, job: Job) -> Result<(), DeviceError> {
        match &mut self.way {
            Way::Inline { trainer, done } => done.push_back(perform(trainer, job)?),
            Way::Beside { jobs, .. } => {
                let sent = jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
                sent.then_some(()).ok_or_else(died)?;
            }
        }
        self.out += 1;
        Ok(())
    }

    /// The next thing done; waits for it when told to, as long as a job is out.
    pub(crate) fn take(&mut self, wait: bool) -> Result<Option<Done>, DeviceError> {
        if self.out == 0 {
            return Ok(None);
        }
        let done = match &mut self.way {
            Way::Inline { done, .. } => done.pop_front(),
            Way::Beside { done, .. } if wait => Some(done.recv().map_err(|_| died())??),
            Way::Beside { done, .. } => match done.try_recv() {
                Ok(done) => Some(done?),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return Err(died()),
            },
        };
        self.out -= usize::from(done.is_some());
        Ok(done)
    }

    /// Whether a job is out.
    pub(crate) fn is_busy(&self) -> bool {
        self.out > 0
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        if let Way::Beside { jobs, thread, .. } = &mut self.way {
            // The thread ends when no one can send to it.
            drop(jobs.take());
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

fn beside(mut trainer: Trainer) -> Result<Way, DeviceError> {
    let (jobs, inbox) = sync_channel::<Job>(QUEUE);
    let (outbox, done) = sync_channel(QUEUE + 1);
    let work = move || {
        lower_priority();
        while let Ok(job) = inbox.recv() {
            let result = perform(&mut trainer, job);
            let failed = result.is_err();
            if outbox.send(result).is_err() || failed {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new()
        .name("sedged-adapt".into())
        .spawn(work)
        .map_err(|error| DeviceError::Worker(format!("cannot be started: {error}")))?;
    Ok(Way::Beside { jobs: Some(jobs), done, thread: Some(thread) })
}

/// Lets inference go first where both want the processor. Where the system refuses, the two share it.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10) {
        tracing::debug!("the adapting thread keeps its priority: {error}");
    }
}

fn died() -> DeviceError {
    DeviceError::Worker("died; look for a panic above".into())
}

fn perform(trainer: &mut Trainer, job: Job) -> Result<Done, DeviceError> {
    let start = Instant::now();
    let took = || Span::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    Ok(match job {
        Job::Step { pairs, lr, seed } => {
            let loss = trainer.step(&pairs, lr, seed);
            Done::Stepped { loss, lr, took: took() }
        }
        Job::Evaluate { pairs } => {
            let (evidence, failure) = trainer.evaluate(&pairs)?;
            Done::Evaluated { evidence, failure, took: took() }
        }
        Job::Decide(verdict) => Done::Decided(trainer.decide(verdict)?),
        Job::Compare { pairs } => Done::Compared(trainer.compare(&pairs)?),
        Job::States => {
            let (training, incumbent) = trainer.states()?;
            Done::States { training, incumbent }
        }
        Job::Restore { training, incumbent } => Done::Restored(trainer.restore(&training, incumbent)?),
    })
}
