//! Attention of `DeBERTa`: scores of content, and of relative positions, sequence by sequence on tensors.
//!
//! Owns the memory that scores take. Must not know how positions are embedded. Invariant: a sequence is mixed
//! by itself, in blocks that depend on its length and the model alone, on one thread.

use std::ops::Range;

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::deberta_positions::{Relative, Rows};
use crate::layers::Pass;

/// Scores that are held at once; more are computed block after block of queries. A text of 16,384
/// tokens would need 34 GB for 32 heads otherwise.
const SCORES: usize = 1 << 24;
const MIN_ROWS: usize = 16;
const MAX_ROWS: usize = 512;

/// How a layer mixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RelativeAttention {
    pub(super) heads: usize,
    /// Factor of all scores.
    pub(super) scale: f64,
}

impl RelativeAttention {
    /// Mixes queries, keys and values, `[n, hidden]` each. `rows` is for each sequence where each of its
    /// distances is in the table of positions.
    pub(super) fn mix(
        self,
        pass: &Pass<'_>,
        projected: &[Tensor; 3],
        relative: Option<&Relative>,
        rows: &[Rows],
    ) -> Result<Tensor> {
        let sequences: Vec<_> = pass.batch().ranges().zip(rows).collect();
        let mixed: Result<Vec<Tensor>> = sequences
            .into_par_iter()
            .map(|(range, rows)| {
                let part =
                    |x: &Tensor| split_heads(&x.narrow(0, range.start, range.len())?, self.heads);
                let [query, key, value] = projected;
                let parts = [part(query)?, part(key)?, part(value)?];
                self.mix_one(&parts, relative, rows)
            })
            .collect();
        Tensor::cat(&mixed?, 0)
    }

    /// One sequence, block after block of queries: all scores of a long text would take more memory than
    /// there is.
    fn mix_one(
        self,
        [query, key, value]: &[Tensor; 3],
        relative: Option<&Relative>,
        rows: &Rows,
    ) -> Result<Tensor> {
        let (heads, tokens, width) = query.dims3()?;
        let turned = key.transpose(1, 2)?.contiguous()?;
        let by_key = match relative {
            Some(relative) => relative.by_key(key)?,
            None => None,
        };
        let block = |queries: Range<usize>| {
            let query = query.narrow(1, queries.start, queries.len())?;
            let query = query.contiguous()?;
            let mut scores = query.matmul(&turned)?;
            if let Some(relative) = relative {
                let places = rows.places(queries, tokens)?;
                scores = relative.add(scores, &query, by_key.as_ref(), &places)?;
            }
            softmax(&(scores * self.scale)?)?.matmul(value)
        };
        let blocks = blocks(heads, tokens).map(block);
        Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 1)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((tokens, heads * width))
    }
}

/// The queries whose scores are held at once, block after block.
fn blocks(heads: usize, tokens: usize) -> impl Iterator<Item = Range<usize>> {
    let rows = (SCORES / (heads * tokens).max(1)).clamp(MIN_ROWS, MAX_ROWS);
    let starts = (0..tokens).step_by(rows);
    starts.map(move |start| start..tokens.min(start + rows))
}

/// `[n, heads * width]` to `[heads, n, width]`.
pub(super) fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    x.reshape((tokens, heads, width / heads.max(1)))?
        .transpose(0, 1)?
        .contiguous()
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}
