//! What is asked beside the requests: after their clients have their answers, or for nobody's.
//!
//! Owns queues, each of which is bounded in number and in bytes by itself, and how many of its tasks are worked on at once.
//! It must not know what a task does. Invariants: whoever adds to it never waits; what is waiting and what
//! is worked on is within both bounds together; it has no task of its own while there is nothing to do.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Tasks that wait or are worked on.
pub(crate) const MOST: usize = 256;
/// Bytes of their texts.
pub(crate) const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Tasks that are worked on at once: a revision that hangs holds no more than these.
pub(crate) const AT_ONCE: usize = 16;

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Tasks in order, each with the bytes that it holds.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Tasks that wait or are worked on.
    held: watch::Sender<usize>,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    workers: usize,
    /// Of the workers, those with a task.
    working: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                bytes: 0,
                workers: 0,
                working: 0,
            }),
            held: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds all of them or, where not all have room, none. Says how many workers are to begin, each of
    /// which asks for [`Self::next`] until there is nothing.
    pub(crate) fn add(&self, tasks: Vec<(T, usize)>) -> Result<usize, Full> {
        let mut state = self.state();
        let bytes = tasks
            .iter()
            .fold(state.bytes, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let held = state.waiting.len() + state.working + tasks.len();
        if held > MOST || bytes > MOST_BYTES {
            return Err(Full);
        }
        state.bytes = bytes;
        state.waiting.extend(tasks);
        let wanted = state.waiting.len() + state.working;
        let begin = wanted.min(AT_ONCE).saturating_sub(state.workers);
        state.workers += begin;
        self.held.send_replace(held);
        Ok(begin)
    }

    /// The next task of a worker; `done` are the bytes of the one that it has done. `None`: the worker ends.
    pub(crate) fn next(&self, done: Option<usize>) -> Option<(T, usize)> {
        let mut state = self.state();
        if let Some(bytes) = done {
            state.bytes = state.bytes.saturating_sub(bytes);
            state.working = state.working.saturating_sub(1);
        }
        let next = state.waiting.pop_front();
        match next {
            Some(_) => state.working += 1,
            None => state.workers = state.workers.saturating_sub(1),
        }
        self.held.send_replace(state.waiting.len() + state.working);
        next
    }

    /// Waits until nothing waits and nothing is worked on.
    pub(crate) async fn idle(&self) {
        // The sender is here as long as who waits.
        let _ = self.held.subscribe().wait_for(|held| *held == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_more_than_so_many_and_so_many_bytes_those_worked_on_included() {
        let queue = Queue::new();
        assert_eq!(queue.add(vec![(0, MOST_BYTES)]), Ok(1));
        assert_eq!(queue.add(vec![(1, 1)]), Err(Full));
        assert_eq!(queue.next(None), Some((0, MOST_BYTES)));
        assert_eq!(queue.add(vec![(1, 1)]), Err(Full), "it is worked on");
        assert_eq!(queue.next(Some(MOST_BYTES)), None);
        let many: Vec<_> = (0..MOST).map(|task| (task, 1)).collect();
        assert_eq!(queue.add(many), Ok(AT_ONCE));
        assert_eq!(queue.add(vec![(1, 1)]), Err(Full));
        assert_eq!(queue.next(None), Some((0, 1)));
        assert_eq!(queue.add(vec![(1, 1)]), Err(Full), "it is worked on");
        assert_eq!(queue.next(Some(1)), Some((1, 1)));
        assert_eq!(queue.add(vec![(7, 1)]), Ok(0));
    }

    #[test]
    fn all_are_added_or_none() {
        let queue = Queue::new();
        assert_eq!(
            queue.add((0..MOST - 1).map(|task| (task, 0)).collect()),
            Ok(AT_ONCE)
        );
        assert_eq!(queue.add(vec![(1, 0), (2, 0)]), Err(Full));
        assert_eq!(queue.add(vec![(1, 0)]), Ok(0));
        assert_eq!(queue.add(vec![(1, usize::MAX)]), Err(Full));
    }

    #[tokio::test]
    async fn it_is_idle_when_the_last_task_is_done() {
        let queue = Queue::new();
        queue.idle().await;
        queue.add(vec![((), 3)]).unwrap();
        assert_eq!(queue.next(None), Some(((), 3)));
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, queue.idle()).await.is_err());
        assert_eq!(queue.next(Some(3)), None);
        queue.idle().await;
    }
}
