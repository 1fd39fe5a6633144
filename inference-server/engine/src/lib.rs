//! A [`Scorer`](inference_scoring::Scorer) over a model in this process.
//!
//! Owns when a sequence is computed and what is remembered: admission, tokens, queues, threads,
//! deadlines, the cache. It must not know of HTTP, nor of how a model computes. Invariants: a request
//! is answered once, by its scores or an error; a batch is admitted whole or not at all; whatever
//! waits is bounded.

pub mod cache;
mod computing;
mod description;
mod input;
mod lanes;
mod local;
mod pace;
mod queue;
mod request;
mod room;
pub mod scheduler;
#[cfg(test)]
mod testing;
mod tokeniser;

use std::time::Duration;

pub use description::description;
pub use input::{Unreadable, text_input};
pub use local::{Capacity, LocalScorer};
pub use tokeniser::Tokeniser;

/// Watches the engine's work.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// A batch was computed.
    fn batch(&self, sequences: usize, tokens: usize, took: Duration);
    /// A request's client left before its score was computed.
    fn left(&self);
    /// The engine's device is lost, and why: nothing can be computed any more in this process.
    fn lost(&self, why: &str);
}
