//! The power of NVIDIA cards, as the driver's own program tells it: one `nvidia-smi` that writes a line a
//! second for as long as the run lasts. Nothing is linked or loaded, and without the driver there is
//! simply no such program.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::counter::PowerIntegral;

/// Longest line taken; a card is a few characters.
const MAX_LINE: u64 = 4096;

/// Energy of all cards since the first reading.
pub(super) struct Cards {
    child: Child,
    reader: Option<JoinHandle<()>>,
    integral: Arc<Mutex<PowerIntegral>>,
}

impl Cards {
    /// Starts `program`, and gives nothing where it cannot be started.
    pub(super) fn start(program: &Path) -> Option<Self> {
        let mut command = Command::new(program);
        command.args(["--query-gpu=power.draw", "--format=csv,noheader,nounits", "--loop=1"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let Some(lines) = child.stdout.take() else {
            // Cannot be, as it was asked for; then there is nothing to read.
            let _ = child.kill().and_then(|()| child.wait());
            return None;
        };
        let integral = Arc::new(Mutex::new(PowerIntegral::default()));
        let shared = Arc::clone(&integral);
        let begun = Instant::now();
        let work = move || follow(lines, begun, &shared);
        let reader = std::thread::Builder::new().name("nvidia-smi".into()).spawn(work).ok();
        Some(Self { child, reader, integral })
    }

    pub(super) fn joules(&self) -> f64 {
        self.integral.lock().unwrap_or_else(PoisonError::into_inner).joules()
    }

    pub(super) fn words() -> String {
        "nvidia-smi: all that the cards of this machine did meanwhile".into()
    }
}

impl Drop for Cards {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to wait for after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Cards that are read together come within this many milliseconds, rounds of them a second apart.
const ROUND_MS: u128 = 300;

/// Takes a line a card until there are no more. A round counts once the next one begins, since only then is
/// it known to be whole.
fn follow(lines: impl Read, begun: Instant, integral: &Mutex<PowerIntegral>) {
    let mut lines = BufReader::new(lines);
    let mut round: Option<(Duration, f64)> = None;
    loop {
        let mut line = String::new();
        match lines.by_ref().take(MAX_LINE).read_line(&mut line) {
            Ok(1..) => {}
            _ => return,
        }
        // A card that tells no power has `[N/A]`.
        let Ok(watts) = line.trim().parse::<f64>() else { continue };
        let now = begun.elapsed();
        match &mut round {
            Some((began, sum)) if now.saturating_sub(*began).as_millis() < ROUND_MS => *sum += watts,
            _ => {
                if let Some((began, sum)) = round.replace((now, watts)) {
                    integral.lock().unwrap_or_else(PoisonError::into_inner).read(began, sum);
                }
            }
        }
    }
}
