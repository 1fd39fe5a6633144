//! How many bytes of bodies are in memory at once, in this process.
//!
//! Invariant: what a body takes is counted while it is read and until it is dropped; a body that
//! would be too much is told so, and not waited for, because its client can come again.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a body takes at least, however few bytes it has: a connection's buffer is as large.
const LEAST: usize = 16 * 1024;
/// As many bytes as eight of the largest bodies that are taken by default.
pub(crate) const BODY_BYTES: usize = 128 * 1024 * 1024;

/// The bytes that all bodies may have together.
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    most: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(BODY_BYTES)
    }
}

/// Too many bodies are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many bodies are read at once: try again, or raise --max-bodies-bytes")]
pub(crate) struct Full;

/// What one body has of it, until it is dropped.
pub(crate) struct Held {
    budget: Arc<Semaphore>,
    permit: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let most = bytes.clamp(LEAST, Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// The bytes that one body may have at most: all that there are.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// Room for a small body.
    pub(crate) fn begin(&self) -> Result<Held, Full> {
        let permit = take(&self.room, LEAST)?;
        Ok(Held {
            budget: self.room.clone(),
            permit,
        })
    }
}

impl Held {
    /// Room for a body of so many bytes: more than before, or less.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Full> {
        let (wanted, has) = (bytes.max(LEAST), self.permit.num_permits());
        if wanted > has {
            self.permit.merge(take(&self.budget, wanted - has)?);
        } else {
            drop(self.permit.split(has - wanted));
        }
        Ok(())
    }
}

fn take(budget: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Full> {
    let bytes = u32::try_from(bytes).map_err(|_| Full)?;
    budget
        .clone()
        .try_acquire_many_owned(bytes)
        .map_err(|_| Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_counted_while_they_grow_and_until_they_are_dropped() {
        let budget = Budget::new(4 * LEAST);
        let mut first = budget.begin().unwrap();
        first.resize(3 * LEAST).unwrap();
        let mut second = budget.begin().unwrap();
        assert!(budget.begin().is_err());
        assert_eq!(second.resize(LEAST + 1), Err(Full));
        first.resize(100).unwrap();
        second.resize(2 * LEAST).unwrap();
        drop((first, second));
        assert!(budget.begin().unwrap().resize(4 * LEAST).is_ok());
    }
}
