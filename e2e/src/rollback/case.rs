//! What is measured.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};

use crate::faulty::Fault;

/// One kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// How the canary turns bad.
    pub fault: Fault,
    /// Requests a second.
    pub rate: u32,
    /// The canary's share, in percent.
    pub weight: u16,
    /// Whether stable answers what the canary does not.
    pub fallback: bool,
}

impl Case {
    /// All of them, those of one rate together.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let kinds = [
            (50, 25, true),
            (50, 25, false),
            (20, 10, true),
            (200, 10, true),
        ];
        let of = |(rate, weight, fallback)| {
            Fault::ALL.map(|fault| Self {
                fault,
                rate,
                weight,
                fallback,
            })
        };
        kinds.into_iter().flat_map(of).collect()
    }

    /// Seconds that half of the runs, and all of them, may take, and how many requests may be harmed in
    /// one; nothing is promised where there are few requests.
    #[must_use]
    pub fn goal(self) -> Option<(f64, f64, usize)> {
        let harmed = if self.fallback { 0 } else { 25 };
        let known = self.rate == 50 && self.weight == 25;
        known.then_some(match self.fault {
            Fault::Constant => (2.5, 4.0, 25),
            Fault::Error | Fault::Hang | Fault::Nan | Fault::Slow | Fault::Exit => {
                (1.5, 3.0, harmed)
            }
        })
    }
}

/// `FAULT/RATE/WEIGHT/on`, or `off` for no fallback.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fallback = if self.fallback { "on" } else { "off" };
        let Self {
            fault,
            rate,
            weight,
            ..
        } = self;
        write!(f, "{fault}/{rate}/{weight}/{fallback}")
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let [fault, rate, weight, fallback] = text.split('/').collect::<Vec<_>>()[..] else {
            bail!("{text:?}: write FAULT/RATE/WEIGHT/on or off");
        };
        let found = Fault::ALL.into_iter().find(|known| known.word() == fault);
        Ok(Self {
            fault: found.with_context(|| format!("{fault:?} is no fault"))?,
            rate: rate.parse().context("the rate")?,
            weight: weight.parse().context("the weight")?,
            fallback: match fallback {
                "on" => true,
                "off" => false,
                other => bail!("{other:?}: write on or off"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        let all = Case::all();
        assert_eq!(all.len(), 24);
        for case in all {
            assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
        }
        for wrong in [
            "",
            "error/50/25",
            "odd/50/25/on",
            "error/50/25/yes",
            "error/x/25/on",
        ] {
            assert!(wrong.parse::<Case>().is_err(), "{wrong}");
        }
    }
}
