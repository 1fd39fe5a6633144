//! The custom resources of the operator, as Rust types and as generated YAML.
//!
//! Owns every name that a user, a client or another program may rely on: fields, defaults, CEL
//! rules, condition types and reasons, labels and annotations. It must not know how any of them is
//! acted upon, and does no IO. Invariant: `yaml/` is exactly what these types generate (a test
//! compares them), so the schema in a cluster and the types in the programs cannot differ.

pub mod conditions;
pub mod labels;
pub mod v1alpha1;
pub mod value;

pub use v1alpha1::reward_model::{RewardModel, RewardModelSpec, RewardModelStatus};

/// The API group of every resource, label and annotation.
pub const GROUP: &str = "betterai.dev";

/// All custom resource definitions, in the order in which they are to be applied.
pub fn all()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt;
    vec![RewardModel::crd()]
}

/// The definitions as one YAML stream, as `operator crds` prints it.
///
/// # Errors
/// Only when a definition cannot be written as YAML, which a test rules out.
pub fn to_yaml() -> Result<String, serde_yaml::Error> {
    all().iter().map(document).collect()
}

/// One definition as a YAML document with its separator.
///
/// # Errors
/// As [`to_yaml`].
pub fn document(
    definition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
) -> Result<String, serde_yaml::Error> {
    Ok(format!("---\n{}", serde_yaml::to_string(definition)?))
}
