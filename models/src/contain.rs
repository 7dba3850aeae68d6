//! Contains the panics of tract, which a malformed or hostile model can cause, without a message on standard
//! error: whoever called gets an error that says so, and a backtrace of a library would only alarm them.
//!
//! A panic hook belongs to the whole process. The one installed here, once and at the first contained call,
//! hands every panic outside contained calls to the hook that it found. A program that sets its own hook
//! later wins: contained panics are then told by that hook, and are contained all the same.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// A contained call panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the graph library panicked; the model is malformed or hits a defect in it")]
pub struct Panicked;

thread_local! {
    /// Contained calls that this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`; a panic inside becomes an error, and prints nothing. What `work` borrows mutably must not be
/// read again after an error, as it may be half-changed.
///
/// # Errors
/// [`Panicked`] when `work` did.
pub fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    install();
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|_| Panicked)
}

fn install() {
    static INSTALLED: Once = Once::new();
    // The hook cannot be changed while unwinding; a later call will do it.
    if std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            // A thread at its end has no depth any more, and is in no contained call.
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_at_every_depth() {
        assert_eq!(quietly(|| 7), Ok(7));
        let nested = quietly(|| (quietly(|| -> u8 { panic!("meant to be") }), DEPTH.get()));
        assert_eq!(nested, Ok((Err(Panicked), 1)));
        assert_eq!(DEPTH.get(), 0);
    }
}
