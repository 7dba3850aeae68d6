//! Showing a person how a run goes: one bar that redraws itself on a terminal, a plain line every
//! few seconds elsewhere, nothing where nobody looks. Showing never fails a run.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
    knn: Option<f64>,
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
    pub(super) fn begin(&mut self, size: Size, before: u64, knn: Option<f64>) {
        if let Display::Bar(bar) = &self.display {
            bar.set_length(u64::from(size.epochs) * size.batches as u64);
            bar.set_position(before);
        }
        self.run = Some(Run { size, started: Instant::now(), before, knn });
    }

    /// A step was taken: number `step` in all, from one, in `epoch`, from zero.
    pub(super) fn step(&mut self, epoch: u32, step: u64, loss: f32) {
        let Some(run) = &self.run else { return };
        match &mut self.display {
            Display::Silent => {}
            Display::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(run.message(epoch, step, loss));
            }
            Display::Lines { to, every, last } => {
                let end = step == u64::from(run.size.epochs) * run.size.batches as u64;
                if end || last.is_none_or(|last| last.elapsed() >= *every) {
                    *last = Some(Instant::now());
                    // Nobody may be listening any more, which is no reason to stop training.
                    let _ = writeln!(to, "{}", run.message(epoch, step, loss)).and_then(|()| to.flush());
                }
            }
        }
    }

    /// kNN accuracy, 0 to 1, was measured.
    pub(super) fn measured(&mut self, knn: f64) {
        if let Some(run) = &mut self.run {
            run.knn = Some(knn);
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
    fn message(&self, epoch: u32, step: u64, loss: f32) -> String {
        let Size { epochs, batches, samples, unit } = self.size;
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let steps = step.saturating_sub(self.before) as f64;
        let speed = steps * samples as f64 / seconds;
        let total = u64::from(epochs) * batches as u64;
        let left = seconds / steps.max(1.0) * total.saturating_sub(step) as f64;
        let knn = self.knn.map_or(String::new(), |knn| format!("  kNN {:.1} %", knn * 100.0));
        let epoch = epoch + 1;
        format!("epoch {epoch}/{epochs}  loss {loss:.4}{knn}  {speed:.0} {unit}/s  {} left", span(left))
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
        progress.begin(SIZE, 0, None);
        for step in 1..=6 {
            if step == 4 {
                progress.measured(0.4567);
            }
            progress.step((step as u32 - 1) / 3, step, 1.5);
        }
        progress.end();
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("epoch 1/2  loss 1.5000  "), "{text}");
        assert!(lines[1].starts_with("epoch 2/2  loss 1.5000  kNN 45.7 %  "), "{text}");
        assert!(lines[1].contains(" images/s  0 s left"), "{text}");
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
        progress.begin(SIZE, 0, None);
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
