//! An encoder put to the protocol: where it comes from ([`Subject`]), what it is tested on ([`Sides`]),
//! and what it is compared with ([`assess`]): itself with random weights, the raw input, and the
//! same architecture trained with supervision on the same few labels.

mod assess;
mod error;
mod sides;
mod subject;

pub use assess::{AssessOptions, Assessment, assess};
pub use error::MeasureError;
pub use sides::{HELD_OUT, Held, Sides};
pub use subject::{Random, Subject};
