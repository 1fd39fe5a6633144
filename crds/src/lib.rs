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

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

pub use v1alpha1::ab_experiment::{ABExperiment, ABExperimentSpec, ABExperimentStatus};
pub use v1alpha1::reward_model::{RewardModel, RewardModelSpec, RewardModelStatus};

/// The API group of every resource, label and annotation.
pub const GROUP: &str = "betterai.dev";

/// All custom resource definitions, in the order in which they are to be applied. Under `status`
/// the schema checks shapes only, so that a status of a newer operator is never refused by an older
/// definition: an operator that cannot write its decision down cannot act. Where there is no status the
/// API server answers `observedGeneration: -1`, or whoever waits by kstatus (Flux) would take a resource
/// that no operator has seen for one that is done.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![RewardModel::crd(), ABExperiment::crd()];
    let versions = definitions
        .iter_mut()
        .flat_map(|definition| &mut definition.spec.versions);
    for version in versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let fields = root.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = fields.and_then(|fields| fields.get_mut("status")) {
            loosen(status);
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
    }
    definitions
}

fn loosen(schema: &mut JSONSchemaProps) {
    *schema = JSONSchemaProps {
        enum_: None,
        pattern: None,
        minimum: None,
        maximum: None,
        min_length: None,
        max_length: None,
        default: None,
        ..schema.clone()
    };
    // The keys of a list that is a map have to be there; such lists are Kubernetes' own conditions,
    // and our gates and variants.
    if !schema
        .properties
        .iter()
        .flatten()
        .any(|(name, _)| name == "lastTransitionTime")
    {
        schema.required = None;
    }
    let mut inner: Vec<&mut JSONSchemaProps> = Vec::new();
    inner.extend(
        schema
            .properties
            .iter_mut()
            .flat_map(|fields| fields.values_mut()),
    );
    let keys = schema.x_kubernetes_list_map_keys.clone();
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => inner.push(item.as_mut()),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => inner.extend(items),
        None => {}
    }
    for schema in inner {
        loosen(schema);
    }
    if let (Some(keys), Some(JSONSchemaPropsOrArray::Schema(item))) = (keys, &mut schema.items) {
        let required = item.required.get_or_insert_default();
        required.extend(
            keys.into_iter()
                .filter(|key| !required.contains(key))
                .collect::<Vec<_>>(),
        );
    }
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
pub fn document(definition: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    Ok(format!("---\n{}", serde_yaml::to_string(definition)?))
}
