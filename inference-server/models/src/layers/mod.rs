//! Layers that architectures are made of. Activations are f32 matrices `[tokens, width]` of one
//! sequence.
//!
//! Owns the formulas and the formats of weights. Must not know which model they are part of.
//! Invariant: every matrix product is of one sequence alone, so that its bits do not depend on what
//! else is scored.

mod attention;
mod linear;
mod norm;
mod rotary;

use candle_core::{D, DType, Result, Tensor};
use serde::Deserialize;

use crate::dtype::Dtype;
use crate::error::LoadError;
use crate::weights::Weights;

pub use attention::{Attention, Reach, blocks, split_heads};
pub use linear::{Bias, Linear};
pub use norm::{LayerNorm, RmsNorm};
pub use rotary::{Angles, Rotary, Scaling};

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
        let name = format!("{prefix}.weight");
        let shape = [rows, width];
        let table = match weights.dtype() {
            Dtype::Bf16 => weights.get_as(&name, &shape, DType::BF16),
            Dtype::F16 => weights.get_as(&name, &shape, DType::F16),
            Dtype::Auto | Dtype::F32 | Dtype::Int8 => weights.get(&name, &shape),
        };
        Ok(Self(table?))
    }

    /// `[n]` indices to `[n, width]`.
    ///
    /// # Errors
    /// When an index is beyond the table.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        self.0
            .index_select(&Tensor::new(ids, self.0.device())?, 0)?
            .to_dtype(DType::F32)
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
    #[serde(alias = "gelu_python")]
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
