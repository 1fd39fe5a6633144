//! Numbers, texts and cells as bytes.
//!
//! Owns how each is written: texts with their length before, counts in groups of seven bits (LEB128), sums
//! as IEEE 754 in little-endian order, cells as one bit each that says whether anything is in it and then
//! those that have. Invariant: bytes that are not the shortest way to write a count are none.

use super::{ByCell, CELLS, Sum};

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn count(&mut self, mut count: u64) {
        loop {
            // Seven bits.
            let low = u8::try_from(count & 0x7f).unwrap_or_default();
            count >>= 7;
            if count == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    pub(super) fn number(&mut self, number: f64) {
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.0.extend(text.as_bytes());
    }

    pub(super) fn cells<T: Sum>(&mut self, cells: &ByCell<T>, one: impl Fn(&mut Self, T)) {
        let mut bits = vec![0_u8; usize::from(CELLS / 8)];
        for (cell, _) in cells.active() {
            if let Some(byte) = bits.get_mut(usize::from(cell / 8)) {
                *byte |= 1 << (cell % 8);
            }
        }
        self.0.extend(bits);
        for (_, of) in cells.active() {
            one(self, of);
        }
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&[u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn count(&mut self) -> Option<u64> {
        let mut count = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?.first().copied()?;
            let low = u64::from(byte & 0x7f);
            let placed = low << shift;
            if placed >> shift != low {
                return None;
            }
            count |= placed;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(count);
            }
        }
        None
    }

    pub(super) fn number(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.count()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.count()?).ok()?;
        Some(std::str::from_utf8(self.bytes(length)?).ok()?.to_owned())
    }

    pub(super) fn cells<T: Sum>(
        &mut self,
        one: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<ByCell<T>> {
        let bits = self.bytes(usize::from(CELLS / 8))?.to_vec();
        let mut cells = ByCell::default();
        let all = (0..CELLS / 8).flat_map(|byte| (0..8).map(move |bit| byte * 8 + bit));
        for cell in all {
            let byte = bits.get(usize::from(cell / 8))?;
            if byte >> (cell % 8) & 1 == 1 {
                let of = one(self).filter(|of| *of != T::default())?;
                cells.add(cell, of);
            }
        }
        Some(cells)
    }
}
