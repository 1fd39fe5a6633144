//! Attention over the sequences of a batch: softmax(Q K^T) V, with what each token may look at.
//!
//! Owns the numbers that say how a layer mixes. Must not know of projections or positions. Invariant: a
//! sequence is mixed by itself, and never are scores of all its pairs held.

use candle_core::{Result, Tensor};
pub use kernels::Reach;
use kernels::{Heads, KernelError, Sequences};

use super::pass::{Pass, matrix, numbers, refused};
use super::relative::{Distances, RelativePositions};
use super::scores;
use crate::backend::Backend;

/// How queries, keys and values are mixed.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; each serves as many neighbouring heads of queries.
    pub groups: usize,
    /// Numbers of a head.
    pub width: usize,
    /// Factor of the products.
    pub scale: f64,
    /// Scores are bent to stay within plus and minus this (Gemma 2).
    pub cap: Option<f64>,
    /// Which keys a query sees.
    pub reach: Reach,
}

impl Attention {
    /// With as many heads of keys as of queries, of `hidden` numbers together, and the usual scale.
    pub fn plain(hidden: usize, heads: usize, reach: Reach) -> Self {
        let width = hidden / heads.max(1);
        Self {
            heads,
            groups: heads,
            width,
            #[expect(
                clippy::cast_precision_loss,
                reason = "a head is far narrower than 2^52"
            )]
            scale: 1.0 / (width as f64).sqrt(),
            cap: None,
            reach,
        }
    }

    /// `query` is `[n, heads * width]`, `key` and `value` are `[n, groups * width]`. The result is
    /// `[n, heads * width]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn mix(
        &self,
        pass: &Pass<'_>,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
    ) -> Result<Tensor> {
        let kernels = match pass.backend() {
            Backend::Kernels(kernels) => *kernels,
            Backend::Tensors(place) => return scores::mix(self, pass, place, [query, key, value]),
        };
        let sequences = Sequences {
            ends: pass.batch().ends(),
            before: pass.before(),
        };
        let pool = pass.pool(self.work(pass));
        mixed([query, key, value], |[query, key, value], out| {
            let grouped = |x| Heads::alone(x, self.groups, self.width);
            let query = Heads::alone(query, self.heads, self.width);
            let inputs = [query, grouped(key), grouped(value)];
            kernels.shared_attention(pool, &self.numbers(), sequences, inputs, out)
        })
    }

    /// The same by kernels, with what `distances` adds to the scores of `positions`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn mix_relative(
        &self,
        pass: &Pass<'_>,
        inputs: [&Tensor; 3],
        positions: &RelativePositions,
        distances: &Distances,
    ) -> Result<Tensor> {
        let ends = pass.batch().ends();
        let pool = pass.pool(self.work(pass));
        let relative = positions.at(distances);
        mixed(inputs, |inputs, out| {
            let inputs = inputs.map(|x| Heads::alone(x, self.heads, self.width));
            let how = (&self.numbers(), &relative);
            let kernels = positions.kernels();
            kernels.relative_attention(pool, how, ends, inputs, out)
        })
    }

    /// Multiplications of one of its two products.
    fn work(&self, pass: &Pass<'_>) -> usize {
        let pairs = pass.spans().map(|span| span.len() * span.end);
        pairs.sum::<usize>().saturating_mul(self.heads * self.width)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "transformers computes with them in f32"
    )]
    fn numbers(&self) -> kernels::Attention {
        kernels::Attention {
            heads: self.heads,
            groups: self.groups,
            width: self.width,
            scale: self.scale as f32,
            cap: self.cap.map(|cap| cap as f32),
            reach: self.reach,
        }
    }
}

/// What `mix` makes of queries, keys and values, in the shape of the queries.
fn mixed(
    [query, key, value]: [&Tensor; 3],
    mix: impl FnOnce([&[f32]; 3], &mut [f32]) -> std::result::Result<(), KernelError>,
) -> Result<Tensor> {
    let (tokens, width) = query.dims2()?;
    let mut out = vec![0.0; tokens * width];
    numbers(query, |query| {
        numbers(key, |key| {
            numbers(value, |value| {
                mix([query, key, value], &mut out).map_err(refused)
            })
        })
    })?;
    matrix(out, tokens, width)
}
