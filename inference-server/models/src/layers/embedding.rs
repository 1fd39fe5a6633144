//! Rows of a table by index.
//!
//! Owns the table, in the numbers of the checkpoint or rounded to 16 bits, here or on a device. Invariant: a row
//! that there is not is an error, never another row.

use candle_core::{DType, Result, Tensor};

use super::pass::matrix;
use super::product::put;
use crate::backend::Backend;
use crate::error::LoadError;
use crate::numbers::{Stored, widen};
use crate::weights::Weights;

/// Rows of a table by index.
#[derive(Debug)]
pub struct Embedding {
    table: Table,
    rows: usize,
    width: usize,
}

#[derive(Debug)]
enum Table {
    Stored(Stored),
    Tensor(Tensor),
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
        let name = format!("{prefix}.weight");
        let table = weights.rounded(&name, &[rows, width])?;
        let table = match weights.backend() {
            Backend::Kernels(_) => Table::Stored(table),
            Backend::Tensors(place) => {
                let there = put(place, place.format, &table);
                Table::Tensor(there.map_err(LoadError::tensor(&name))?)
            }
        };
        Ok(Self { table, rows, width })
    }

    /// `[n]` indices to `[n, width]`.
    ///
    /// # Errors
    /// When an index is beyond the table.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        // A device does not look.
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.rows) {
            candle_core::bail!("the embeddings have no row {id}")
        }
        let table = match &self.table {
            Table::Stored(table) => table,
            Table::Tensor(table) => {
                let ids = Tensor::new(ids, table.device())?;
                return table.index_select(&ids, 0)?.to_dtype(DType::F32);
            }
        };
        let numbers = table.numbers();
        let step = self.width * numbers.width();
        let mut out = vec![0.0; ids.len() * self.width];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(self.width.max(1))) {
            let start = *id as usize * step;
            let Some(row) = table.bytes().get(start..start + step) else {
                candle_core::bail!("the embeddings have no row {id}")
            };
            widen(numbers, row, out);
        }
        matrix(out, ids.len(), self.width)
    }
}
