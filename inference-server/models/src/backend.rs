//! What layers are computed with: packed kernels, or a tensor library on a device.
//!
//! Owns the choice, and what follows from it for all layers alike: how much goes through them at once, and
//! the name of the engine. Must not know of any layer. Invariant: engines of one name compute with the same
//! formulas on the same kind of device.

use candle_core::{DType, Device};
use kernels::Kernels;

use crate::device;
use crate::dtype::Dtype;

/// Tokens that go through the layers of a CPU at once, unless a sequence alone has more. They fill the tiles of
/// kernels many times over; more would only take more memory, and make the first sequence wait for the last.
pub const CPU_TOKENS: usize = 1_024;

/// The same on a GPU: its products reach their speed at some thousands of rows, and what it takes to start a
/// kernel is paid once for all of them.
const GPU_TOKENS: usize = 8_192;

/// What layers are computed with.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Packed kernels of this CPU.
    Kernels(Kernels),
    /// The tensor library.
    Tensors(Place),
}

/// Where tensors are, and how they are multiplied.
#[derive(Clone, Debug)]
pub struct Place {
    /// The device that they are on.
    pub device: Device,
    /// What enters products is rounded to this format; all else is f32.
    pub format: DType,
}

impl Backend {
    /// The device that tensors are on.
    pub fn device(&self) -> &Device {
        match self {
            Self::Kernels(_) => &Device::Cpu,
            Self::Tensors(place) => &place.device,
        }
    }

    /// Tokens that go through the layers at once, unless a sequence alone has more.
    pub fn most_tokens(&self) -> usize {
        if self.device().is_cpu() {
            CPU_TOKENS
        } else {
            GPU_TOKENS
        }
    }

    /// The name of the engine: its kind and version, and its instruction set or device. Kernels of one name give
    /// the same bits, on tensors of one name scores differ in their last digits. The number behind the kind
    /// becomes another one when a formula or an order of sums changes.
    pub fn engine(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            Self::Kernels(kernels) => format!("packed-2/{version}/{}", kernels.isa()),
            Self::Tensors(place) => format!("tensors-1/{version}/{}", device::model(&place.device)),
        }
    }

    /// The same, for products in `dtype`.
    #[must_use]
    pub fn in_format(self, dtype: Dtype) -> Self {
        match self {
            Self::Kernels(_) => self,
            Self::Tensors(place) => Self::Tensors(Place {
                format: format(dtype),
                ..place
            }),
        }
    }
}

/// Bytes of 8 bits are refused before (`device::check_dtype`).
const fn format(dtype: Dtype) -> DType {
    match dtype {
        Dtype::Auto | Dtype::F32 | Dtype::Int8 => DType::F32,
        Dtype::Bf16 => DType::BF16,
        Dtype::F16 => DType::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_engine_says_what_it_computes_with() {
        let kernels = Backend::Kernels(Kernels::best()).engine();
        let isa = Kernels::best().isa().to_string();
        assert!(kernels.starts_with("packed-") && kernels.ends_with(&isa));
        let tensors = Backend::Tensors(Place {
            device: Device::Cpu,
            format: DType::F32,
        });
        let tensors = tensors.engine();
        assert!(tensors.starts_with("tensors-") && tensors.ends_with("/cpu"));
    }
}
