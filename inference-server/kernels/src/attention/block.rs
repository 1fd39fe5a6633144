//! Attention of a block of queries, block of keys after block of keys.
//!
//! Owns softmax that goes on from block to block (Milakov and Gimelshein 2018; Dao et al. 2022), and the
//! memory that a thread needs for it. Must not know of tasks. Invariant: a block of which a query sees
//! nothing leaves its sums as they are; that is why it may share blocks with queries that see more.

use std::ops::Range;

use super::relative::Distances;
use super::{Job, Part};
use crate::math::{v_exp, v_tanh};
use crate::product::F32;
use crate::simd::{LANES, Simd, load_part, store_part};
use crate::tile::{Rows, Weights, add_products};

/// Keys of a block.
const KEYS: usize = 64;

/// What a thread holds. Rows are queries, and of each query the heads of a group.
#[derive(Debug, Default)]
pub(super) struct Block {
    rows: usize,
    width: usize,
    /// `[rows, width]`.
    queries: Vec<f32>,
    /// Panels of 16 keys: the first number of each, the second of each, and so on.
    keys: Vec<[f32; LANES]>,
    /// Panels of 16 numbers of a head: those of the first key, of the second, and so on.
    values: Vec<[f32; LANES]>,
    /// For each panel of keys the scores of all rows.
    scores: Vec<[f32; LANES]>,
    /// `[rows, KEYS]`: powers of the scores, not yet divided by their sum.
    powers: Vec<f32>,
    /// For each panel of values the sums of all rows.
    sums: Vec<[f32; LANES]>,
    /// The largest score of each row, and the sum of its powers.
    state: Vec<State>,
    /// What relative positions add to the scores.
    distances: Distances,
}

#[derive(Clone, Copy, Debug)]
struct State {
    largest: f32,
    total: f32,
}

impl Block {
    /// Mixes the values that the queries of `part` see.
    #[inline(always)]
    pub(super) fn mix<S: Simd>(&mut self, s: S, job: &Job<'_>, part: &Part<'_>) {
        let attention = job.attention;
        self.begin(job, part);
        if let Some(relative) = job.relative {
            let queries = Rows {
                values: &self.queries,
                stride: self.width,
                count: self.rows,
            };
            self.distances.begin(s, (relative, part), &queries);
        }
        let tokens = part.tokens();
        let seen = |query| attention.reach.keys(query, tokens);
        // What a query sees begins and ends no earlier than what those before it see.
        let first = seen(part.queries.start).start / KEYS * KEYS;
        let end = seen(part.queries.end - 1).end;
        for start in (first..end).step_by(KEYS) {
            let keys = start..end.min(start + KEYS);
            self.arrange(s, job, part, keys.clone());
            Self::prefetch(s, job, part, keys.end..end.min(keys.end + KEYS));
            self.score(s, keys.len());
            if let Some(relative) = job.relative {
                let scores = &mut self.scores;
                self.distances
                    .add(s, (job, relative), (part, &keys), scores);
            }
            let heads = attention.heads_of_a_group();
            for (i, query) in part.queries.clone().enumerate() {
                let seen = seen(query);
                let from = seen.start.clamp(start, keys.end) - start;
                let to = seen.end.clamp(start, keys.end) - start;
                for row in i * heads..(i + 1) * heads {
                    self.soften(s, row, from..to.max(from), (attention.scale, attention.cap));
                }
            }
            let powers = Rows {
                values: &self.powers,
                stride: KEYS,
                count: self.rows,
            };
            let values = Weights {
                values: &self.values,
                steps: keys.len(),
                panels: self.width.div_ceil(LANES),
            };
            add_products::<S, F32>(s, &powers, &values, &mut self.sums);
        }
    }

    /// Writes what was mixed for `row`.
    #[inline(always)]
    pub(super) fn write<S: Simd>(&self, s: S, row: usize, out: &mut [f32]) {
        let total = s.splat(self.state.get(row).map_or(1.0, |state| state.total));
        let sums = self.sums.iter().skip(row).step_by(self.rows.max(1));
        for (sums, out) in sums.zip(out.chunks_mut(LANES)) {
            // Adding 0 leaves -0 as 0: products with powers of 0 may have done so before, or not.
            let mixed = s.add(s.div(s.load(sums), total), s.splat(0.0));
            store_part(s, mixed, out);
        }
    }

    fn begin(&mut self, job: &Job<'_>, part: &Part<'_>) {
        let (heads, width) = (job.attention.heads_of_a_group(), job.attention.width);
        (self.rows, self.width) = (part.queries.len() * heads, width);
        self.queries.clear();
        for query in part.queries.clone() {
            for head in part.group * heads..(part.group + 1) * heads {
                let token = part.token(query);
                self.queries
                    .extend_from_slice(job.queries.get(token, head, width));
            }
        }
        self.powers.clear();
        self.powers.resize(self.rows * KEYS, 0.0);
        self.sums.clear();
        self.sums
            .resize(self.rows * width.div_ceil(LANES), [0.0; LANES]);
        self.state.clear();
        let nothing = State {
            largest: f32::NEG_INFINITY,
            total: 0.0,
        };
        self.state.resize(self.rows, nothing);
    }

    /// Puts keys and values in the order in which products read them, zeros where there are no more.
    #[inline(always)]
    fn arrange<S: Simd>(&mut self, s: S, job: &Job<'_>, part: &Part<'_>, keys: Range<usize>) {
        let (width, count) = (self.width, keys.len());
        self.keys.clear();
        self.keys
            .resize(count.div_ceil(LANES) * width, [0.0; LANES]);
        self.values.clear();
        self.values
            .resize(width.div_ceil(LANES) * count, [0.0; LANES]);
        let panels = self.keys.chunks_exact_mut(width);
        for (panel, first) in panels.zip(keys.clone().step_by(LANES)) {
            for (lane, key) in (first..keys.end.min(first + LANES)).enumerate() {
                let key = job.keys.get(part.token(key), part.group, width);
                for (lanes, x) in panel.iter_mut().zip(key) {
                    if let Some(lane) = lanes.get_mut(lane) {
                        *lane = *x;
                    }
                }
            }
        }
        for (i, key) in keys.enumerate() {
            let token = part.token(key);
            let value = job.values.get(token, part.group, width);
            let panels = self.values.iter_mut().skip(i).step_by(count);
            for (lanes, value) in panels.zip(value.chunks(LANES)) {
                s.store(load_part(s, value, 0.0), lanes);
            }
        }
    }

    /// Asks for keys and values that are next: their rows are far from each other, so that processors do
    /// not see what will be read.
    #[inline(always)]
    fn prefetch<S: Simd>(s: S, job: &Job<'_>, part: &Part<'_>, keys: Range<usize>) {
        let width = job.attention.width;
        for key in keys {
            for heads in [&job.keys, &job.values] {
                let row = heads.get(part.token(key), part.group, width);
                for line in row.chunks(LANES) {
                    s.prefetch(line.as_ptr());
                }
            }
        }
    }

    /// The products of all rows with the keys of the block.
    #[inline(always)]
    fn score<S: Simd>(&mut self, s: S, keys: usize) {
        let panels = keys.div_ceil(LANES);
        self.scores.clear();
        self.scores.resize(panels * self.rows, [0.0; LANES]);
        let queries = Rows {
            values: &self.queries,
            stride: self.width,
            count: self.rows,
        };
        let keys = Weights {
            values: &self.keys,
            steps: self.width,
            panels,
        };
        add_products::<S, F32>(s, &queries, &keys, &mut self.scores);
    }

    /// Powers of the scores of `row` with the keys `seen` of the block; 0 for those that are not seen.
    #[inline(always)]
    fn soften<S: Simd>(
        &mut self,
        s: S,
        row: usize,
        seen: Range<usize>,
        (scale, cap): (f32, Option<f32>),
    ) {
        let (Some(powers), Some(state)) = (
            self.powers.get_mut(row * KEYS..(row + 1) * KEYS),
            self.state.get_mut(row),
        ) else {
            return;
        };
        if seen.is_empty() {
            powers.fill(0.0);
            return;
        }
        let scores = self.scores.iter().skip(row).step_by(self.rows);
        for (scores, to) in scores.zip(powers.chunks_exact_mut(LANES)) {
            let mut score = s.mul(s.load(scores), s.splat(scale));
            if let Some(cap) = cap {
                let bent = v_tanh(s, s.div(score, s.splat(cap)));
                score = s.mul(bent, s.splat(cap));
            }
            store_part(s, score, to);
        }
        for keys in [0..seen.start, seen.end..KEYS] {
            if let Some(powers) = powers.get_mut(keys) {
                powers.fill(f32::NEG_INFINITY);
            }
        }
        let mut largest = s.splat(state.largest);
        for scores in powers.chunks_exact(LANES) {
            largest = s.max(load_part(s, scores, 0.0), largest);
        }
        let largest = s.largest(largest);
        let mut total = s.splat(0.0);
        for scores in powers.chunks_exact_mut(LANES) {
            let score = load_part(s, scores, 0.0);
            let power = v_exp(s, s.sub(score, s.splat(largest)));
            total = s.add(total, power);
            store_part(s, power, scores);
        }
        if largest.to_bits() != state.largest.to_bits() {
            // exp(0) is 1, so that nothing is done where it would change nothing.
            let shrink = v_exp(s, s.splat(state.largest - largest));
            for sums in self.sums.iter_mut().skip(row).step_by(self.rows) {
                s.store(s.mul(s.load(sums), shrink), sums);
            }
            let mut lanes = [0.0; LANES];
            s.store(shrink, &mut lanes);
            state.total *= lanes[0];
            state.largest = largest;
        }
        state.total += s.sum(total);
    }
}
