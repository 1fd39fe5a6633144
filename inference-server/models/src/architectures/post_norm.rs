//! The layer that BERT and its kin share: attention and feed-forward, each added to its input and
//! normalised after.
//!
//! Owns its weights under the names that each family gives them. Must not know how scores of
//! attention are made: `DeBERTa` makes them differently.

use candle_core::{Result, Tensor};

use crate::error::LoadError;
use crate::layers::{Activation, Bias, LayerNorm, Linear, split_heads};
use crate::weights::Weights;

/// Names of a family's tensors within a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) output: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    pub(super) output_norm: &'static str,
}

/// Sizes of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
    pub(super) activation: Activation,
    pub(super) eps: f64,
}

#[derive(Debug)]
pub(super) struct PostNormLayer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
    sizes: Sizes,
}

impl PostNormLayer {
    pub(super) fn load(
        weights: &Weights,
        prefix: &str,
        names: &Names,
        sizes: Sizes,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (sizes.hidden, sizes.inner);
        let linear = |name: &str, input, output| {
            let name = format!("{prefix}.{name}");
            Linear::load(weights, &name, (input, output), Bias::Needed)
        };
        let norm = |name: &str| {
            let name = format!("{prefix}.{name}");
            LayerNorm::load(weights, &name, hidden, sizes.eps, Bias::Needed)
        };
        Ok(Self {
            query: linear(names.query, hidden, hidden)?,
            key: linear(names.key, hidden, hidden)?,
            value: linear(names.value, hidden, hidden)?,
            output: linear(names.output, hidden, hidden)?,
            attention_norm: norm(names.attention_norm)?,
            up: linear(names.up, hidden, inner)?,
            down: linear(names.down, inner, hidden)?,
            output_norm: norm(names.output_norm)?,
            sizes,
        })
    }

    /// Queries of `[n, hidden]`, as `[heads, n, width]`.
    pub(super) fn queries(&self, x: &Tensor) -> Result<Tensor> {
        split_heads(&self.query.forward(x)?, self.sizes.heads)
    }

    /// Keys, the same way.
    pub(super) fn keys(&self, x: &Tensor) -> Result<Tensor> {
        split_heads(&self.key.forward(x)?, self.sizes.heads)
    }

    /// Values, the same way.
    pub(super) fn values(&self, x: &Tensor) -> Result<Tensor> {
        split_heads(&self.value.forward(x)?, self.sizes.heads)
    }

    /// What follows attention: `x` is the layer's input, `mixed` what attention made of it.
    pub(super) fn finish(&self, x: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let attended = self.output.forward(mixed)?;
        let x = self.attention_norm.forward(&(attended + x)?)?;
        let inner = self.sizes.activation.forward(&self.up.forward(&x)?)?;
        self.output_norm.forward(&(self.down.forward(&inner)? + x)?)
    }
}
