//! How long a canary that turns bad is served to anybody: measured from the first request that it
//! spoiled to no share of traffic in any router.
//!
//! Owns the cases, the measuring and the table. It must not know how a decision is come to: it asks the
//! routers what they do, and the clients what they got. Invariant: a canary is sound, has its share and
//! has answered before its fault begins.

mod case;
mod load;
mod report;
mod routers;
mod run;
mod scene;
mod timeline;

pub use case::Case;
pub use report::{Row, table};
pub use run::{Outcome, Plan, measure};
