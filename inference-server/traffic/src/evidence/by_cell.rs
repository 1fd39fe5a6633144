//! One sum for each cell.
//!
//! Invariant: there are always [`CELLS`] of them.

use crate::assignment::CELLS;

/// What is summed: adding it in any order gives the same, and its default changes nothing.
pub trait Sum: Copy + Default + PartialEq {
    /// Both together.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

/// Sums by cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByCell<T>(Box<[T]>);

impl<T: Sum> Default for ByCell<T> {
    fn default() -> Self {
        Self(vec![T::default(); usize::from(CELLS)].into())
    }
}

impl<T: Sum> ByCell<T> {
    /// That of a cell; an empty one from [`CELLS`].
    pub fn get(&self, cell: u16) -> T {
        self.0.get(usize::from(cell)).copied().unwrap_or_default()
    }

    /// Adds to a cell. There is none from [`CELLS`].
    pub fn add(&mut self, cell: u16, more: T) {
        if let Some(sum) = self.0.get_mut(usize::from(cell)) {
            *sum = sum.plus(more);
        }
    }

    /// Those with anything in them, in order.
    pub fn active(&self) -> impl Iterator<Item = (u16, T)> + '_ {
        let all = (0..CELLS).zip(self.0.iter().copied());
        all.filter(|(_, sum)| *sum != T::default())
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0.iter()) {
            *sum = sum.plus(*more);
        }
    }

    /// All together.
    pub fn total(&self) -> T {
        self.0
            .iter()
            .fold(T::default(), |sum, more| sum.plus(*more))
    }

    /// What the statistics read: of each cell a count `x`, those with 0 being no units, and a sum `y`.
    pub fn moments(&self, of: impl Fn(T) -> (u64, f64)) -> stats::Cells {
        stats::Cells::of(self.0.iter().map(|sum| of(*sum)))
    }
}
