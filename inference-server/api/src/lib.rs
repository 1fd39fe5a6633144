//! Wire types of the scoring API and their rules.
//!
//! Owns the shapes of requests, answers and errors, one file a dialect, and what makes a request
//! valid. It must not know of a server framework, a model or a clock. Invariant: a request that
//! passes here asks for something that can be scored.

pub mod chat;
pub mod cohere;
pub mod dialect;
pub mod evaluate;
pub mod feedback;
pub mod input;
pub mod internal;
pub mod json;
pub mod limits;
pub mod native;
pub mod openrlhf;
pub mod options;
pub mod problem;
pub mod sglang;
pub mod tei;
pub mod update;
pub mod vllm;

pub use chat::{Chat, ChatOptions, Message};
pub use dialect::Dialect;
pub use input::{Input, InputOptions, Side, Texts};
pub use json::{Json, Members};
pub use limits::Limits;
pub use problem::Problem;
