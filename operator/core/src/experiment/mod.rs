//! Experiments: what is asked for, who is dealt to whom, what was counted, what it says, and what follows.
//!
//! The way of the data: [`spec`] (what is asked for) and [`seen`] (what the shell has seen) →
//! [`ledger`] (what routers told) → [`totals`] → [`analysis`] (what it says) → [`machine`] (what is decided)
//! → [`status`] and [`table`] (what is said, and what the routers are told). It must not know how a promotion
//! reaches the endpoint: it names the variant, and the RewardModel's controller does the rest. Invariants: a
//! verdict is terminal for its epoch; harm comes before benefit; only the first of several experiments on an
//! endpoint is in force.

pub mod analysis;
pub mod kept;
pub mod ledger;
pub mod machine;
pub mod seen;
pub mod slots;
pub mod spec;
pub mod standing;
pub mod state;
pub mod status;
pub mod table;
pub mod totals;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
