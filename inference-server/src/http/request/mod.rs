//! A request on its way: its body, its scoring, its answer, and the layers around them.
//!
//! Must not know of the handlers, nor where scores come from. Invariants: every answer that is not a
//! success is problem+json; every answer names the model's version and the request; a request is
//! answered by the model that it began with.

mod app;
mod body;
mod call;
pub(crate) mod render;
mod shown;
pub(crate) mod trace;
mod updates;
mod user;

pub(crate) use app::{
    App, CacheControl, Feedback, Lifecycle, ModelInfo, NoCache, Served, Tokens, no_cache,
};
pub(crate) use body::{Payload, require_one};
pub(crate) use call::{Call, now, ranking};
pub(crate) use shown::Shown;
pub(crate) use updates::{Loader, Updates, Wanted, run as run_update};
pub(crate) use user::UsersInBody;
