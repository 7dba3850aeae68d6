//! What can be wrong with a measurement that was asked for.

use super::draw::Budget;

/// A measurement that cannot be made as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// There is nothing to measure with.
    #[error("`{what}` is empty; at least one row and one column are needed")]
    Empty {
        /// Which features or list.
        what: String,
    },
    /// Two things that go together have different lengths.
    #[error("`{what}` has {found} where {wanted} are needed, one for each {per}")]
    Length {
        /// What has the wrong length.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there should be.
        wanted: usize,
        /// What each belongs to.
        per: &'static str,
    },
    /// A feature is NaN or infinite.
    #[error(
        "`{what}` has {value} at row {row}, column {column}; features must be finite (did the encoder diverge?)"
    )]
    NotFinite {
        /// Which features.
        what: String,
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The value found.
        value: f32,
    },
    /// A label lies outside the classes.
    #[error("`{what}` has label {label} at item {item}, but there are {classes} classes (0 to {})", classes.saturating_sub(1))]
    Label {
        /// Which labels.
        what: String,
        /// The item.
        item: usize,
        /// The label found.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// A size is over a limit that bounds memory.
    #[error("`{what}` is {found}, over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A subject or recording is on both sides of the split.
    #[error(
        "group {group} is in both the training part (item {train_item}) and the test part (item {test_item}); \
         split by subject or recording, never by window"
    )]
    GroupLeak {
        /// The group.
        group: u32,
        /// Its first item in the training part.
        train_item: usize,
        /// Its first item in the test part.
        test_item: usize,
    },
    /// A setting has no meaning.
    #[error("`{name}` is {value}; it must be {wanted}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// The value given.
        value: f64,
        /// What is allowed.
        wanted: &'static str,
    },
    /// The supervised reference failed.
    #[error("the supervised reference ({budget}, seed {seed}) failed: {source}")]
    Reference {
        /// How many labels it was given.
        budget: Budget,
        /// The seed of the draw.
        seed: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Evaluations that do not measure the same thing cannot be pooled.
    #[error("the evaluations differ in {what}; pool only runs of one protocol on one split")]
    Unlike {
        /// In what they differ.
        what: &'static str,
    },
}
