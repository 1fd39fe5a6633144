//! Attention over packed sequences: softmax(scale Q K^T) V, sequence by sequence.
//!
//! Owns shapes, what a query sees, and how the work is cut into tasks. Must not know of projections or
//! positions. Invariant: scores are held for one block of queries and one of keys at a time; the blocks
//! of a sequence begin where it begins, so that what comes out for it depends on it alone.

mod block;
mod relative;
mod sequences;

use std::ops::Range;

use crate::error::KernelError;
use crate::isa::Kernels;
use crate::pool::{Pool, Shared, Tasks, spread};
use crate::simd::{Op, Simd};
use block::Block;
pub use relative::{Positions, Relative};
use sequences::Part;
pub use sequences::Sequences;

/// Rows (queries of all heads of a group) of a task: what it takes to put keys in order is less than a
/// tenth of what is done with them. A multiple of the rows of a tile.
const ROWS: usize = 192;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    All,
    /// Itself and those before it.
    Causal,
    /// The last so many, itself included; at least 1.
    Window(usize),
    /// Those at most so far away, on both sides.
    Around(usize),
}

impl Reach {
    /// The keys that `query` sees, of a sequence of `tokens`.
    pub(crate) fn keys(self, query: usize, tokens: usize) -> Range<usize> {
        let end = (query + 1).min(tokens);
        match self {
            Self::All => 0..tokens,
            Self::Causal => 0..end,
            Self::Window(width) => end.saturating_sub(width)..end,
            Self::Around(distance) => {
                query.saturating_sub(distance)..end.saturating_add(distance).min(tokens)
            }
        }
    }
}

/// How queries, keys and values are mixed.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / groups` neighbouring heads of queries.
    pub groups: usize,
    /// Numbers of a head.
    pub width: usize,
    /// Factor of the products.
    pub scale: f32,
    /// Scores are bent to stay within plus and minus this, `cap tanh(score / cap)` (Gemma 2).
    pub cap: Option<f32>,
    /// Which keys a query sees.
    pub reach: Reach,
}

/// Heads in a buffer of `stride` numbers a token, which may hold more than these: head `h` of token `t`
/// begins at `t * stride + first + h * width`.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// All tokens.
    pub values: &'a [f32],
    /// Numbers of a token.
    pub stride: usize,
    /// Where in a token the first head begins.
    pub first: usize,
}

impl<'a> Heads<'a> {
    /// Of a buffer that holds nothing else.
    pub const fn alone(values: &'a [f32], heads: usize, width: usize) -> Self {
        Self {
            values,
            stride: heads * width,
            first: 0,
        }
    }

    /// Head `head` of `token`.
    #[inline(always)]
    pub(crate) fn get(&self, token: usize, head: usize, width: usize) -> &'a [f32] {
        let start = token * self.stride + self.first + head * width;
        self.values.get(start..start + width).unwrap_or_default()
    }

    fn check(
        &self,
        what: &'static str,
        tokens: usize,
        (heads, width): (usize, usize),
    ) -> Result<(), KernelError> {
        if self.first + heads * width > self.stride {
            return Err(KernelError::Shape(format!(
                "{what}: {heads} heads of {width} from {} on are more than the {} numbers of a token",
                self.first, self.stride
            )));
        }
        KernelError::length(what, tokens * self.stride, self.values.len())
    }
}

impl Kernels {
    /// Mixes the values of each sequence into `out`, `[tokens, heads * width]`. Sequences lie one behind
    /// the other and end at `ends`.
    ///
    /// Sums: a score is one chain over the numbers of a head; softmax goes over blocks of 64 keys, which
    /// begin where the sequence begins, and an output is one chain over the keys, rescaled where a block
    /// has a larger score than those before. A query that sees the same keys gets the same bits, in a
    /// longer sequence too.
    ///
    /// # Errors
    /// When shapes do not fit each other, or `ends` goes down.
    #[expect(
        clippy::too_many_arguments,
        reason = "three inputs, an output, and what is done"
    )]
    pub fn attention(
        self,
        pool: &dyn Pool,
        attention: &Attention,
        ends: &[usize],
        queries: Heads<'_>,
        keys: Heads<'_>,
        values: Heads<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let sequences = Sequences::apart(ends);
        self.mix(
            pool,
            (attention, None),
            sequences,
            [queries, keys, values],
            out,
        )
    }

    /// The same for sequences that begin alike, of which only their own tokens have queries. Bits are those of
    /// [`Kernels::attention`] with each sequence whole.
    ///
    /// # Errors
    /// As [`Kernels::attention`], and when `attention` looks ahead: what is shared would not be the same in all.
    pub fn shared_attention(
        self,
        pool: &dyn Pool,
        attention: &Attention,
        sequences: Sequences<'_>,
        inputs: [Heads<'_>; 3],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        self.mix(pool, (attention, None), sequences, inputs, out)
    }

    /// The same, with what `relative` adds to the scores of all pairs: `scale (score + of distances)`. All heads
    /// have keys of their own, and see all. The products of a pair with its place are each one chain over the numbers
    /// of a head, and are added in the order of [`Relative`].
    ///
    /// # Errors
    /// As [`Kernels::attention`].
    pub fn relative_attention(
        self,
        pool: &dyn Pool,
        (attention, relative): (&Attention, &Relative<'_>),
        ends: &[usize],
        inputs: [Heads<'_>; 3],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        if attention.heads != attention.groups || attention.reach != Reach::All {
            return Err(KernelError::Shape(
                "relative positions are for heads with keys of their own that see all".to_owned(),
            ));
        }
        let sequences = Sequences::apart(ends);
        self.mix(pool, (attention, Some(relative)), sequences, inputs, out)
    }

    fn mix(
        self,
        pool: &dyn Pool,
        (attention, relative): (&Attention, Option<&Relative<'_>>),
        sequences: Sequences<'_>,
        [queries, keys, values]: [Heads<'_>; 3],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let ends = sequences.ends;
        let tokens = ends.last().copied().unwrap_or_default();
        attention.check()?;
        sequences.check(attention.reach)?;
        let own = (attention.heads, attention.width);
        if let Some(relative) = relative {
            relative.check(ends, own)?;
        }
        queries.check("queries", tokens, own)?;
        keys.check("keys", tokens, (attention.groups, attention.width))?;
        values.check("values", tokens, (attention.groups, attention.width))?;
        let wanted = tokens * attention.heads * attention.width;
        KernelError::length("mixed values", wanted, out.len())?;
        let parts = attention.parts(sequences);
        let job = Job {
            attention,
            relative,
            queries,
            keys,
            values,
            out: Shared::new(out),
            tasks: Tasks::new(parts.len()),
            parts,
        };
        spread(pool, || self.run(&job));
        Ok(())
    }
}

impl Attention {
    fn check(&self) -> Result<(), KernelError> {
        let shape = |sentence: String| Err(KernelError::Shape(sentence));
        let Self {
            heads,
            groups,
            width,
            ..
        } = *self;
        if heads == 0 || groups == 0 || width == 0 || !heads.is_multiple_of(groups) {
            return shape(format!(
                "{heads} heads of {width} cannot share {groups} heads of keys"
            ));
        }
        if self.reach == Reach::Window(0) {
            return shape("a window of 0 tokens leaves nothing to see".to_owned());
        }
        Ok(())
    }

    pub(crate) const fn heads_of_a_group(&self) -> usize {
        self.heads / self.groups
    }

    fn parts<'a>(&self, sequences: Sequences<'a>) -> Vec<Part<'a>> {
        let step = ROWS.div_ceil(self.heads_of_a_group());
        let mut parts = Vec::new();
        let mut start = 0;
        for (i, &end) in sequences.ends.iter().enumerate() {
            let before = sequences.before(i);
            let shared: usize = before.iter().map(ExactSizeIterator::len).sum();
            let tokens = shared + end - start;
            // All queries of a group before the next, since they read the same keys.
            for group in 0..self.groups {
                parts.extend((shared..tokens).step_by(step).map(|first| Part {
                    own: start..end,
                    before,
                    shared,
                    queries: first..tokens.min(first + step),
                    group,
                }));
            }
            start = end;
        }
        parts
    }
}

/// An attention that is being computed by one or several threads.
pub(crate) struct Job<'a> {
    pub(crate) attention: &'a Attention,
    pub(crate) relative: Option<&'a Relative<'a>>,
    pub(crate) queries: Heads<'a>,
    pub(crate) keys: Heads<'a>,
    pub(crate) values: Heads<'a>,
    out: Shared<'a>,
    tasks: Tasks,
    parts: Vec<Part<'a>>,
}

impl Op for &Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut block = Block::default();
        while let Some(task) = self.tasks.claim() {
            let Some(part) = self.parts.get(task) else {
                return;
            };
            block.mix(s, self, part);
            let (heads, width) = (self.attention.heads_of_a_group(), self.attention.width);
            for (i, query) in part.queries.clone().enumerate() {
                let token = part.token(query);
                for head in 0..heads {
                    let place = (token * self.attention.heads + part.group * heads + head) * width;
                    // SAFETY: no other task has this group and these queries, and the part is dropped
                    // before the next is taken.
                    let out = unsafe { self.out.part(place, width) };
                    block.write(s, i * heads + head, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_each_query_once_and_never_cross_sequences() {
        let attention = Attention {
            heads: 8,
            groups: 2,
            width: 4,
            scale: 1.0,
            cap: None,
            reach: Reach::All,
        };
        let ends = [0, 70, 70, 71];
        let parts = attention.parts(Sequences::apart(&ends));
        for group in 0..2 {
            let queries: Vec<usize> = (parts.iter())
                .filter(|part| part.group == group)
                .flat_map(|part| (part.queries.clone()).map(|query| part.token(query)))
                .collect();
            assert_eq!(queries, (0..71).collect::<Vec<_>>());
        }
        assert!(parts.iter().all(|part| part.queries.len() * 4 <= ROWS));
        assert_eq!(parts.last().map(|part| part.own.clone()), Some(70..71));
    }

    #[test]
    fn a_query_sees_what_its_reach_says() {
        assert_eq!(Reach::All.keys(3, 10), 0..10);
        assert_eq!(Reach::Causal.keys(3, 10), 0..4);
        assert_eq!(Reach::Window(2).keys(3, 10), 2..4);
        assert_eq!(Reach::Window(9).keys(3, 10), 0..4);
        assert_eq!(Reach::Around(2).keys(3, 10), 1..6);
        assert_eq!(Reach::Around(usize::MAX).keys(3, 10), 0..10);
    }
}
