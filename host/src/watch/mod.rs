//! Watching a run: what is measured while it trains, what is said when it goes wrong, and how it is
//! shown. The loss alone is not enough: an encoder that maps everything to one point can have a low one.
//! So every few epochs features are gauged without labels, and where there are labels they are read off
//! by neighbours and by a linear probe ([`Yardstick`], [`Measures`]).
//!
//! Everything that is shown later is read back from the run directory ([`Record`]): the live page
//! ([`Server`]), the report ([`report`]), and a step that was not finite, kept and run again
//! ([`Capture`], [`replay()`]). Nothing here changes a run: what is drawn comes from a seed of its own, and
//! the page is made by reading files.
//!
//! # `metrics.jsonl`
//!
//! One JSON object a line. Epochs, batches and steps count from one. A key that is not known is left out.
//!
//! | `kind` | key | what |
//! |---|---|---|
//! | all | `epoch`, `step` | where the run stood |
//! | `step` | `batch` | batch in the epoch |
//! | | `lr` | learning rate of the step |
//! | | `loss` | loss of the step |
//! | | others | whatever else the objective tells, by name |
//! | `epoch` | `loss` | mean of the losses of its steps |
//! | | `seconds` | wall time of the epoch's steps in this sitting |
//! | | `samples_per_second` | samples trained on a second |
//! | | `watt_hours` | energy of the run so far ([`crate::cost`]) |
//! | | `watt_hours_estimated` | the part of it that no sensor measured |
//! | | `knn` | accuracy of nearest neighbours, 0 to 1 |
//! | | `linear` | accuracy of a linear probe, 0 to 1 |
//! | | `gauges` | [`Gauges`](crate::evaluate::Gauges) of features |
//! | `warning` | `about` | `features` or `loss` |
//! | | `state` | `bad` when it begins, `good` when it is over |
//! | | `words` | what it is, and what to try |
//!
//! `step` lines are thinned to some two thousand a run. A run that goes on cuts the log back to its
//! checkpoint first, so lines never repeat.

mod capture;
mod error;
mod gallery;
mod line;
mod live;
mod measures;
mod page;
mod record;
mod replay;
mod standing;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod yardstick;

pub use capture::{Capture, Given, MAX_CAPTURE_BYTES, Moment};
pub use error::WatchError;
pub use gallery::{Gallery, Shown};
pub use line::Line;
pub use live::{REFRESH_SECONDS, Server};
pub use measures::Measures;
pub use page::{page, report};
pub use record::{MAX_LOG_BYTES, Record, Status};
pub use replay::{Replayed, Values, replay};
pub use standing::{About, Standing, State, Warning};
pub use yardstick::Yardstick;
