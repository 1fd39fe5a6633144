//! Attention of one sequence: softmax(Q K^T) V, with what each token may look at.
//!
//! Owns masks and the memory that scores take. Invariant: the blocks that long sequences are cut
//! into depend on the sequence and the model alone, never on what else is scored.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::softmax;

/// Scores that are held at once; more are computed block after block of queries. A text of 16,384
/// tokens would need 34 GB for 32 heads otherwise.
const SCORES: usize = 1 << 24;
const MIN_ROWS: usize = 16;
const MAX_ROWS: usize = 512;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    All,
    /// Itself and those before it.
    Causal,
    /// The last so many, itself included.
    Window(usize),
    /// Those at most so far away, on both sides.
    Around(usize),
}

impl Reach {
    fn sees(self, query: usize, key: usize) -> bool {
        match self {
            Self::All => true,
            Self::Causal => key <= query,
            Self::Window(width) => key <= query && query - key < width,
            Self::Around(distance) => query.abs_diff(key) <= distance,
        }
    }

    /// The keys that any query of `queries` sees.
    fn keys(self, queries: &Range<usize>, tokens: usize) -> Range<usize> {
        match self {
            Self::All => 0..tokens,
            Self::Causal => 0..queries.end,
            Self::Window(width) => (queries.start + 1).saturating_sub(width)..queries.end,
            Self::Around(distance) => {
                let end = queries.end.saturating_add(distance).min(tokens);
                queries.start.saturating_sub(distance)..end
            }
        }
    }

    /// What is added to scores, 0 or minus infinity; `None` where every query sees every key.
    fn mask(self, queries: &Range<usize>, keys: &Range<usize>) -> Result<Option<Tensor>> {
        let pairs = queries
            .clone()
            .flat_map(|query| keys.clone().map(move |key| self.sees(query, key)));
        if pairs.clone().all(|seen| seen) {
            return Ok(None);
        }
        let mask: Vec<f32> = pairs
            .map(|seen| if seen { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        Tensor::from_vec(mask, (queries.len(), keys.len()), &Device::Cpu).map(Some)
    }
}

/// How scores are made.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Factor of the products.
    pub scale: f64,
    /// Scores are bent to stay within plus and minus this (Gemma 2).
    pub cap: Option<f64>,
    /// Which keys a query sees.
    pub reach: Reach,
}

impl Attention {
    /// `query` is `[heads, n, width]`, `key` and `value` are `[groups, n, width]`, where each group
    /// serves as many neighbouring heads. The result is `[n, heads * width]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn mix(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let (heads, tokens, width) = query.dims3()?;
        let blocks = blocks(heads, tokens)
            .map(|queries| self.block(query, key, value, queries))
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&blocks, 1)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((tokens, heads * width))
    }

    fn block(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        queries: Range<usize>,
    ) -> Result<Tensor> {
        let (heads, tokens, width) = query.dims3()?;
        let groups = key.dim(0)?;
        let rows = queries.len();
        let keys = self.reach.keys(&queries, tokens);
        // Heads of one group become rows of one product, so that keys are never copied.
        let grouped = (groups, heads / groups.max(1) * rows, width);
        let query = query
            .narrow(1, queries.start, rows)?
            .contiguous()?
            .reshape(grouped)?;
        let key = key.narrow(1, keys.start, keys.len())?.transpose(1, 2)?;
        let value = value.narrow(1, keys.start, keys.len())?;
        let mut scores = (query.matmul(&key.contiguous()?)? * self.scale)?;
        if let Some(cap) = self.cap {
            scores = ((scores / cap)?.tanh()? * cap)?;
        }
        let mut scores = scores.reshape((heads, rows, keys.len()))?;
        if let Some(mask) = self.reach.mask(&queries, &keys)? {
            scores = scores.broadcast_add(&mask)?;
        }
        softmax(&scores)?
            .reshape((groups, heads / groups.max(1) * rows, keys.len()))?
            .matmul(&value.contiguous()?)?
            .reshape((heads, rows, width))
    }
}

/// The queries whose scores are held at once, block after block.
pub fn blocks(heads: usize, tokens: usize) -> impl Iterator<Item = Range<usize>> {
    let rows = (SCORES / (heads * tokens).max(1)).clamp(MIN_ROWS, MAX_ROWS);
    let starts = (0..tokens).step_by(rows);
    starts.map(move |start| start..tokens.min(start + rows))
}

/// `[n, heads * width]` to `[heads, n, width]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    x.reshape((tokens, heads, width / heads.max(1)))?
        .transpose(0, 1)?
        .contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: (usize, usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1f32, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn blocks_cover_exactly_the_keys_that_are_seen() {
        for reach in [
            Reach::All,
            Reach::Causal,
            Reach::Window(3),
            Reach::Around(2),
        ] {
            for start in 0..10 {
                let queries = start..(start + 4).min(10);
                let keys = reach.keys(&queries, 10);
                for key in 0..10 {
                    let seen = queries.clone().any(|query| reach.sees(query, key));
                    assert_eq!(keys.contains(&key), seen, "{reach:?} {queries:?} {key}");
                }
            }
        }
    }

    #[test]
    fn long_sequences_are_mixed_block_by_block_as_short_ones_at_once() {
        // 600 tokens are two blocks; their first 300 are one, and see the same where it is causal.
        let (query, key, value) = (
            random((4, 600, 8)),
            random((2, 600, 8)),
            random((2, 600, 8)),
        );
        for reach in [Reach::Causal, Reach::Window(50)] {
            let attention = Attention {
                scale: 0.3,
                cap: Some(5.0),
                reach,
            };
            let long = attention.mix(&query, &key, &value).unwrap();
            let cut = |x: &Tensor| x.narrow(1, 0, 550).unwrap();
            let short = attention
                .mix(&cut(&query), &cut(&key), &cut(&value))
                .unwrap();
            let difference = (long.narrow(0, 0, 550).unwrap() - short).unwrap();
            let largest = difference.abs().unwrap().max_all().unwrap();
            assert!(largest.to_scalar::<f32>().unwrap() < 1e-5, "{reach:?}");
        }
    }
}
