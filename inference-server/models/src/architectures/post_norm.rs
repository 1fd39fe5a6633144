//! The layer that BERT and its kin share: attention and feed-forward, each added to its input and
//! normalised after.
//!
//! Owns its weights under the names that each family gives them. Must not know how scores of
//! attention are made: `DeBERTa` makes them differently.

use candle_core::{Result, Tensor};

use crate::error::LoadError;
use crate::layers::{Activation, Bias, LayerNorm, Linear, Pass};
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
    activation: Activation,
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
            activation: sizes.activation,
        })
    }

    /// Queries, keys and values of `[n, hidden]`, in its shape.
    pub(super) fn project(&self, pass: &Pass<'_>, x: &Tensor) -> Result<[Tensor; 3]> {
        Ok([
            self.query.forward(pass, x)?,
            self.key.forward(pass, x)?,
            self.value.forward(pass, x)?,
        ])
    }

    /// What follows attention: `x` is the layer's input, `mixed` what attention made of it; of all tokens,
    /// or of some.
    pub(super) fn finish(&self, pass: &Pass<'_>, x: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let attended = self.output.onto(pass, mixed, x)?;
        let x = self.attention_norm.forward(pass, &attended)?;
        let inner = self.up.activated(pass, &x, self.activation)?;
        let sum = self.down.onto(pass, &inner, &x)?;
        self.output_norm.forward(pass, &sum)
    }
}
