//! Numbers as a checkpoint stores them.
//!
//! Owns the formats of 32 and 16 bits, and the way from one to another. Must not know of names or layers.
//! Invariant: widening is exact, rounding is to the nearest and to the even one of two.

use half::{bf16, f16};

/// A number format of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Numbers {
    /// Bytes of a number.
    pub const fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// A tensor: its numbers as bytes, little-endian, row after row.
#[derive(Clone, Debug)]
pub struct Stored {
    numbers: Numbers,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    /// The tensor of these `bytes`, as many as the shape asks for.
    pub fn new(numbers: Numbers, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self {
            numbers,
            shape: shape.to_vec(),
            bytes,
        }
    }

    /// How its numbers are stored.
    pub const fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its numbers as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many numbers it has.
    pub const fn count(&self) -> usize {
        self.bytes.len() / self.numbers.width()
    }

    /// Whether no number is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        // All bits of the exponent are set in what is not finite.
        let halves = |exponent: u16| {
            let (halves, _) = self.bytes.as_chunks();
            !halves
                .iter()
                .any(|half| u16::from_le_bytes(*half) & exponent == exponent)
        };
        match self.numbers {
            Numbers::F32 => {
                let (words, _) = self.bytes.as_chunks();
                words
                    .iter()
                    .all(|word| f32::from_le_bytes(*word).is_finite())
            }
            Numbers::Bf16 => halves(0x7f80),
            Numbers::F16 => halves(0x7c00),
        }
    }

    /// Its numbers in f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut wide = vec![0.0; self.count()];
        widen(self.numbers, &self.bytes, &mut wide);
        wide
    }

    /// The same with its numbers rounded to `numbers`, as they are where they are stored so.
    #[must_use]
    pub fn rounded(self, numbers: Numbers) -> Self {
        if self.numbers == numbers {
            return self;
        }
        let wide = self.to_f32();
        let bytes = match numbers {
            Numbers::F32 => wide.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Numbers::Bf16 => (wide.iter())
                .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
                .collect(),
            Numbers::F16 => (wide.iter())
                .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                .collect(),
        };
        Self {
            numbers,
            shape: self.shape,
            bytes,
        }
    }

    /// The same in a format that kernels read: f16 is widened.
    #[must_use]
    pub fn readable(self) -> Self {
        match self.numbers {
            Numbers::F32 | Numbers::Bf16 => self,
            Numbers::F16 => self.rounded(Numbers::F32),
        }
    }

    /// A matrix with its rows as columns.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let [rows, columns] = *self.shape else {
            return self.clone();
        };
        let width = self.numbers.width();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for column in 0..columns {
            for row in 0..rows {
                let start = (row * columns + column) * width;
                let number = self.bytes.get(start..start + width);
                bytes.extend_from_slice(number.unwrap_or_default());
            }
        }
        Self {
            numbers: self.numbers,
            shape: vec![columns, rows],
            bytes,
        }
    }

    /// The rows of a matrix, or numbers of a vector, that `rows` names, in that order.
    #[must_use]
    pub fn rows(&self, rows: impl Iterator<Item = usize>) -> Self {
        let inner: usize = self.shape.iter().skip(1).product();
        let width = inner * self.numbers.width();
        let mut bytes = Vec::new();
        let mut count = 0;
        for row in rows {
            let row = self.bytes.get(row * width..(row + 1) * width);
            bytes.extend_from_slice(row.unwrap_or_default());
            count += 1;
        }
        let shape = std::iter::once(count).chain(self.shape.iter().skip(1).copied());
        Self {
            numbers: self.numbers,
            shape: shape.collect(),
            bytes,
        }
    }
}

/// Writes `bytes` as f32 to `to`.
pub fn widen(numbers: Numbers, bytes: &[u8], to: &mut [f32]) {
    match numbers {
        Numbers::F32 => {
            for (to, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
                *to = f32::from_le_bytes(*bytes);
            }
        }
        Numbers::Bf16 => {
            for (to, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
                *to = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        Numbers::F16 => {
            for (to, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
                *to = f16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(numbers: &[f32]) -> Stored {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        Stored::new(Numbers::F32, &[numbers.len()], bytes)
    }

    #[test]
    fn what_is_not_finite_is_found_in_every_format() {
        for numbers in [Numbers::F32, Numbers::Bf16, Numbers::F16] {
            assert!(stored(&[1.0, -60_000.0]).rounded(numbers).is_finite());
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(!stored(&[1.0, bad]).rounded(numbers).is_finite());
            }
        }
        // Beyond the range of half precision, and of bfloat16 by rounding.
        assert!(!stored(&[70_000.0]).rounded(Numbers::F16).is_finite());
        assert!(!stored(&[f32::MAX]).rounded(Numbers::Bf16).is_finite());
    }

    #[test]
    fn what_was_rounded_is_widened_to_the_same_numbers() {
        let numbers = [0.0, 1.0, -0.375, 1.0 + 1.0 / 64.0];
        for format in [Numbers::F32, Numbers::Bf16, Numbers::F16] {
            assert_eq!(stored(&numbers).rounded(format).to_f32(), numbers);
            assert_eq!(
                stored(&numbers).rounded(format).readable().to_f32(),
                numbers
            );
        }
    }

    #[test]
    fn rows_are_chosen_in_the_order_that_is_asked_for() {
        let mut matrix = stored(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        matrix.shape = vec![3, 2];
        let chosen = matrix.rows([2, 0].into_iter());
        assert_eq!(chosen.shape(), [2, 2]);
        assert_eq!(chosen.to_f32(), [5.0, 6.0, 1.0, 2.0]);
        assert_eq!(stored(&[7.0, 8.0]).rows([1].into_iter()).to_f32(), [8.0]);
    }
}
