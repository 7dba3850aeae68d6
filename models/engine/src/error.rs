//! Why a graph could not be loaded or run.

/// Failure of an engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The graph could not be read or prepared.
    #[error("the {what} graph cannot be loaded: {reason}")]
    Load {
        /// `encoder` or `training step`.
        what: &'static str,
        /// What was said, with the node where known.
        reason: String,
    },
    /// The graph failed while running.
    #[error("the {what} graph failed while running: {reason}")]
    Run {
        /// `encoder` or `training step`.
        what: &'static str,
        /// What was said.
        reason: String,
    },
    /// An input or state tensor is missing.
    #[error("`{name}` is missing; the graph needs {wanted:?}")]
    Missing {
        /// The tensor's name.
        name: String,
        /// Its shape.
        wanted: Vec<usize>,
    },
    /// A tensor was given that the graph does not take.
    #[error("the graph takes no `{name}`; it takes {known}")]
    Unknown {
        /// The name given.
        name: String,
        /// The names known, comma separated.
        known: String,
    },
    /// A tensor has another shape than the graph's.
    #[error("`{name}` has shape {found:?}, the graph wants {wanted:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The shape given.
        found: Vec<usize>,
        /// The shape wanted.
        wanted: Vec<usize>,
    },
    /// A value is NaN or infinite; the state was left as it was.
    #[error(
        "`{name}` is not finite; the state is unchanged. Lower the learning rate, or look for NaN in the input"
    )]
    NotFinite {
        /// The tensor's name.
        name: String,
    },
}
