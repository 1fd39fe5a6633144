//! What relative positions add to the scores of attention, as kernels have it.
//!
//! Owns the tables that a layer makes of positions once. Must not know which distance is in which place. Invariant:
//! the place of a distance is the same in a text of any length.

use candle_core::Result;
use candle_core::Tensor;
use kernels::{Kernels, Positions, Relative};

use super::pass::{numbers, refused};

/// Keys and queries of the places of a table, of one layer.
#[derive(Debug)]
pub struct RelativePositions {
    kernels: Kernels,
    keys: Option<Positions>,
    queries: Option<Positions>,
}

/// The place of each distance of a query behind a key, from the smallest to the largest, of the longest sequence of
/// a batch.
#[derive(Debug)]
pub struct Distances(pub Vec<u32>);

impl RelativePositions {
    /// Of tables `[places, heads * width]`.
    ///
    /// # Errors
    /// When a table is not of so many heads.
    pub fn new(
        kernels: Kernels,
        [keys, queries]: [Option<&Tensor>; 2],
        (heads, width): (usize, usize),
    ) -> Result<Self> {
        let packed = |table: &Tensor| {
            numbers(table, |table| {
                Positions::new(table, heads, width).map_err(refused)
            })
        };
        Ok(Self {
            kernels,
            keys: keys.map(packed).transpose()?,
            queries: queries.map(packed).transpose()?,
        })
    }

    /// What they were packed for.
    pub(super) const fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// What is added to scores of tokens so far from each other.
    pub(super) fn at<'a>(&'a self, distances: &'a Distances) -> Relative<'a> {
        Relative {
            keys: self.keys.as_ref(),
            queries: self.queries.as_ref(),
            places: &distances.0,
        }
    }
}
