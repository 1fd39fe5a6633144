//! Many RewardModels at once: what they cost the operator.
//!
//! Owns a stand-in for the controllers and kubelets of Kubernetes, which gives each Deployment its
//! pods and each Job its answer, and the figures of the operator's process. Behind it stand a real
//! etcd and a real API server; no container is started.

mod figures;
mod routers;
mod stand_in;

pub use figures::{Figures, measure};
pub use stand_in::run as stand_in;
