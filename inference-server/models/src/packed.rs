//! Sequences one behind the other.
//!
//! Owns the packed form of a batch. Must not know of models. Invariant: the segment ids are as many as the
//! token ids, and the last sequence ends where they do.

/// Sequences one behind the other, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    /// Where each sequence ends.
    ends: Vec<usize>,
}

impl Packed {
    /// Adds a sequence; `type_ids` is cut or filled with 0 to the length of `ids`.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.type_ids.extend(
            type_ids
                .iter()
                .copied()
                .chain(std::iter::repeat(0))
                .take(ids.len()),
        );
        self.ends.push(self.ids.len());
    }

    /// Number of sequences.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no sequence.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Token ids of all sequences.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Segment ids of all sequences.
    pub fn type_ids(&self) -> &[u32] {
        &self.type_ids
    }

    /// Where each sequence ends.
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Tokens of all sequences.
    pub const fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Where each sequence begins and ends.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end)
    }

    /// The sequences: token ids and segment ids.
    pub fn sequences(&self) -> impl Iterator<Item = (&[u32], &[u32])> {
        self.ranges().map(|range| {
            (
                self.ids.get(range.clone()).unwrap_or_default(),
                self.type_ids.get(range).unwrap_or_default(),
            )
        })
    }
}
