//! Who is served by which revision of a model, and when one of them is cut off.
//!
//! Owns the rules that the routers follow and that the operator applies to the routers' reports: the
//! traffic table ([`table`]), the assignment of keys ([`assignment`]), the weights as they are acted
//! upon ([`effective`]), the choice of an endpoint ([`balance`], [`ejection`]), the bounds of retries
//! ([`budget`]), whether a failing variant is asked ([`breaker`]), the cut-off ([`cutoff`]), what a router says of itself ([`status`]) and what it has seen
//! of a rollout ([`evidence`]).
//!
//! It must not know of a runtime, a client, a clock or a random source: times ([`Millis`]) and random
//! numbers are arguments. Invariant: both sides of the admin port compute the same from the same
//! counts, because they run the same functions.

pub mod assignment;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod cutoff;
pub mod effective;
pub mod ejection;
pub mod evidence;
mod names;
#[cfg(test)]
mod schema;
pub mod status;
pub mod table;
mod time;

pub use names::{Decimal, Revision, WHOLE, Weight};
pub use time::Millis;
