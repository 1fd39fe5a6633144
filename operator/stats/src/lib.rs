//! Statistics that may be looked at after every observation: evidence as e-values.
//!
//! Owns mathematics alone. It must not know of a rollout, an experiment, a clock or a random source.
//! Invariants: no NaN gets past a constructor; evidence is a natural logarithm, so that it never
//! overflows; the same inputs give the same bits on every machine (`libm`, and no platform's own
//! functions).
//!
//! An **e-value** is evidence against a hypothesis that is at most 1 on average where the hypothesis
//! holds. An e-process is one for every moment: that it ever reaches `1/a` has a probability of at most
//! `a`, however often one looks (Ville's inequality).

mod beta_binomial;
mod event_split;
mod special;

pub use beta_binomial::{BetaPrior, LogE, Share, Tally, beta_binomial, ln_at_least};
pub use event_split::{EventSplit, Events, Kappa, RateRatio, event_split};
