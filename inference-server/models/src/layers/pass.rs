//! One pass over a packed batch.
//!
//! Owns what all layers of a pass share: the batch, the threads, what is computed with, memory that is used again
//! from layer to layer, and on a device what was made there for the batch. Must not know of any layer. Invariant:
//! what is chosen here for speed (threads) changes no bit of what is computed.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use candle_core::{CpuStorage, Device, Error, Result, Storage, Tensor};
use kernels::{Alone, KernelError, Pool, Quantised};

use super::groups::Groups;
use super::masks::Masks;
use crate::backend::Backend;
use crate::beginnings::Beginnings;
use crate::packed::Packed;
use crate::threads::Threads;

/// Multiplications below which it takes longer to wake a thread than to do them: some ten microseconds.
const FEW: usize = 1 << 18;

/// A pass over a batch.
#[derive(Debug)]
pub struct Pass<'a> {
    batch: &'a Packed,
    /// Where the tokens are that come before those of a sequence; empty where none has any.
    before: &'a [Vec<Range<usize>>],
    backend: &'a Backend,
    threads: &'a Threads,
    room: Mutex<Quantised>,
    groups: OnceLock<Groups>,
    masks: Masks,
}

impl<'a> Pass<'a> {
    /// A pass over `batch` with that backend and those threads.
    pub fn new(batch: &'a Packed, backend: &'a Backend, threads: &'a Threads) -> Self {
        Self {
            batch,
            before: &[],
            backend,
            threads,
            room: Mutex::default(),
            groups: OnceLock::new(),
            masks: Masks::default(),
        }
    }

    /// The same over sequences that begin alike, by kernels and for a model whose tokens look back alone.
    pub fn over(batch: &'a Beginnings, backend: &'a Backend, threads: &'a Threads) -> Self {
        let alike = batch.before().iter().any(|before| !before.is_empty());
        Self {
            before: if alike { batch.before() } else { &[] },
            ..Self::new(batch.own(), backend, threads)
        }
    }

    /// Where the tokens are that come before those of a sequence; empty where none has any.
    pub(super) const fn before(&self) -> &'a [Vec<Range<usize>>] {
        self.before
    }

    /// The positions of the tokens of each sequence that are its own.
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<usize>> + Clone {
        let before = self
            .before
            .iter()
            .map(|runs| runs.iter().map(Range::len).sum());
        let before = before.chain(std::iter::repeat(0));
        let spans = before.zip(self.batch.ranges());
        spans.map(|(before, own): (usize, _)| before..before + own.len())
    }

    /// The batch.
    pub const fn batch(&self) -> &'a Packed {
        self.batch
    }

    /// What layers are computed with.
    pub const fn backend(&self) -> &'a Backend {
        self.backend
    }

    /// How sequences lie side by side on the device: made by the first layer that asks, for all.
    pub(super) fn groups(&self) -> Result<&Groups> {
        if let Some(groups) = self.groups.get() {
            return Ok(groups);
        }
        let made = Groups::of(self.batch, self.backend.device())?;
        Ok(self.groups.get_or_init(|| made))
    }

    /// Masks of the device that layers share.
    pub(super) const fn masks(&self) -> &Masks {
        &self.masks
    }

    /// Who does so many multiplications.
    pub(super) fn pool(&self, multiplications: usize) -> &dyn Pool {
        if multiplications < FEW {
            &Alone
        } else {
            self.threads
        }
    }

    /// Does `work` with each of `parts`, which take so many multiplications together.
    pub(super) fn spread<I: Iterator + Send>(
        &self,
        multiplications: usize,
        parts: &Mutex<I>,
        work: impl Fn(I::Item) + Sync,
    ) {
        let claim = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.pool(multiplications).on_all(&|| {
            while let Some(part) = claim() {
                work(part);
            }
        });
        // A pool may leave all to who asks.
        while let Some(part) = claim() {
            work(part);
        }
    }

    /// Memory for activations in 8 bits.
    pub(super) fn room(&self) -> MutexGuard<'_, Quantised> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position of each token in its sequence.
    pub fn positions(&self) -> Vec<u32> {
        self.spans().flatten().map(index).collect()
    }

    /// The first token of each sequence, among all.
    pub fn firsts(&self) -> Vec<u32> {
        self.batch
            .ranges()
            .map(|range| index(range.start))
            .collect()
    }

    /// The last token of each sequence, among all: of one that has none of its own, that of another.
    pub fn lasts(&self) -> Vec<u32> {
        let before = self.before.iter().map(|runs| runs.last().cloned());
        let before = before.chain(std::iter::repeat(None));
        let last = |(before, own): (Option<Range<usize>>, Range<usize>)| {
            let end = if own.is_empty() {
                before.map_or(0, |run| run.end)
            } else {
                own.end
            };
            index(end.saturating_sub(1))
        };
        before.zip(self.batch.ranges()).map(last).collect()
    }
}

fn index(token: usize) -> u32 {
    u32::try_from(token).unwrap_or(u32::MAX)
}

/// Hands the numbers of `x`, f32 on the CPU and without gaps, to `read`.
pub(super) fn numbers<T>(x: &Tensor, read: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        candle_core::bail!("activations have to be f32 on the CPU")
    };
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("activations have to be without gaps")
    };
    read(values.get(start..end).unwrap_or_default())
}

/// A matrix of these numbers.
pub(super) fn matrix(values: Vec<f32>, rows: usize, width: usize) -> Result<Tensor> {
    Tensor::from_vec(values, (rows, width), &Device::Cpu)
}

/// What a kernel says, as an error of tensors.
pub(super) fn refused(error: KernelError) -> Error {
    Error::wrap(error)
}
