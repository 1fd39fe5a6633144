//! A small generator with a seed (Steele and others 2014, "SplitMix64"): the same numbers everywhere.

pub(super) struct Random(u64);

/// A number of its own for each user and purpose, the same at every visit.
pub(super) fn of_user(user: u32, purpose: u64) -> f64 {
    Random::new((u64::from(user) << 20) ^ (purpose + 1).wrapping_mul(0x5851_F42D_4C95_7F2D))
        .uniform()
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x9E37_79B9_7F4A_7C15);
        random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    pub(super) fn uniform(&mut self) -> f64 {
        let whole = u32::try_from(self.next() >> 32).unwrap();
        (f64::from(whole) + 1.0) / 4_294_967_296.0
    }

    /// With mean 0 and standard deviation 1 (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let length = (-2.0 * self.uniform().ln()).sqrt();
        length * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }

    pub(super) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() >> 33).unwrap() % bound
    }
}
