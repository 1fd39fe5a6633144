//! What makes logits of a hidden state.
//!
//! Owns the shapes of heads. Must not know of backbones. Invariant: heads compute in f32 in every
//! number format.

use candle_core::{Result, Tensor};

use crate::error::LoadError;
use crate::layers::{Activation, Bias, Linear};
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
            let only = Linear::load_full(weights, prefix, (hidden, labels), Bias::AsFound)?;
            return Ok(Self(vec![only]));
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

    /// `[1, hidden]` to `[labels]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.0.iter().enumerate() {
            if i > 0 {
                x = x.relu()?;
            }
            x = layer.forward(&x)?;
        }
        x.squeeze(0)
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

    /// `[n, hidden]` to `[labels]`, from the first token.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let first = x.narrow(0, 0, 1)?.contiguous()?;
        let pooled = self.activation.forward(&self.dense.forward(&first)?)?;
        self.output.forward(&pooled)?.squeeze(0)
    }
}
