//! What can be wrong with settings, a source or an output buffer. Nothing in this crate panics or
//! returns a half-made view in silence.

use crate::MAX_SIDE;

/// Why no view was made. The output buffer is unchanged, or its content means nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// A setting outside its range.
    #[error("augmentation setting `{field}` is {found:?}; it must be {wanted}")]
    Setting {
        /// The field of the settings, as written in a configuration file.
        field: &'static str,
        /// The value or the two ends of the range found.
        found: Vec<f32>,
        /// What is accepted.
        wanted: &'static str,
    },
    /// An image whose bytes do not fit its size, or whose size is not accepted.
    #[error(
        "a {width}x{height} RGB image of {bytes} bytes; wanted three a pixel and sides of 1 to {MAX_SIDE}"
    )]
    Image {
        /// Stated width in pixels.
        width: usize,
        /// Stated height in pixels.
        height: usize,
        /// Bytes given.
        bytes: usize,
    },
    /// A window whose values or per-channel figures do not fit its shape.
    #[error(
        "a window of [{channels}, {length}] with {values} values, {mean} means and {std} deviations; \
         wanted one value a cell, one figure a channel and sides of 1 to {MAX_SIDE}"
    )]
    Window {
        /// Stated channels.
        channels: usize,
        /// Stated samples.
        length: usize,
        /// Values given.
        values: usize,
        /// Channel means given.
        mean: usize,
        /// Channel deviations given.
        std: usize,
    },
    /// An output buffer of another length than the view.
    #[error("the view holds {wanted} values, but the output has room for {found}")]
    Output {
        /// Values of the view.
        wanted: usize,
        /// Length of the buffer.
        found: usize,
    },
    /// Rotation was asked of channels that are not triplets of axes.
    #[error("a window of {channels} channels has no x, y, z triplets to rotate; set `rotation_degrees` to 0")]
    Triplets {
        /// Channels of the window.
        channels: usize,
    },
    /// Normalisation figures that do not fit the sample.
    #[error("{values} values cannot be normalised by {mean} means and {std} deviations, one a channel")]
    Channels {
        /// Values of the sample.
        values: usize,
        /// Means given.
        mean: usize,
        /// Deviations given.
        std: usize,
    },
    /// A standard deviation that cannot divide.
    #[error("the standard deviation of channel {channel} must be above zero")]
    Deviation {
        /// Which channel.
        channel: usize,
    },
}

/// Refuses `found` unless it is a probability.
pub(crate) fn probability(field: &'static str, found: f32) -> Result<(), AugmentError> {
    within(field, found, 0.0, 1.0, "a probability, 0 to 1")
}

/// Refuses `found` unless `low <= found <= high`; NaN is refused.
pub(crate) fn within(
    field: &'static str,
    found: f32,
    low: f32,
    high: f32,
    wanted: &'static str,
) -> Result<(), AugmentError> {
    if found >= low && found <= high {
        return Ok(());
    }
    Err(AugmentError::Setting { field, found: vec![found], wanted })
}

/// Refuses the range `found` unless `low <= found[0] <= found[1] <= high`.
pub(crate) fn range(
    field: &'static str,
    found: [f32; 2],
    low: f32,
    high: f32,
    wanted: &'static str,
) -> Result<(), AugmentError> {
    if found[0] >= low && found[0] <= found[1] && found[1] <= high {
        return Ok(());
    }
    Err(AugmentError::Setting { field, found: found.into(), wanted })
}
