//! The one linear layer, in the format that was asked for.
//!
//! Owns how a weight matrix is kept, and what is done to its sums at once: bias, activation, gate and residual.
//! Must not know which model it is part of. Invariant: products are sums in f32, input after input; formats
//! other than int8 differ from f32 only by the rounding of the weights.

use candle_core::{DType, Tensor};
use kernels::{Format, KernelError, Kernels, Matrix, Packed, Residual, Then};

use super::pass::{Pass, matrix, numbers, refused};
use super::product::Product;
use super::{Activation, Bias};
use crate::backend::{Backend, Place};
use crate::dtype::Dtype;
use crate::error::LoadError;
use crate::numbers::{Numbers, Stored};
use crate::weights::Weights;

/// `y = x W^T + b`, with `W` of shape `[out, in]`; a gated one is `activation(x G^T + a) * (x U^T + b)`.
#[derive(Debug)]
pub struct Linear(Kept);

/// How its weights are kept.
#[derive(Debug)]
enum Kept {
    /// For the kernels.
    Packed(Packed),
    /// On a device.
    Tensor(Product),
}

/// Weights and bias of a layer, as a checkpoint has them.
#[derive(Debug)]
struct Parts {
    weight: Stored,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// Reads `PREFIX.weight`, and `PREFIX.bias` as `bias` says, in the format of `weights`.
    ///
    /// # Errors
    /// As [`Weights::rounded`].
    pub fn load(
        weights: &Weights,
        prefix: &str,
        sizes: (usize, usize),
        bias: Bias,
    ) -> Result<Self, LoadError> {
        Parts::read(weights, prefix, sizes, bias)?.pack(weights, prefix)
    }

    /// The same of a matrix that is stored as `[in, out]`, with its bias (GPT-2's `Conv1D`).
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load_columns(
        weights: &Weights,
        prefix: &str,
        sizes: (usize, usize),
    ) -> Result<Self, LoadError> {
        Parts::read_columns(weights, prefix, sizes)?.pack(weights, prefix)
    }

    /// Reads three layers of `width` outputs, side by side in a matrix that is stored as `[in, out]`.
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load_three_columns(
        weights: &Weights,
        prefix: &str,
        (input, width): (usize, usize),
    ) -> Result<[Self; 3], LoadError> {
        let joint = Parts::read_columns(weights, prefix, (input, 3 * width))?;
        let part = |i: usize| joint.rows(i * width..(i + 1) * width).pack(weights, prefix);
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// The same in f32 whatever the format of `weights`: for heads, whose few numbers decide all.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub fn load_full(
        weights: &Weights,
        prefix: &str,
        (input, output): (usize, usize),
        bias: Bias,
    ) -> Result<Self, LoadError> {
        let parts = Parts {
            weight: weights.take(&format!("{prefix}.weight"), &[output, input])?,
            bias: bias.read(weights, &format!("{prefix}.bias"), output)?,
        };
        parts.pack_full(weights, prefix)
    }

    /// Reads a matrix of queries, keys and values, of `width` outputs each, as three layers. `row` is where
    /// output `i` of part 0, 1 or 2 is among the outputs of the checkpoint.
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load_three(
        weights: &Weights,
        prefix: &str,
        (input, width): (usize, usize),
        bias: Bias,
        row: impl Fn(usize, usize) -> usize,
    ) -> Result<[Self; 3], LoadError> {
        let joint = Parts::read(weights, prefix, (input, 3 * width), bias)?;
        let part = |part| {
            let rows = (0..width).map(|i| row(part, i));
            joint.rows(rows).pack(weights, prefix)
        };
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// Reads a matrix of queries, keys and values one behind the other, of `widths` outputs, as three layers.
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load_joint(
        weights: &Weights,
        prefix: &str,
        input: usize,
        widths: [usize; 3],
        bias: Bias,
    ) -> Result<[Self; 3], LoadError> {
        let [first, second, third] = widths;
        let joint = Parts::read(weights, prefix, (input, first + second + third), bias)?;
        let part = |start, width| joint.rows(start..start + width).pack(weights, prefix);
        Ok([
            part(0, first)?,
            part(first, second)?,
            part(first + second, third)?,
        ])
    }

    /// Reads a gate and what it gates, of the same sizes.
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load_gated(
        weights: &Weights,
        (gate, up): (&str, &str),
        sizes: (usize, usize),
        bias: Bias,
    ) -> Result<Self, LoadError> {
        let gate_parts = Parts::read(weights, gate, sizes, bias)?;
        let up = Parts::read(weights, up, sizes, bias)?;
        Parts::pack_gated(gate_parts, up, weights, gate)
    }

    /// Reads a gate, and behind it in the same matrix what it gates, of `output` outputs each.
    ///
    /// # Errors
    /// As [`Linear::load`].
    pub fn load_gated_joint(
        weights: &Weights,
        prefix: &str,
        (input, output): (usize, usize),
        bias: Bias,
    ) -> Result<Self, LoadError> {
        let joint = Parts::read(weights, prefix, (input, 2 * output), bias)?;
        let (gate, up) = (joint.rows(0..output), joint.rows(output..2 * output));
        drop(joint);
        Parts::pack_gated(gate, up, weights, prefix)
    }

    /// `[n, in]` to `[n, out]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> candle_core::Result<Tensor> {
        match &self.0 {
            Kept::Packed(packed) => then(packed, pass, x, Then::default()),
            Kept::Tensor(product) => product.forward(x, None, None),
        }
    }

    /// The same, with `activation` applied: to the gate, in a gated layer.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn activated(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        match &self.0 {
            Kept::Packed(packed) => {
                let activated = Then {
                    activation: activation.into(),
                    ..Then::default()
                };
                then(packed, pass, x, activated)
            }
            Kept::Tensor(product) => product.forward(x, Some(activation), None),
        }
    }

    /// The same as [`Linear::forward`], added to `residual`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn onto(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        residual: &Tensor,
    ) -> candle_core::Result<Tensor> {
        match &self.0 {
            Kept::Packed(packed) => numbers(residual, |residual| {
                let added = Then {
                    residual: Residual::Add(residual),
                    ..Then::default()
                };
                then(packed, pass, x, added)
            }),
            Kept::Tensor(product) => product.forward(x, None, Some(residual)),
        }
    }
}

/// What kernels make of `x`.
fn then(
    packed: &Packed,
    pass: &Pass<'_>,
    x: &Tensor,
    then: Then<'_>,
) -> candle_core::Result<Tensor> {
    let rows = x.dim(0)?;
    let mut out = vec![0.0; rows * packed.outputs()];
    numbers(x, |x| {
        let pool = pass.pool(x.len().saturating_mul(packed.outputs()));
        let mut room = pass.room();
        packed
            .forward(pool, x, then, &mut out, &mut room)
            .map_err(refused)
    })?;
    matrix(out, rows, packed.outputs())
}

impl Parts {
    fn read(
        weights: &Weights,
        prefix: &str,
        (input, output): (usize, usize),
        bias: Bias,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            weight: weights.rounded(&format!("{prefix}.weight"), &[output, input])?,
            bias: bias.read(weights, &format!("{prefix}.bias"), output)?,
        })
    }

    /// Of a matrix that is stored as `[in, out]`.
    fn read_columns(
        weights: &Weights,
        prefix: &str,
        (input, output): (usize, usize),
    ) -> Result<Self, LoadError> {
        let weight = weights.rounded(&format!("{prefix}.weight"), &[input, output])?;
        Ok(Self {
            weight: weight.transposed(),
            bias: Bias::Needed.read(weights, &format!("{prefix}.bias"), output)?,
        })
    }

    /// Some of the outputs.
    fn rows(&self, rows: impl Iterator<Item = usize> + Clone) -> Self {
        let of_bias = |bias: &Vec<f32>| {
            let rows = rows.clone();
            rows.filter_map(|row| bias.get(row).copied()).collect()
        };
        Self {
            bias: self.bias.as_ref().map(of_bias),
            weight: self.weight.rows(rows.clone()),
        }
    }

    /// In the format of `weights`.
    fn pack(self, weights: &Weights, name: &str) -> Result<Linear, LoadError> {
        match weights.backend() {
            Backend::Kernels(kernels) => {
                self.pack_as(*kernels, weights, name, format(weights.dtype()))
            }
            Backend::Tensors(place) => self.put_as(place, name, place.format),
        }
    }

    /// In f32.
    fn pack_full(self, weights: &Weights, name: &str) -> Result<Linear, LoadError> {
        match weights.backend() {
            Backend::Kernels(kernels) => self.pack_as(*kernels, weights, name, Format::F32),
            Backend::Tensors(place) => self.put_as(place, name, DType::F32),
        }
    }

    fn put_as(self, place: &Place, name: &str, format: DType) -> Result<Linear, LoadError> {
        let product = Product::new(place, format, &self.weight, self.bias.as_deref());
        let product = product.map_err(LoadError::tensor(name))?;
        Ok(Linear(Kept::Tensor(product)))
    }

    fn pack_as(
        self,
        kernels: Kernels,
        weights: &Weights,
        name: &str,
        format: Format,
    ) -> Result<Linear, LoadError> {
        let weight = self.weight.readable();
        let bias = self.bias.as_deref();
        let threads = weights.threads();
        let packed =
            read(&weight).and_then(|weight| Packed::new(kernels, threads, format, weight, bias));
        packed.map(Kept::Packed).map(Linear).map_err(unfit(name))
    }

    fn pack_gated(
        gate: Self,
        up: Self,
        weights: &Weights,
        name: &str,
    ) -> Result<Linear, LoadError> {
        let kernels = match weights.backend() {
            Backend::Kernels(kernels) => *kernels,
            Backend::Tensors(place) => {
                let (gate, up) = (
                    (&gate.weight, gate.bias.as_deref()),
                    (&up.weight, up.bias.as_deref()),
                );
                let product = Product::gated(place, place.format, gate, up);
                let product = product.map_err(LoadError::tensor(name))?;
                return Ok(Linear(Kept::Tensor(product)));
            }
        };
        let (gate_weight, up_weight) = (gate.weight.readable(), up.weight.readable());
        let pack = || {
            Packed::gated(
                kernels,
                weights.threads(),
                format(weights.dtype()),
                (read(&gate_weight)?, gate.bias.as_deref()),
                (read(&up_weight)?, up.bias.as_deref()),
            )
        };
        pack().map(Kept::Packed).map(Linear).map_err(unfit(name))
    }
}

/// In which format kernels keep the weights. Those of half precision are rounded to it, and kept in f32.
const fn format(dtype: Dtype) -> Format {
    match dtype {
        Dtype::Auto | Dtype::F32 | Dtype::F16 => Format::F32,
        Dtype::Bf16 => Format::Bf16,
        Dtype::Int8 => Format::Int8,
    }
}

fn read(weight: &Stored) -> Result<Matrix<'_>, KernelError> {
    let (bytes, shape) = (weight.bytes(), weight.shape());
    let [outputs, inputs] = *shape else {
        return Err(KernelError::Shape(format!("{shape:?} is no matrix")));
    };
    match weight.numbers() {
        Numbers::F32 => Matrix::f32(bytes, outputs, inputs),
        Numbers::Bf16 => Matrix::bf16(bytes, outputs, inputs),
        Numbers::F16 => Err(KernelError::Shape(
            "half precision has to be widened first".to_owned(),
        )),
    }
}

fn unfit(name: &str) -> impl Fn(KernelError) -> LoadError {
    move |error| LoadError::invalid(format!("{name}: {error}"))
}
