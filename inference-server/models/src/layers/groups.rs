//! Sequences of about the same length side by side, for devices that compute many at once.
//!
//! Owns which sequences are put side by side, and the ways there and back. Must not know what is done with them.
//! Invariant: each token is in one group once, and comes back to its own place. Padding is computed with
//! in attention alone: all other layers see none.

use candle_core::{Device, Result, Tensor};

use crate::packed::Packed;

/// A group's shortest sequence has three quarters of the tokens of its longest, or as few less. Attention takes
/// the square of them: a third more time than without padding at worst, and half of that at usual lengths. Groups
/// that are more alike are more kernels to start, which takes longer.
const FEW: usize = 16;

/// What stands for minus infinity, which would make a row of nothing else no number.
pub(super) const NEVER: f32 = -1e30;

/// The sequences of a batch by length.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) groups: Vec<Group>,
    /// For each token of the batch its row among those of all groups; `None` where they are the same.
    back: Option<Tensor>,
}

/// Sequences side by side.
#[derive(Debug)]
pub(super) struct Group {
    /// How many.
    pub(super) count: usize,
    /// Tokens of the longest.
    pub(super) longest: usize,
    /// For each of `count * longest` places the token of the batch; `None` where they are the same.
    rows: Option<Tensor>,
    /// `[count, 1, 1, longest]`: 0 for a token, [`NEVER`] for padding; `None` where there is none.
    pub(super) padding: Option<Tensor>,
}

impl Groups {
    /// The groups of `batch`, with what they need on `device`.
    pub(super) fn of(batch: &Packed, device: &Device) -> Result<Self> {
        let ranges: Vec<_> = batch.ranges().collect();
        let lengths: Vec<_> = ranges.iter().map(ExactSizeIterator::len).collect();
        let mut groups = Vec::new();
        let mut back = vec![0_u32; batch.tokens()];
        let mut first = 0;
        for places in by_length(&lengths) {
            let members: Vec<_> = places
                .iter()
                .filter_map(|i| ranges.get(*i).cloned())
                .collect();
            let longest = members
                .iter()
                .map(ExactSizeIterator::len)
                .max()
                .unwrap_or(0);
            for (i, range) in members.iter().enumerate() {
                let tokens = back.get_mut(range.clone()).unwrap_or_default();
                for (row, token) in (index(first + i * longest)..).zip(tokens) {
                    *token = row;
                }
            }
            first += members.len() * longest;
            groups.push(Group::of(&members, longest, device)?);
        }
        let same = first == back.len() && back.iter().zip(0..).all(|(row, token)| *row == token);
        Ok(Self {
            groups,
            back: (!same).then(|| Tensor::new(back, device)).transpose()?,
        })
    }

    /// What was made of each group, `[count * longest, width]`, as rows of the batch.
    pub(super) fn back(&self, made: &[Tensor]) -> Result<Tensor> {
        let all = Tensor::cat(made, 0)?;
        match &self.back {
            None => Ok(all),
            Some(back) => all.index_select(back, 0),
        }
    }
}

impl Group {
    fn of(members: &[std::ops::Range<usize>], longest: usize, device: &Device) -> Result<Self> {
        let count = members.len();
        let last = |range: &std::ops::Range<usize>| range.end.saturating_sub(1);
        // A place of padding has the sequence's last token: any that is there will do.
        let rows: Vec<u32> = (members.iter())
            .flat_map(|range| {
                (range.start..range.start + longest).map(|i| index(i.min(last(range))))
            })
            .collect();
        let same = rows.iter().zip(0..).all(|(row, place)| *row == place);
        let padded = members.iter().any(|range| range.len() < longest);
        let padding = || {
            let of = |range: &std::ops::Range<usize>| {
                let tokens = range.len();
                (0..longest).map(move |i| if i < tokens { 0.0 } else { NEVER })
            };
            let padding: Vec<f32> = members.iter().flat_map(of).collect();
            Tensor::from_vec(padding, (count, 1, 1, longest), device)
        };
        Ok(Self {
            count,
            longest,
            padding: padded.then(padding).transpose()?,
            rows: (!same).then(|| Tensor::new(rows, device)).transpose()?,
        })
    }

    /// The rows of `x`, `[n, heads * width]`, of the group, as `[count, heads, longest, width]`.
    pub(super) fn heads(&self, x: &Tensor, heads: usize, width: usize) -> Result<Tensor> {
        let rows = match &self.rows {
            Some(rows) => x.index_select(rows, 0)?,
            None => x.narrow(0, 0, self.count * self.longest)?,
        };
        rows.reshape((self.count, self.longest, heads, width))?
            .transpose(1, 2)?
            .contiguous()
    }
}

/// Which sequences of these lengths are put side by side, the longest first.
fn by_length(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    let length = |i: &usize| lengths.get(*i).copied().unwrap_or_default();
    // Stable: a batch of one length stays as it is.
    order.sort_by_key(|i| std::cmp::Reverse(length(i)));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut longest: usize = 0;
    for i in order {
        let shortest = (longest - longest / 4).min(longest.saturating_sub(FEW));
        match groups.last_mut() {
            Some(group) if length(&i) >= shortest => group.push(i),
            Some(_) | None => {
                longest = length(&i);
                groups.push(vec![i]);
            }
        }
    }
    groups
}

fn index(token: usize) -> u32 {
    u32::try_from(token).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lengths: &[usize]) -> Packed {
        let mut batch = Packed::default();
        for length in lengths {
            batch.push(&vec![1; *length], &[]);
        }
        batch
    }

    #[test]
    fn sequences_of_about_the_same_length_are_side_by_side() {
        assert_eq!(by_length(&[5, 5, 5]), [[0, 1, 2]]);
        assert_eq!(
            by_length(&[100, 74, 75, 20, 4]),
            [vec![0, 2], vec![1], vec![3, 4]]
        );
        assert_eq!(by_length(&[3, 400]), [vec![1], vec![0]]);
        assert!(by_length(&[]).is_empty());
    }

    #[test]
    fn every_token_comes_back_to_its_place() {
        for lengths in [
            &[4, 4][..],
            &[4, 3],
            &[1, 70, 3, 60, 2, 33],
            &[9],
            &[2, 1, 300, 1],
        ] {
            let batch = batch(lengths);
            let tokens = batch.tokens();
            let groups = Groups::of(&batch, &Device::Cpu).unwrap();
            let rows: Vec<u32> = (0..index(tokens)).collect();
            let x = Tensor::from_vec(rows.clone(), (tokens, 1), &Device::Cpu).unwrap();
            let made = groups.groups.iter().map(|group| {
                let heads = group.heads(&x, 1, 1).unwrap();
                heads.reshape((group.count * group.longest, 1)).unwrap()
            });
            let back = groups.back(&made.collect::<Vec<_>>()).unwrap();
            assert_eq!(back.flatten_all().unwrap().to_vec1::<u32>().unwrap(), rows);
        }
    }

    #[test]
    fn sequences_of_one_length_are_neither_moved_nor_padded() {
        let groups = Groups::of(&batch(&[7, 7, 7]), &Device::Cpu).unwrap();
        assert!(groups.back.is_none());
        let [group] = &groups.groups[..] else {
            panic!("{groups:?}")
        };
        assert!(group.rows.is_none() && group.padding.is_none());
        assert_eq!((group.count, group.longest), (3, 7));
    }

    #[test]
    fn what_is_padding_is_said() {
        let groups = Groups::of(&batch(&[2, 3]), &Device::Cpu).unwrap();
        let padding = groups.groups[0].padding.as_ref().unwrap();
        let padding = padding.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(padding, [0.0, 0.0, 0.0, 0.0, 0.0, NEVER]);
    }
}
