//! A camera behind a program that writes frames to its standard output: `rpicam-vid`, GStreamer, ffmpeg.
//!
//! A thread reads all the time, so that the program never has to wait with frames that grow old in the pipe; only
//! the newest whole frame is kept. The program runs in a process group of its own, which is ended when the
//! camera is closed, and is reaped.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use sedge_boards::board::CameraSpec;

use crate::camera::{Taken, nanos};
use crate::cutter::Cutter;
use crate::decode::{Layout, Packing};
use crate::error::CameraError;
use crate::tail::Tail;

/// How long a program may take until its first frame.
const START: Duration = Duration::from_secs(10);
/// How long a program may take to end when it is asked to, before it is made to.
const GRACE: Duration = Duration::from_millis(500);
/// How often the reader looks whether it is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A running program and the newest frame that it wrote.
#[derive(Debug)]
pub(crate) struct Pipe {
    camera: String,
    program: String,
    child: Child,
    shared: Arc<Shared>,
    /// Whether the child has been reaped, and its number may be another's.
    reaped: bool,
    reader: Option<JoinHandle<()>>,
    layout: Layout,
}

#[derive(Debug, Default)]
struct Shared {
    written: Mutex<Written>,
    changed: Condvar,
}

/// What the program has written.
#[derive(Debug, Default)]
struct Written {
    /// The newest whole frame that was not taken yet, and when its last byte came.
    newest: Option<(Vec<u8>, Instant)>,
    /// Bytes that belong to no frame.
    discarded: u64,
    errors: Tail,
    /// Its output is closed: nothing more comes.
    ended: bool,
    /// Nobody wants more.
    unwanted: bool,
}

impl Shared {
    /// A poisoned lock is taken all the same: what it guards is whole after every statement.
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a frame or an end, or the time is up.
    fn wait(&self, wait: Duration) -> MutexGuard<'_, Written> {
        let idle = |written: &mut Written| written.newest.is_none() && !written.ended;
        let waited = self.changed.wait_timeout_while(self.lock(), wait, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Pipe {
    /// Starts the program and waits for its first frame.
    pub(crate) fn open(spec: &CameraSpec, layout: Layout) -> Result<Self, CameraError> {
        let words = spec.command_line();
        let Some((program, arguments)) = words.split_first() else {
            let (found, allowed) = ("absent".to_owned(), "a program and its arguments".to_owned());
            return Err(CameraError::Setting { camera: spec.name.clone(), key: "command", found, allowed });
        };
        let failed =
            |source| CameraError::Program { camera: spec.name.clone(), program: program.clone(), source };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let shared = Arc::new(Shared::default());
        // From here on, dropping ends the program.
        let mut pipe = Self {
            camera: spec.name.clone(),
            program: program.clone(),
            child,
            shared: shared.clone(),
            reaped: false,
            reader: None,
            layout,
        };
        let cutter = match layout.packing {
            Packing::Mjpeg => Cutter::jpeg(layout.bytes()),
            _ => Cutter::fixed(layout.bytes()),
        };
        let reading = move || read_all(&shared, output, errors, cutter);
        let reader = std::thread::Builder::new().name(format!("pipe {}", spec.name)).spawn(reading);
        pipe.reader = Some(reader.map_err(failed)?);
        let first = pipe.shared.wait(START).newest.is_some();
        if first { Ok(pipe) } else { Err(pipe.nothing(START)) }
    }

    /// The program's name.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// The newest frame that was not taken yet.
    pub(crate) fn take(&mut self, wait: Duration) -> Result<Taken, CameraError> {
        let asked = Instant::now();
        let newest = self.shared.wait(wait).newest.take();
        let (bytes, at) = newest.ok_or_else(|| self.nothing(wait))?;
        let after = nanos(at.saturating_duration_since(asked)) - nanos(asked.saturating_duration_since(at));
        let frame = self.layout.decode(&bytes);
        let frame = frame.map_err(|source| CameraError::Frame { camera: self.camera.clone(), source })?;
        Ok(Taken { frame, after })
    }

    /// Why there is no frame after a wait.
    fn nothing(&mut self, waited: Duration) -> CameraError {
        let (camera, program) = (self.camera.clone(), self.program.clone());
        let (ended, bytes) = {
            let written = self.shared.lock();
            (written.ended, written.discarded)
        };
        // A program that closed its output ends by itself in a moment, and then says how.
        let status = if ended && self.has_ended(GRACE) { self.end() } else { None };
        let errors = self.shared.lock().errors.text();
        match ended {
            true => CameraError::Ended { camera, program, status, errors },
            false => CameraError::Silent { camera, waited, bytes, errors },
        }
    }
}

impl Pipe {
    /// Ends the program and what it started, and reaps it; answers how it ended.
    fn end(&mut self) -> Option<ExitStatus> {
        if self.reaped {
            return None;
        }
        let group = Pid::from_child(&self.child);
        // Until it is reaped its number is no other's. A group that has gone is no failure.
        let _ = kill_process_group(group, Signal::TERM);
        self.has_ended(GRACE);
        let _ = kill_process_group(group, Signal::KILL);
        if !self.has_ended(2 * GRACE) {
            tracing::warn!(program = self.program, "a camera's program does not end");
        }
        let status = self.child.try_wait().ok().flatten();
        self.reaped = status.is_some();
        status
    }

    /// Whether the program ends within this time. It is not reaped. The system tells nobody of an end, so it is
    /// looked for, and at once when the output is closed.
    fn has_ended(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(Pid::from_child(&self.child)), options) {
                Ok(None) | Err(rustix::io::Errno::INTR) if begun.elapsed() < limit => {
                    drop(self.shared.changed.wait_timeout(self.shared.lock(), Duration::from_millis(5)));
                }
                Ok(None) => return false,
                // Ended, or no child any more.
                _ => return true,
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.lock().unwanted = true;
        self.end();
        if let Some(reader) = self.reader.take() {
            // It looks at `unwanted` ten times a second, and cannot panic.
            let _ = reader.join();
        }
    }
}

/// Reads until the output is closed or nobody wants it.
fn read_all(shared: &Shared, output: Option<ChildStdout>, errors: Option<ChildStderr>, mut cutter: Cutter) {
    let mut errors = errors;
    if let Some(mut output) = output {
        let mut chunk = vec![0; 1 << 16];
        while !shared.lock().unwanted {
            let Ok((has_output, has_errors)) = ready(&output, errors.as_ref()) else { break };
            if has_errors && !read_errors(shared, &mut errors) {
                errors = None;
            }
            if !has_output {
                continue;
            }
            let bytes = match output.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => chunk.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let mut newest = None;
            cutter.push(bytes, |frame| newest = Some((frame, Instant::now())));
            let mut written = shared.lock();
            written.discarded = cutter.discarded();
            if newest.is_some() {
                written.newest = newest;
                shared.changed.notify_all();
            }
        }
        // The reason of an end is often the last thing that is written.
        while errors.is_some() && ready(&output, errors.as_ref()).is_ok_and(|(_, has_errors)| has_errors) {
            if !read_errors(shared, &mut errors) || shared.lock().unwanted {
                break;
            }
        }
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

/// Whether output and errors can be read without waiting, or are closed.
fn ready(output: &ChildStdout, errors: Option<&ChildStderr>) -> io::Result<(bool, bool)> {
    let mut polled = vec![PollFd::new(output, PollFlags::IN)];
    polled.extend(errors.map(|errors| PollFd::new(errors, PollFlags::IN)));
    match poll(&mut polled, Some(&LOOK)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let has = |at: usize| polled.get(at).is_some_and(|polled| !polled.revents().is_empty());
    Ok((has(0), has(1)))
}

/// Reads of the errors what there is; answers whether more may come.
fn read_errors(shared: &Shared, errors: &mut Option<ChildStderr>) -> bool {
    let mut chunk = [0; 4096];
    match errors.as_mut().map(|errors| errors.read(&mut chunk)) {
        Some(Ok(count)) if count > 0 => {
            shared.lock().errors.push(chunk.get(..count).unwrap_or_default());
            true
        }
        Some(Err(error)) => error.kind() == io::ErrorKind::Interrupted,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
