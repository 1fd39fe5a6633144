//! Named tensors of a checkpoint.
//!
//! Owns the checkpoint's numbers, in the format that they are stored in. Must not know of layers.
//! Invariants: a tensor is built from bytes that were hashed; all numbers are finite; whoever asks
//! for a tensor says its shape, and gets that or an error that names it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use crate::dtype::Dtype;
use crate::error::LoadError;

/// Named tensors of a checkpoint.
#[derive(Debug, Default)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    parameters: u64,
    dtype: Dtype,
    /// Names of those that were asked for.
    read: Mutex<BTreeSet<String>>,
}

impl Weights {
    /// No tensors yet, for layers that keep them as `dtype`.
    pub fn new(dtype: Dtype) -> Self {
        Self {
            dtype: dtype.on_cpu(),
            ..Self::default()
        }
    }

    /// The format that layers keep them in; never `Auto`.
    pub const fn dtype(&self) -> Dtype {
        self.dtype
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
            let dtype = dtype(name, tensor, view.dtype())?;
            let Some(dtype) = dtype else { continue };
            check_shape(name, tensor, view.shape())?;
            let value = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)
                .map_err(LoadError::tensor(tensor))?;
            if !is_finite(&value).map_err(LoadError::tensor(tensor))? {
                return Err(LoadError::invalid(format!(
                    "{name}: {tensor} holds numbers that are not finite: the training diverged or the file is damaged"
                )));
            }
            self.parameters += value.elem_count() as u64;
            if self.tensors.insert(tensor.to_owned(), value).is_some() {
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

    /// Whether a tensor of that name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of the tensors that nobody asked for, sorted.
    pub fn unread(&self) -> Vec<&str> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.tensors.keys().map(String::as_str);
        let mut unread: Vec<_> = names.filter(|name| !read.contains(*name)).collect();
        unread.sort_unstable();
        unread
    }

    /// The number of rows of a matrix, where it is there.
    pub fn rows(&self, name: &str) -> Option<usize> {
        self.tensors.get(name)?.dims().first().copied()
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

    /// The tensor `name` of that shape, in f32.
    ///
    /// # Errors
    /// `ModelInvalid` when it is missing or of another shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.find(name, shape)?
            .to_dtype(DType::F32)
            .map_err(LoadError::tensor(name))
    }

    /// The tensor `name` of that shape, in that format.
    ///
    /// # Errors
    /// `ModelInvalid` when it is missing or of another shape, or its numbers are too large.
    pub fn get_as(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor, LoadError> {
        let tensor = self.find(name, shape)?;
        let rounded = tensor.to_dtype(dtype).map_err(LoadError::tensor(name))?;
        if is_finite(&rounded).map_err(LoadError::tensor(name))? {
            Ok(rounded)
        } else {
            Err(LoadError::invalid(format!(
                "{name} holds numbers beyond the range of {}: choose --dtype bf16 or f32",
                dtype.as_str()
            )))
        }
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<&Tensor, LoadError> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            LoadError::invalid(format!("the weights lack {name}: the checkpoint is not complete, or config.json belongs to another model"))
        })?;
        if tensor.dims() == shape {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(name.to_owned());
            Ok(tensor)
        } else {
            Err(LoadError::invalid(format!(
                "{name} has the shape {:?} where config.json asks for {shape:?}: they belong to different models",
                tensor.dims()
            )))
        }
    }
}

/// The number format, or `None` for tensors that hold no weights (position ids).
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every format that is not named is refused, those of later versions too"
)]
fn dtype(file: &str, tensor: &str, dtype: safetensors::Dtype) -> Result<Option<DType>, LoadError> {
    match dtype {
        safetensors::Dtype::F32 => Ok(Some(DType::F32)),
        safetensors::Dtype::BF16 => Ok(Some(DType::BF16)),
        safetensors::Dtype::F16 => Ok(Some(DType::F16)),
        safetensors::Dtype::I64 | safetensors::Dtype::I32 | safetensors::Dtype::BOOL => Ok(None),
        other => Err(LoadError::unsupported(format!(
            "{file}: {tensor} is stored as {other:?}; save the model in f32, bf16 or f16"
        ))),
    }
}

fn is_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    let values = tensor.flatten_all()?.to_dtype(DType::F32)?;
    Ok(values
        .to_vec1::<f32>()?
        .iter()
        .all(|value| value.is_finite()))
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
