//! A wish to stop, made by a signal or by the program, and looked at between steps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::TERM_SIGNALS;
use signal_hook::flag;

/// A wish to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that only the program can make.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that Ctrl-C and SIGTERM make too. A second signal ends the process at once, with the
    /// status that shells give a process ended by it.
    ///
    /// # Errors
    ///
    /// What the system says when a handler cannot be set.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::new();
        for signal in TERM_SIGNALS {
            // Registered first, so that the first signal finds the flag still down.
            flag::register_conditional_shutdown(*signal, 128 + *signal, Arc::clone(&stop.0))?;
            flag::register(*signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Makes the wish.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was made.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
