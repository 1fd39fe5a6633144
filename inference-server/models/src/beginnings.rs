//! Sequences that begin alike, with what they share once.
//!
//! Owns which tokens of a batch are computed, and in which order its sequences are looked at. Must not know of
//! layers. Invariant: the tokens before those that are a sequence's own, and these, are the sequence; for models whose
//! tokens look back alone, what is computed for a token is then the same as in the whole sequence.

use std::ops::Range;

use crate::packed::Packed;

/// Tokens from which on a common beginning is computed once: for fewer it takes longer to look them up.
const FEWEST: usize = 16;

/// A batch whose sequences have only tokens of their own, and where those before them are.
#[derive(Debug, Default)]
pub struct Beginnings {
    own: Packed,
    before: Vec<Vec<Range<usize>>>,
    /// The last sequence, whole.
    last: Vec<u32>,
}

/// How many tokens `next` need not compute behind `last`.
pub(crate) fn shared(last: &[u32], next: &[u32]) -> usize {
    let alike = last.iter().zip(next).take_while(|(a, b)| a == b).count();
    if alike < FEWEST { 0 } else { alike }
}

/// The order in which each sequence has the most in common with the one before it.
pub(crate) fn order(sequences: &[(&[u32], &[u32])]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|i| sequences.get(*i).map(|(ids, _)| *ids));
    order
}

impl Beginnings {
    /// Tokens that `ids` would have of its own.
    pub fn own_tokens(&self, ids: &[u32]) -> usize {
        ids.len() - shared(&self.last, ids)
    }

    /// Adds a sequence, which shares what it can with the one before.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u32]) {
        let mut left = shared(&self.last, ids);
        let own = |x: &'_ [u32]| x.get(left..).unwrap_or_default().to_vec();
        let (own_ids, own_types) = (own(ids), own(type_ids));
        let mut before = Vec::new();
        for run in self.last_runs() {
            let taken = run.len().min(left);
            if taken > 0 {
                before.push(run.start..run.start + taken);
            }
            left -= taken;
        }
        self.own.push(&own_ids, &own_types);
        self.before.push(before);
        ids.clone_into(&mut self.last);
    }

    /// Where the tokens of the last sequence are.
    fn last_runs(&self) -> Vec<Range<usize>> {
        let before = self.before.last().cloned().unwrap_or_default();
        before.into_iter().chain(self.own.ranges().last()).collect()
    }

    /// The tokens that are computed.
    pub const fn own(&self) -> &Packed {
        &self.own
    }

    /// For each sequence where the tokens before its own are.
    pub fn before(&self) -> &[Vec<Range<usize>>] {
        &self.before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_before_and_what_is_own_is_the_sequence(
            beginnings in prop::collection::vec(prop::collection::vec(0u32..3, 0..40), 1..4),
            sequences in prop::collection::vec((0usize..4, 0usize..40, prop::collection::vec(0u32..9, 0..20)), 1..12),
        ) {
            let whole: Vec<Vec<u32>> = sequences.iter().map(|(which, cut, rest)| {
                let beginning = &beginnings[which % beginnings.len()];
                [&beginning[..beginning.len().min(*cut)], rest].concat()
            }).collect();
            let whole: Vec<(&[u32], &[u32])> = whole.iter().map(|ids| (&ids[..], &ids[..])).collect();
            let mut batch = Beginnings::default();
            let order = order(&whole);
            for i in &order {
                let own = batch.own_tokens(whole[*i].0);
                let before = batch.own().tokens();
                batch.push(whole[*i].0, whole[*i].1);
                prop_assert_eq!(batch.own().tokens(), before + own);
            }
            let own = batch.own();
            for ((i, before), range) in order.iter().zip(batch.before()).zip(own.ranges()) {
                let places: Vec<usize> = before.iter().cloned().flatten().chain(range.clone()).collect();
                // Nothing is taken from who comes later.
                prop_assert!(before.iter().all(|run| run.end <= range.start));
                let found: Vec<u32> = places.iter().map(|place| own.ids()[*place]).collect();
                prop_assert_eq!(&found[..], whole[*i].0);
                let found: Vec<u32> = places.iter().map(|place| own.type_ids()[*place]).collect();
                prop_assert_eq!(&found[..], whole[*i].0);
            }
        }
    }

    #[test]
    fn answers_to_one_prompt_share_it_whatever_is_between_them() {
        let prompt: Vec<u32> = (0..100).collect();
        let with = |answer: &[u32]| [&prompt[..], answer].concat();
        let all = [with(&[7, 8]), vec![5; 30], with(&[7, 9, 9]), with(&[7, 8])];
        let all: Vec<(&[u32], &[u32])> = all.iter().map(|ids| (&ids[..], &[][..])).collect();
        let mut batch = Beginnings::default();
        for i in order(&all) {
            batch.push(all[i].0, all[i].1);
        }
        assert_eq!(batch.own().tokens(), 102 + 2 + 30);
        assert_eq!(shared(&[1; 15], &[1; 15]), 0, "few tokens are not worth it");
    }
}
