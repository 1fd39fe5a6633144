//! Reward models: from a folder of files to logits.
//!
//! Owns the model's files (identity, config, tokenizer, weights) and its mathematics, on candle's tensors
//! and the packed kernels. It must not know of requests, queues or HTTP. Invariants: nothing is unpickled; the
//! tensors are built from the very bytes that were hashed; by the packed kernels, a score is the same bits
//! whatever else is in the batch.

mod added_tokens;
pub mod architectures;
pub mod backend;
mod beginnings;
pub mod chat;
pub mod config;
pub mod device;
pub mod device_error;
pub mod digest;
pub mod dtype;
pub mod engine;
pub mod error;
pub mod files;
pub mod input;
pub mod layers;
mod leftover;
pub mod legacy_tokens;
pub mod loader;
pub mod memory;
pub mod numbers;
pub mod output;
pub mod packed;
pub mod rope;
mod rope_scaling;
pub mod threads;
pub mod tokenizer;
mod tokenizer_config;
mod trial;
pub mod weights;

pub use architectures::Kind;
pub use backend::Backend;
pub use device::DeviceChoice;
pub use digest::Digest;
pub use dtype::Dtype;
pub use engine::{Engine, Logits};
pub use error::{LoadError, Reason};
pub use input::{
    Chat, ChatMessage, ChatOptions, EncodeOptions, Encoded, InputError, TextInput, Truncation,
};
pub use kernels::Isa;
pub use loader::{LoadOptions, Model, ModelFacts, load};
pub use minijinja::Value as TemplateValue;
pub use output::OutputActivation;
pub use packed::Packed;
pub use tokenizer::InputTokenizer;
pub use tokenizer::ShownToken;
