//! Attention on tensors: group by group, and block by block of queries.
//!
//! Owns the memory that scores take. Must not know of projections or positions. Invariant: no more than
//! [`MOST_SCORES`] scores are there at once, but for one row of queries, whatever the length.

use std::ops::Range;

use candle_core::{Result, Tensor};
use kernels::Reach;

use super::attention::Attention;
use super::groups::Group;
use super::masks::Block;
use super::pass::Pass;
use super::product::times;
use crate::backend::Place;

/// Scores that are there at once, of all heads and sequences together: 128 MB in f32, as large as the activations
/// of a pass, and enough for all multiprocessors of a GPU many times over.
pub const MOST_SCORES: usize = 1 << 25;

/// Queries of a block at most: with more of them, a block of causal attention would compute with too many keys
/// that most of its queries do not see.
const MOST_QUERIES: usize = 1_024;

/// What `attention` makes of queries, keys and values, `[n, width]` each.
pub(super) fn mix(
    attention: &Attention,
    pass: &Pass<'_>,
    place: &Place,
    [query, key, value]: [&Tensor; 3],
) -> Result<Tensor> {
    let groups = pass.groups()?;
    let query = (query * attention.scale)?.to_dtype(place.format)?;
    let (key, value) = (key.to_dtype(place.format)?, value.to_dtype(place.format)?);
    let made = groups.groups.iter().map(|group| {
        let (heads, shared, width) = (attention.heads, attention.groups, attention.width);
        let parts = [
            group.heads(&query, heads, width)?,
            group.heads(&key, shared, width)?,
            group.heads(&value, shared, width)?,
        ];
        mix_group(attention, pass, group, &parts)
    });
    groups.back(&made.collect::<Result<Vec<_>>>()?)
}

/// `[count * longest, heads * width]` of one group.
fn mix_group(
    attention: &Attention,
    pass: &Pass<'_>,
    group: &Group,
    parts: &[Tensor; 3],
) -> Result<Tensor> {
    let (tokens, heads) = (group.longest, attention.heads);
    let (sequences, rows) = at_once(heads, tokens);
    let mut made = Vec::new();
    for start in (0..group.count).step_by(sequences) {
        let count = sequences.min(group.count - start);
        let of = |x: &Tensor| x.narrow(0, start, count);
        let [query, key, value] = parts;
        let parts = [of(query)?, of(key)?, of(value)?];
        let padding = group.padding.as_ref().map(of).transpose()?;
        let mut blocks = Vec::new();
        for first in (0..tokens).step_by(rows) {
            let block = Block::of(attention.reach, first..tokens.min(first + rows), tokens);
            blocks.push(mix_block(
                attention,
                pass,
                &block,
                &parts,
                padding.as_ref(),
            )?);
        }
        made.push(Tensor::cat(&blocks, 2)?);
    }
    Tensor::cat(&made, 0)?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((group.count * tokens, heads * attention.width))
}

/// `[count, heads, queries, width]` of one block.
fn mix_block(
    attention: &Attention,
    pass: &Pass<'_>,
    block: &Block,
    [query, key, value]: &[Tensor; 3],
    padding: Option<&Tensor>,
) -> Result<Tensor> {
    let (count, heads, _, width) = query.dims4()?;
    let (rows, shared) = (block.queries.len(), attention.groups);
    let within = |x: &Tensor, range: &Range<usize>| x.narrow(2, range.start, range.len());
    // Heads that share keys are rows of one product.
    let together = (count, shared, heads / shared.max(1) * rows, width);
    let query = within(query, &block.queries)?
        .contiguous()?
        .reshape(together)?;
    let (key, value) = (within(key, &block.keys)?, within(value, &block.keys)?);
    let mut scores = times(&query, &key.transpose(2, 3)?)?;
    scores = scores.reshape((count, heads, rows, block.keys.len()))?;
    if let Some(cap) = attention.cap {
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    if let Some(mask) = pass.masks().of(block, pass.backend().device())? {
        scores = scores.broadcast_add(&mask)?;
    }
    // Padding is behind all tokens, where a causal query does not look.
    let looks_ahead = match block.reach {
        Reach::All | Reach::Around(_) => true,
        Reach::Causal | Reach::Window(_) => false,
    };
    if let Some(padding) = padding.filter(|_| looks_ahead) {
        let padding = padding.narrow(3, block.keys.start, block.keys.len())?;
        scores = scores.broadcast_add(&padding)?;
    }
    let weights = candle_nn::ops::softmax_last_dim(&scores)?;
    drop(scores);
    let weights = weights.to_dtype(value.dtype())?;
    let weights = weights.reshape((
        count,
        shared,
        heads / shared.max(1) * rows,
        block.keys.len(),
    ))?;
    times(&weights, &value)?.reshape((count, heads, rows, width))
}

/// Sequences of so many tokens whose scores are held at once, and of each the queries.
fn at_once(heads: usize, tokens: usize) -> (usize, usize) {
    let rows = (MOST_SCORES / (heads * tokens).max(1)).clamp(1, MOST_QUERIES.min(tokens.max(1)));
    let sequences = MOST_SCORES / (heads * tokens * rows).max(1);
    (sequences.max(1), rows)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::backend::Backend;
    use crate::device::DeviceChoice;
    use crate::packed::Packed;
    use crate::threads::Threads;

    /// Numbers between -1 and 1 that look random.
    fn numbers(seed: u32, rows: usize, width: usize) -> Tensor {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap()) / 32_768.0 - 1.0
        };
        let numbers = (0..rows * width).map(|_| next()).collect();
        Tensor::from_vec(numbers, (rows, width), &Device::Cpu).unwrap()
    }

    fn attention(reach: Reach, cap: Option<f64>) -> Attention {
        Attention {
            heads: 4,
            groups: 2,
            width: 8,
            scale: 1.5,
            cap,
            reach,
        }
    }

    /// More tokens than a block has queries, lengths that are padded, and one token.
    #[test]
    fn what_is_mixed_is_what_the_kernels_mix() {
        let mut batch = Packed::default();
        for length in [1_500, 40, 1, 38, 1_200, 3] {
            batch.push(&vec![1; length], &[]);
        }
        let tokens = batch.tokens();
        let [query, key, value] =
            [(1, 32), (2, 16), (3, 16)].map(|(seed, width)| numbers(seed, tokens, width));
        let threads = Threads::new(1).unwrap();
        let backends = [DeviceChoice::Cpu, DeviceChoice::Tensors].map(|d| d.open(None).unwrap());
        for reach in [
            Reach::All,
            Reach::Causal,
            Reach::Window(50),
            Reach::Window(1_300),
            Reach::Around(20),
        ] {
            for cap in [None, Some(2.0)] {
                let mix = |backend: &Backend| {
                    let pass = Pass::new(&batch, backend, &threads);
                    let mixed = attention(reach, cap).mix(&pass, &query, &key, &value);
                    mixed.unwrap()
                };
                let [kernels, tensors] = backends.each_ref().map(mix);
                let apart = (kernels - tensors)
                    .unwrap()
                    .abs()
                    .unwrap()
                    .max_all()
                    .unwrap();
                let apart = apart.to_scalar::<f32>().unwrap();
                assert!(apart < 1e-5, "{reach:?} {cap:?}: {apart}");
            }
        }
    }

    #[test]
    fn scores_stay_within_their_memory_at_any_length() {
        for heads in [1, 12, 32, 64] {
            for tokens in [1, 7, 512, 1_024, 1_025, 8_192, 16_384, 131_072] {
                let (sequences, rows) = at_once(heads, tokens);
                assert!(sequences >= 1 && (1..=MOST_QUERIES).contains(&rows));
                assert!(sequences * heads * tokens * rows <= MOST_SCORES);
            }
        }
        assert_eq!(at_once(16, 512), (8, 512));
        assert_eq!(at_once(0, 0), (MOST_SCORES, 1));
    }
}
