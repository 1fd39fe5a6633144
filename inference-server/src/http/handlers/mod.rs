//! The handlers: one file a dialect, from a body to an answer. The upper floor: nobody but the router
//! knows them.

pub(crate) mod admin;
pub(crate) mod docs;
pub(crate) mod evaluate;
pub(crate) mod feedback;
pub(crate) mod health;
pub(crate) mod internal;
pub(crate) mod native;
pub(crate) mod openapi;
pub(crate) mod openrlhf;
pub(crate) mod probes;
pub(crate) mod rerank;
pub(crate) mod sglang;
pub(crate) mod tei;
pub(crate) mod vllm;
