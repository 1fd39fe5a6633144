//! What the demo and the tests that need a cluster share: a client as the field writes it, and what
//! it measures. The cluster itself is started by `e2e/cluster/local`.

pub mod accuracy;
pub mod claims;
pub mod faulty;
pub mod feedback;
pub mod fill;
pub mod http;
pub mod load;
pub mod rollback;
pub mod scale;
pub mod source;
pub mod users;
