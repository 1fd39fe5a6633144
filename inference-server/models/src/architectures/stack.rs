//! Layers one after the other.
//!
//! Owns what the pooling of a head saves. Must not know what a layer is. Invariant: what comes out for the
//! pooled rows is what all layers would make of them.

use candle_core::{Result, Tensor};

use crate::layers::select;

/// The rows `pooled` of what `layers` make of `x`. `mix` is what attention makes of all tokens; `finish` is
/// given the input of a layer and that, and makes its output, token by token: in the last layer of those alone
/// that the head reads.
pub(super) fn through<L>(
    layers: &[L],
    mut x: Tensor,
    pooled: &[u32],
    mix: impl Fn(&L, &Tensor) -> Result<Tensor>,
    finish: impl Fn(&L, &Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let Some((last, others)) = layers.split_last() else {
        return select(&x, pooled);
    };
    for layer in others {
        x = finish(layer, &x, &mix(layer, &x)?)?;
    }
    let mixed = select(&mix(last, &x)?, pooled)?;
    finish(last, &select(&x, pooled)?, &mixed)
}
