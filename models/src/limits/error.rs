//! Why a graph was refused before it reached tract.

/// A graph that costs too much, or whose cost cannot be bounded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// More nodes than [`super::MAX_GRAPH_NODES`].
    #[error("the graph has {found} nodes; at most {limit} are compiled or run. Simplify it before saving")]
    Nodes {
        /// Nodes found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// An input whose shape is not known.
    #[error(
        "input `{name}` must be a tensor of fixed, non-zero extents (the batch apart, where one is given); \
         fix its shape before saving"
    )]
    Input {
        /// The input.
        name: String,
    },
    /// A symbolic dimension that is no plain expression.
    #[error(
        "`{name}` has a symbolic dimension of {bytes} bytes or too many parentheses; give it a short name"
    )]
    Symbol {
        /// The value.
        name: String,
        /// Length of the expression.
        bytes: usize,
    },
    /// An operator whose output is not bounded by a rule here.
    #[error(
        "{place} has operator {operator}, for whose memory there is no bound, so it is not run; \
         export the model without it"
    )]
    Operator {
        /// The node.
        place: String,
        /// The operator.
        operator: String,
    },
    /// The size of an output depends on data.
    #[error(
        "{place}: the size of its output depends on {what}, which is not constant; fix the shapes before saving"
    )]
    Unbounded {
        /// The node.
        place: String,
        /// What the size depends on.
        what: &'static str,
    },
    /// An operand is missing, or its shape does not fit the operator.
    #[error("{place}: {what}")]
    Operand {
        /// The node.
        place: String,
        /// What is wrong.
        what: &'static str,
    },
    /// An attribute or a constant operand outside its range.
    #[error("{place}: `{attribute}` holds {found}; it must lie in {low}..={high}")]
    Attribute {
        /// The node.
        place: String,
        /// Which attribute.
        attribute: &'static str,
        /// Its value.
        found: i64,
        /// Smallest value allowed.
        low: i64,
        /// Largest value allowed.
        high: i64,
    },
    /// A value of more axes than [`super::MAX_RANK`].
    #[error("{place} has {found} axes; at most {limit} are read")]
    Rank {
        /// The value, or the node that makes it.
        place: String,
        /// Axes found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A value too large.
    #[error(
        "{place} makes up to {found} values; at most {limit} fit one tensor. Use a smaller batch or input"
    )]
    Elements {
        /// The node.
        place: String,
        /// Values, from above.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Too much in all.
    #[error("with {place}, {what} reach {found}; the limit is {limit}. Use a smaller batch or input")]
    Budget {
        /// The node at which the budget was spent.
        place: String,
        /// Which budget.
        what: &'static str,
        /// Spent so far.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// An embedding of too many rows or values, or of none.
    #[error("the embedding has shape {found:?}; up to {batch} rows of up to {dim} values are trained on")]
    Embedding {
        /// Its shape.
        found: Vec<usize>,
        /// Most rows.
        batch: usize,
        /// Most values.
        dim: usize,
    },
}
