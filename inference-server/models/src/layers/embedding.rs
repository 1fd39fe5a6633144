//! Rows of a table by index.
//!
//! Owns the table, in the numbers of the checkpoint or rounded to 16 bits. Invariant: a row that there is
//! not is an error, never another row.

use candle_core::{Result, Tensor};

use super::pass::matrix;
use crate::error::LoadError;
use crate::numbers::{Stored, widen};
use crate::weights::Weights;

/// Rows of a table by index.
#[derive(Debug)]
pub struct Embedding {
    table: Stored,
    width: usize,
}

impl Embedding {
    /// Reads `PREFIX.weight`, of shape `[rows, width]`.
    ///
    /// # Errors
    /// As [`Weights::rounded`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        rows: usize,
        width: usize,
    ) -> std::result::Result<Self, LoadError> {
        let table = weights.rounded(&format!("{prefix}.weight"), &[rows, width])?;
        Ok(Self { table, width })
    }

    /// `[n]` indices to `[n, width]`.
    ///
    /// # Errors
    /// When an index is beyond the table.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let numbers = self.table.numbers();
        let step = self.width * numbers.width();
        let mut out = vec![0.0; ids.len() * self.width];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(self.width.max(1))) {
            let start = *id as usize * step;
            let Some(row) = self.table.bytes().get(start..start + step) else {
                candle_core::bail!("the embeddings have no row {id}")
            };
            widen(numbers, row, out);
        }
        matrix(out, ids.len(), self.width)
    }
}
