//! The engine: packed sequences in, logits out.
//!
//! Owns how much of a batch is computed at once, with which threads, and on which backend. Must not know of
//! requests. Invariant: by the kernels, where a batch is cut changes no bit of its logits; a device computes one
//! pass at a time, so that its memory is that of one.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use crate::architectures::Architecture;
use crate::backend::{Backend, CPU_TOKENS};
use crate::device_error::{Fault, fault};
use crate::layers::Pass;
use crate::packed::Packed;
use crate::threads::Threads;

/// Raw logits of each sequence, one value a label.
pub type Logits = Vec<Vec<f32>>;

/// Computes logits.
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Logits of each sequence of `batch`, in its order.
    ///
    /// # Errors
    /// A sentence when the computation fails.
    fn forward(&self, batch: &Packed) -> Result<Logits, EngineError>;

    /// Tokens that it wants at once: with fewer it is slower, more would make the first sequence wait for the last.
    fn batch_tokens(&self) -> usize {
        CPU_TOKENS
    }

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
    Tensor(candle_core::Error),
    /// The device has no room for the batch; a smaller one, or a later one, may find some.
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),
    /// The device computes nothing any more in this process.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
    /// A sequence of no tokens has no score.
    #[error("a sequence has no tokens: there is nothing to score")]
    NoTokens,
    /// There are no threads to compute with.
    #[error("--threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl From<candle_core::Error> for EngineError {
    fn from(error: candle_core::Error) -> Self {
        match fault(&error.to_string()) {
            Fault::OutOfMemory(why) => Self::OutOfMemory(why),
            Fault::DeviceLost(why) => Self::DeviceLost(why),
            Fault::Other => Self::Tensor(error),
        }
    }
}

/// A model of this process, with threads of its own.
#[derive(Debug)]
pub struct LocalEngine {
    architecture: Arc<dyn Architecture>,
    backend: Backend,
    threads: Arc<Threads>,
    /// Whose pass it is, of all engines of these weights, where they are on a device.
    turn: Arc<Mutex<()>>,
}

impl LocalEngine {
    /// An engine of those threads, for an architecture that was loaded for `backend`.
    pub fn new(
        architecture: Arc<dyn Architecture>,
        backend: Backend,
        threads: Arc<Threads>,
    ) -> Self {
        Self {
            architecture,
            backend,
            threads,
            turn: Arc::default(),
        }
    }

    fn pass(&self, batch: &Packed, logits: &mut Logits) -> Result<(), EngineError> {
        let _turn = match &self.backend {
            Backend::Kernels(_) => None,
            Backend::Tensors(_) => Some(self.turn.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        let pass = Pass::new(batch, &self.backend, &self.threads);
        let rows: Tensor = self.architecture.forward(&pass)?;
        logits.extend(rows.to_vec2::<f32>()?);
        Ok(())
    }
}

impl Engine for LocalEngine {
    fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
        let mut logits = Vec::with_capacity(batch.len());
        let mut part = Packed::default();
        let most = self.batch_tokens();
        self.threads.run(|| {
            for (ids, type_ids) in batch.sequences() {
                if ids.is_empty() {
                    return Err(EngineError::NoTokens);
                }
                let ids = self.architecture.counted(ids);
                if !part.is_empty() && part.tokens() + ids.len() > most {
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

    fn batch_tokens(&self) -> usize {
        self.backend.most_tokens()
    }

    fn beside(&self) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(Self {
            architecture: self.architecture.clone(),
            backend: self.backend.clone(),
            threads: Arc::new(Threads::new(self.threads.count())?),
            turn: self.turn.clone(),
        }))
    }
}
