//! The micro-kernel: sums of a few rows and panels, held in registers.
//!
//! Owns the inner loop and how many rows and panels go through it at once. Must not know of bias,
//! activation or output. Invariant: how rows and panels are grouped changes no sum: each is a chain of
//! its own, input after input, and is carried on from memory from one block of inputs to the next.

use std::array;

use crate::product::Product;
use crate::simd::Simd;

/// Panels that are worked on together.
pub(crate) const GROUP: usize = 4;

/// Bytes of a panel that are used by all rows before the next: half of a first-level cache of 32 KiB.
const BLOCK: usize = 16 << 10;

/// Bytes ahead of which weights are asked for where few rows use them: processors do it by themselves,
/// but not across pages.
const AHEAD: usize = 4 << 10;

/// Tiles of a panel from which on the weights of the next are asked for meanwhile instead, a few lines
/// with each tile. Measured: 5 in 100 for layers that are larger than the caches.
const MANY_TILES: usize = 8;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Rows of activations, one behind the other.
pub(crate) struct Rows<'a, T> {
    /// The first row begins where it begins.
    pub(crate) values: &'a [T],
    /// From one row to the next.
    pub(crate) stride: usize,
    /// How many.
    pub(crate) count: usize,
}

impl<T> Rows<'_, T> {
    #[inline(always)]
    fn part(&self, row: usize, from: usize, steps: usize) -> &[T] {
        let start = row * self.stride + from;
        self.values.get(start..start + steps).unwrap_or_default()
    }
}

/// Panels of weights, one behind the other.
pub(crate) struct Weights<'a, W> {
    /// The first panel begins where it begins.
    pub(crate) values: &'a [W],
    /// Steps that a panel has.
    pub(crate) steps: usize,
    /// How many panels; at most [`GROUP`].
    pub(crate) panels: usize,
}

impl<W> Weights<'_, W> {
    #[inline(always)]
    fn part(&self, panel: usize, from: usize, steps: usize) -> &[W] {
        let start = panel * self.steps + from;
        self.values.get(start..start + steps).unwrap_or_default()
    }

    /// Where the weights are that come after those of the panel before `panel`.
    #[inline(always)]
    fn after(&self, panel: usize, (from, steps): (usize, usize)) -> *const W {
        let start = if panel < self.panels {
            panel * self.steps + from
        } else if from + steps < self.steps {
            from + steps
        } else {
            self.panels * self.steps
        };
        self.values.as_ptr().wrapping_add(start)
    }
}

/// Adds the products of all rows and panels to `sums`, which has `rows.count` for each panel, panel
/// after panel.
#[inline(always)]
pub(crate) fn add_products<S: Simd, P: Product<S>>(
    s: S,
    rows: &Rows<'_, P::Activation>,
    weights: &Weights<'_, P::Weight>,
    sums: &mut [P::Stored],
) {
    let mut from = 0;
    while from < weights.steps {
        let steps = (BLOCK / size_of::<P::Weight>()).min(weights.steps - from);
        block::<S, P>(s, rows, weights, (from, steps), sums);
        from += steps;
    }
}

/// The same for some of the steps. Rows that are left over when all full tiles are done go through
/// smaller ones, with more panels at once, so that there are always enough chains to fill the pipes.
#[inline(always)]
fn block<S: Simd, P: Product<S>>(
    s: S,
    rows: &Rows<'_, P::Activation>,
    weights: &Weights<'_, P::Weight>,
    steps: (usize, usize),
    sums: &mut [P::Stored],
) {
    let panels = S::PANELS.min(P::PANELS);
    let most = S::ROWS.min(if panels == 1 { P::ROWS } else { 6 });
    let full = rows.count / most * most;
    if S::ROWS == 2 {
        strip::<S, P, 2, 1>(s, rows, weights, steps, (0, full), sums);
    } else if most == 4 {
        strip::<S, P, 4, 1>(s, rows, weights, steps, (0, full), sums);
    } else if panels == 1 {
        strip::<S, P, 6, 1>(s, rows, weights, steps, (0, full), sums);
    } else if panels == 2 {
        strip::<S, P, 6, 2>(s, rows, weights, steps, (0, full), sums);
    } else {
        strip::<S, P, 6, 4>(s, rows, weights, steps, (0, full), sums);
    }
    // Those left over, in tiles of 4, 2 and 1.
    let left = rows.count - full;
    let fours = full + left / 4 * 4;
    let twos = fours + left % 4 / 2 * 2;
    if S::ROWS == 2 {
        strip::<S, P, 1, 1>(s, rows, weights, steps, (full, rows.count), sums);
    } else if panels == 1 {
        strip::<S, P, 4, 1>(s, rows, weights, steps, (full, fours), sums);
        strip::<S, P, 2, 2>(s, rows, weights, steps, (fours, twos), sums);
        strip::<S, P, 1, 4>(s, rows, weights, steps, (twos, rows.count), sums);
    } else {
        strip::<S, P, 4, 4>(s, rows, weights, steps, (full, fours), sums);
        strip::<S, P, 2, 4>(s, rows, weights, steps, (fours, twos), sums);
        strip::<S, P, 1, 4>(s, rows, weights, steps, (twos, rows.count), sums);
    }
}

/// All panels with the rows `first..end`, a multiple of `ROWS` of them.
#[inline(always)]
fn strip<S: Simd, P: Product<S>, const ROWS: usize, const PANELS: usize>(
    s: S,
    rows: &Rows<'_, P::Activation>,
    weights: &Weights<'_, P::Weight>,
    steps: (usize, usize),
    (first, end): (usize, usize),
    sums: &mut [P::Stored],
) {
    if first == end {
        return;
    }
    let whole = weights.panels / PANELS * PANELS;
    let mut panel = 0;
    while panel < whole {
        let parts = array::from_fn(|i| weights.part(panel + i, steps.0, steps.1));
        let soon = weights.after(panel + PANELS, steps);
        column::<S, P, ROWS, PANELS>(s, rows, parts, (panel, soon), steps, (first, end), sums);
        panel += PANELS;
    }
    while panel < weights.panels {
        let parts = [weights.part(panel, steps.0, steps.1)];
        let soon = weights.after(panel + 1, steps);
        column::<S, P, ROWS, 1>(s, rows, parts, (panel, soon), steps, (first, end), sums);
        panel += 1;
    }
}

/// Some panels with the rows `first..end`; the weights at `soon` are what is used next.
#[inline(always)]
fn column<S: Simd, P: Product<S>, const ROWS: usize, const PANELS: usize>(
    s: S,
    rows: &Rows<'_, P::Activation>,
    panels: [&[P::Weight]; PANELS],
    (panel, soon): (usize, *const P::Weight),
    (from, steps): (usize, usize),
    (first, end): (usize, usize),
    sums: &mut [P::Stored],
) {
    let tiles = (end - first) / ROWS;
    let (ahead, lines) = if tiles < MANY_TILES {
        (AHEAD, 0)
    } else {
        let bytes = PANELS * steps * size_of::<P::Weight>();
        (0, bytes.div_ceil(LINE * tiles))
    };
    let mut done = 0;
    let mut row = first;
    while row + ROWS <= end {
        let activations = array::from_fn(|i| rows.part(row + i, from, steps));
        for line in done..done + lines {
            s.prefetch_far(soon.wrapping_byte_add(line * LINE));
        }
        done += lines;
        let start = panel * rows.count + row;
        if let Some(sums) = sums.get_mut(start..) {
            tile::<S, P, ROWS, PANELS>(s, activations, panels, (sums, rows.count), ahead);
        }
        row += ROWS;
    }
}

/// `ROWS` sums of each of `PANELS` panels; those of the next panel are `stride` further. Weights are asked
/// for `ahead` steps before they are used.
#[inline(always)]
fn tile<S: Simd, P: Product<S>, const ROWS: usize, const PANELS: usize>(
    s: S,
    rows: [&[P::Activation]; ROWS],
    panels: [&[P::Weight]; PANELS],
    (sums, stride): (&mut [P::Stored], usize),
    ahead: usize,
) {
    let mut registers = [[P::load(s, &P::NOTHING); PANELS]; ROWS];
    for (i, registers) in registers.iter_mut().enumerate() {
        for (j, register) in registers.iter_mut().enumerate() {
            if let Some(stored) = sums.get(j * stride + i) {
                *register = P::load(s, stored);
            }
        }
    }
    let mut steps = usize::MAX;
    for row in rows {
        steps = steps.min(row.len());
    }
    for panel in panels {
        steps = steps.min(panel.len());
    }
    for step in 0..steps {
        // No closure makes them: one that is not inlined would be compiled without the instruction set.
        let mut weights = [P::widen(s, &P::EMPTY); PANELS];
        for (weight, panel) in weights.iter_mut().zip(panels) {
            let soon = panel.as_ptr().wrapping_add(step).wrapping_byte_add(ahead);
            for line in 0..size_of::<P::Weight>().div_ceil(LINE) {
                s.prefetch(soon.wrapping_byte_add(line * LINE));
            }
            // SAFETY: `steps` is at most the length of each panel.
            *weight = P::widen(s, unsafe { panel.get_unchecked(step) });
        }
        for (registers, row) in registers.iter_mut().zip(rows) {
            // SAFETY: `steps` is at most the length of each row.
            let x = P::splat(s, unsafe { row.get_unchecked(step) });
            for (register, weight) in registers.iter_mut().zip(weights) {
                *register = P::step(s, x, weight, *register);
            }
        }
    }
    for (i, registers) in registers.into_iter().enumerate() {
        for (j, register) in registers.into_iter().enumerate() {
            if let Some(stored) = sums.get_mut(j * stride + i) {
                P::store(s, register, stored);
            }
        }
    }
}
