//! A feed-forward part of several experts, of which a router chooses some for each token (Mixtral, Qwen3-MoE).
//!
//! Owns the choice and the sum. Source of the names and formulas: transformers `models/{mixtral,qwen3_moe}`. Must
//! not know of attention. Invariant: a token's experts are summed in their own order, so that its bits do not
//! depend on the tokens beside it. On a device the router's logits come back here, once a layer: what it chooses
//! decides what is computed next.

use candle_core::{Device, Result, Tensor};

use crate::backend::Backend;
use crate::error::LoadError;
use crate::layers::{Activation, Bias, Linear, Pass, select};
use crate::weights::Weights;

/// What a config says of experts.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// How many there are.
    pub(super) experts: usize,
    /// How many each token has.
    pub(super) chosen: usize,
    /// Whether the weights of those that are chosen add up to 1.
    pub(super) normalised: bool,
    /// The inner width of one.
    pub(super) inner: usize,
    /// Names below the layer: the part, and of an expert the gate, what it gates, and the way back.
    pub(super) names: [&'static str; 4],
}

/// Experts and their router.
#[derive(Debug)]
pub(super) struct Experts {
    router: Linear,
    /// Of each the gated layer and the one behind it.
    layers: Vec<(Linear, Linear)>,
    chosen: usize,
    normalised: bool,
}

impl Experts {
    /// Reads those of the layer `prefix`, of hidden states of `hidden` numbers. The router is kept in f32: it decides all.
    pub(super) fn load(
        weights: &Weights,
        prefix: &str,
        hidden: usize,
        choice: &Choice,
    ) -> std::result::Result<Self, LoadError> {
        let [part, gate, up, down] = choice.names;
        let router = format!("{prefix}.{part}.gate");
        let sizes = (hidden, choice.experts);
        let router = Linear::load_full(weights, &router, sizes, Bias::Absent)?;
        let expert = |i: usize| {
            let name = |name: &str| format!("{prefix}.{part}.experts.{i}.{name}");
            let names = (name(gate), name(up));
            let sizes = (hidden, choice.inner);
            let gated = Linear::load_gated(weights, (&names.0, &names.1), sizes, Bias::Absent)?;
            let sizes = (choice.inner, hidden);
            let down = Linear::load(weights, &name(down), sizes, Bias::Absent)?;
            Ok((gated, down))
        };
        Ok(Self {
            router,
            layers: (0..choice.experts)
                .map(expert)
                .collect::<std::result::Result<_, LoadError>>()?,
            chosen: choice.chosen,
            normalised: choice.normalised,
        })
    }

    /// `[n, hidden]` to `[n, hidden]`.
    pub(super) fn forward(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        activation: Activation,
    ) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let logits = self.router.forward(pass, x)?.to_vec2::<f32>()?;
        let mut tokens: Vec<Vec<(u32, f32)>> = vec![Vec::new(); self.layers.len()];
        for (row, logits) in (0..).zip(&logits) {
            for (expert, weight) in choose(logits, self.chosen, self.normalised) {
                if let Some(tokens) = tokens.get_mut(expert) {
                    tokens.push((row, weight));
                }
            }
        }
        match pass.backend() {
            Backend::Kernels(_) => {}
            Backend::Tensors(_) => return self.sum_there(pass, x, activation, &tokens),
        }
        let mut sum = vec![0.0; rows * width];
        for ((gated, down), tokens) in self.layers.iter().zip(&tokens) {
            if tokens.is_empty() {
                continue;
            }
            let chosen: Vec<u32> = tokens.iter().map(|(row, _)| *row).collect();
            let inner = gated.activated(pass, &select(x, &chosen)?, activation)?;
            let given = down.forward(pass, &inner)?.to_vec2::<f32>()?;
            for ((row, weight), given) in tokens.iter().zip(&given) {
                let start = *row as usize * width;
                let sum = sum.get_mut(start..start + width).unwrap_or_default();
                for (sum, given) in sum.iter_mut().zip(given) {
                    *sum += given * weight;
                }
            }
        }
        Tensor::from_vec(sum, (rows, width), &Device::Cpu)
    }

    /// The sum on the device of `x`; `tokens` are for each expert its rows, with their weights.
    fn sum_there(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        activation: Activation,
        tokens: &[Vec<(u32, f32)>],
    ) -> Result<Tensor> {
        let mut sum = x.zeros_like()?;
        for ((gated, down), tokens) in self.layers.iter().zip(tokens) {
            if tokens.is_empty() {
                continue;
            }
            let (rows, weights): (Vec<u32>, Vec<f32>) = tokens.iter().copied().unzip();
            let inner = gated.activated(pass, &select(x, &rows)?, activation)?;
            let weights = Tensor::new(weights, x.device())?.unsqueeze(1)?;
            let given = down.forward(pass, &inner)?.broadcast_mul(&weights)?;
            sum = sum.index_add(&Tensor::new(rows, x.device())?, &given, 0)?;
        }
        Ok(sum)
    }
}

/// The experts of a token with their weights: the `chosen` most likely by a softmax of `logits`.
fn choose(logits: &[f32], chosen: usize, normalised: bool) -> Vec<(usize, f32)> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let likely = logits.iter().map(|logit| (logit - most).exp());
    let mut likely: Vec<(usize, f32)> = likely.enumerate().collect();
    let all: f32 = likely.iter().map(|(_, weight)| weight).sum();
    // Stable: of equals, the first.
    likely.sort_by(|a, b| b.1.total_cmp(&a.1));
    likely.truncate(chosen);
    let total = if normalised {
        likely.iter().map(|(_, weight)| weight).sum()
    } else {
        all
    };
    for (_, weight) in &mut likely {
        *weight /= total;
    }
    likely
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_are_chosen_and_of_equals_the_first() {
        let experts = |chosen| {
            let chosen = choose(&[0.0, 2.0, 1.0, 2.0], chosen, false);
            chosen.iter().map(|(i, _)| *i).collect::<Vec<_>>()
        };
        assert_eq!(experts(1), [1]);
        assert_eq!(experts(3), [1, 3, 2]);
    }

    #[test]
    fn weights_are_shares_of_all_or_of_the_chosen() {
        let logits = [0.0, 3f32.ln(), 0.0];
        let sum = |normalised| -> f32 {
            let chosen = choose(&logits, 2, normalised);
            chosen.iter().map(|(_, weight)| weight).sum()
        };
        assert!((sum(true) - 1.0).abs() < 1e-6);
        assert!((sum(false) - 0.8).abs() < 1e-6);
    }
}
