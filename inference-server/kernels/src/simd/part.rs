//! Vectors of fewer than 16 numbers, at the end of a row.

use super::{LANES, Simd};

/// Up to 16 numbers; `fill` where there are no more.
#[inline(always)]
pub(crate) fn load_part<S: Simd>(s: S, from: &[f32], fill: f32) -> S::F {
    if let Some(whole) = from.first_chunk() {
        return s.load(whole);
    }
    let mut lanes = [fill; LANES];
    for (lane, x) in lanes.iter_mut().zip(from) {
        *lane = *x;
    }
    s.load(&lanes)
}

/// The first of 16 numbers, as many as `to` has.
#[inline(always)]
pub(crate) fn store_part<S: Simd>(s: S, x: S::F, to: &mut [f32]) {
    if let Some(whole) = to.first_chunk_mut() {
        s.store(x, whole);
        return;
    }
    let mut lanes = [0.0; LANES];
    s.store(x, &mut lanes);
    for (to, lane) in to.iter_mut().zip(lanes) {
        *to = lane;
    }
}
