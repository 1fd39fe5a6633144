//! Relative positions of `DeBERTa`: from distances of tokens to scores of attention.
//!
//! Owns the buckets of distances and the table of their embeddings. Must not know of the rest of a
//! layer. Invariant: buckets are computed in f32, as transformers computes them, so that a distance
//! at an edge falls on the same side.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::deberta_attention::split_heads;
use super::deberta_config::DebertaConfig;
use super::post_norm::PostNormLayer;
use crate::backend::Backend;
use crate::error::LoadError;
use crate::layers::{Bias, Distances, LayerNorm, Linear, Pass, RelativePositions};
use crate::packed::Packed;
use crate::weights::Weights;

/// Makes the scores of relative positions in one layer.
#[derive(Debug)]
pub(super) enum Relative {
    /// By kernels.
    Here(RelativePositions),
    /// On a device.
    There(Tables),
}

/// Keys and queries of positions on a device.
#[derive(Debug)]
pub(super) struct Tables {
    /// Keys, `[heads, width, 2 span]`; there with c2p.
    keys: Option<Tensor>,
    /// Queries, the same way; there with p2c.
    queries: Option<Tensor>,
}

impl Relative {
    /// The table of positions is the same for every text, so that what a layer makes of it is
    /// computed here, once.
    pub(super) fn load(
        weights: &Weights,
        prefix: &str,
        config: &DebertaConfig,
        layer: &PostNormLayer,
        table: &Tensor,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        let nothing = Packed::default();
        let pass = Pass::new(&nothing, weights.backend(), weights.threads());
        let own = |name: &str| -> std::result::Result<Tensor, LoadError> {
            let name = format!("{prefix}.attention.self.{name}");
            let linear = Linear::load(weights, &name, (hidden, hidden), Bias::Needed)?;
            let projected = linear.forward(&pass, table);
            projected.map_err(LoadError::tensor(&name))
        };
        let shared = || {
            let projected = layer.project(&pass, table);
            projected.map_err(LoadError::tensor(prefix))
        };
        let [shared_query, shared_key, _] = if config.share_att_key {
            shared()?.map(Some)
        } else {
            [None, None, None]
        };
        let of = |kind: &str, shared: Option<Tensor>, name: &str| {
            let kept = config.has(kind).then_some(shared);
            kept.map(|shared| shared.map_or_else(|| own(name), Ok))
                .transpose()
        };
        let keys = of("c2p", shared_key, "pos_key_proj")?;
        let queries = of("p2c", shared_query, "pos_query_proj")?;
        let made = match weights.backend() {
            Backend::Kernels(kernels) => {
                let tables = [keys.as_ref(), queries.as_ref()];
                let width = hidden / heads.max(1);
                RelativePositions::new(*kernels, tables, (heads, width)).map(Self::Here)
            }
            Backend::Tensors(_) => Tables::new(keys, queries, heads).map(Self::There),
        };
        made.map_err(LoadError::tensor(prefix))
    }
}

impl Tables {
    /// Of `[2 span, hidden]` each.
    fn new(keys: Option<Tensor>, queries: Option<Tensor>, heads: usize) -> Result<Self> {
        let turned = |x: Tensor| split_heads(&x, heads)?.transpose(1, 2)?.contiguous();
        Ok(Self {
            keys: keys.map(turned).transpose()?,
            queries: queries.map(turned).transpose()?,
        })
    }

    /// What each key makes of each position, `[heads, n, 2 span]`; there with p2c.
    pub(super) fn by_key(&self, key: &Tensor) -> Result<Option<Tensor>> {
        let queries = self.queries.as_ref();
        queries.map(|queries| key.matmul(queries)).transpose()
    }

    /// Adds to `scores`, `[heads, queries, n]`; `places` is where a distance is in the table, by query
    /// and key.
    pub(super) fn add(
        &self,
        mut scores: Tensor,
        query: &Tensor,
        by_key: Option<&Tensor>,
        places: &Tensor,
    ) -> Result<Tensor> {
        let (heads, rows, columns) = scores.dims3()?;
        if let Some(keys) = &self.keys {
            let index = places.broadcast_as((heads, rows, columns))?;
            scores = (scores + query.matmul(keys)?.gather(&index.contiguous()?, 2)?)?;
        }
        if let Some(by_key) = by_key {
            let index = places.t()?.broadcast_as((heads, columns, rows))?;
            let by_key = by_key.gather(&index.contiguous()?, 2)?;
            scores = (scores + by_key.transpose(1, 2)?.contiguous()?)?;
        }
        Ok(scores)
    }
}

/// The table of relative positions, which all layers share.
pub(super) fn relative_table(
    weights: &Weights,
    encoder: &str,
    config: &DebertaConfig,
) -> std::result::Result<Tensor, LoadError> {
    let shape = [2 * config.span(), config.hidden_size];
    let name = format!("{encoder}.rel_embeddings.weight");
    let table = weights.get(&name, &shape)?;
    let device = weights.backend().device();
    let table = Tensor::from_vec(table, &shape, device).map_err(LoadError::tensor(&name))?;
    let normed = config
        .norm_rel_ebd
        .as_deref()
        .is_some_and(|kinds| kinds.split('|').any(|kind| kind.trim() == "layer_norm"));
    if !normed {
        return Ok(table);
    }
    let name = format!("{encoder}.LayerNorm");
    let (width, eps) = (config.hidden_size, config.layer_norm_eps);
    let nothing = Packed::default();
    let pass = Pass::new(&nothing, weights.backend(), weights.threads());
    LayerNorm::load(weights, &name, width, eps, Bias::Needed)?
        .forward(&pass, &table)
        .map_err(LoadError::tensor(&name))
}

/// Where the distances of each sequence are in the table.
#[derive(Debug)]
pub(super) enum Places {
    /// Those of the longest, which has those of all others in its middle.
    Here(Distances),
    /// Of each sequence, on a device.
    There(Vec<Rows>),
}

impl Places {
    /// Puts what `rows` says of sequences of so many tokens where `pass` computes, once for all layers.
    pub(super) fn of(pass: &Pass<'_>, rows: impl Fn(usize) -> Vec<u32>) -> Result<Self> {
        let lengths = pass.batch().ranges().map(|range| range.len());
        match pass.backend() {
            Backend::Kernels(_) => Ok(Self::Here(Distances(rows(lengths.max().unwrap_or(1))))),
            Backend::Tensors(place) => lengths
                .map(|length| Rows::new(rows(length), &place.device))
                .collect::<Result<_>>()
                .map(Self::There),
        }
    }
}

/// Where each distance of a sequence is in the table, on a device.
#[derive(Debug)]
pub(super) struct Rows {
    /// Distance `i - tokens + 1` at place `i`.
    table: Tensor,
    /// The positions.
    positions: Tensor,
    /// How far each position is from the last.
    back: Tensor,
}

impl Rows {
    fn new(rows: Vec<u32>, device: &Device) -> Result<Self> {
        let positions: Vec<u32> = (0..).take(rows.len().div_ceil(2)).collect();
        let back: Vec<u32> = positions.iter().rev().copied().collect();
        Ok(Self {
            table: Tensor::new(rows, device)?,
            positions: Tensor::new(positions, device)?,
            back: Tensor::new(back, device)?,
        })
    }

    /// The places for each of `queries` and each of `tokens` keys.
    pub(super) fn places(&self, queries: Range<usize>, tokens: usize) -> Result<Tensor> {
        let size = (queries.len(), tokens);
        // Row q, column k is the distance q - k, which lies at tokens - 1 + q - k.
        let queries = self.positions.narrow(0, queries.start, queries.len())?;
        let index = queries
            .unsqueeze(1)?
            .broadcast_add(&self.back.unsqueeze(0)?)?;
        self.table
            .index_select(&index.flatten_all()?, 0)?
            .reshape(size)
    }
}

/// How distances are put into the rows of the table.
pub(super) struct Buckets {
    pub(super) buckets: Option<usize>,
    pub(super) farthest: usize,
}

impl Buckets {
    /// Rows of the distances `1 - tokens` to `tokens - 1`, in a table of `span` rows on each side.
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tokens and rows are below 2^24, and the row is clamped to be positive"
    )]
    pub(super) fn rows(&self, tokens: usize, span: usize) -> Vec<u32> {
        let (tokens, span) = (tokens as i64, span as i64);
        (1 - tokens..tokens)
            .map(|distance| {
                self.bucket(distance)
                    .saturating_add(span)
                    .clamp(0, 2 * span - 1) as u32
            })
            .collect()
    }

    /// Near distances have a bucket of their own, far ones share them logarithmically. In f32, as
    /// transformers computes it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "distances are below 2^24"
    )]
    fn bucket(&self, distance: i64) -> i64 {
        let Some(buckets) = self.buckets else {
            return distance;
        };
        let middle = (buckets / 2) as i64;
        if distance.abs() <= middle {
            return distance;
        }
        let half = middle as f32;
        let share =
            (distance.abs() as f32 / half).ln() / ((self.farthest as f32 - 1.0) / half).ln();
        let bucket = (share * (half - 1.0)).ceil() + half;
        (bucket as i64).saturating_mul(distance.signum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_a_bucket_each_and_far_ones_share() {
        let distances = Buckets {
            buckets: Some(32),
            farthest: 512,
        };
        let buckets: Vec<_> = [-511, -17, -16, -1, 0, 1, 16, 17, 40, 511, 4_000]
            .map(|distance| distances.bucket(distance))
            .into();
        assert_eq!(buckets, [-31, -17, -16, -1, 0, 1, 16, 17, 20, 31, 40]);
        let rows = distances.rows(4_000, 32);
        assert!(rows.iter().all(|row| *row < 64));
    }

    #[test]
    fn counts_that_make_no_sense_do_no_harm() {
        for (buckets, farthest) in [(1, 1), (2, 1), (3, 2), (1 << 24, 1), (32, 17)] {
            let rows = Buckets {
                buckets: Some(buckets),
                farthest,
            }
            .rows(600, buckets);
            assert_eq!(rows.len(), 1_199);
        }
    }
}
