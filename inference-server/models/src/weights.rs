//! Named tensors of a checkpoint.
//!
//! Owns the checkpoint's numbers, in the format that they are stored in, until a layer takes them. Must not
//! know of layers. Invariants: a tensor is the bytes that were hashed; all numbers are finite; whoever asks
//! for a tensor says its shape, and gets that or an error that names it; nothing is there twice but what
//! is being packed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use safetensors::SafeTensors;

use crate::backend::Backend;
use crate::dtype::Dtype;
use crate::error::LoadError;
use crate::numbers::{Numbers, Stored};
use crate::threads::Threads;

/// Named tensors of a checkpoint.
#[derive(Debug)]
pub struct Weights {
    /// Those that nobody took yet.
    tensors: Mutex<HashMap<String, Stored>>,
    parameters: u64,
    dtype: Dtype,
    backend: Backend,
    threads: Arc<Threads>,
}

impl Clone for Weights {
    fn clone(&self) -> Self {
        Self {
            tensors: Mutex::new(self.lock().clone()),
            parameters: self.parameters,
            dtype: self.dtype,
            backend: self.backend.clone(),
            threads: self.threads.clone(),
        }
    }
}

impl Weights {
    /// No tensors yet, for layers that keep them as `dtype`, for that backend, packed by those threads.
    pub fn new(dtype: Dtype, backend: Backend, threads: Arc<Threads>) -> Self {
        let dtype = match &backend {
            Backend::Kernels(_) => dtype.on_cpu(),
            Backend::Tensors(_) => dtype,
        };
        Self {
            tensors: Mutex::default(),
            parameters: 0,
            dtype,
            backend: backend.in_format(dtype),
            threads,
        }
    }

    /// The same once all shards are there: where the format is still open, it is the one that most numbers are
    /// stored in.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if self.dtype == Dtype::Auto {
            self.dtype = self.stored();
            self.backend = self.backend.in_format(self.dtype);
        }
        self
    }

    /// The format that most numbers are stored in.
    fn stored(&self) -> Dtype {
        let (mut full, mut brain, mut half) = (0, 0, 0);
        for tensor in self.lock().values() {
            match tensor.numbers() {
                Numbers::F32 => full += tensor.count(),
                Numbers::Bf16 => brain += tensor.count(),
                Numbers::F16 => half += tensor.count(),
            }
        }
        if full >= brain && full >= half {
            Dtype::F32
        } else if brain >= half {
            Dtype::Bf16
        } else {
            Dtype::F16
        }
    }

    /// The format that layers keep them in; never `Auto` once all shards are there ([`Weights::settled`]).
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// What layers are made for.
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// By whom layers are packed.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Adds the tensors of the shard `name`.
    ///
    /// # Errors
    /// `ModelInvalid` when the shard cannot be read, or holds numbers that are not finite;
    /// `UnsupportedFormat` for number formats that are not served.
    pub fn add_shard(&mut self, name: &str, bytes: &[u8]) -> Result<(), LoadError> {
        let shard = SafeTensors::deserialize(bytes).map_err(|error| {
            LoadError::invalid(format!(
                "{name} is not a whole safetensors file ({error}): copy it again"
            ))
        })?;
        for (tensor, view) in shard.iter() {
            let Some(numbers) = numbers(name, tensor, view.dtype())? else {
                continue;
            };
            check_shape(name, tensor, view.shape())?;
            let value = Stored::new(numbers, view.shape(), view.data().to_vec());
            if !value.is_finite() {
                return Err(LoadError::invalid(format!(
                    "{name}: {tensor} holds numbers that are not finite: the training diverged or the file is damaged"
                )));
            }
            self.parameters += value.count() as u64;
            if self.lock().insert(tensor.to_owned(), value).is_some() {
                return Err(LoadError::invalid(format!(
                    "{name}: {tensor} is in two shards"
                )));
            }
        }
        Ok(())
    }

    /// All parameters of the checkpoint.
    pub const fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Whether a tensor of that name is there, and was not taken.
    pub fn contains(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// Names of the tensors that nobody took, sorted.
    pub fn unread(&self) -> Vec<String> {
        let mut unread: Vec<_> = self.lock().keys().cloned().collect();
        unread.sort_unstable();
        unread
    }

    /// The number of rows of a matrix, where it is there.
    pub fn rows(&self, name: &str) -> Option<usize> {
        self.lock().get(name)?.shape().first().copied()
    }

    /// The number of matrices `PREFIX.0.weight`, `PREFIX.2.weight` and so on.
    pub fn chain(&self, prefix: &str) -> usize {
        (0..)
            .step_by(2)
            .take_while(|i| self.contains(&format!("{prefix}.{i}.weight")))
            .count()
    }

    /// The first of `prefixes` under which there is a tensor `name`; the first of all where there is none,
    /// so that the error names what is usual.
    pub fn prefix<'a>(&self, prefixes: &[&'a str], name: &str) -> &'a str {
        let found = prefixes
            .iter()
            .find(|prefix| self.contains(&format!("{prefix}{name}")));
        found
            .or_else(|| prefixes.first())
            .copied()
            .unwrap_or_default()
    }

    /// Takes the tensor `name` of that shape: it is gone then.
    ///
    /// # Errors
    /// `ModelInvalid` when it is missing or of another shape.
    pub fn take(&self, name: &str, shape: &[usize]) -> Result<Stored, LoadError> {
        let mut tensors = self.lock();
        let found = tensors.get(name).ok_or_else(|| {
            LoadError::invalid(format!("the weights lack {name}: the checkpoint is not complete, or config.json belongs to another model"))
        })?;
        if found.shape() != shape {
            return Err(LoadError::invalid(format!(
                "{name} has the shape {:?} where config.json asks for {shape:?}: they belong to different models",
                found.shape()
            )));
        }
        let taken = tensors.remove(name);
        taken.ok_or_else(|| LoadError::invalid(format!("the weights lack {name}")))
    }

    /// Takes the tensor `name` of that shape, in f32.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        Ok(self.take(name, shape)?.to_f32())
    }

    /// Takes the tensor `name` of that shape, with its numbers rounded to the format of the weights, where
    /// that is one of 16 bits.
    ///
    /// # Errors
    /// As [`Weights::take`], and when its numbers are too large.
    pub fn rounded(&self, name: &str, shape: &[usize]) -> Result<Stored, LoadError> {
        let stored = self.take(name, shape)?;
        let numbers = match self.dtype {
            Dtype::Bf16 => Numbers::Bf16,
            Dtype::F16 => Numbers::F16,
            Dtype::Auto | Dtype::F32 | Dtype::Int8 => return Ok(stored),
        };
        let rounded = stored.rounded(numbers);
        if rounded.is_finite() {
            Ok(rounded)
        } else {
            Err(LoadError::invalid(format!(
                "{name} holds numbers beyond the range of {}: choose --dtype bf16 or f32",
                self.dtype
            )))
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Stored>> {
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the numbers are stored, or `None` for tensors that hold no weights (position ids).
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every format that is not named is refused, those of later versions too"
)]
fn numbers(
    file: &str,
    tensor: &str,
    dtype: safetensors::Dtype,
) -> Result<Option<Numbers>, LoadError> {
    match dtype {
        safetensors::Dtype::F32 => Ok(Some(Numbers::F32)),
        safetensors::Dtype::BF16 => Ok(Some(Numbers::Bf16)),
        safetensors::Dtype::F16 => Ok(Some(Numbers::F16)),
        safetensors::Dtype::I64 | safetensors::Dtype::I32 | safetensors::Dtype::BOOL => Ok(None),
        other => Err(LoadError::unsupported(format!(
            "{file}: {tensor} is stored as {other:?}; save the model in f32, bf16 or f16"
        ))),
    }
}

/// Without the rows that are none, too: the steps from row to row are counted for them all the same.
fn check_shape(name: &str, tensor: &str, shape: &[usize]) -> Result<(), LoadError> {
    let product = shape
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul((*size).max(1)));
    product.map(drop).ok_or_else(|| {
        LoadError::invalid(format!(
            "{name}: {tensor} has the shape {shape:?}, which no memory holds: copy it again"
        ))
    })
}
