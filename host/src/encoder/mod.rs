//! Encoders on the host: the training steps they are trained by, the ONNX they leave as, and the
//! embeddings of whole data sets.

mod error;
mod features;
mod steps;
mod supervised;

pub use error::EncoderError;
pub use features::{embed, features_without_encoder, raw_features};
pub(crate) use steps::head;
pub use steps::{Trained, board_step, onnx, pair_step, pretraining_step, supervised_step};
pub use supervised::Supervised;
