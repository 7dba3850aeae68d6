//! tract's rewriting passes under a budget. They apply one small patch after another until none is left; a
//! graph can be written so that the patches are many and each search for the next is long, or so that two
//! passes undo each other for ever. Here every search is counted by the nodes that it may visit, so that the
//! same graph is refused on every machine, fast or slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// Node visits that one rewriting may take. All layers of MobileNetV2 with AdamW take 17 million, and go at
/// about a million a second.
pub const MAX_VISITS: usize = 1 << 26;
/// Passes that are left out: they carry symbolic regions of attention masks through the graph, of which graphs
/// of fixed shapes have none, and compare expressions that a hostile graph makes grow without end.
const LEFT_OUT: [&str; 3] = ["PropagateUniformTdim", "PropagateRoi", "FoldUniformMask"];

/// Rewriting took more than its budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "rewriting a graph of {nodes} nodes took more than {limit} visits; it is made to be slow, or far from \
     what exporters write. Simplify it before saving"
)]
pub struct TooSlow {
    /// Nodes of the graph when the budget was spent.
    pub nodes: usize,
    /// The budget.
    pub limit: usize,
}

/// A value whose extents are an expression, which in a graph of fixed shapes means that operands do not fit
/// each other. tract compares such expressions by rewriting them, at a cost that can double at every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shapes around node `{node}` do not fit each other, or depend on data; fix them before saving")]
pub struct OpenShape {
    /// The node.
    pub node: String,
}

/// Brings `model` to tract's few core operators.
///
/// # Errors
/// [`OpenShape`], [`TooSlow`], or what tract says.
pub fn declutter(model: &mut TypedModel) -> TractResult<()> {
    let is_open = |node: &&TypedNode| node.outputs.iter().any(|o| o.fact.shape.as_concrete().is_none());
    if let Some(node) = model.nodes().iter().find(is_open) {
        return Err(OpenShape { node: node.name.clone() }.into());
    }
    metered(Optimizer::declutter()).session().optimize(model)
}

/// Prepares `model` for running: the kernels of this machine.
///
/// # Errors
/// [`TooSlow`], or what tract says.
pub fn codegen(model: &mut TypedModel) -> TractResult<()> {
    model.optimize_with_session(&mut metered(Optimizer::codegen()).session())
}

fn metered(mut optimizer: Optimizer) -> Optimizer {
    let spent = Arc::new(AtomicUsize::new(0));
    optimizer.passes = optimizer
        .passes
        .into_iter()
        .filter(|pass| !LEFT_OUT.iter().any(|name| format!("{pass:?}").starts_with(name)))
        .map(|pass| Box::new(Metered { pass, spent: spent.clone() }) as Box<dyn TypedPass>)
        .collect();
    optimizer
}

/// A pass that counts.
#[derive(Clone, Debug)]
struct Metered {
    pass: Box<dyn TypedPass>,
    /// Visits so far, shared by all passes.
    spent: Arc<AtomicUsize>,
}

impl TypedPass for Metered {
    fn reset(&mut self) -> TractResult<()> {
        self.pass.reset()
    }

    fn next(
        &mut self,
        session: &mut OptimizerSession<'_>,
        model: &TypedModel,
    ) -> TractResult<Option<TypedModelPatch>> {
        let visits = model.nodes().len();
        if self.spent.fetch_add(visits, Ordering::Relaxed).saturating_add(visits) > MAX_VISITS {
            return Err(TooSlow { nodes: visits, limit: MAX_VISITS }.into());
        }
        self.pass.next(session, model)
    }

    fn run_direct(&mut self, model: &mut TypedModel) -> TractResult<bool> {
        self.pass.run_direct(model)
    }
}
