//! Linear layers: `y = activation(x W^T + b) + residual`.
//!
//! Owns how a layer is cut into tasks, and what happens to finished sums. Must not know which model it
//! is part of. Invariant: an output is the same bits whatever the number of rows, the place of its row
//! among them, and the threads.

use crate::error::KernelError;
use crate::math::Activation;
use crate::packed::{Packed, Panels};
use crate::pool::{Pool, Shared, Tasks, spread};
use crate::product::{Bf16, F32, Int8, Product};
use crate::quantise::{INPUTS, Quantised};
use crate::simd::{LANES, Op, Simd, load_part, store_part};
use crate::tile::{GROUP, Rows, Weights, add_products};

/// Rows that a task takes at most: a block of inputs of these is less than half of a second-level cache
/// of 512 KiB, and a weight that comes from further away is used for all of them.
const MOST_ROWS: usize = 192;

/// What happens to the sums of a layer, after its bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct Then<'a> {
    /// Of each sum; in a gated layer, of the gate's.
    pub activation: Activation,
    /// What is added to that.
    pub residual: Residual<'a>,
}

/// What is added to the output of a layer.
#[derive(Clone, Copy, Debug, Default)]
pub enum Residual<'a> {
    /// Nothing.
    #[default]
    None,
    /// These, of the shape of the output.
    Add(&'a [f32]),
    /// What the output holds before.
    Onto,
}

impl Packed {
    /// Computes the layer for all rows of `x`, `[rows, inputs]`, into `out`, `[rows, outputs]`. `room`
    /// is used by int8 layers alone.
    ///
    /// # Errors
    /// When `x` is not whole rows, or `out` or the residual is not of their number.
    pub fn forward(
        &self,
        pool: &dyn Pool,
        x: &[f32],
        then: Then<'_>,
        out: &mut [f32],
        room: &mut Quantised,
    ) -> Result<(), KernelError> {
        let rows = x.len() / self.inputs;
        KernelError::length("activations", rows * self.inputs, x.len())?;
        KernelError::length("output", rows * self.outputs, out.len())?;
        if let Residual::Add(residual) = then.residual {
            KernelError::length("residual", out.len(), residual.len())?;
        }
        if matches!(self.panels, Panels::Int8(..)) {
            room.fill(self.kernels, pool, x, self.inputs);
        }
        let job = Job::new(self, x, room, then, Shared::new(out));
        spread(pool, || self.kernels.run(&job));
        Ok(())
    }
}

/// A layer that is being computed by one or several threads.
struct Job<'a> {
    packed: &'a Packed,
    x: &'a [f32],
    quantised: &'a Quantised,
    then: Then<'a>,
    out: Shared<'a>,
    rows: usize,
    rows_of_a_task: usize,
    panels: usize,
    tasks: Tasks,
}

impl<'a> Job<'a> {
    fn new(
        packed: &'a Packed,
        x: &'a [f32],
        quantised: &'a Quantised,
        then: Then<'a>,
        out: Shared<'a>,
    ) -> Self {
        let rows = x.len() / packed.inputs;
        // As even as tiles allow, so that no task is left with few rows.
        let chunks = rows.div_ceil(MOST_ROWS).max(1);
        let rows_of_a_task = rows.div_ceil(chunks).next_multiple_of(6).max(6);
        let matrices = if packed.gated { 2 } else { 1 };
        let panels = packed.outputs.div_ceil(LANES) * matrices;
        let tasks = rows.div_ceil(rows_of_a_task) * panels.div_ceil(GROUP);
        Self {
            packed,
            x,
            quantised,
            then,
            out,
            rows,
            rows_of_a_task,
            panels,
            tasks: Tasks::new(tasks),
        }
    }
}

impl Op for &Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let inputs = self.packed.inputs;
        match &self.packed.panels {
            Panels::F32(panels) => self.tasks::<S, F32>(s, (self.x, panels, inputs), (&[], &[])),
            Panels::Bf16(panels) => self.tasks::<S, Bf16>(s, (self.x, panels, inputs), (&[], &[])),
            Panels::Int8(panels, channels) => {
                let steps = inputs.div_ceil(INPUTS);
                let channels = (&*channels.starts, &*channels.scales);
                self.tasks::<S, Int8>(s, (&self.quantised.octets, panels, steps), channels);
            }
        }
    }
}

impl Job<'_> {
    /// Takes tasks until there are none. They go through all panels before the next rows.
    #[inline(always)]
    fn tasks<S: Simd, P: Product<S>>(
        &self,
        s: S,
        (x, weights, steps): (&[P::Activation], &[P::Weight], usize),
        (starts, scales): (&[P::Stored], &[[f32; LANES]]),
    ) {
        let mut sums = vec![P::NOTHING; GROUP * self.rows_of_a_task.min(self.rows)];
        let groups = self.panels.div_ceil(GROUP);
        while let Some(task) = self.tasks.claim() {
            let row = task / groups * self.rows_of_a_task;
            let panel = task % groups * GROUP;
            let rows = Rows {
                values: x.get(row * steps..).unwrap_or_default(),
                stride: steps,
                count: self.rows_of_a_task.min(self.rows - row),
            };
            let weights = Weights {
                values: weights.get(panel * steps..).unwrap_or_default(),
                steps,
                panels: GROUP.min(self.panels - panel),
            };
            let sums = sums.get_mut(..rows.count * weights.panels);
            let sums = sums.unwrap_or_default();
            for (sums, panel) in sums.chunks_exact_mut(rows.count).zip(panel..) {
                sums.fill(starts.get(panel).copied().unwrap_or(P::NOTHING));
            }
            self.prefetch(s, (row, panel), (rows.count, weights.panels));
            add_products::<S, P>(s, &rows, &weights, sums);
            // SAFETY: no other task has these rows and panels.
            unsafe { self.finish::<S, P>(s, (row, panel), rows.count, sums, scales) };
        }
    }

    /// Asks for the output of some rows and panels, which lies far apart: a store waits for its line.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, (row, panel): (usize, usize), shape: (usize, usize)) {
        let matrices = if self.packed.gated { 2 } else { 1 };
        for row in row..row + shape.0 {
            for panel in (panel..panel + shape.1).step_by(matrices) {
                let place = row * self.packed.outputs + panel / matrices * LANES;
                s.prefetch(self.out.address(place));
            }
        }
    }

    /// Writes the output of some rows and panels.
    ///
    /// # Safety
    /// Nobody else may write the output of these.
    #[inline(always)]
    unsafe fn finish<S: Simd, P: Product<S>>(
        &self,
        s: S,
        (first_row, first_panel): (usize, usize),
        count: usize,
        sums: &[P::Stored],
        scales: &[[f32; LANES]],
    ) {
        let matrices = if self.packed.gated { 2 } else { 1 };
        for (i, of_panels) in sums.chunks(matrices * count).enumerate() {
            let panel = first_panel + i * matrices;
            let (sums, gated) = of_panels.split_at(count);
            let column = panel / matrices * LANES;
            let width = LANES.min(self.packed.outputs - column);
            let mut gated = gated.iter();
            for (row, sums) in (first_row..).zip(sums) {
                let mut y = self.value::<S, P>(s, sums, row, panel, scales);
                y = self.then.activation.of(s, y);
                if let Some(sums) = gated.next() {
                    y = s.mul(y, self.value::<S, P>(s, sums, row, panel + 1, scales));
                }
                let place = row * self.packed.outputs + column;
                // SAFETY: within the output of these rows and panels, which is the caller's.
                let out = unsafe { self.out.part(place, width) };
                match self.then.residual {
                    Residual::None => {}
                    Residual::Add(residual) => {
                        let residual = residual.get(place..place + width).unwrap_or_default();
                        y = s.add(y, load_part(s, residual, 0.0));
                    }
                    Residual::Onto => y = s.add(y, load_part(s, out, 0.0)),
                }
                store_part(s, y, out);
            }
        }
    }

    /// What sums stand for, with their bias.
    #[inline(always)]
    fn value<S: Simd, P: Product<S>>(
        &self,
        s: S,
        sums: &P::Stored,
        row: usize,
        panel: usize,
        scales: &[[f32; LANES]],
    ) -> S::F {
        let scale = self.quantised.scales.get(row).copied().unwrap_or(1.0);
        let y = P::finish(s, sums, scale, scales.get(panel).unwrap_or(&[1.0; LANES]));
        match self.packed.bias.as_ref().and_then(|bias| bias.get(panel)) {
            Some(bias) => s.add(y, s.load(bias)),
            None => y,
        }
    }
}
