//! Masks of attention on a device: which keys a block of queries sees.
//!
//! Owns how they are made, and that those of a pass are made once for all layers. Must not know of heads.
//! Invariant: what is masked is what [`Reach`] says; a mask that would be large is not kept.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Result, Tensor};
use kernels::Reach;

use super::groups::NEVER;

/// Numbers of a mask that is kept, 4 MB of them: those of long texts are made anew in each layer.
const MOST_KEPT: usize = 1 << 20;

/// Masks of one pass.
#[derive(Debug, Default)]
pub(super) struct Masks(Mutex<Vec<(Block, Tensor)>>);

/// Queries and keys of a sequence, and which of these those see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) reach: Reach,
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
}

impl Block {
    /// The keys that any of `queries` sees, of a sequence of `tokens`.
    pub(super) fn of(reach: Reach, queries: Range<usize>, tokens: usize) -> Self {
        let keys = match reach {
            Reach::All => 0..tokens,
            Reach::Causal => 0..queries.end,
            Reach::Window(width) => (queries.start + 1).saturating_sub(width)..queries.end,
            Reach::Around(distance) => {
                let end = queries.end.saturating_add(distance).min(tokens);
                queries.start.saturating_sub(distance)..end
            }
        };
        Self {
            reach,
            queries,
            keys,
        }
    }

    /// Whether each query sees each key.
    fn is_open(&self) -> bool {
        let last = self.queries.end.saturating_sub(1);
        match self.reach {
            Reach::All => true,
            Reach::Causal => self.keys.end <= self.queries.start + 1,
            Reach::Window(width) => {
                self.keys.end <= self.queries.start + 1 && last < self.keys.start + width
            }
            Reach::Around(distance) => {
                last <= self.keys.start.saturating_add(distance)
                    && self.keys.end <= (self.queries.start + 1).saturating_add(distance)
            }
        }
    }

    /// `[queries, keys]`: 0 for a key that the query sees, [`NEVER`] for others.
    fn mask(&self, device: &Device) -> Result<Tensor> {
        let positions = |range: &Range<usize>| {
            #[expect(clippy::cast_precision_loss, reason = "positions stay below 2^23")]
            let positions: Vec<f32> = range.clone().map(|i| i as f32).collect();
            Tensor::new(positions, device)
        };
        let queries = positions(&self.queries)?.unsqueeze(1)?;
        let keys = positions(&self.keys)?.unsqueeze(0)?;
        // How far a key is behind its query.
        let behind = queries.broadcast_sub(&keys)?;
        #[expect(clippy::cast_precision_loss, reason = "as positions")]
        let hidden = match self.reach {
            Reach::All => behind.zeros_like()?,
            Reach::Causal => behind.lt(0f32)?.to_dtype(behind.dtype())?,
            Reach::Window(width) => {
                let ahead = behind.lt(0f32)?.to_dtype(behind.dtype())?;
                (ahead + behind.ge(width as f32)?.to_dtype(behind.dtype())?)?
            }
            Reach::Around(distance) => {
                let far = behind.abs()?.gt(distance as f32)?;
                far.to_dtype(behind.dtype())?
            }
        };
        hidden * f64::from(NEVER)
    }
}

impl Masks {
    /// The mask of `block`; `None` where nothing is masked.
    pub(super) fn of(&self, block: &Block, device: &Device) -> Result<Option<Tensor>> {
        if block.is_open() {
            return Ok(None);
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mask)) = kept.iter().find(|(known, _)| known == block) {
            return Ok(Some(mask.clone()));
        }
        let mask = block.mask(device)?;
        if block.queries.len() * block.keys.len() <= MOST_KEPT {
            kept.push((block.clone(), mask.clone()));
        }
        Ok(Some(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernels see it, one query after the other.
    fn sees(reach: Reach, query: usize, key: usize) -> bool {
        match reach {
            Reach::All => true,
            Reach::Causal => key <= query,
            Reach::Window(width) => key <= query && query - key < width,
            Reach::Around(distance) => query.abs_diff(key) <= distance,
        }
    }

    #[test]
    fn a_query_sees_what_its_reach_says_in_blocks_of_any_size() {
        let tokens = 9;
        let reaches = [1, 2, 3, 8, 9, 100].map(|n| [Reach::Window(n), Reach::Around(n)]);
        let more = [Reach::All, Reach::Causal, Reach::Around(usize::MAX)];
        let masks = Masks::default();
        for reach in reaches.into_iter().flatten().chain(more) {
            for start in 0..tokens {
                for end in start + 1..=tokens {
                    let block = Block::of(reach, start..end, tokens);
                    let mask = masks.of(&block, &Device::Cpu).unwrap();
                    let mask = mask.map(|mask| mask.to_vec2::<f32>().unwrap());
                    for query in start..end {
                        for key in 0..tokens {
                            let seen = block.keys.contains(&key)
                                && mask.as_ref().is_none_or(|mask| {
                                    mask[query - start][key - block.keys.start] == 0.0
                                });
                            assert_eq!(seen, sees(reach, query, key), "{block:?} {query} {key}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_mask_is_made_once_for_all_layers() {
        let masks = Masks::default();
        for _ in 0..3 {
            masks
                .of(&Block::of(Reach::Causal, 0..4, 4), &Device::Cpu)
                .unwrap();
        }
        assert_eq!(masks.0.lock().unwrap().len(), 1);
        let alone = Block::of(Reach::Causal, 0..1, 1);
        assert!(masks.of(&alone, &Device::Cpu).unwrap().is_none());
    }
}
