//! A small generator with a seed (Steele and others 2014, "SplitMix64"): the same numbers everywhere.

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Above 0, at most 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        let whole = u32::try_from(self.next() >> 32).unwrap();
        (f64::from(whole) + 1.0) / 4_294_967_296.0
    }

    /// With mean 0 and standard deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let length = (-2.0 * libm::log(self.uniform())).sqrt();
        length * libm::cos(2.0 * std::f64::consts::PI * self.uniform())
    }
}
