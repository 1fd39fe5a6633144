//! Layers that architectures are made of. Activations are matrices `[tokens, width]` of one
//! sequence.
//!
//! Invariant: every matrix product is of one sequence alone, so that its bits do not depend on what
//! else is scored.

use candle_core::{D, Result, Tensor};
use serde::Deserialize;

use crate::error::LoadError;
use crate::weights::Weights;

/// `y = x W^T + b`, with `W` of shape `[out, in]`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `PREFIX.weight` and `PREFIX.bias`.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        input: usize,
        output: usize,
    ) -> std::result::Result<Self, LoadError> {
        let bias = format!("{prefix}.bias");
        let weight = weights.get(&format!("{prefix}.weight"), &[output, input])?;
        Ok(Self {
            weight: weight.t().map_err(LoadError::tensor(prefix))?,
            bias: weights
                .contains(&bias)
                .then(|| weights.get(&bias, &[output]))
                .transpose()?,
        })
    }

    /// `[n, in]` to `[n, out]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Layer normalisation (Ba et al. 2016) over the last dimension.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Reads `PREFIX.weight` and `PREFIX.bias`; old checkpoints call them `gamma` and `beta`.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        width: usize,
        eps: f64,
    ) -> std::result::Result<Self, LoadError> {
        let old = weights.contains(&format!("{prefix}.gamma"));
        let (weight, bias) = if old {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        Ok(Self {
            weight: weights.get(&format!("{prefix}.{weight}"), &[width])?,
            bias: weights.get(&format!("{prefix}.{bias}"), &[width])?,
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
        let scaled = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        scaled
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}

/// Rows of a table by index.
#[derive(Debug)]
pub struct Embedding(Tensor);

impl Embedding {
    /// Reads `PREFIX.weight`, of shape `[rows, width]`.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        rows: usize,
        width: usize,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self(
            weights.get(&format!("{prefix}.weight"), &[rows, width])?,
        ))
    }

    /// `[n]` indices to `[n, width]`.
    ///
    /// # Errors
    /// When an index is beyond the table.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        self.0.index_select(&Tensor::new(ids, self.0.device())?, 0)
    }
}

/// Softmax over the last dimension.
///
/// # Errors
/// When the tensor library refuses.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Activation functions, under the names of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x Φ(x), with the exact error function.
    Gelu,
    /// The same, approximated by tanh.
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    /// max(0, x).
    Relu,
    /// x sigmoid(x).
    #[serde(alias = "swish")]
    Silu,
    /// tanh(x).
    Tanh,
}

impl Activation {
    /// Applies it to each element.
    ///
    /// # Errors
    /// When the tensor library refuses.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluNew => x.gelu(),
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
        }
    }
}
