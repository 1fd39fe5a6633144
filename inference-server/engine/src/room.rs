//! Room: how much may be under way, and how many may wait for it.
//!
//! Invariant: whoever waits does so until its deadline at the most, and who comes when too many wait
//! already is told at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use inference_scoring::ScoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that may wait for room before more are turned away at once.
const MAX_WAITERS: usize = 2_048;

/// One request has at most this part of a room that requests share.
const SHARES: usize = 4;

/// Room for a number of units. Its clones are the same room; rooms made of one another count those
/// who wait together.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    size: usize,
    waiters: Arc<AtomicUsize>,
}

impl Room {
    /// A room of `size` units, at least one.
    pub(crate) fn new(size: usize) -> Self {
        Self::counting(size, Arc::default())
    }

    /// Another room, whose waiters count as this one's.
    pub(crate) fn beside(&self, size: usize) -> Self {
        Self::counting(size, self.waiters.clone())
    }

    fn counting(size: usize, waiters: Arc<AtomicUsize>) -> Self {
        let size = size.clamp(1, u32::MAX as usize >> 3);
        Self {
            units: Arc::new(Semaphore::new(size)),
            size,
            waiters,
        }
    }

    /// Whether more wait than may.
    pub(crate) fn is_full(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) >= MAX_WAITERS
    }

    /// Units that nobody has.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.units.available_permits()
    }

    /// The most units that one request may have, so that others find room beside it.
    pub(crate) fn share(&self) -> usize {
        (self.size / SHARES).max(1)
    }

    /// Waits for `units`; what is larger than the whole room takes all of it.
    pub(crate) async fn enter(
        &self,
        units: usize,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, ScoreError> {
        let units = u32::try_from(units.min(self.size)).unwrap_or(u32::MAX);
        if let Ok(permit) = self.units.clone().try_acquire_many_owned(units) {
            return Ok(permit);
        }
        let _waiter = Waiter::enter(&self.waiters)?;
        let permit = self.units.clone().acquire_many_owned(units);
        tokio::time::timeout_at(deadline.into(), permit)
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(ScoreError::Overloaded)
    }
}

/// Counts those who wait, until it is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, ScoreError> {
        let waiter = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) < MAX_WAITERS {
            Ok(waiter)
        } else {
            Err(ScoreError::Overloaded)
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn who_finds_no_room_until_its_deadline_is_turned_away() {
        let room = Room::new(3);
        let permit = room.enter(2, soon()).await.unwrap();
        assert!(room.enter(1, soon()).await.is_ok());
        assert_eq!(
            room.enter(2, soon()).await.unwrap_err(),
            ScoreError::Overloaded
        );
        drop(permit);
        assert!(room.enter(2, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_larger_than_the_room_takes_all_of_it() {
        let room = Room::new(3);
        let permit = room.enter(100, soon()).await.unwrap();
        assert!(room.enter(1, soon()).await.is_err());
        drop(permit);
        assert!(room.enter(1, soon()).await.is_ok());
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_told_at_once() {
        let room = Room::new(1);
        let _permit = room.enter(1, soon()).await.unwrap();
        assert!(!room.is_full());
        room.waiters.store(MAX_WAITERS, Ordering::Relaxed);
        assert!(room.is_full());
        let later = Instant::now() + Duration::from_mins(1);
        let told = room.enter(1, later).await.unwrap_err();
        assert_eq!(told, ScoreError::Overloaded);
    }
}
