//! What the cluster claims are judged by: the audit log, and what a watch has seen.
//!
//! Owns the judging. It must not start or break anything; the scripts of `e2e/claims` do. Invariant: what is
//! said comes from the API server's own record, not from the operator.

pub mod audit;
pub mod pods;
