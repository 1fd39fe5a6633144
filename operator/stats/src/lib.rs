//! Statistics that may be looked at after every observation: evidence as e-values.
//!
//! Owns mathematics alone. It must not know of a rollout, an experiment's resource, a clock or a random
//! source. Invariants: no NaN gets past a constructor; evidence is a natural logarithm, so that it never
//! overflows; the same inputs give the same bits on every machine (`libm`, and no platform's own
//! functions).
//!
//! An **e-value** is evidence against a hypothesis that is at most 1 on average where the hypothesis
//! holds. An e-process is one for every moment: that it ever reaches `1/a` has a probability of at most
//! `a`, however often one looks (Ville's inequality).
//!
//! Everywhere A is control and B the candidate. Sums become an [`Arm`] ([`Moments`], [`Cells`]), two arms
//! an [`Estimate`] ([`difference_of_means`], [`difference_of_proportions`], [`paired`], [`stratified`]),
//! and an estimate evidence ([`NormalMixture`]). Counts become evidence at once ([`beta_binomial`],
//! [`event_split`], [`Discordance`], [`sample_ratio`]), and so do bounded values ([`Bounded`]). What a decision will
//! cost is said beforehand by [`Plan`] and [`Stopping`].

mod allocation;
mod alpha_budget;
mod beta_binomial;
mod binomial_cs;
mod bounded;
mod clip;
mod decision;
pub mod eligibility;
mod equivalence;
mod estimate;
mod event_split;
mod fieller;
mod level;
pub mod margins;
mod mcnemar;
mod means;
mod moments;
mod multiplicity;
mod normal;
mod normal_mixture;
mod paired;
mod planning;
mod prob_best;
mod proportions;
mod quantile;
mod ratio;
mod special;
mod srm;
mod stopping;
mod stratified;

pub use allocation::{Allocation, Range, SLOTS};
pub use alpha_budget::{AlphaBudget, GoalPolicy, Importance, alpha_budget};
pub use beta_binomial::{BetaPrior, LogE, Share, Tally, beta_binomial, ln_at_least};
pub use binomial_cs::{binomial_cs, exceeds, kendall_tau};
pub use bounded::{Bounded, Tuning};
pub use clip::{Clip, ln_latency};
pub use decision::{
    Candidate, Decision, Experiment, Goal, Guardrail, GuardrailPolicy, Harm, Inconclusive,
    Malformed, Verdict, decide,
};
pub use equivalence::{Equivalence, equivalence};
pub use estimate::{Estimate, Factor, Interval, Null, Scale, Undefined};
pub use event_split::{EventSplit, Events, Kappa, RateRatio, event_split};
pub use fieller::{KnownMean, fieller};
pub use level::{Alpha, Latched, carried, p_value};
pub use mcnemar::Discordance;
pub use means::{Arm, difference_of_means, pooled_variance};
pub use moments::Moments;
pub use multiplicity::{e_bh, e_lond, holm};
pub use normal_mixture::{NormalMixture, tightest};
pub use paired::{Cross, PairedScores, paired};
pub use planning::{Plan, required_error, still_needed, tau_of_relative, tau_of_spread};
pub use prob_best::prob_best;
pub use proportions::{Proportion, difference_of_proportions};
pub use quantile::{Histogram, Quantile, exceedance, tolerated_steps};
pub use ratio::Cells;
pub use srm::{ArmUsers, sample_ratio, sample_ratio_of};
pub use stopping::{Stopping, fixed_information};
pub use stratified::{Epoch, stratified};
