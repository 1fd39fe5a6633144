//! The engine: packed sequences in, logits out.
//!
//! Owns how much of a batch is computed at once, with which threads, and on which backend. Must not know of
//! requests. Invariant: by the kernels, where a batch is cut changes no bit of its logits; a device computes one
//! pass at a time, so that its memory is that of one.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use crate::architectures::Architecture;
use crate::backend::{Backend, CPU_TOKENS};
use crate::beginnings::{Beginnings, order, shared};
use crate::device_error::{Fault, fault};
use crate::layers::Pass;
use crate::packed::Packed;
use crate::threads::Threads;

/// How many times the tokens of a batch those may have that share at least half of theirs: in a batch of their own they
/// would be computed with that half once more.
const SHARED_BATCHES: usize = 4;

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

    /// Tokens of `next` that cost nothing in the batch of `last`, because both begin with them.
    fn shared(&self, _last: &[u32], _next: &[u32]) -> usize {
        0
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

    /// Whether sequences that begin alike are computed so.
    fn shares(&self) -> bool {
        match &self.backend {
            Backend::Kernels(_) => self.architecture.looks_back_alone(),
            Backend::Tensors(_) => false,
        }
    }

    fn pass(&self, pass: &Pass<'_>) -> Result<Logits, EngineError> {
        let _turn = match &self.backend {
            Backend::Kernels(_) => None,
            Backend::Tensors(_) => Some(self.turn.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        let rows: Tensor = self.architecture.forward(pass)?;
        Ok(rows.to_vec2::<f32>()?)
    }

    /// As many at once as there is room for, in the order of the batch.
    fn apart(&self, sequences: &[(&[u32], &[u32])]) -> Result<Logits, EngineError> {
        let mut logits = Vec::with_capacity(sequences.len());
        let mut part = Packed::default();
        let pass = |part: &Packed| self.pass(&Pass::new(part, &self.backend, &self.threads));
        for (ids, type_ids) in sequences {
            if !part.is_empty() && part.tokens() + ids.len() > self.batch_tokens() {
                logits.extend(pass(&part)?);
                part = Packed::default();
            }
            part.push(ids, type_ids);
        }
        if !part.is_empty() {
            logits.extend(pass(&part)?);
        }
        Ok(logits)
    }

    /// The same with what sequences share once; those that begin alike are computed together.
    fn together(&self, sequences: &[(&[u32], &[u32])]) -> Result<Logits, EngineError> {
        let mut logits = vec![Vec::new(); sequences.len()];
        let (mut part, mut places) = (Beginnings::default(), Vec::new());
        let mut pass = |part: &Beginnings, places: &[usize]| {
            let rows = self.pass(&Pass::over(part, &self.backend, &self.threads))?;
            for (place, row) in places.iter().zip(rows) {
                if let Some(slot) = logits.get_mut(*place) {
                    *slot = row;
                }
            }
            Ok::<_, EngineError>(())
        };
        for place in order(sequences) {
            let Some((ids, type_ids)) = sequences.get(place) else {
                continue;
            };
            let own = part.own_tokens(ids);
            // Elsewhere it would have to be computed with what it shares.
            let shares = 2 * own <= ids.len();
            let most = self.batch_tokens() * if shares { SHARED_BATCHES } else { 1 };
            if !places.is_empty() && part.own().tokens() + own > most {
                pass(&part, &places)?;
                (part, places) = (Beginnings::default(), Vec::new());
            }
            part.push(ids, type_ids);
            places.push(place);
        }
        if !places.is_empty() {
            pass(&part, &places)?;
        }
        self.alone_where_undefined(sequences, &mut logits)?;
        Ok(logits)
    }

    /// What is no number may come from tokens of another sequence, which the kernels weigh with 0: 0 times
    /// infinity is none. Computed alone it is the sequence's own, or none.
    fn alone_where_undefined(
        &self,
        sequences: &[(&[u32], &[u32])],
        logits: &mut Logits,
    ) -> Result<(), EngineError> {
        if sequences.len() < 2 {
            return Ok(());
        }
        for (row, sequence) in logits.iter_mut().zip(sequences) {
            if row.iter().all(|logit| logit.is_finite()) {
                continue;
            }
            if let Some(own) = self.apart(std::slice::from_ref(sequence))?.pop() {
                *row = own;
            }
        }
        Ok(())
    }
}

impl Engine for LocalEngine {
    fn forward(&self, batch: &Packed) -> Result<Logits, EngineError> {
        let mut sequences = Vec::with_capacity(batch.len());
        for (ids, type_ids) in batch.sequences() {
            if ids.is_empty() {
                return Err(EngineError::NoTokens);
            }
            sequences.push((self.architecture.counted(ids), type_ids));
        }
        self.threads.run(|| {
            if self.shares() {
                self.together(&sequences)
            } else {
                self.apart(&sequences)
            }
        })
    }

    fn shared(&self, last: &[u32], next: &[u32]) -> usize {
        if self.shares() { shared(last, next) } else { 0 }
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
