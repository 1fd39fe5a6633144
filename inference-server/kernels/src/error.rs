//! What can be wrong with what a kernel is given.

use std::fmt;

/// A kernel refuses what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// A buffer is not as long as its shape says.
    Length {
        /// Which.
        what: &'static str,
        /// Numbers that the shape asks for.
        expected: usize,
        /// Numbers that there are.
        found: usize,
    },
    /// A shape that has no meaning here.
    Shape(String),
    /// A weight is NaN or infinite, which 8 bits cannot say.
    NotFinite {
        /// Output channel of the weight.
        row: usize,
        /// Input of the weight.
        column: usize,
    },
}

impl KernelError {
    /// An error where `found` is not `expected`.
    pub(crate) fn length(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found {
            return Ok(());
        }
        Err(Self::Length {
            what,
            expected,
            found,
        })
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length {
                what,
                expected,
                found,
            } => write!(
                f,
                "{what}: the shape asks for {expected} numbers, there are {found}"
            ),
            Self::Shape(sentence) => f.write_str(sentence),
            Self::NotFinite { row, column } => write!(
                f,
                "the weight of output {row} and input {column} is NaN or infinite, which int8 cannot \
                 hold: load it as f32 or bf16, or repair the checkpoint"
            ),
        }
    }
}

impl std::error::Error for KernelError {}
