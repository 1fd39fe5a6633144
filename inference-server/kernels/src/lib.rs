//! Packed linear layers, norms and attention on CPUs, over flat `[tokens, width]` buffers of f32.
//!
//! Owns the inner loops of all models, and is the only crate with `unsafe`. Must not know of models,
//! files, requests, or any scheduler: threads come from the caller ([`Pool`]). Invariant: what comes out
//! for a row is the same bits whatever else is computed with it, on however many threads
//! (docs/kernels.md, docs/decisions/0018-packed-layers.md).
//!
//! ```
//! use kernels::{Activation, Alone, Format, Kernels, Matrix, Packed, Quantised, Then};
//!
//! let weight: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes).collect();
//! let weight = Matrix::f32(&weight, 2, 2)?;
//! let layer = Packed::new(Kernels::best(), &Alone, Format::F32, weight, Some(&[0.5, -20.0]))?;
//! let mut out = [0.0; 2];
//! let then = Then { activation: Activation::Relu, ..Then::default() };
//! layer.forward(&Alone, &[1.0, 1.0], then, &mut out, &mut Quantised::default())?;
//! assert_eq!(out, [3.5, 0.0]);
//! # Ok::<(), kernels::KernelError>(())
//! ```

mod attention;
mod error;
mod isa;
mod linear;
mod math;
mod matrix;
mod norm;
mod packed;
mod pool;
mod product;
mod quantise;
mod simd;
mod tile;

pub use attention::{Attention, Heads, Positions, Reach, Relative, Sequences};
pub use error::KernelError;
pub use isa::{Isa, IsaError, Kernels};
pub use linear::{Residual, Then};
pub use math::{Activation, ERF_ERROR, EXP_ERROR, TANH_ERROR};
pub use matrix::Matrix;
pub use norm::Norm;
pub use packed::{Format, Packed};
pub use pool::{Alone, Pool};
pub use quantise::Quantised;
