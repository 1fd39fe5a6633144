//! Weights in the order in which the tile reads them.
//!
//! Owns formats, panels, and rounding of weights. Must not know of activations. Invariant: a panel is
//! the weights of 16 output channels, input after input, zero where there are no more channels; see
//! docs/decisions/0018-packed-layers.md.

use std::sync::Mutex;

use crate::error::KernelError;
use crate::isa::Kernels;
use crate::matrix::Matrix;
use crate::pool::{Pool, claim, spread};
use crate::quantise::{INPUTS, quantise_channel};
use crate::simd::{LANES, Octets, Op, Simd};

/// In which numbers weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32 bits.
    F32,
    /// bfloat16. Activations stay f32, and so do products and sums: what differs from f32 is the
    /// rounding of the weights alone.
    Bf16,
    /// 8 bits from -127 to 127 with a scale for each output channel; activations are rounded to 8 bits
    /// with a scale for each row, products and sums are exact integers.
    Int8,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// Inputs beyond which a sum of products of 8 bits might not fit 32.
const WIDEST_INT8: usize = 1 << 17;

/// The numbers of all panels.
#[derive(Debug)]
pub(crate) enum Panels {
    /// One number an input.
    F32(Vec<[f32; LANES]>),
    /// The same, arranged as the instruction set wants it.
    Bf16(Vec<[u16; LANES]>),
    /// Eight inputs at once.
    Int8(Vec<Octets>, Channels),
}

/// What sums of each channel are multiplied by, and what they begin with.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    pub(crate) scales: Vec<[f32; LANES]>,
    pub(crate) starts: Vec<[i32; LANES]>,
}

/// The weights and bias of a linear layer, for one instruction set.
#[derive(Debug)]
pub struct Packed {
    pub(crate) kernels: Kernels,
    pub(crate) panels: Panels,
    pub(crate) bias: Option<Vec<[f32; LANES]>>,
    /// Numbers that a row has.
    pub(crate) inputs: usize,
    /// Numbers that come out for a row.
    pub(crate) outputs: usize,
    pub(crate) gated: bool,
}

impl Packed {
    /// `y = x W^T + bias`.
    ///
    /// # Errors
    /// When the bias is not one number an output, or a weight does not fit the format.
    pub fn new(
        kernels: Kernels,
        pool: &dyn Pool,
        format: Format,
        weight: Matrix<'_>,
        bias: Option<&[f32]>,
    ) -> Result<Self, KernelError> {
        Self::of(kernels, pool, format, (weight, bias), None)
    }

    /// `y = activation(x G^T + bias) * (x U^T + bias)`: panels of `gate` and `up` take turns, so that
    /// both sums of an output are there at once.
    ///
    /// # Errors
    /// As [`Packed::new`], and when the shapes differ or only one has a bias.
    pub fn gated(
        kernels: Kernels,
        pool: &dyn Pool,
        format: Format,
        gate: (Matrix<'_>, Option<&[f32]>),
        up: (Matrix<'_>, Option<&[f32]>),
    ) -> Result<Self, KernelError> {
        let shape = |(matrix, bias): (Matrix<'_>, Option<&[f32]>)| {
            (matrix.outputs, matrix.inputs, bias.is_some())
        };
        if shape(gate) != shape(up) {
            return Err(KernelError::Shape(
                "a gate has to have the shape of what it gates, and a bias where that has one"
                    .to_owned(),
            ));
        }
        Self::of(kernels, pool, format, gate, Some(up))
    }

    fn of(
        kernels: Kernels,
        pool: &dyn Pool,
        format: Format,
        first: (Matrix<'_>, Option<&[f32]>),
        second: Option<(Matrix<'_>, Option<&[f32]>)>,
    ) -> Result<Self, KernelError> {
        let (outputs, inputs) = (first.0.outputs, first.0.inputs);
        if format == Format::Int8 && inputs > WIDEST_INT8 {
            return Err(KernelError::Shape(format!(
                "int8 layers have at most {WIDEST_INT8} inputs, this one {inputs}: use bf16"
            )));
        }
        for (_, bias) in std::iter::once(first).chain(second) {
            KernelError::length("bias", outputs, bias.map_or(outputs, <[f32]>::len))?;
        }
        let plan = Plan {
            first: first.0,
            second: second.map(|(matrix, _)| matrix),
        };
        let bias = first.1.map(|bias| {
            let other = second.and_then(|(_, bias)| bias);
            Plan::spread_out(bias, other)
        });
        Ok(Self {
            kernels,
            panels: plan.pack(kernels, pool, format)?,
            bias,
            inputs,
            outputs,
            gated: second.is_some(),
        })
    }

    /// Numbers that a row has.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers that come out for a row.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// In which numbers the weights are.
    pub const fn format(&self) -> Format {
        match self.panels {
            Panels::F32(_) => Format::F32,
            Panels::Bf16(_) => Format::Bf16,
            Panels::Int8(..) => Format::Int8,
        }
    }

    /// For which kernels it was packed.
    pub const fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        let panels = match &self.panels {
            Panels::F32(panels) => size_of_val(panels.as_slice()),
            Panels::Bf16(panels) => size_of_val(panels.as_slice()),
            Panels::Int8(panels, channels) => {
                size_of_val(panels.as_slice())
                    + size_of_val(channels.scales.as_slice())
                    + size_of_val(channels.starts.as_slice())
            }
        };
        panels
            + self
                .bias
                .as_deref()
                .map_or(0, size_of_val::<[[f32; LANES]]>)
    }
}

/// Which channel goes into which panel.
struct Plan<'a> {
    first: Matrix<'a>,
    second: Option<Matrix<'a>>,
}

impl Plan<'_> {
    const fn matrices(&self) -> usize {
        if self.second.is_some() { 2 } else { 1 }
    }

    fn panels(&self) -> usize {
        self.first.outputs.div_ceil(LANES) * self.matrices()
    }

    /// Writes the numbers of `panel` to `rows`, channel after channel.
    fn read(&self, panel: usize, rows: &mut [f32]) {
        let (matrix, panel) = match &self.second {
            None => (&self.first, panel),
            Some(_) if panel.is_multiple_of(2) => (&self.first, panel / 2),
            Some(second) => (second, panel / 2),
        };
        let channels = panel * LANES..(panel + 1) * LANES;
        for (channel, row) in channels.zip(rows.chunks_exact_mut(matrix.inputs)) {
            matrix.read((channel < matrix.outputs).then_some(channel), row);
        }
    }

    /// One number a channel, in the order of panels.
    fn spread_out(first: &[f32], second: Option<&[f32]>) -> Vec<[f32; LANES]> {
        let panels = |all: &[f32]| -> Vec<[f32; LANES]> {
            all.chunks(LANES)
                .map(|part| {
                    let mut lanes = [0.0; LANES];
                    for (lane, number) in lanes.iter_mut().zip(part) {
                        *lane = *number;
                    }
                    lanes
                })
                .collect()
        };
        let first = panels(first);
        match second.map(panels) {
            None => first,
            Some(second) => first
                .into_iter()
                .zip(second)
                .flat_map(|(first, second)| [first, second])
                .collect(),
        }
    }

    fn pack(
        &self,
        kernels: Kernels,
        pool: &dyn Pool,
        format: Format,
    ) -> Result<Panels, KernelError> {
        let (count, inputs) = (self.panels(), self.first.inputs);
        match format {
            Format::F32 => {
                let mut panels = vec![[0.0; LANES]; count * inputs];
                self.fill(pool, panels.chunks_exact_mut(inputs), |_, rows, panel| {
                    transpose(rows, inputs, panel, |number| number);
                });
                Ok(Panels::F32(panels))
            }
            Format::Bf16 => {
                let arrange = kernels.run(Arrange);
                let mut panels = vec![[0; LANES]; count * inputs];
                self.fill(pool, panels.chunks_exact_mut(inputs), |_, rows, panel| {
                    transpose(rows, inputs, panel, to_bf16);
                    for columns in panel {
                        *columns = arrange(*columns);
                    }
                });
                Ok(Panels::Bf16(panels))
            }
            Format::Int8 => self.pack_int8(pool),
        }
    }

    fn pack_int8(&self, pool: &dyn Pool) -> Result<Panels, KernelError> {
        let (count, inputs) = (self.panels(), self.first.inputs);
        let steps = inputs.div_ceil(INPUTS);
        let mut panels = vec![Octets::default(); count * steps];
        let mut all = Channels {
            scales: vec![[0.0; LANES]; count],
            starts: vec![[0; LANES]; count],
        };
        let worst: Mutex<Option<(usize, usize)>> = Mutex::new(None);
        let channels = all.scales.iter_mut().zip(&mut all.starts);
        let parts = panels.chunks_exact_mut(steps).zip(channels);
        self.fill(pool, parts, |index, rows, (panel, (scales, starts))| {
            let channels = rows.chunks_exact(inputs).zip(scales).zip(starts);
            for (lane, ((row, scale), start)) in channels.enumerate() {
                if let Some(column) = row.iter().position(|number| !number.is_finite()) {
                    let channel = index / self.matrices() * LANES + lane;
                    let mut worst = worst
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    let found = (channel, column);
                    *worst = Some(worst.map_or(found, |before| before.min(found)));
                }
                let channel = quantise_channel(row, lane, panel);
                (*scale, *start) = (channel.scale, channel.start);
            }
        });
        let worst = worst
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match worst {
            Some((row, column)) => Err(KernelError::NotFinite { row, column }),
            None => Ok(Panels::Int8(panels, all)),
        }
    }

    /// Gives each of `parts` its panel's number and channels.
    fn fill<T>(
        &self,
        pool: &dyn Pool,
        parts: impl Iterator<Item = T> + Send,
        write: impl Fn(usize, &[f32], T) + Sync,
    ) {
        let parts = Mutex::new(parts.enumerate());
        spread(pool, || {
            let mut rows = Vec::new();
            while let Some((index, part)) = claim(&parts) {
                rows.resize(LANES * self.first.inputs, 0.0);
                self.read(index, &mut rows);
                write(index, &rows, part);
            }
        });
    }
}

/// Rows of 16 channels to inputs of 16 channels.
fn transpose<T>(rows: &[f32], inputs: usize, panel: &mut [[T; LANES]], to: impl Fn(f32) -> T) {
    for (lane, row) in rows.chunks_exact(inputs).enumerate() {
        for (number, columns) in row.iter().zip(panel.iter_mut()) {
            if let Some(column) = columns.get_mut(lane) {
                *column = to(*number);
            }
        }
    }
}

/// The nearest bfloat16, the even one of two; NaN stays one.
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = if x.is_nan() {
        bits | 0x0040_0000
    } else {
        bits + 0x7fff + ((bits >> 16) & 1)
    };
    let [_, _, low, high] = rounded.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Asks the instruction set how it wants bf16.
struct Arrange;

impl Op for Arrange {
    type Output = fn([u16; LANES]) -> [u16; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        S::arrange
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_the_nearest_and_ties_to_even() {
        let one = 0x3f80_0000;
        for (bits, expected) in [
            (one, 0x3f80),
            (one + 0x7fff, 0x3f80),
            (one + 0x8000, 0x3f80),
            (one + 0x8001, 0x3f81),
            (one + 0x1_8000, 0x3f82),
            (f32::INFINITY.to_bits(), 0x7f80),
            (f32::MAX.to_bits(), 0x7f80),
        ] {
            assert_eq!(to_bf16(f32::from_bits(bits)), expected, "{bits:x}");
        }
        // A NaN whose payload is in the lower half alone must not become an infinity.
        assert!(to_bf16(f32::from_bits(0x7f80_0001)) & 0x7f != 0);
    }
}
