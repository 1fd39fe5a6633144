//! Scores of relative positions, as `DeBERTa` has them: a query meets a key of its distance, a key a query of it.
//!
//! Owns the tables, and the products that a block of queries needs of them. Must not know how a distance comes to its
//! place in a table. Invariant: a product is one chain over the numbers of a head, whatever else is made with it.
//! Source: He et al. 2021, "`DeBERTa`: Decoding-enhanced BERT with disentangled attention", formula 4.

use std::ops::Range;

use super::{Heads, Job, Part};
use crate::error::KernelError;
use crate::product::F32;
use crate::simd::{LANES, Simd};
use crate::tile::{Rows, Weights, add_products};

/// Keys, or queries, of the places of a table, in the order in which products read them.
#[derive(Debug)]
pub struct Positions {
    /// Panels of 16 places, those of a head behind each other.
    panels: Vec<[f32; LANES]>,
    heads: usize,
    width: usize,
    count: usize,
}

impl Positions {
    /// Of `values`, `[places, heads * width]`.
    ///
    /// # Errors
    /// When these are not whole rows.
    pub fn new(values: &[f32], heads: usize, width: usize) -> Result<Self, KernelError> {
        let row = (heads * width).max(1);
        let count = values.len() / row;
        KernelError::length("positions", count * row, values.len())?;
        let of_head = count.div_ceil(LANES) * width;
        let mut panels = vec![[0.0; LANES]; heads * of_head];
        for (place, row) in values.chunks_exact(row).enumerate() {
            for (head, numbers) in row.chunks_exact(width.max(1)).enumerate() {
                let start = head * of_head + place / LANES * width;
                let columns = panels.get_mut(start..start + width).unwrap_or_default();
                for (column, number) in columns.iter_mut().zip(numbers) {
                    if let Some(lane) = column.get_mut(place % LANES) {
                        *lane = *number;
                    }
                }
            }
        }
        Ok(Self {
            panels,
            heads,
            width,
            count,
        })
    }

    /// Some panels of a head.
    fn of(&self, head: usize, panels: &Range<usize>) -> Weights<'_, [f32; LANES]> {
        let start = (head * self.count.div_ceil(LANES) + panels.start) * self.width;
        Weights {
            values: self.panels.get(start..).unwrap_or_default(),
            steps: self.width,
            panels: panels.len(),
        }
    }
}

/// What distances add to scores, before these are scaled.
#[derive(Clone, Copy, Debug)]
pub struct Relative<'a> {
    /// With which queries are multiplied (content to position).
    pub keys: Option<&'a Positions>,
    /// With which keys are multiplied (position to content).
    pub queries: Option<&'a Positions>,
    /// The place of each distance of a query behind a key, from the smallest to the largest; that of 0 is in the middle.
    pub places: &'a [u32],
}

impl Relative<'_> {
    /// Whether it fits sequences that end at `ends`, of so many heads.
    pub(super) fn check(
        &self,
        ends: &[usize],
        (heads, width): (usize, usize),
    ) -> Result<(), KernelError> {
        let shape = |sentence: String| Err(KernelError::Shape(sentence));
        let starts = std::iter::once(&0).chain(ends);
        let lengths = starts.zip(ends).map(|(start, end)| end - start);
        let longest = lengths.max().unwrap_or_default();
        if self.places.len() + 1 < 2 * longest || self.places.len().is_multiple_of(2) {
            return shape(format!(
                "{} places of distances are not those of {longest} tokens",
                self.places.len()
            ));
        }
        let largest = self.places.iter().max().map_or(0, |place| *place as usize);
        for table in [self.keys, self.queries].into_iter().flatten() {
            if table.heads != heads || table.width != width || table.count <= largest {
                return shape(format!(
                    "positions: {} of {} heads of {}, and not more than {largest} of {heads} of {width}",
                    table.count, table.heads, table.width
                ));
            }
        }
        Ok(())
    }

    /// The places of the distances of `queries` to `keys`, where a place is for query `queries.start + q` and key
    /// `keys.start + k` at `keys.len() - 1 + q - k`.
    fn between(&self, queries: &Range<usize>, keys: &Range<usize>) -> &[u32] {
        let middle = self.places.len() / 2;
        let first = (middle + queries.start + 1).saturating_sub(keys.end);
        let count = queries.len() + keys.len() - 1;
        self.places.get(first..first + count).unwrap_or_default()
    }
}

/// Products of some rows with the places that they need of a table.
#[derive(Debug, Default)]
struct Products {
    /// For each panel of places those of all rows.
    sums: Vec<[f32; LANES]>,
}

impl Products {
    #[inline(always)]
    fn fill<S: Simd>(
        &mut self,
        s: S,
        (table, head): (&Positions, usize),
        rows: &Rows<'_, f32>,
        panels: &Range<usize>,
    ) {
        self.sums.clear();
        self.sums.resize(panels.len() * rows.count, [0.0; LANES]);
        let table = table.of(head, panels);
        add_products::<S, F32>(s, rows, &table, &mut self.sums);
    }

    /// Where the product of row 0 with `place` is; those of the others follow 16 numbers further each.
    #[inline(always)]
    const fn offset(place: usize, panels: &Range<usize>, rows: usize) -> usize {
        (place / LANES - panels.start) * rows * LANES + place % LANES
    }
}

/// What a thread holds for a block of queries.
#[derive(Debug, Default)]
pub(super) struct Distances {
    /// Queries of the block with keys of places; all that it needs for any key.
    by_query: Products,
    /// Keys of a block with queries of places.
    by_key: Products,
    /// For each distance of a block of queries and one of keys where its products are.
    offsets: Vec<(usize, usize)>,
    panels: Range<usize>,
}

/// The panels of which `places` are.
fn panels(places: &[u32]) -> Range<usize> {
    let of = |place: Option<&u32>| place.map_or(0, |place| *place as usize / LANES);
    of(places.iter().min())..of(places.iter().max()) + 1
}

impl Distances {
    /// Begins with the queries of `part`, `[rows, width]`.
    #[inline(always)]
    pub(super) fn begin<S: Simd>(
        &mut self,
        s: S,
        (relative, part): (&Relative<'_>, &Part<'_>),
        queries: &Rows<'_, f32>,
    ) {
        let all = 0..part.tokens();
        self.panels = panels(relative.between(&part.queries, &all));
        if let Some(table) = relative.keys {
            let table = (table, part.group);
            self.by_query.fill(s, table, queries, &self.panels);
        }
    }

    /// Adds to the scores of all queries of `part` with `keys`: for each panel of 16 keys those of all queries.
    #[inline(always)]
    pub(super) fn add<S: Simd>(
        &mut self,
        s: S,
        (job, relative): (&Job<'_>, &Relative<'_>),
        (part, keys): (&Part<'_>, &Range<usize>),
        scores: &mut [[f32; LANES]],
    ) {
        let places = relative.between(&part.queries, keys);
        let needed = panels(places);
        if let Some(table) = relative.queries {
            let rows = rows_of(&job.keys, part, keys, job.attention.width);
            self.by_key.fill(s, (table, part.group), &rows, &needed);
        }
        let (queries, count) = (part.queries.len(), keys.len());
        self.offsets.clear();
        self.offsets.extend(places.iter().map(|place| {
            let place = *place as usize;
            (
                Products::offset(place, &self.panels, queries),
                Products::offset(place, &needed, count),
            )
        }));
        let by_query = self.by_query.sums.as_flattened();
        let by_key = self.by_key.sums.as_flattened();
        for (panel, scores) in scores.chunks_exact_mut(queries.max(1)).enumerate() {
            let first = panel * LANES;
            for (query, lanes) in scores.iter_mut().enumerate() {
                // The distance falls by one from key to key.
                let from = (count + query).saturating_sub((first + LANES).min(count));
                let offsets = self.offsets.get(from..count + query - first);
                let offsets = offsets.unwrap_or_default().iter().rev();
                for (lane, (score, (of_query, of_key))) in lanes.iter_mut().zip(offsets).enumerate()
                {
                    if let Some(product) = by_query.get(of_query + query * LANES) {
                        *score += product;
                    }
                    if let Some(product) = by_key.get(of_key + (first + lane) * LANES) {
                        *score += product;
                    }
                }
            }
        }
    }
}

/// The keys of a block as they lie in memory.
fn rows_of<'a>(
    heads: &Heads<'a>,
    part: &Part<'_>,
    keys: &Range<usize>,
    width: usize,
) -> Rows<'a, f32> {
    let start = part.token(keys.start) * heads.stride + heads.first + part.group * width;
    Rows {
        values: heads.values.get(start..).unwrap_or_default(),
        stride: heads.stride,
        count: keys.len(),
    }
}
