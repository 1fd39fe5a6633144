//! Number formats of the weights.
//!
//! Owns what each format means. Must not know where weights come from. Invariant:
//! activations, norms, attention and heads are f32 in every format, so that a format only rounds
//! weights (and, in int8 and on tensors, what is multiplied with them).

use std::fmt;

/// In which format the weights of linear layers and embeddings are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// What suits the device: f32 on the CPU, on a GPU what most of the checkpoint is stored in.
    #[default]
    Auto,
    /// 32 bits: the reference.
    F32,
    /// bfloat16: weights in 16 bits, widened for each product.
    Bf16,
    /// IEEE half precision, the same way.
    F16,
    /// Linear layers in blocks of 32 weights of 8 bits with a scale; the rest is f32.
    Int8,
}

impl Dtype {
    /// The format that is used on the CPU; never `Auto`.
    #[must_use]
    pub const fn on_cpu(self) -> Self {
        match self {
            Self::Auto | Self::F32 => Self::F32,
            Self::Bf16 => Self::Bf16,
            Self::F16 => Self::F16,
            Self::Int8 => Self::Int8,
        }
    }

    /// Bytes of a number in linear layers and embeddings, at most.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Auto | Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
            Self::Int8 => 1,
        }
    }

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
