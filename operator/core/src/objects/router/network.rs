//! Who may reach a router: everybody its traffic, the operator alone what it tells of that.

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{ADMIN_PORT_NAME, own, selector};
use crate::identity::names;
use crate::objects::HTTP_PORT_NAME;
use crate::observed::Settings;

/// The policy of the router's pods.
pub fn policy(model: &RewardModel, settings: &Settings) -> NetworkPolicy {
    let port = |name: &str| {
        Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(name.to_owned())),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        }])
    };
    let labelled = |key: &str, value: &str| LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        ..LabelSelector::default()
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labelled(
            "kubernetes.io/metadata.name",
            &settings.operator_namespace,
        )),
        pod_selector: Some(labelled("app.kubernetes.io/name", labels::OPERATOR)),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicy {
        metadata: own(model, names::router(&model.name_any())),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(selector(model)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    from: None,
                    ports: port(HTTP_PORT_NAME),
                },
                NetworkPolicyIngressRule {
                    from: Some(vec![operator]),
                    ports: port(ADMIN_PORT_NAME),
                },
            ]),
            ..NetworkPolicySpec::default()
        }),
    }
}
