//! The one linear layer, in the format that was asked for.
//!
//! Owns how a weight matrix is kept and multiplied. Invariant: products are sums in f32; formats
//! other than int8 differ from f32 only by the rounding of the weights.

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Module, Result, Tensor};

use crate::dtype::Dtype;
use crate::error::LoadError;
use crate::weights::Weights;

/// Weights of one scale in int8: candle's `Q8_0`.
const BLOCK: usize = 32;

/// `y = x W^T + b`, with `W` of shape `[out, in]`.
#[derive(Debug)]
pub struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

/// Whether a layer has a bias. One that lacks it is a checkpoint that was torn, and one that has it
/// where nothing reads it was meant to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// It does.
    Needed,
    /// It does not: what is there stays unread, and is refused as such.
    Absent,
    /// Where the checkpoint has one: heads of reward models are built either way.
    AsFound,
}

impl Bias {
    /// As a config says.
    pub const fn said(needed: bool) -> Self {
        if needed { Self::Needed } else { Self::Absent }
    }

    /// The bias `name`, where there is to be one.
    pub(super) fn read(
        self,
        weights: &Weights,
        name: &str,
        width: usize,
    ) -> std::result::Result<Option<Tensor>, LoadError> {
        let wanted = match self {
            Self::Needed => true,
            Self::Absent => false,
            Self::AsFound => weights.contains(name),
        };
        wanted.then(|| weights.get(name, &[width])).transpose()
    }
}

#[derive(Debug)]
enum Matrix {
    /// `W^T` in f32.
    Full(Tensor),
    /// `W` in 16 bits; half the memory, widened for each product.
    Half(Tensor),
    /// `W` in 8 bits.
    Int8(QMatMul),
}

impl Linear {
    /// Reads `PREFIX.weight`, and `PREFIX.bias` as `bias` says, in the format of `weights`.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        (input, output): (usize, usize),
        bias: Bias,
    ) -> std::result::Result<Self, LoadError> {
        let name = format!("{prefix}.weight");
        let shape = [output, input];
        let weight = match weights.dtype() {
            Dtype::Bf16 => Matrix::Half(weights.get_as(&name, &shape, DType::BF16)?),
            Dtype::F16 => Matrix::Half(weights.get_as(&name, &shape, DType::F16)?),
            Dtype::Int8 if input.is_multiple_of(BLOCK) => {
                int8(&weights.get(&name, &shape)?).map_err(LoadError::tensor(prefix))?
            }
            Dtype::Auto | Dtype::F32 | Dtype::Int8 => full(weights, &name, &shape)?,
        };
        Self::with_bias(weights, prefix, weight, (bias, output))
    }

    /// The same in f32 whatever the format of `weights`: for heads, whose few numbers decide all.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load_full(
        weights: &Weights,
        prefix: &str,
        (input, output): (usize, usize),
        bias: Bias,
    ) -> std::result::Result<Self, LoadError> {
        let weight = full(weights, &format!("{prefix}.weight"), &[output, input])?;
        Self::with_bias(weights, prefix, weight, (bias, output))
    }

    fn with_bias(
        weights: &Weights,
        prefix: &str,
        weight: Matrix,
        (bias, output): (Bias, usize),
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            weight,
            bias: bias.read(weights, &format!("{prefix}.bias"), output)?,
        })
    }

    /// `[n, in]` to `[n, out]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Matrix::Full(weight) => x.matmul(weight)?,
            Matrix::Half(weight) => x.matmul(&weight.to_dtype(DType::F32)?.t()?)?,
            Matrix::Int8(weight) => weight.forward(&x.contiguous()?)?,
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

fn full(weights: &Weights, name: &str, shape: &[usize]) -> std::result::Result<Matrix, LoadError> {
    let weight = weights.get(name, shape)?;
    Ok(Matrix::Full(weight.t().map_err(LoadError::tensor(name))?))
}

fn int8(weight: &Tensor) -> Result<Matrix> {
    let weight = QTensor::quantize(weight, GgmlDType::Q8_0)?;
    Ok(Matrix::Int8(QMatMul::from_qtensor(weight)?))
}
