//! The engine: packed sequences in, logits out.
//!
//! Owns how much of a batch is computed at once, and with which threads and kernels. Must not know of requests.
//! Invariant: where a batch is cut changes no bit of its logits.

use std::sync::Arc;

use candle_core::Tensor;
use kernels::{Isa, Kernels};

use crate::architectures::Architecture;
use crate::layers::Pass;
use crate::packed::Packed;
use crate::threads::Threads;

/// Tokens that go through the layers at once, unless a sequence alone has more. They fill the tiles of
/// kernels many times over; more would only take more memory.
const MOST_TOKENS: usize = 1_024;

/// The name of an engine: its kind and version, and its instruction set. Engines of one name give the same bits;
/// `packed-1` becomes another number when a formula or an order of sums changes.
pub fn version(isa: Isa) -> String {
    format!("packed-1/{}/{isa}", env!("CARGO_PKG_VERSION"))
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
    /// A sequence of no tokens has no score.
    #[error("a sequence has no tokens: there is nothing to score")]
    NoTokens,
    /// There are no threads to compute with.
    #[error("--threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Packed kernels on the CPU, with threads of their own.
#[derive(Debug)]
pub struct CpuEngine {
    architecture: Arc<dyn Architecture>,
    kernels: Kernels,
    threads: Arc<Threads>,
}

impl CpuEngine {
    /// An engine of those threads, for an architecture that was packed for `kernels`.
    pub fn new(
        architecture: Arc<dyn Architecture>,
        kernels: Kernels,
        threads: Arc<Threads>,
    ) -> Self {
        Self {
            architecture,
            kernels,
            threads,
        }
    }

    fn pass(&self, batch: &Packed, logits: &mut Logits) -> Result<(), EngineError> {
        let pass = Pass::new(batch, self.kernels, &self.threads);
        let rows: Tensor = self.architecture.forward(&pass)?;
        logits.extend(rows.to_vec2::<f32>()?);
        Ok(())
    }
}

impl Engine for CpuEngine {
    fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
        let mut logits = Vec::with_capacity(batch.len());
        let mut part = Packed::default();
        self.threads.run(|| {
            for (ids, type_ids) in batch.sequences() {
                if ids.is_empty() {
                    return Err(EngineError::NoTokens);
                }
                let ids = self.architecture.counted(ids);
                if !part.is_empty() && part.tokens() + ids.len() > MOST_TOKENS {
                    self.pass(&part, &mut logits)?;
                    part = Packed::default();
                }
                part.push(ids, type_ids);
            }
            if part.is_empty() {
                return Ok(());
            }
            self.pass(&part, &mut logits)
        })?;
        Ok(logits)
    }

    fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
        let threads = Arc::new(Threads::new(self.threads.count())?);
        Ok(Arc::new(Self::new(
            self.architecture.clone(),
            self.kernels,
            threads,
        )))
    }
}
