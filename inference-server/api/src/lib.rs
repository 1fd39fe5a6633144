//! Wire types of the scoring API and their rules.
//!
//! Owns the shapes of requests, answers and errors, and what makes a request valid. It must not know
//! of a server framework, a model or a clock. Invariant: a request that passes here asks for
//! something that can be scored.

pub mod input;
pub mod limits;
pub mod native;
pub mod problem;

pub use input::{Input, InputOptions, Message, Side};
pub use limits::Limits;
pub use problem::Problem;
