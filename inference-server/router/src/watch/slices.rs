//! Who serves a Service, by its EndpointSlices.
//!
//! Owns how they are read. Invariants: a pod that has addresses of both families, or is in several slices,
//! is one endpoint, and takes requests where any of them says so; what a slice does not say is taken as
//! Kubernetes takes it (ready unless told otherwise); slices that others than Kubernetes keep serve nobody;
//! where nobody at all is said to serve, those that are not told to leave are asked all the same: an API
//! server that was away calls every pod of a node unready until the node has spoken, and they all serve.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::{Seen, Services};

/// The label that names a slice's Service.
pub(super) const SERVICE: &str = "kubernetes.io/service-name";
/// The label that says who keeps a slice, and who keeps those of Services that select pods.
const KEEPER: (&str, &str) = (
    "endpointslice.kubernetes.io/managed-by",
    "endpointslice-controller.k8s.io",
);
/// The label that says what pods are for, and what servers are. The model's own Service has the same model,
/// and its pods are routers: that they are reachable says nothing of who serves.
const COMPONENT: (&str, &str) = ("betterai.dev/component", "server");
/// The port that requests are sent to, where it has a name.
const PORT: &str = "http";

/// Who serves each Service.
pub(super) fn services<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Services {
    let of_service = |slice| service(slice).map(|service| (service, slice));
    let mut slices: Vec<_> = slices.into_iter().filter_map(of_service).collect();
    // Of two families the first one is asked, in every router: IPv4 comes before IPv6.
    slices.sort_by_key(|(_, slice)| (&slice.address_type, &slice.metadata.name));
    let all = slices.iter().flat_map(|(_, slice)| &slice.endpoints);
    let nobody = all.map(Said::of).all(|said| !said.ready && !said.serving);
    let mut services: BTreeMap<&str, Pods> = BTreeMap::new();
    for (service, slice) in slices {
        let pods = services.entry(service).or_default();
        if let Some(port) = port(slice) {
            let seen = slice.endpoints.iter();
            seen.filter_map(|endpoint| seen_at(endpoint, port, nobody))
                .for_each(|seen| pods.add(seen));
        }
    }
    services
        .into_iter()
        .map(|(name, pods)| (name.to_owned(), pods.all))
        .collect()
}

/// The Service of servers whose slice this is, where Kubernetes keeps it.
fn service(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    let service = labels.get(SERVICE)?;
    let is = |(label, value)| labels.get(label).is_none_or(|said| said == value);
    let is_kept = is(KEEPER) && is(COMPONENT);
    let owners = slice.metadata.owner_references.as_deref();
    let is_its = owners.is_none_or(|all| {
        all.iter()
            .any(|o| o.kind == "Service" && o.name == *service)
    });
    (is_kept && is_its).then_some(service)
}

/// The pods of a Service.
#[derive(Default)]
struct Pods {
    all: Vec<Seen>,
    by_uid: BTreeMap<String, usize>,
    by_address: BTreeMap<String, usize>,
}

impl Pods {
    /// Adds what a slice says of a pod. While one moves from a slice to another, both have it, and one of
    /// them is late: whoever says more is right. An address has one pod: who is ready there has it.
    fn add(&mut self, seen: Seen) {
        let place = self.by_uid.get(&seen.uid);
        let place = place.or_else(|| self.by_address.get(&seen.address));
        let Some(known) = place.and_then(|place| self.all.get_mut(*place)) else {
            self.by_uid.insert(seen.uid.clone(), self.all.len());
            self.by_address.insert(seen.address.clone(), self.all.len());
            self.all.push(seen);
            return;
        };
        if known.uid == seen.uid {
            known.ready |= seen.ready;
            known.serving |= seen.serving;
        } else if (seen.ready, seen.serving) > (known.ready, known.serving) {
            *known = seen;
        }
    }
}

fn port(slice: &EndpointSlice) -> Option<i32> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some(PORT));
    named.or_else(|| ports.first())?.port
}

/// What a slice says of an endpoint.
#[derive(Clone, Copy)]
struct Said {
    ready: bool,
    serving: bool,
    leaving: bool,
}

impl Said {
    fn of(endpoint: &Endpoint) -> Self {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|is| is.ready).unwrap_or(true);
        Self {
            ready,
            leaving: conditions.and_then(|is| is.terminating).unwrap_or(false),
            serving: conditions.and_then(|is| is.serving).unwrap_or(ready),
        }
    }
}

/// An endpoint; `nobody` is whether none at all is said to serve.
fn seen_at(endpoint: &Endpoint, port: i32, nobody: bool) -> Option<Seen> {
    let address = endpoint.addresses.first()?;
    let Said {
        ready,
        serving,
        leaving,
    } = Said::of(endpoint);
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
        serving: serving || nobody && !leaving,
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
    fn where_nobody_is_said_to_serve_those_that_do_not_leave_are_asked() {
        let unready = json!({"ready": false, "serving": false});
        let leaving = json!({"ready": false, "serving": false, "terminating": true});
        let of = |name: &str, endpoints| slice(name, "IPv4", http(), endpoints);
        let all = of(
            "a",
            json!([
                pod("10.0.0.1", "u1", unready),
                pod("10.0.0.2", "u2", leaving)
            ]),
        );
        let serving = |slices: &[&EndpointSlice]| -> Vec<bool> {
            let services = services(slices.iter().copied());
            services["m-a"].iter().map(|seen| seen.serving).collect()
        };
        assert_eq!(serving(&[&all]), [true, false]);
        let one = of("b", json!([pod("10.0.0.3", "u3", json!({}))]));
        assert_eq!(serving(&[&all, &one]), [false, false, true]);
    }

    #[test]
    fn that_routers_are_reachable_says_nothing_of_who_serves() {
        let is = |name: &str, component: &str, ready: bool| {
            let conditions = json!({"ready": ready, "serving": ready});
            let mut slice = slice(name, "IPv4", http(), json!([pod(name, name, conditions)]));
            let labels = slice.metadata.labels.as_mut().unwrap();
            labels.insert(COMPONENT.0.to_owned(), component.to_owned());
            slice
        };
        let servers = is("10.0.0.1", "server", false);
        let routers = is("10.0.0.2", "endpoint", true);
        let services = services([&servers, &routers]);
        let asked: Vec<_> = services["m-a"].iter().map(|s| s.serving).collect();
        assert_eq!(asked, [true]);
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
    fn a_pod_in_two_slices_is_ready_where_one_of_them_says_so() {
        let of = |name, ready: bool| {
            let pods = json!([pod("10.0.0.1", "u1", json!({"ready": ready}))]);
            slice(name, "IPv4", http(), pods)
        };
        for (first, second) in [(false, true), (true, false), (true, true)] {
            let (first, second) = (of("a", first), of("b", second));
            let services = services([&first, &second]);
            assert_eq!(services["m-a"].len(), 1);
            assert!(services["m-a"][0].ready);
        }
    }

    #[test]
    fn an_address_has_one_pod_the_one_that_is_ready() {
        let of = |name, uid, ready: bool| {
            let pods = json!([pod("10.0.0.1", uid, json!({"ready": ready}))]);
            slice(name, "IPv4", http(), pods)
        };
        let (old, new) = (of("a", "old", false), of("b", "new", true));
        for slices in [[&old, &new], [&new, &old]] {
            let services = services(slices);
            let uids: Vec<_> = services["m-a"].iter().map(|s| s.uid.as_str()).collect();
            assert_eq!(uids, ["new"]);
        }
    }

    #[test]
    fn slices_that_others_keep_serve_nobody() {
        let pods = || json!([pod("10.0.0.1", "u1", json!({}))]);
        let kept_by = |who: &str| {
            let mut slice = slice("a", "IPv4", http(), pods());
            let labels = slice.metadata.labels.as_mut().unwrap();
            labels.insert(KEEPER.0.to_owned(), who.to_owned());
            slice
        };
        let owned_by = |kind: &str, name: &str| {
            let mut slice = kept_by(KEEPER.1);
            let owner = json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "o"}]);
            slice.metadata.owner_references = serde_json::from_value(owner).unwrap();
            slice
        };
        for ours in [kept_by(KEEPER.1), owned_by("Service", "m-a")] {
            assert_eq!(services([&ours])["m-a"].len(), 1);
        }
        for stray in [
            kept_by("somebody"),
            owned_by("Service", "m-b"),
            owned_by("Gateway", "m-a"),
        ] {
            assert!(services([&stray]).is_empty());
        }
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
