//! Showing a person how a run goes: one bar that redraws itself on a terminal, a plain line every
//! few seconds elsewhere, nothing where nobody looks. Showing never fails a run.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::watch::Measures;

/// The throughput shown is that of the last one to two of these, so that it follows what the machine
/// does now; the time left goes by the whole sitting, measuring included.
const RECENT: Duration = Duration::from_secs(15);
/// Time between plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Where and how progress is shown.
pub struct Progress {
    display: Display,
    run: Option<Run>,
}

enum Display {
    Bar(ProgressBar),
    Lines { to: Box<dyn Write + Send>, every: Duration, last: Option<Instant> },
    Silent,
}

/// What is counted in the run at hand.
struct Run {
    size: Size,
    started: Instant,
    /// Steps taken before this sitting.
    before: u64,
    /// Two moments at least [`RECENT`] apart, the earlier first, with the steps taken by then.
    marks: [(Instant, u64); 2],
    measures: Measures,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Epochs.
    pub epochs: u32,
    /// Steps an epoch.
    pub batches: usize,
    /// Samples a step, each of which gives two views.
    pub samples: usize,
    /// What a sample is: `images` or `windows`.
    pub unit: &'static str,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let display = match self.display {
            Display::Bar(_) => "Bar",
            Display::Lines { .. } => "Lines",
            Display::Silent => "Silent",
        };
        f.debug_tuple("Progress").field(&display).finish()
    }
}

impl Progress {
    /// A bar on standard error.
    pub fn bar() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3}%  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { display: Display::Bar(bar), run: None }
    }

    /// A line to `to` every few seconds.
    pub fn lines(to: Box<dyn Write + Send>) -> Self {
        Self { display: Display::Lines { to, every: LINE_INTERVAL, last: None }, run: None }
    }

    /// Nothing.
    pub fn silent() -> Self {
        Self { display: Display::Silent, run: None }
    }

    /// A run begins, or goes on after `before` steps.
    pub(super) fn begin(&mut self, size: Size, before: u64, measures: Measures) {
        if let Display::Bar(bar) = &self.display {
            bar.set_length(u64::from(size.epochs) * size.batches as u64);
            bar.set_position(before);
        }
        let started = Instant::now();
        self.run = Some(Run { size, started, before, marks: [(started, before); 2], measures });
    }

    /// A step was taken: number `step` in all, from one, in `epoch`, from zero.
    pub(super) fn step(&mut self, epoch: u32, step: u64, loss: f32) {
        let Some(run) = &mut self.run else { return };
        let now = Instant::now();
        run.mark(now, step);
        match &mut self.display {
            Display::Silent => {}
            Display::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(run.message(now, epoch, step, loss));
            }
            Display::Lines { to, every, last } => {
                let end = step == u64::from(run.size.epochs) * run.size.batches as u64;
                if end || last.is_none_or(|last| last.elapsed() >= *every) {
                    *last = Some(now);
                    // Nobody may be listening any more, which is no reason to stop training.
                    let _ = writeln!(to, "{}", run.message(now, epoch, step, loss)).and_then(|()| to.flush());
                }
            }
        }
    }

    /// What was measured last.
    pub(super) fn measured(&mut self, measures: Measures) {
        if let Some(run) = &mut self.run {
            run.measures = measures;
        }
    }

    /// Something that a person should know at once. Said even where no progress is shown.
    pub(super) fn warn(&mut self, words: &str) {
        match &mut self.display {
            Display::Bar(bar) => bar.suspend(|| tracing::warn!("{words}")),
            Display::Lines { to, .. } => {
                let _ = writeln!(to, "warning: {words}").and_then(|()| to.flush());
            }
            Display::Silent => tracing::warn!("{words}"),
        }
    }

    /// Nothing more is to come.
    pub(super) fn end(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
        self.run = None;
    }
}

impl Run {
    fn mark(&mut self, now: Instant, step: u64) {
        let [_, later] = self.marks;
        if now.saturating_duration_since(later.0) >= RECENT {
            self.marks = [later, (now, step)];
        }
    }

    fn message(&self, now: Instant, epoch: u32, step: u64, loss: f32) -> String {
        let Size { epochs, batches, samples, unit } = self.size;
        let since = |then: Instant| now.saturating_duration_since(then).as_secs_f64().max(1e-9);
        let [(then, before), _] = self.marks;
        let speed = step.saturating_sub(before) as f64 * samples as f64 / since(then);
        let (seconds, steps) = (since(self.started), step.saturating_sub(self.before) as f64);
        let total = u64::from(epochs) * batches as u64;
        let left = seconds / steps.max(1.0) * total.saturating_sub(step) as f64;
        let measured = self.measures.words();
        let gap = if measured.is_empty() { "" } else { "  " };
        let (epoch, left) = (epoch + 1, span(left));
        format!("epoch {epoch}/{epochs}  loss {loss:.4}{gap}{measured}  {speed:.0} {unit}/s  {left} left")
    }
}

/// A span of seconds as a person says it, with two units at most.
pub fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {:02} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours:02} h"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const SIZE: Size = Size { epochs: 2, batches: 3, samples: 8, unit: "images" };

    #[test]
    fn lines_come_at_the_start_and_at_the_end_and_not_in_between() {
        let text = Shared::default();
        let mut progress = Progress::lines(Box::new(text.clone()));
        progress.begin(SIZE, 0, Measures::default());
        for step in 1..=6 {
            if step == 4 {
                progress.measured(Measures { knn: Some(0.4567), linear: Some(0.5), gauges: None });
                progress.warn("features have collapsed");
            }
            progress.step((step as u32 - 1) / 3, step, 1.5);
        }
        progress.end();
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1], "warning: features have collapsed");
        assert!(lines[0].starts_with("epoch 1/2  loss 1.5000  "), "{text}");
        assert!(lines[2].starts_with("epoch 2/2  loss 1.5000  kNN 45.7 %  linear 50.0 %  "), "{text}");
        assert!(lines[2].contains(" images/s  0 s left"), "{text}");
    }

    #[test]
    fn throughput_is_of_late_and_the_time_left_of_all() {
        let started = Instant::now();
        let size = Size { epochs: 1, batches: 200, samples: 10, unit: "images" };
        let marks = [(started, 0); 2];
        let mut run = Run { size, started, before: 0, marks, measures: Measures::default() };
        // A step a second for a minute, then one in two seconds.
        for second in 1..=60u64 {
            run.mark(started + Duration::from_secs(second), second);
        }
        for step in 1..=40 {
            run.mark(started + Duration::from_secs(60 + 2 * step), 60 + step);
        }
        let said = run.message(started + Duration::from_secs(140), 0, 100, 1.0);
        assert!(said.ends_with("5 images/s  2 min 20 s left"), "{said}");
    }

    #[test]
    fn a_writer_that_is_gone_stops_nothing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut progress = Progress::lines(Box::new(Gone));
        progress.begin(SIZE, 0, Measures::default());
        progress.step(0, 1, 1.0);
        progress.end();
    }

    #[test]
    fn spans_have_two_units_at_most() {
        assert_eq!(span(0.4), "0 s");
        assert_eq!(span(59.6), "1 min 00 s");
        assert_eq!(span(3723.0), "1 h 02 min");
        assert_eq!(span(90_000.0), "1 d 01 h");
    }
}
