//! The queue before the engine, as a plain struct: what is scored next, and together.
//!
//! Owns order and size of batches. It must not know of threads or channels; the time is an argument.
//! Invariants: first come, first scored; a batch stays within the token budget unless its only item
//! is larger; nothing is lost and nothing comes twice.

use std::collections::VecDeque;
use std::time::Instant;

/// An item that waits.
#[derive(Debug)]
pub struct Entry<T> {
    /// What it costs.
    pub tokens: usize,
    /// When it is of no use any more.
    pub deadline: Instant,
    /// What it is.
    pub payload: T,
}

/// The queue.
#[derive(Debug)]
pub struct Scheduler<T> {
    waiting: VecDeque<Entry<T>>,
    budget: usize,
}

/// What leaves the queue at once.
#[derive(Debug)]
pub struct Batch<T> {
    /// To be scored together.
    pub ready: Vec<T>,
    /// Too late to be scored.
    pub late: Vec<T>,
}

impl<T> Scheduler<T> {
    /// A queue whose batches have at most `budget` tokens.
    pub const fn new(budget: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            budget,
        }
    }

    /// Adds an item.
    pub fn push(&mut self, entry: Entry<T>) {
        self.waiting.push_back(entry);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the next batch. Items that `is_cancelled` says nobody waits for are dropped.
    pub fn take(&mut self, now: Instant, is_cancelled: impl Fn(&T) -> bool) -> Batch<T> {
        let mut batch = Batch {
            ready: Vec::new(),
            late: Vec::new(),
        };
        let mut tokens = 0;
        while let Some(entry) = self.waiting.pop_front() {
            if is_cancelled(&entry.payload) {
                continue;
            }
            if entry.deadline <= now {
                batch.late.push(entry.payload);
                continue;
            }
            if !batch.ready.is_empty() && tokens + entry.tokens > self.budget {
                self.waiting.push_front(entry);
                break;
            }
            tokens += entry.tokens;
            batch.ready.push(entry.payload);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    struct Item {
        id: usize,
        tokens: usize,
        cancelled: bool,
    }

    proptest! {
        #[test]
        fn order_and_budget_hold_and_nothing_is_lost_or_comes_twice(
            items in prop::collection::vec((1_usize..40, 0_u64..6, prop::bool::weighted(0.1)), 0..80),
            budget in 1_usize..60,
        ) {
            let start = Instant::now();
            let at = |second: u64| start + Duration::from_secs(second);
            let mut queue = Scheduler::new(budget);
            for (id, (tokens, deadline, cancelled)) in items.iter().copied().enumerate() {
                let payload = Item { id, tokens, cancelled };
                queue.push(Entry { tokens, deadline: at(deadline), payload });
            }
            let (mut scored, mut late, mut second) = (Vec::new(), Vec::new(), 0);
            while !queue.is_empty() {
                let batch = queue.take(at(second), |item| item.cancelled);
                let tokens: usize = batch.ready.iter().map(|item| item.tokens).sum();
                prop_assert!(tokens <= budget || batch.ready.len() == 1);
                scored.extend(batch.ready.iter().map(|item| item.id));
                late.extend(batch.late.iter().map(|item| item.id));
                second += 1;
            }
            prop_assert!(scored.is_sorted());
            let cancelled = items.iter().enumerate().filter(|(_, item)| item.2).map(|(id, _)| id);
            let mut all: Vec<usize> = scored.into_iter().chain(late).chain(cancelled).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..items.len()).collect::<Vec<_>>());
        }
    }
}
