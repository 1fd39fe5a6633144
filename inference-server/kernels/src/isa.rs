//! Instruction sets: which there are, which this machine has, and which was asked for.
//!
//! Owns names, detection and the proof that a set may be used ([`Kernels`]). Must not know what is
//! computed. Invariant: a [`Kernels`] exists only for a set that this machine was found to have.

use std::fmt;
use std::str::FromStr;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Op, Portable};

/// An instruction set that kernels are, or may be, written for; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Tiles of bf16 and int8 (Intel, from Sapphire Rapids on). Known by name; no kernel uses it yet.
    Amx,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// 128-bit vectors of 64-bit Arm. Known by name; no kernel uses it yet.
    Neon,
    /// Plain Rust, on every machine.
    Portable,
}

impl Isa {
    /// All of them, the best first.
    pub const ALL: [Self; 5] = [
        Self::Amx,
        Self::Avx512,
        Self::Avx2,
        Self::Neon,
        Self::Portable,
    ];

    /// Its name in flags and version strings. A name stands for the bits of a result: a path that sums
    /// in another order gets another name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// What a machine needs for it, as a person would look it up.
    const fn needs(self) -> &'static str {
        match self {
            Self::Amx => "amx-tile, amx-bf16 and amx-int8",
            Self::Avx512 => "avx512f, avx512bw, avx512dq and avx512vl",
            Self::Avx2 => "avx2 and fma",
            Self::Neon => "a 64-bit Arm processor",
            Self::Portable => "nothing",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let found = Self::ALL.into_iter().find(|isa| isa.as_str() == name);
        found.ok_or_else(|| IsaError::Unknown(name.to_owned()))
    }
}

/// An instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// There is none of this name.
    Unknown(String),
    /// This machine lacks it.
    Missing(Isa),
    /// No kernel is written for it.
    Unwritten(Isa),
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usable = || {
            let names: Vec<&str> = Kernels::all().map(|path| path.isa().as_str()).collect();
            names.join(", ")
        };
        match self {
            Self::Unknown(name) => {
                let names = Isa::ALL.map(Isa::as_str).join(", ");
                write!(
                    f,
                    "instruction set {name:?} is not known: use one of {names}"
                )
            }
            Self::Missing(isa) => {
                let (needs, usable) = (isa.needs(), usable());
                write!(f, "this machine lacks {isa} ({needs}): use one of {usable}")
            }
            Self::Unwritten(isa) => {
                write!(f, "no kernel is written for {isa}: use one of {}", usable())
            }
        }
    }
}

impl std::error::Error for IsaError {}

/// The kernels of an instruction set that this machine has: what all functions of this crate are
/// given.
#[derive(Clone, Copy, Debug)]
pub struct Kernels(Path);

#[derive(Clone, Copy, Debug)]
enum Path {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

impl Kernels {
    /// Those of `isa`.
    ///
    /// # Errors
    /// When this machine lacks it, or no kernel is written for it.
    pub fn of(isa: Isa) -> Result<Self, IsaError> {
        let path = match isa {
            Isa::Amx | Isa::Neon => return Err(IsaError::Unwritten(isa)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().map(Path::Avx512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().map(Path::Avx2),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => None,
            Isa::Portable => Some(Path::Portable(Portable)),
        };
        path.map(Self).ok_or(IsaError::Missing(isa))
    }

    /// Those of the best set that this machine has.
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Self(Path::Portable(Portable)))
    }

    /// All that this machine can run and that have been run somewhere, the best first; the last is the
    /// portable one. AVX-512 has not been yet, and is there for who asks for it by name.
    pub fn all() -> impl Iterator<Item = Self> {
        let proven = Isa::ALL.into_iter().filter(|isa| *isa != Isa::Avx512);
        proven.filter_map(|isa| Self::of(isa).ok())
    }

    /// Which set they use.
    pub const fn isa(self) -> Isa {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(_) => Isa::Avx2,
            Path::Portable(_) => Isa::Portable,
        }
    }

    /// Runs `op`, compiled for this set.
    pub(crate) fn run<O: Op>(self, op: O) -> O::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(simd) => simd.run(op),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(simd) => simd.run(op),
            Path::Portable(simd) => op.run(simd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_there_are() {
        let message = "sse9".parse::<Isa>().unwrap_err().to_string();
        assert!(message.contains("\"sse9\"") && message.contains("avx2, neon, portable"));
    }

    #[test]
    fn a_forced_set_that_the_machine_lacks_is_refused_with_those_that_it_has() {
        for isa in Isa::ALL {
            match Kernels::of(isa) {
                Ok(kernels) => assert_eq!(kernels.isa(), isa),
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(isa.as_str()), "{message}");
                    assert!(message.ends_with("portable"), "{message}");
                }
            }
        }
    }

    #[test]
    fn the_best_is_the_first_of_all_and_the_portable_one_the_last() {
        let all: Vec<Isa> = Kernels::all().map(Kernels::isa).collect();
        assert_eq!(all.first(), Some(&Kernels::best().isa()));
        assert_eq!(all.last(), Some(&Isa::Portable));
        assert!(all.is_sorted());
    }
}
