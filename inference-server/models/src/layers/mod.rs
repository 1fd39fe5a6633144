//! Layers that architectures are made of. Activations are f32 matrices `[tokens, width]` of all sequences
//! of a batch, one behind the other.
//!
//! Owns what of a model is computed where: by the backend of packed kernels, tensors are handed to these as they
//! lie in memory; by that of tensors, all is done on their device, and rounded only as it enters a product
//! (docs/decisions/0022-devices.md). Must not know which model they are part of. Invariant: by the kernels, what
//! comes out for a sequence is the same bits whatever else is in the batch, for each layer computes its rows, or
//! its sequences, by themselves (docs/decisions/0019-models-on-packed-layers.md).

mod attention;
mod embedding;
mod groups;
mod linear;
mod masks;
mod norm;
mod pass;
mod product;
mod relative;
mod rotary;
mod scaling;
mod scores;

use candle_core::{Result, Tensor};
use serde::Deserialize;

use crate::backend::Backend;
use crate::error::LoadError;
use crate::weights::Weights;
use pass::{matrix, numbers};

pub use attention::{Attention, Reach};
pub use embedding::Embedding;
pub use linear::Linear;
pub use norm::{LayerNorm, RmsNorm};
pub use pass::Pass;
pub use relative::{Distances, RelativePositions};
pub use rotary::{Angles, Rotary};
pub use scaling::{LongRope, Scaling, Yarn};
pub use scores::MOST_SCORES;

/// Whether a layer has a bias. One that lacks it is a checkpoint that was torn, and one that has it
/// where nothing reads it was meant to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// It does.
    Needed,
    /// It does not: what is there stays unread, and is refused as such.
    Absent,
    /// Where the checkpoint has one: heads of reward models are built either way.
    AsFound,
}

impl Bias {
    /// As a config says.
    pub const fn said(needed: bool) -> Self {
        if needed { Self::Needed } else { Self::Absent }
    }

    /// The bias `name`, where there is to be one.
    fn read(
        self,
        weights: &Weights,
        name: &str,
        width: usize,
    ) -> std::result::Result<Option<Vec<f32>>, LoadError> {
        let wanted = match self {
            Self::Needed => true,
            Self::Absent => false,
            Self::AsFound => weights.contains(name),
        };
        wanted.then(|| weights.get(name, &[width])).transpose()
    }
}

/// The rows of `x` that `rows` names.
///
/// # Errors
/// When there is no such row.
pub fn select(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    x.index_select(&Tensor::new(rows, x.device())?, 0)
}

/// The mean of the rows of each sequence, a chain of sums from its first token on.
///
/// # Errors
/// When the rows are not those of the batch.
pub fn means(pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
    let width = x.dim(1)?;
    let batch = pass.batch();
    match pass.backend() {
        Backend::Kernels(_) => {}
        Backend::Tensors(_) => {
            let of = |range: std::ops::Range<usize>| {
                x.narrow(0, range.start, range.len())?.mean_keepdim(0)
            };
            let means: Vec<_> = batch.ranges().map(of).collect::<Result<_>>()?;
            return Tensor::cat(&means, 0);
        }
    }
    let mut means = vec![0.0; batch.len() * width];
    numbers(x, |x| {
        for (range, mean) in batch.ranges().zip(means.chunks_exact_mut(width)) {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a sequence is shorter than 2^23"
            )]
            let count = range.len() as f32;
            let rows = x.get(range.start * width..range.end * width);
            for row in rows.unwrap_or_default().chunks_exact(width) {
                for (mean, x) in mean.iter_mut().zip(row) {
                    *mean += x;
                }
            }
            for mean in mean {
                *mean /= count;
            }
        }
        Ok(())
    })?;
    matrix(means, batch.len(), width)
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
    /// Of each number of a tensor, on its device.
    pub(super) fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluNew => x.gelu(),
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
        }
    }
}

impl From<Activation> for kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Gelu => Self::Gelu,
            Activation::GeluNew => Self::GeluTanh,
            Activation::Relu => Self::Relu,
            Activation::Silu => Self::Silu,
            Activation::Tanh => Self::Tanh,
        }
    }
}
