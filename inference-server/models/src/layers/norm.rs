//! Normalisations over the last dimension, always in f32.

use candle_core::{D, Result, Tensor};

use super::Bias;
use crate::error::LoadError;
use crate::weights::Weights;

/// Layer normalisation (Ba et al. 2016).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    eps: f64,
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
    ) -> std::result::Result<Self, LoadError> {
        let old = weights.contains(&format!("{prefix}.gamma"));
        let (weight, beta) = if old {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        Ok(Self {
            weight: weights.get(&format!("{prefix}.{weight}"), &[width])?,
            bias: bias.read(weights, &format!("{prefix}.{beta}"), width)?,
            eps,
        })
    }

    /// `[n, width]` to `[n, width]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let scaled = centred
            .broadcast_div(&(variance + self.eps)?.sqrt()?)?
            .broadcast_mul(&self.weight)?;
        match &self.bias {
            Some(bias) => scaled.broadcast_add(bias),
            None => Ok(scaled),
        }
    }
}

/// Root mean square normalisation (Zhang and Sennrich 2019).
#[derive(Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
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
        offset: f64,
    ) -> std::result::Result<Self, LoadError> {
        let weight = weights.get(&format!("{prefix}.weight"), &[width])?;
        Ok(Self {
            weight: (weight + offset).map_err(LoadError::tensor(prefix))?,
            eps,
        })
    }

    /// `[.., width]` to `[.., width]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let square = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_div(&(square + self.eps)?.sqrt()?)?
            .broadcast_mul(&self.weight)
    }
}
