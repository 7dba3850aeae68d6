//! On how many threads, and with which instructions, kernels run.
//!
//! A kernel cuts its work into parts that write disjoint pieces of its outputs. Where the parts are
//! cut may depend on the number of threads only if no sum crosses a cut; a sum that is cut is cut by
//! the shape alone and its parts are added in order. So results are equal, bit for bit, on any
//! number of threads.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::KernelError;
use crate::buffer::Buffer;
use crate::simd::Level;

/// Most threads of one pool.
pub const MAX_THREADS: usize = 256;

/// Most buffers kept for each thread.
const BUFFERS_PER_THREAD: usize = 4;

/// A pool of threads and the instruction set that kernels use on them.
#[derive(Debug)]
pub struct Threads {
    pool: Option<rayon::ThreadPool>,
    count: usize,
    level: Level,
    /// Buffers between two uses: from the allocator every page of them would come zeroed anew.
    buffers: Mutex<Vec<Buffer>>,
}

impl Threads {
    /// A pool of `count` threads, with the fastest instructions of this machine.
    ///
    /// One thread is the caller's own; no pool is made for it.
    ///
    /// # Errors
    /// When `count` is zero or above [`MAX_THREADS`], or the threads cannot be started.
    pub fn new(count: usize) -> Result<Self, KernelError> {
        Self::with_level(count, Level::detect())
    }

    /// A pool of `count` threads that uses the instructions of `level`, where the machine has them.
    ///
    /// # Errors
    /// As [`Threads::new`].
    pub fn with_level(count: usize, level: Level) -> Result<Self, KernelError> {
        if count == 0 || count > MAX_THREADS {
            return Err(KernelError::Threads { count, reason: format!("must be 1 to {MAX_THREADS}") });
        }
        let pool = if count == 1 {
            None
        } else {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
            Some(pool.map_err(|error| KernelError::Threads { count, reason: error.to_string() })?)
        };
        let level = if level.is_available() { level } else { Level::Portable };
        Ok(Self { pool, count, level, buffers: Mutex::default() })
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The instruction set, which this machine has.
    pub fn level(&self) -> Level {
        self.level
    }

    /// A buffer of `length` floats, which hold what its last user left.
    pub(crate) fn scratch(&self, length: usize) -> Scratch<'_> {
        let mut buffers = self.buffers();
        // The smallest that is large enough, else the largest.
        let fits = |buffer: &Buffer| (buffer.room() < length, buffer.room().abs_diff(length));
        let best = buffers.iter().enumerate().min_by_key(|(_, buffer)| fits(buffer)).map(|(index, _)| index);
        let buffer = best.map(|index| buffers.swap_remove(index)).unwrap_or_default();
        drop(buffers);
        Scratch { buffer: buffer.resized(length), threads: self }
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Buffer>> {
        // A buffer promises nothing of its contents, so a panic of its user leaves nothing broken.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `work` once for each part, on any thread and in any order; returns when all are done.
    ///
    /// A part owns what its call needs: most often its pieces of the outputs.
    pub fn for_each<P: Send>(&self, parts: Vec<P>, work: impl Fn(P) + Sync) {
        match &self.pool {
            Some(pool) if parts.len() > 1 => {
                let work = &work;
                pool.scope(|scope| {
                    for part in parts {
                        scope.spawn(move |_| work(part));
                    }
                });
            }
            _ => parts.into_iter().for_each(work),
        }
    }
}

/// A buffer of a kernel, given back to its [`Threads`] when dropped.
pub(crate) struct Scratch<'a> {
    buffer: Buffer,
    threads: &'a Threads,
}

impl Deref for Scratch<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer
    }
}

impl DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut buffers = self.threads.buffers();
        if buffers.len() < BUFFERS_PER_THREAD * self.threads.count {
            buffers.push(buffer);
        }
    }
}

/// Cuts `length` things into at most `parts` runs of near equal length, each a multiple of `grain`
/// but the last; returns the length of all runs but the last.
pub(crate) fn run_length(length: usize, parts: usize, grain: usize) -> usize {
    length.div_ceil(parts.max(1)).next_multiple_of(grain.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_once() {
        for count in 1..=3 {
            let threads = Threads::new(count).unwrap();
            let mut values = vec![0_u32; 1000];
            threads.for_each(values.chunks_mut(7).collect(), |part| part.iter_mut().for_each(|v| *v += 1));
            assert!(values.iter().all(|v| *v == 1));
        }
    }

    #[test]
    fn refuses_no_threads_and_too_many() {
        assert!(matches!(Threads::new(0), Err(KernelError::Threads { count: 0, .. })));
        assert!(Threads::new(MAX_THREADS + 1).is_err());
    }

    #[test]
    fn runs_cover_the_length() {
        assert_eq!(run_length(100, 3, 14), 42);
        assert_eq!(run_length(5, 8, 1), 1);
    }
}
