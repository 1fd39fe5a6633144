//! Where the tokens of sequences are: one behind the other, or shared with those that begin alike.
//!
//! Owns how a position of a sequence is found. Must not know what is done with it. Invariant: positions count from the
//! beginning of a sequence, wherever its tokens are.

use std::ops::Range;

use super::Reach;
use crate::error::KernelError;

/// Sequences one behind the other, some of which begin as others do: what they share is there once.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// Where the tokens of each that are its own end.
    pub ends: &'a [usize],
    /// Where the tokens are that come before these, of each sequence, in their order; empty where no sequence has any.
    pub before: &'a [Vec<Range<usize>>],
}

impl<'a> Sequences<'a> {
    /// Those that share nothing.
    pub const fn apart(ends: &'a [usize]) -> Self {
        Self { ends, before: &[] }
    }

    /// Where the tokens before those of `sequence` are.
    pub(super) fn before(&self, sequence: usize) -> &'a [Range<usize>] {
        self.before.get(sequence).map_or(&[], Vec::as_slice)
    }

    pub(super) fn check(&self, reach: Reach) -> Result<(), KernelError> {
        let shape = |sentence: &str| Err(KernelError::Shape(sentence.to_owned()));
        if !self.ends.is_sorted() {
            return shape("sequences end before they begin");
        }
        if self.before.is_empty() {
            return Ok(());
        }
        let behind = match reach {
            Reach::Causal | Reach::Window(_) => true,
            Reach::All | Reach::Around(_) => false,
        };
        let tokens = self.ends.last().copied().unwrap_or_default();
        let there = |run: &Range<usize>| run.start <= run.end && run.end <= tokens;
        if !behind || self.before.len() != self.ends.len() {
            return shape(
                "a shared beginning is for sequences that look back alone, of each of them",
            );
        }
        if !self.before.iter().flatten().all(there) {
            return shape("a shared beginning is not among the tokens");
        }
        Ok(())
    }
}

/// Some queries of a sequence, of the heads of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// The tokens of the sequence that are its own.
    pub(super) own: Range<usize>,
    /// Where those before them are.
    pub(super) before: &'a [Range<usize>],
    /// How many these are.
    pub(super) shared: usize,
    /// Queries, counted from the beginning of the sequence; all are its own.
    pub(super) queries: Range<usize>,
    /// The head of keys and values.
    pub(super) group: usize,
}

impl Part<'_> {
    /// Tokens of the sequence.
    pub(super) fn tokens(&self) -> usize {
        self.shared + self.own.len()
    }

    /// Where token `position` of the sequence is.
    #[inline(always)]
    pub(super) fn token(&self, position: usize) -> usize {
        if position >= self.shared {
            return self.own.start + (position - self.shared);
        }
        let mut left = position;
        for run in self.before {
            if left < run.len() {
                return run.start + left;
            }
            left -= run.len();
        }
        self.own.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_is_shared_is_found_where_it_was_computed() {
        let part = Part {
            own: 20..22,
            before: &[3..5, 9..9, 7..8],
            shared: 3,
            queries: 3..5,
            group: 0,
        };
        let found: Vec<usize> = (0..part.tokens()).map(|i| part.token(i)).collect();
        assert_eq!(found, [3, 4, 7, 20, 21]);
    }
}
