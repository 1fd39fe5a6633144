//! A [`Scorer`](inference_scoring::Scorer) over the revisions of one model elsewhere.
//!
//! Owns the way of a request to an endpoint and back: the revision by the traffic table, the endpoint by
//! its load, another one where the first is lost, stable where the canary does not answer; and what is
//! counted on the way. The rules are those of `traffic`; here are the sockets and the clock. It must not
//! know of HTTP's edge, of dialects, nor where the table comes from but for
//! [`file`] and [`watch`], the only place of the server that names Kubernetes. Invariants: one
//! request is answered by one revision; no request waits for a lock that is held across an await; a
//! request that is dropped ends at the server too.

mod ask;
mod clock;
mod counting;
mod endpoints;
mod events;
mod evidence;
mod experiment;
mod feedback;
pub mod file;
mod forget;
mod parts;
mod pool;
mod probe;
mod queue;
mod report;
mod router;
mod score;
mod shadow;
mod tokens;
mod tracked;
pub mod watch;

pub use events::Figures;
pub use experiment::{Happening, MOST_HAPPENINGS, NoEvidence, Told, TrialFigures, VariantFigures};
pub use feedback::{MOST_PREFERENCES, NotTaken, Preference, Taken};
pub use forget::Forgotten;
pub use router::{Identity, Router, Seen, Services};
