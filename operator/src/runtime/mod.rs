//! What every program of this kind needs around its work: logs, health, an end in order.
//!
//! It must not know of any resource.

pub(crate) mod admin;
pub(crate) mod admin_key;
pub(crate) mod leader;
pub(crate) mod shutdown;
pub(crate) mod telemetry;
