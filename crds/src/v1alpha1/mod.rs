//! Version `v1alpha1`: one folder a kind.
#![expect(
    unreachable_pub,
    reason = "the derive of KubeSchema copies each struct into a private scope"
)]

pub mod ab_experiment;
pub mod reward_model;
