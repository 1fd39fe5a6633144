//! Who may reach what: everybody a router's traffic, the operator alone what it tells of that, and the
//! routers the scoring pods.

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{ADMIN_PORT_NAME, own, selector};
use crate::identity::names;
use crate::objects::{self, HTTP_PORT_NAME, metadata};
use crate::observed::Settings;

/// The label of namespaces whose pods may read metrics, as kubebuilder's projects have it.
const MONITORING: (&str, &str) = ("metrics", "enabled");

/// The policy of the router's pods.
pub fn policy(model: &RewardModel, settings: &Settings) -> NetworkPolicy {
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labelled(
            "kubernetes.io/metadata.name",
            &settings.operator_namespace,
        )),
        pod_selector: Some(labelled("app.kubernetes.io/name", labels::OPERATOR)),
        ..NetworkPolicyPeer::default()
    };
    let metadata = own(model, names::router(&model.name_any()));
    let rules = vec![
        from(None, HTTP_PORT_NAME),
        from(Some(vec![operator]), ADMIN_PORT_NAME),
    ];
    ingress(metadata, selector(model), rules)
}

/// The policy of the scoring pods: what the edge of a router asks for (tokens, limits) could else be passed
/// by. Metrics have the same port, so namespaces that are marked as those of a monitoring system get in.
pub fn servers_policy(model: &RewardModel) -> NetworkPolicy {
    // Of any model of the namespace: an experiment on another endpoint has this one's pods for a variant.
    let routers = NetworkPolicyPeer {
        pod_selector: Some(labelled(labels::COMPONENT, labels::component::ROUTER)),
        ..NetworkPolicyPeer::default()
    };
    let monitoring = NetworkPolicyPeer {
        namespace_selector: Some(labelled(MONITORING.0, MONITORING.1)),
        ..NetworkPolicyPeer::default()
    };
    let mut peers = vec![routers, monitoring];
    let rollout = model.spec.rollout.as_ref();
    if rollout.is_some_and(|rollout| rollout.golden_set.is_some()) {
        peers.push(golden(model));
    }
    let name = names::servers(&model.name_any());
    let metadata = metadata(model, name, labels::component::SERVER, None);
    let rules = vec![from(Some(peers), HTTP_PORT_NAME)];
    ingress(metadata, objects::selector(model), rules)
}

/// The Job that scores the golden set asks the servers themselves: no user's request is to reach a revision
/// before it.
fn golden(model: &RewardModel) -> NetworkPolicyPeer {
    let labels = BTreeMap::from([
        (labels::MODEL.to_owned(), model.name_any()),
        (
            labels::COMPONENT.to_owned(),
            labels::component::GOLDEN.to_owned(),
        ),
    ]);
    NetworkPolicyPeer {
        pod_selector: Some(selecting(labels)),
        ..NetworkPolicyPeer::default()
    }
}

fn labelled(key: &str, value: &str) -> LabelSelector {
    selecting(BTreeMap::from([(key.to_owned(), value.to_owned())]))
}

fn selecting(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

fn from(peers: Option<Vec<NetworkPolicyPeer>>, port: &str) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: peers,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(port.to_owned())),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        }]),
    }
}

fn ingress(
    metadata: ObjectMeta,
    pods: BTreeMap<String, String>,
    rules: Vec<NetworkPolicyIngressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selecting(pods)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            ..NetworkPolicySpec::default()
        }),
    }
}
