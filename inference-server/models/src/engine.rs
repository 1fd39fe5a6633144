//! The engine: packed sequences in, logits out.
//!
//! Owns the packed form and the threads of the mathematics. Invariant: the CPU engine computes each
//! sequence by itself, because candle's matrix product takes other paths, with other bits, for few
//! rows; kernels with a fixed order of sums may pack later without changing this contract.

use std::sync::Arc;

use crate::architectures::Architecture;

/// Sequences one behind the other, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    /// Where each sequence ends.
    ends: Vec<usize>,
}

impl Packed {
    /// Adds a sequence; `type_ids` is cut or filled with 0 to the length of `ids`.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.type_ids.extend(
            type_ids
                .iter()
                .copied()
                .chain(std::iter::repeat(0))
                .take(ids.len()),
        );
        self.ends.push(self.ids.len());
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The sequences: token ids and segment ids.
    pub fn sequences(&self) -> impl Iterator<Item = (&[u32], &[u32])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| {
            let part = |all: &'_ Vec<u32>| start..end.min(all.len());
            (
                self.ids.get(part(&self.ids)).unwrap_or_default(),
                self.type_ids.get(part(&self.type_ids)).unwrap_or_default(),
            )
        })
    }
}

/// Raw logits of each sequence, one value a label.
pub type Logits = Vec<Vec<f32>>;

/// Computes logits.
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Logits of each sequence of `batch`, in its order.
    ///
    /// # Errors
    /// A sentence when the computation fails.
    fn forward(&self, batch: &Packed) -> Result<Logits, EngineError>;

    /// The same weights with threads of their own, so that two batches are computed at once.
    ///
    /// # Errors
    /// When the threads cannot be started.
    fn beside(&self) -> Result<Arc<dyn Engine>, EngineError>;
}

/// The computation failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The tensor library refused.
    #[error("the forward pass failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// There are no threads to compute with.
    #[error("--threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// candle on the CPU, with threads of its own.
#[derive(Debug)]
pub struct CpuEngine {
    architecture: Arc<dyn Architecture>,
    threads: rayon::ThreadPool,
}

impl CpuEngine {
    /// An engine of `threads` threads; 0 is one for each core.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(architecture: Arc<dyn Architecture>, threads: usize) -> Result<Self, EngineError> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("engine-{i}"))
            .build()?;
        Ok(Self {
            architecture,
            threads,
        })
    }
}

impl Engine for CpuEngine {
    fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
        self.threads.install(|| {
            batch
                .sequences()
                .map(|(ids, type_ids)| {
                    Ok(self.architecture.forward(ids, type_ids)?.to_vec1::<f32>()?)
                })
                .collect()
        })
    }

    fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
        let (architecture, threads) = (self.architecture.clone(), &self.threads);
        Ok(Arc::new(Self::new(
            architecture,
            threads.current_num_threads(),
        )?))
    }
}
