//! Weights as a checkpoint has them.
//!
//! Owns how bytes become numbers. Must not know of panels. Invariant: the bytes are as many as the shape
//! asks for.

use crate::error::KernelError;

/// How the numbers of a checkpoint are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    F32,
    Bf16,
}

impl Stored {
    const fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// A matrix `[out, in]` as a checkpoint has it: rows one after the other, little-endian, at any
/// alignment.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    bytes: &'a [u8],
    stored: Stored,
    /// Rows.
    pub(crate) outputs: usize,
    /// Numbers of a row.
    pub(crate) inputs: usize,
}

impl<'a> Matrix<'a> {
    /// Numbers of f32.
    ///
    /// # Errors
    /// When `bytes` are not `outputs` times `inputs` numbers, or there is no input.
    pub fn f32(bytes: &'a [u8], outputs: usize, inputs: usize) -> Result<Self, KernelError> {
        Self::new(bytes, Stored::F32, outputs, inputs)
    }

    /// Numbers of bfloat16.
    ///
    /// # Errors
    /// When `bytes` are not `outputs` times `inputs` numbers, or there is no input.
    pub fn bf16(bytes: &'a [u8], outputs: usize, inputs: usize) -> Result<Self, KernelError> {
        Self::new(bytes, Stored::Bf16, outputs, inputs)
    }

    fn new(
        bytes: &'a [u8],
        stored: Stored,
        outputs: usize,
        inputs: usize,
    ) -> Result<Self, KernelError> {
        let shape =
            || KernelError::Shape(format!("a matrix [{outputs}, {inputs}] cannot be packed"));
        let numbers = outputs.checked_mul(inputs).ok_or_else(shape)?;
        if numbers == 0 {
            return Err(shape());
        }
        let width = stored.width();
        KernelError::length("weights", numbers, bytes.len() / width)?;
        KernelError::length("bytes of weights", numbers * width, bytes.len())?;
        Ok(Self {
            bytes,
            stored,
            outputs,
            inputs,
        })
    }

    /// Writes the numbers of `row` to `to`; zeros where there is no such row.
    pub(crate) fn read(&self, row: Option<usize>, to: &mut [f32]) {
        let width = self.inputs * self.stored.width();
        let bytes = row.and_then(|row| self.bytes.get(row * width..(row + 1) * width));
        let Some(bytes) = bytes else {
            to.fill(0.0);
            return;
        };
        match self.stored {
            Stored::F32 => {
                for (to, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
                    *to = f32::from_le_bytes(*bytes);
                }
            }
            Stored::Bf16 => {
                for (to, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
                    *to = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                }
            }
        }
    }
}
