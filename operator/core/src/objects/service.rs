//! Services: the one that clients call, and the headless one of each revision.

use crds::{RewardModel, labels};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{HTTP_PORT, HTTP_PORT_NAME, metadata, router, selector, selector_of};
use crate::identity::{RevisionHash, names};

/// What the Service selects while no revision serves: no pod has this revision.
const NO_REVISION: &str = "none";

/// Whose pods clients are led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front<'a> {
    /// The router's.
    Router,
    /// A revision's own, until a router is there.
    Revision(&'a RevisionHash),
    /// Nobody's yet.
    Nobody,
}

/// The Service that clients call. It leads to the router as soon as one is there. It is there from the
/// beginning, so that its address and a conflict over its name are known early.
pub fn endpoint(model: &RewardModel, front: Front<'_>) -> Service {
    let name = names::endpoint(&model.name_any());
    let selector = match front {
        Front::Router => router::selector(model),
        Front::Revision(revision) => selector_of(model, revision),
        Front::Nobody => {
            let mut all = selector(model);
            all.insert(labels::REVISION.to_owned(), NO_REVISION.to_owned());
            all
        }
    };
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
