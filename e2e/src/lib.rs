//! A real Kubernetes cluster on one machine, the project's images, and what the tests that need
//! a cluster share.

pub mod command;
pub mod paths;
pub mod progress;
