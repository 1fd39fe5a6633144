//! Normalisations over the last dimension, always in f32.

use candle_core::Tensor;
use kernels::{Kernels, Norm};

use super::Bias;
use super::pass::{Pass, matrix, numbers, refused};
use super::product::vector;
use crate::backend::{Backend, Place};
use crate::error::LoadError;
use crate::weights::Weights;

/// Layer normalisation (Ba et al. 2016).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    /// Both on the device, where tensors are: 0 for a bias that there is not.
    there: Option<(Tensor, Tensor)>,
    eps: f32,
}

impl LayerNorm {
    /// Reads `PREFIX.weight`, and `PREFIX.bias` as `bias` says; old checkpoints call them `gamma` and
    /// `beta`.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        width: usize,
        eps: f64,
        bias: Bias,
    ) -> Result<Self, LoadError> {
        let old = weights.contains(&format!("{prefix}.gamma"));
        let (weight, beta) = if old {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        let weight = weights.get(&format!("{prefix}.{weight}"), &[width])?;
        let bias = bias.read(weights, &format!("{prefix}.{beta}"), width)?;
        let there = on_device(weights, prefix, |place| {
            let weight = Tensor::new(&weight[..], &place.device)?;
            let bias = vector(place, bias.as_deref())?;
            let bias = bias.map_or_else(|| weight.zeros_like(), Ok)?;
            Ok((weight, bias))
        })?;
        Ok(Self {
            weight,
            bias,
            there,
            eps: narrow(eps),
        })
    }

    /// `[n, width]` to `[n, width]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> candle_core::Result<Tensor> {
        match (pass.backend(), &self.there) {
            (Backend::Kernels(kernels), _) => {
                let norm = Norm::Layer {
                    weight: &self.weight,
                    bias: self.bias.as_deref(),
                    eps: self.eps,
                };
                apply(pass, *kernels, norm, x)
            }
            (Backend::Tensors(_), Some((weight, bias))) => {
                candle_nn::ops::layer_norm(&x.contiguous()?, weight, bias, self.eps)
            }
            (Backend::Tensors(_), None) => elsewhere(),
        }
    }
}

/// Root mean square normalisation (Zhang and Sennrich 2019).
#[derive(Debug)]
pub struct RmsNorm {
    weight: Vec<f32>,
    /// The same on the device, where tensors are.
    there: Option<Tensor>,
    eps: f32,
}

impl RmsNorm {
    /// Reads `PREFIX.weight`. Gemma keeps what is added to 1: its `offset` is 1, that of others 0.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        width: usize,
        eps: f64,
        offset: f32,
    ) -> Result<Self, LoadError> {
        let mut weight = weights.get(&format!("{prefix}.weight"), &[width])?;
        for number in &mut weight {
            *number += offset;
        }
        let there = on_device(weights, prefix, |place| {
            Tensor::new(&weight[..], &place.device)
        })?;
        Ok(Self {
            weight,
            there,
            eps: narrow(eps),
        })
    }

    /// `[n, k width]` to `[n, k width]`: each `width` numbers by themselves.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> candle_core::Result<Tensor> {
        match (pass.backend(), &self.there) {
            (Backend::Kernels(kernels), _) => {
                let norm = Norm::Rms {
                    weight: &self.weight,
                    eps: self.eps,
                };
                apply(pass, *kernels, norm, x)
            }
            (Backend::Tensors(_), Some(weight)) => {
                let (rows, width) = x.dims2()?;
                let own = self.weight.len().max(1);
                let parts = x.contiguous()?.reshape((rows * (width / own), own))?;
                let normed = candle_nn::ops::rms_norm(&parts, weight, self.eps)?;
                normed.reshape((rows, width))
            }
            (Backend::Tensors(_), None) => elsewhere(),
        }
    }
}

/// What `put` puts on the device of `weights`, where that has tensors.
fn on_device<T>(
    weights: &Weights,
    name: &str,
    put: impl FnOnce(&Place) -> candle_core::Result<T>,
) -> Result<Option<T>, LoadError> {
    match weights.backend() {
        Backend::Kernels(_) => Ok(None),
        Backend::Tensors(place) => put(place).map(Some).map_err(LoadError::tensor(name)),
    }
}

fn elsewhere<T>() -> candle_core::Result<T> {
    candle_core::bail!("the layer was loaded for kernels, and is asked for tensors")
}

fn apply(
    pass: &Pass<'_>,
    kernels: Kernels,
    norm: Norm<'_>,
    x: &Tensor,
) -> candle_core::Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let mut out = vec![0.0; rows * width];
    numbers(x, |x| {
        let pool = pass.pool(8 * x.len());
        kernels.norm(pool, norm, x, &mut out).map_err(refused)
    })?;
    matrix(out, rows, width)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "transformers computes with it in f32"
)]
const fn narrow(eps: f64) -> f32 {
    eps as f32
}
