//! What makes logits of a hidden state.
//!
//! Owns the shapes of heads. Must not know of backbones. Invariant: heads compute in f32 in every
//! number format.

use candle_core::{Result, Tensor};

use crate::error::LoadError;
use crate::layers::{Activation, Bias, Linear, Pass};
use crate::weights::Weights;

/// One linear layer, or several with `ReLU` between (INF-ORM, GRM, Qwen2.5-RM).
#[derive(Debug)]
pub(super) struct Head(Vec<Linear>);

impl Head {
    /// Reads `PREFIX.weight`, or else `PREFIX.0.weight`, `PREFIX.2.weight` and so on.
    pub(super) fn load(
        weights: &Weights,
        prefix: &str,
        hidden: usize,
        labels: usize,
    ) -> std::result::Result<Self, LoadError> {
        let links = weights.chain(prefix);
        if links == 0 {
            return Self::linear(weights, prefix, (hidden, labels), Bias::AsFound);
        }
        let mut layers = Vec::with_capacity(links);
        let mut input = hidden;
        for link in 0..links {
            let name = format!("{prefix}.{}", 2 * link);
            let output = if link + 1 == links {
                labels
            } else {
                weights.rows(&format!("{name}.weight")).unwrap_or(labels)
            };
            let sizes = (input, output);
            layers.push(Linear::load_full(weights, &name, sizes, Bias::AsFound)?);
            input = output;
        }
        Ok(Self(layers))
    }

    /// Reads `PREFIX.weight`, and `PREFIX.bias` as `bias` says.
    pub(super) fn linear(
        weights: &Weights,
        prefix: &str,
        sizes: (usize, usize),
        bias: Bias,
    ) -> std::result::Result<Self, LoadError> {
        let only = Linear::load_full(weights, prefix, sizes, bias)?;
        Ok(Self(vec![only]))
    }

    /// `[n, hidden]` to `[n, labels]`.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.0.iter().enumerate() {
            x = if i + 1 < self.0.len() {
                layer.activated(pass, &x, Activation::Relu)?
            } else {
                layer.forward(pass, &x)?
            };
        }
        Ok(x)
    }
}

/// A dense layer with an activation before the logits: BERT's pooler and its kin.
#[derive(Debug)]
pub(super) struct DenseHead {
    dense: Linear,
    activation: Activation,
    output: Linear,
}

impl DenseHead {
    /// Reads the layers `dense` and `output`.
    pub(super) fn load(
        weights: &Weights,
        (dense, activation, output): (&str, Activation, &str),
        (hidden, labels): (usize, usize),
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            dense: Linear::load_full(weights, dense, (hidden, hidden), Bias::Needed)?,
            activation,
            output: Linear::load_full(weights, output, (hidden, labels), Bias::Needed)?,
        })
    }

    /// `[n, hidden]` to `[n, labels]`.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let pooled = self.dense.activated(pass, x, self.activation)?;
        self.output.forward(pass, &pooled)
    }
}
