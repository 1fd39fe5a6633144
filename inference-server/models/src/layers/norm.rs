//! Normalisations over the last dimension, always in f32.

use candle_core::Tensor;
use kernels::Norm;

use super::Bias;
use super::pass::{Pass, matrix, numbers, refused};
use crate::error::LoadError;
use crate::weights::Weights;

/// Layer normalisation (Ba et al. 2016).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
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
        Ok(Self {
            weight: weights.get(&format!("{prefix}.{weight}"), &[width])?,
            bias: bias.read(weights, &format!("{prefix}.{beta}"), width)?,
            eps: narrow(eps),
        })
    }

    /// `[n, width]` to `[n, width]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> candle_core::Result<Tensor> {
        let norm = Norm::Layer {
            weight: &self.weight,
            bias: self.bias.as_deref(),
            eps: self.eps,
        };
        apply(pass, norm, x)
    }
}

/// Root mean square normalisation (Zhang and Sennrich 2019).
#[derive(Debug)]
pub struct RmsNorm {
    weight: Vec<f32>,
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
        Ok(Self {
            weight,
            eps: narrow(eps),
        })
    }

    /// `[n, k width]` to `[n, k width]`: each `width` numbers by themselves.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> candle_core::Result<Tensor> {
        let norm = Norm::Rms {
            weight: &self.weight,
            eps: self.eps,
        };
        apply(pass, norm, x)
    }
}

fn apply(pass: &Pass<'_>, norm: Norm<'_>, x: &Tensor) -> candle_core::Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let mut out = vec![0.0; rows * width];
    numbers(x, |x| {
        let pool = pass.pool(8 * x.len());
        let kernels = pass.kernels();
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
