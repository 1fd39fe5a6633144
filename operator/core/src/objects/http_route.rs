//! The HTTPRoute of the Gateway API that leads from Gateways to the Service that clients call.
//!
//! Invariant: it is made of the spec's `traffic.gateway` and the resource's name alone, so that no rollout
//! changes it: who gets what is decided behind it.

use std::collections::BTreeMap;

use crds::v1alpha1::reward_model::traffic::Gateway;
use crds::{RewardModel, labels};
use kube::ResourceExt;
use kube::core::{DynamicObject, TypeMeta};
use serde_json::{Value, json};

use super::{HTTP_PORT, metadata};
use crate::identity::{canonical, names};

/// The group of its kind.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// The version of its kind.
pub const VERSION: &str = "v1";
/// Its kind.
pub const KIND: &str = "HTTPRoute";
/// The same in addresses.
pub const PLURAL: &str = "httproutes";

/// The route from the Gateways of `gateway` to the Service of `model`.
pub fn build(model: &RewardModel, gateway: &Gateway) -> DynamicObject {
    let name = names::endpoint(&model.name_any());
    // The lists that are empty take away what somebody else has put there.
    let spec = json!({
        "parentRefs": gateway.parent_refs,
        "hostnames": gateway.hostnames.clone().unwrap_or_default(),
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "filters": [],
            "backendRefs": [{"name": name, "port": HTTP_PORT}],
        }],
    });
    let asked = canonical::short_hash(&spec);
    let mut metadata = metadata(model, name, labels::component::ENDPOINT, None);
    metadata.annotations = Some(BTreeMap::from([(labels::ASKED.to_owned(), asked)]));
    DynamicObject {
        types: Some(TypeMeta {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: KIND.to_owned(),
        }),
        metadata,
        data: json!({ "spec": spec }),
    }
}

/// The name of a parent, as `namespace/name` where it is of another namespace.
pub(crate) fn parent_name(parent: &Value) -> String {
    let text = |key: &str| parent.get(key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    let whole = match text("namespace") {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    };
    match text("sectionName") {
        Some(section) => format!("{whole}, listener {section}"),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_leads_from_the_gateways_to_the_service() {
        let model: RewardModel = serde_json::from_value(json!({
            "apiVersion": "betterai.dev/v1alpha1",
            "kind": "RewardModel",
            "metadata": {"name": "helpfulness", "namespace": "team", "uid": "u"},
            "spec": {
                "model": {"source": {"pvc": {"claimName": "models"}}},
                "traffic": {"gateway": {
                    "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
                    "hostnames": ["rewards.example"],
                }},
            },
        }))
        .unwrap();
        let gateway = model.spec.traffic.clone().unwrap().gateway.unwrap();
        insta::assert_yaml_snapshot!(build(&model, &gateway));
        let parent = json!(gateway.parent_refs[0]);
        assert_eq!(parent_name(&parent), "gateways/public, listener https");
    }

    #[test]
    fn what_is_asked_for_no_more_makes_another_route() {
        let model: RewardModel = serde_json::from_value(json!({
            "apiVersion": "betterai.dev/v1alpha1", "kind": "RewardModel", "metadata": {"name": "m"},
            "spec": {"model": {"source": {}}},
        }))
        .unwrap();
        let of = |parent: Value| {
            let gateway = serde_json::from_value(json!({"parentRefs": [parent]})).unwrap();
            serde_json::to_value(build(&model, &gateway)).unwrap()
        };
        let listener = of(json!({"name": "public", "sectionName": "https"}));
        let whole = of(json!({"name": "public"}));
        assert!(!crate::compare::holds(&whole, &listener));
        assert!(crate::compare::holds(&whole, &whole));
    }
}
