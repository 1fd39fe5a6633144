//! Who serves a Service, by its EndpointSlices.
//!
//! Owns how they are read. Invariants: a pod that has addresses of both families is one endpoint; what
//! a slice does not say is taken as Kubernetes takes it (ready unless told otherwise).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::{Seen, Services};

/// The label that names a slice's Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// The port that requests are sent to, where it has a name.
const PORT: &str = "http";

/// Who serves each Service.
pub(super) fn services<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Services {
    let mut slices: Vec<_> = slices.into_iter().collect();
    // Of two families the first one is asked, in every router: IPv4 comes before IPv6.
    slices.sort_by_key(|slice| (&slice.address_type, &slice.metadata.name));
    let mut services: Services = BTreeMap::new();
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE)) else {
            continue;
        };
        let of_service = services.entry(service.clone()).or_default();
        let Some(port) = port(slice) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            if let Some(seen) = seen(endpoint, port)
                && known.insert((service.clone(), seen.uid.clone()))
            {
                of_service.push(seen);
            }
        }
    }
    services
}

fn port(slice: &EndpointSlice) -> Option<i32> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some(PORT));
    named.or_else(|| ports.first())?.port
}

fn seen(endpoint: &Endpoint, port: i32) -> Option<Seen> {
    let address = endpoint.addresses.first()?;
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|is| is.ready).unwrap_or(true);
    let leaving = conditions.and_then(|is| is.terminating).unwrap_or(false);
    let serving = conditions.and_then(|is| is.serving).unwrap_or(ready);
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.clone()
    };
    let target = endpoint.target_ref.as_ref();
    let uid = target.and_then(|target| target.uid.clone());
    Some(Seen {
        address: format!("{host}:{port}"),
        uid: uid.unwrap_or_else(|| address.clone()),
        ready: ready && !leaving,
        serving,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(name: &str, family: &str, ports: Value, endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {SERVICE: "m-a"}},
            "addressType": family,
            "ports": ports,
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn http() -> Value {
        json!([{"name": "admin", "port": 8001}, {"name": "http", "port": 8000}])
    }

    fn pod(address: &str, uid: &str, conditions: Value) -> Value {
        json!({"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "uid": uid}})
    }

    #[test]
    fn a_pod_of_two_families_is_one_endpoint() {
        let six = slice(
            "a",
            "IPv6",
            http(),
            json!([pod("fd00::1", "u1", json!({"ready": true}))]),
        );
        let four = slice(
            "b",
            "IPv4",
            http(),
            json!([pod("10.0.0.1", "u1", json!({"ready": true}))]),
        );
        for slices in [[&six, &four], [&four, &six]] {
            let services = services(slices);
            assert_eq!(services["m-a"].len(), 1);
            assert_eq!(services["m-a"][0].address, "10.0.0.1:8000");
        }
        assert_eq!(services([&six])["m-a"][0].address, "[fd00::1]:8000");
    }

    #[test]
    fn what_a_slice_does_not_say_is_taken_as_kubernetes_takes_it() {
        let endpoints = json!([
            pod("10.0.0.1", "u1", json!({})),
            pod("10.0.0.2", "u2", json!({"ready": false})),
            pod(
                "10.0.0.3",
                "u3",
                json!({"ready": false, "serving": true, "terminating": true})
            ),
            pod(
                "10.0.0.4",
                "u4",
                json!({"ready": false, "serving": false, "terminating": true})
            ),
        ]);
        let slice = slice("a", "IPv4", http(), endpoints);
        let services = services([&slice]);
        let of: Vec<_> = services["m-a"]
            .iter()
            .map(|seen| (seen.ready, seen.serving))
            .collect();
        assert_eq!(
            of,
            [(true, true), (false, false), (false, true), (false, false)]
        );
    }

    #[test]
    fn slices_without_a_service_or_a_port_serve_nobody() {
        let endpoints = || json!([pod("10.0.0.1", "u1", json!({}))]);
        let without = slice("a", "IPv4", Value::Null, endpoints());
        assert_eq!(services([&without])["m-a"], []);
        let mut stray = slice("a", "IPv4", http(), endpoints());
        stray.metadata.labels = None;
        assert!(services([&stray]).is_empty());
        let unnamed = slice("a", "IPv4", json!([{"port": 9}]), endpoints());
        assert_eq!(services([&unnamed])["m-a"][0].address, "10.0.0.1:9");
    }
}
