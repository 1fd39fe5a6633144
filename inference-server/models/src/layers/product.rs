//! Products of tensors, on their device.
//!
//! Owns what is rounded: what enters a product is in the format of the weights, what leaves it is f32 again. Must
//! not know which layer asks. Invariant: a matrix is on its device once, as it was put there at load.

use candle_core::{DType, Result, Tensor};

use super::Activation;
use crate::backend::Place;
use crate::numbers::{Numbers, Stored};

/// A matrix `[out, in]` on a device; of a gated layer the gate, and behind it what it gates.
#[derive(Debug)]
pub(super) struct Product {
    weight: Tensor,
    /// In f32.
    bias: Option<Tensor>,
    gated: bool,
}

impl Product {
    /// Puts it there, in `format`.
    pub(super) fn new(
        place: &Place,
        format: DType,
        weight: &Stored,
        bias: Option<&[f32]>,
    ) -> Result<Self> {
        Ok(Self {
            weight: put(place, format, weight)?,
            bias: vector(place, bias)?,
            gated: false,
        })
    }

    /// A gate and what it gates, each with its bias.
    pub(super) fn gated(
        place: &Place,
        format: DType,
        gate: (&Stored, Option<&[f32]>),
        up: (&Stored, Option<&[f32]>),
    ) -> Result<Self> {
        let weights = [put(place, format, gate.0)?, put(place, format, up.0)?];
        let bias = match (gate.1, up.1) {
            (Some(gate), Some(up)) => Some([gate, up].concat()),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                candle_core::bail!("a gate and what it gates have a bias both, or none")
            }
        };
        Ok(Self {
            weight: Tensor::cat(&weights, 0)?,
            bias: vector(place, bias.as_deref())?,
            gated: true,
        })
    }

    /// `activation(x W^T + b) (* gated) + residual`, in f32.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        activation: Option<Activation>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let x = x.to_dtype(self.weight.dtype())?;
        let mut sums = times(&x, &self.weight.t()?)?;
        if let Some(bias) = &self.bias {
            sums = sums.broadcast_add(bias)?;
        }
        let activated = |x: Tensor| match activation {
            None => Ok(x),
            Some(activation) => activation.apply(&x),
        };
        sums = if self.gated {
            let width = sums.dim(1)? / 2;
            (activated(sums.narrow(1, 0, width)?)? * sums.narrow(1, width, width)?)?
        } else {
            activated(sums)?
        };
        match residual {
            None => Ok(sums),
            Some(residual) => sums + residual,
        }
    }
}

/// The product of two matrices, or of as many as there are before the last two dimensions, in f32. GPUs sum in f32
/// and round what comes out to the format of what went in. The tensor library has no such product of 16 bits on
/// the CPU: it is made the same way there.
pub(super) fn times(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let format = b.dtype();
    if a.device().is_cpu() && format != DType::F32 {
        let (a, b) = (a.to_dtype(DType::F32)?, b.to_dtype(DType::F32)?);
        return a.matmul(&b)?.to_dtype(format)?.to_dtype(DType::F32);
    }
    a.matmul(b)?.to_dtype(DType::F32)
}

/// Puts a tensor on the device, in `format`.
pub(super) fn put(place: &Place, format: DType, tensor: &Stored) -> Result<Tensor> {
    let stored = match tensor.numbers() {
        Numbers::F32 => DType::F32,
        Numbers::Bf16 => DType::BF16,
        Numbers::F16 => DType::F16,
    };
    Tensor::from_raw_buffer(tensor.bytes(), stored, tensor.shape(), &place.device)?.to_dtype(format)
}

/// Puts numbers on the device, in f32.
pub(super) fn vector(place: &Place, numbers: Option<&[f32]>) -> Result<Option<Tensor>> {
    let put = |numbers: &[f32]| Tensor::new(numbers, &place.device);
    numbers.map(put).transpose()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn place(format: DType) -> Place {
        Place {
            device: Device::Cpu,
            format,
        }
    }

    fn stored(numbers: &[f32], shape: &[usize]) -> Stored {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        Stored::new(Numbers::F32, shape, bytes)
    }

    #[test]
    fn a_gate_multiplies_what_it_gates_and_the_residual_is_added_last() {
        let (gate, up) = (stored(&[1.0, 0.0], &[1, 2]), stored(&[0.0, 2.0], &[1, 2]));
        let f32 = DType::F32;
        let gated = Product::gated(&place(f32), f32, (&gate, None), (&up, None)).unwrap();
        let x = Tensor::new(&[[3f32, 5.0], [-3.0, 5.0]], &Device::Cpu).unwrap();
        let residual = Tensor::new(&[[1f32], [1.0]], &Device::Cpu).unwrap();
        let out = gated.forward(&x, Some(Activation::Relu), Some(&residual));
        assert_eq!(out.unwrap().to_vec2::<f32>().unwrap(), [[31.0], [1.0]]);
    }

    #[test]
    fn what_enters_a_product_and_what_leaves_it_is_rounded_and_the_bias_is_not() {
        let bf16 = DType::BF16;
        let weight = stored(&[1.0, 1.0], &[1, 2]);
        let product = Product::new(&place(bf16), bf16, &weight, Some(&[1.0 / 1024.0]));
        // 1 + 2^-9 is 1 in 8 bits, and 256 + 1 is 256.
        let x = Tensor::new(&[[256f32, 1.0 + 1.0 / 512.0]], &Device::Cpu).unwrap();
        let out = product.unwrap().forward(&x, None, None).unwrap();
        assert_eq!(out.to_vec2::<f32>().unwrap(), [[256.0 + 1.0 / 1024.0]]);
    }

    #[test]
    fn one_bias_of_two_is_refused() {
        let part = stored(&[1.0], &[1, 1]);
        let f32 = DType::F32;
        let bias: &[f32] = &[1.0];
        assert!(Product::gated(&place(f32), f32, (&part, Some(bias)), (&part, None)).is_err());
    }
}
