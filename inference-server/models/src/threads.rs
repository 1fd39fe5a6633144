//! The threads that models are computed with.
//!
//! Owns the pool. Must not know what it computes. Invariant: as many threads as were asked for work on a
//! pass, and they start with the priority of whoever starts them.

use kernels::Pool;

/// Threads of their own.
#[derive(Debug)]
pub struct Threads(rayon::ThreadPool);

impl Threads {
    /// So many; 0 is one for each core.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn new(count: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("engine-{i}"))
            .build()
            .map(Self)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on one of them, which spreads what it can over all.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

impl Pool for Threads {
    fn on_all(&self, work: &(dyn Fn() + Sync)) {
        // The thread that asks is one of them mostly, and does the work at the end anyway.
        if self.count() > 1 {
            self.0.broadcast(|_| work());
        }
    }
}
