//! How an engine runs a graph.

use std::num::NonZeroUsize;
use std::sync::Arc;

use sedge_kernels::Threads;

use crate::EngineError;
use crate::graph::Result;

/// How an engine runs a graph. Results do not depend on the number of threads; between kernels and
/// ordinary operators they differ by rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads that kernels run on: one for a board, whose other cores have work of their own.
    pub threads: usize,
    /// Whether fused calls and convolutions run as kernels; else everything runs as ordinary operators.
    pub kernels: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, kernels: true }
    }
}

impl Options {
    /// Kernels on every processor that this process may use.
    pub fn parallel() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { threads: threads.min(sedge_kernels::threads::MAX_THREADS), ..Self::default() }
    }

    pub(crate) fn pool(self, what: &'static str) -> Result<Arc<Threads>> {
        let pool = Threads::new(self.threads);
        pool.map(Arc::new).map_err(|e| EngineError::Load { what, reason: e.to_string() })
    }
}
