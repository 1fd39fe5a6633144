//! How work is spread over threads.
//!
//! Owns the contract with a scheduler and the claiming of tasks. Must not know what a task computes.
//! Invariant: each task is done exactly once, whatever a [`Pool`] does, and before the kernel returns.

use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that a kernel may use.
///
/// With rayon it is `pool.broadcast(|_| work())`. Whoever calls `work` takes tasks until none is left,
/// so that it may be called by any number of threads, or by none: the kernel calls it too, at the end.
pub trait Pool: Sync {
    /// Calls `work` on the threads, and returns when all calls have.
    fn on_all(&self, work: &(dyn Fn() + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Pool for Alone {
    fn on_all(&self, work: &(dyn Fn() + Sync)) {
        work();
    }
}

/// Calls `work` on all threads of `pool`, and here for what these may have left.
pub(crate) fn spread(pool: &dyn Pool, work: impl Fn() + Sync) {
    pool.on_all(&work);
    work();
}

/// Numbers of tasks, each given out once.
#[derive(Debug)]
pub(crate) struct Tasks {
    next: AtomicUsize,
    count: usize,
}

impl Tasks {
    /// `0..count`.
    pub(crate) const fn new(count: usize) -> Self {
        Self {
            next: AtomicUsize::new(0),
            count,
        }
    }

    /// One that nobody else has.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<usize> {
        // What a task reads was written before the threads were given it, so no order is needed. It
        // cannot wrap: each caller stops at its first answer beyond the count.
        let task = self.next.fetch_add(1, Ordering::Relaxed);
        (task < self.count).then_some(task)
    }
}

/// Parts of something, each given out once.
pub(crate) fn claim<I: Iterator>(parts: &Mutex<I>) -> Option<I::Item> {
    // A thread that panicked has left the iterator whole: `next` of a slice's chunks does not panic.
    let mut parts = parts
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    parts.next()
}

/// A buffer of which tasks write parts that do not overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    length: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a mutable slice whose parts are taken by threads; `part` asks that no two overlap.
unsafe impl Send for Shared<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Of `buffer`, which nobody else sees meanwhile.
    pub(crate) fn new(buffer: &'a mut [f32]) -> Self {
        Self {
            start: buffer.as_mut_ptr(),
            length: buffer.len(),
            buffer: PhantomData,
        }
    }

    /// Where number `start` is, to be asked for before it is written.
    #[inline(always)]
    pub(crate) const fn address(&self, start: usize) -> *const f32 {
        self.start.wrapping_add(start)
    }

    /// `length` numbers from `start` on; fewer where the buffer ends.
    ///
    /// # Safety
    /// Nothing else may hold any of these numbers while the part lives.
    #[inline(always)]
    pub(crate) unsafe fn part(&self, start: usize, length: usize) -> &'a mut [f32] {
        let start = start.min(self.length);
        let length = length.min(self.length - start);
        // SAFETY: the range is within the buffer, which is borrowed mutably for 'a, and the caller
        // answers for that nothing overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls on three threads at once.
    struct Three;

    impl Pool for Three {
        fn on_all(&self, work: &(dyn Fn() + Sync)) {
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(work);
                }
            });
        }
    }

    /// Never calls.
    struct Idle;

    impl Pool for Idle {
        fn on_all(&self, _work: &(dyn Fn() + Sync)) {}
    }

    #[test]
    fn each_task_is_done_once_whatever_the_pool_does() {
        for pool in [&Three as &dyn Pool, &Idle, &Alone] {
            let done: Vec<AtomicUsize> = (0..500).map(|_| AtomicUsize::new(0)).collect();
            let tasks = Tasks::new(done.len());
            spread(pool, || {
                while let Some(task) = tasks.claim() {
                    done[task].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_part_ends_where_the_buffer_does() {
        let mut buffer = [1.0, 2.0, 3.0];
        let shared = Shared::new(&mut buffer);
        // SAFETY: one part lives at a time.
        unsafe {
            assert_eq!(shared.part(1, 9), [2.0, 3.0]);
            assert_eq!(shared.part(7, 1), [0.0; 0]);
        }
    }
}
