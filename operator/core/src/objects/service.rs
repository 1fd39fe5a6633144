//! Services: the one that clients call, and the headless one of each revision.

use crds::{RewardModel, labels};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{HTTP_PORT, HTTP_PORT_NAME, metadata, selector, selector_of};
use crate::identity::{RevisionHash, names};

/// What the Service selects while no revision serves: no pod has this revision.
const NO_REVISION: &str = "none";

/// The Service that clients call. It leads to the stable revision's pods; the router's pods will
/// take their place. It is there from the beginning, so that its address and a conflict over its
/// name are known early.
pub fn endpoint(model: &RewardModel, stable: Option<&RevisionHash>) -> Service {
    let name = names::endpoint(&model.name_any());
    let mut selector = selector(model);
    let revision = stable.map_or(NO_REVISION, RevisionHash::as_str);
    selector.insert(labels::REVISION.to_owned(), revision.to_owned());
    Service {
        metadata: metadata(model, name, labels::component::ENDPOINT, None),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector),
            ports: Some(vec![port()]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The headless Service of a revision.
pub fn of_revision(model: &RewardModel, revision: &RevisionHash) -> Service {
    let name = names::revision(&model.name_any(), revision);
    Service {
        metadata: metadata(model, name, labels::component::SERVER, Some(revision)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            selector: Some(selector_of(model, revision)),
            ports: Some(vec![port()]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Where clients send their requests inside the cluster.
pub fn url(model: &RewardModel) -> String {
    let (name, namespace) = (model.name_any(), model.namespace().unwrap_or_default());
    format!("http://{name}.{namespace}.svc:{HTTP_PORT}")
}

fn port() -> ServicePort {
    ServicePort {
        name: Some(HTTP_PORT_NAME.to_owned()),
        port: HTTP_PORT,
        target_port: Some(IntOrString::String(HTTP_PORT_NAME.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some("http".to_owned()),
        ..ServicePort::default()
    }
}
