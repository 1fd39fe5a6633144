//! Attention of `DeBERTa`: scores of content, and of relative positions; by kernels, or sequence by sequence on a
//! device.
//!
//! Owns the memory that scores take on a device. Must not know how positions are embedded. Invariant: a sequence is
//! mixed by itself; on a device in blocks that depend on its length and the model alone.

use std::ops::Range;

use candle_core::{D, Result, Tensor};

use super::deberta_positions::{Places, Relative, Rows, Tables};
use crate::layers::{Attention, Pass, Reach};

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
    /// Mixes queries, keys and values, `[n, hidden]` each.
    pub(super) fn mix(
        self,
        pass: &Pass<'_>,
        projected: &[Tensor; 3],
        relative: Option<&Relative>,
        places: &Places,
    ) -> Result<Tensor> {
        let [query, key, value] = projected;
        let content = Attention {
            scale: self.scale,
            ..Attention::plain(query.dim(1)?, self.heads, Reach::All)
        };
        match (relative, places) {
            (None, _) => content.mix(pass, query, key, value),
            (Some(Relative::Here(positions)), Places::Here(distances)) => {
                content.mix_relative(pass, [query, key, value], positions, distances)
            }
            (Some(Relative::There(tables)), Places::There(rows)) => {
                self.mix_each(pass, projected, tables, rows)
            }
            (Some(Relative::Here(_)), Places::There(_))
            | (Some(Relative::There(_)), Places::Here(_)) => {
                candle_core::bail!("the model is on another device than its batch")
            }
        }
    }

    /// Each sequence by itself, on a device.
    fn mix_each(
        self,
        pass: &Pass<'_>,
        projected: &[Tensor; 3],
        tables: &Tables,
        rows: &[Rows],
    ) -> Result<Tensor> {
        let sequences = pass.batch().ranges().zip(rows);
        let mixed = sequences.map(|(range, rows)| {
            let part =
                |x: &Tensor| split_heads(&x.narrow(0, range.start, range.len())?, self.heads);
            let [query, key, value] = projected;
            self.mix_one(&[part(query)?, part(key)?, part(value)?], tables, rows)
        });
        Tensor::cat(&mixed.collect::<Result<Vec<_>>>()?, 0)
    }

    /// One sequence, block after block of queries: all scores of a long text would take more memory than
    /// there is.
    fn mix_one(
        self,
        [query, key, value]: &[Tensor; 3],
        tables: &Tables,
        rows: &Rows,
    ) -> Result<Tensor> {
        let (heads, tokens, width) = query.dims3()?;
        let turned = key.transpose(1, 2)?.contiguous()?;
        let by_key = tables.by_key(key)?;
        let block = |queries: Range<usize>| {
            let query = query.narrow(1, queries.start, queries.len())?;
            let query = query.contiguous()?;
            let places = rows.places(queries, tokens)?;
            let scores = query.matmul(&turned)?;
            let scores = tables.add(scores, &query, by_key.as_ref(), &places)?;
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
