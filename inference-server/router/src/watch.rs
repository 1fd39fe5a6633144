//! The table and the endpoints, as Kubernetes has them: the only place of the server that knows it.
//!
//! Owns two watches of one namespace: the ConfigMap `NAME-traffic`, and the EndpointSlices of the model's
//! Services. It must not know what a table means. Invariants: no table is offered before the endpoints were
//! listed once, so that none looks empty; while the API server is away, what is known stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watching};
use kube::{Api, Client, ResourceExt};
use traffic::table;

use crate::{Address, Placed, Router};

/// Marks the slices of a model's Services, as it marks the Services.
const MODEL: &str = "betterai.dev/model";
const SERVICE: &str = "kubernetes.io/service-name";

/// Follows the table and the endpoints of the model `name`, for ever.
///
/// # Errors
/// When there is no cluster to talk to.
pub async fn watch(router: Router, namespace: &str, name: &str) -> kube::Result<()> {
    let client = Client::try_default().await?;
    let tables = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let of_model = format!("metadata.name={name}-traffic");
    let tables = watching(tables, watcher::Config::default().fields(&of_model));
    let slices = Api::<EndpointSlice>::namespaced(client, namespace);
    let of_model = format!("{MODEL}={name}");
    let slices = watching(slices, watcher::Config::default().labels(&of_model));
    let mut tables = tables.default_backoff().boxed();
    let mut slices = slices.default_backoff().boxed();
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            Some(event) = tables.next() => match event {
                Ok(event) => seen.table(event),
                Err(error) => interrupted("the table", &error),
            },
            Some(event) = slices.next() => match event {
                Ok(event) => {
                    if seen.slice(event) {
                        router.place(seen.placed());
                    }
                }
                Err(error) => interrupted("the endpoints", &error),
            },
            else => return Ok(()),
        }
        seen.offer(&router);
    }
}

fn interrupted(what: &str, error: &watcher::Error) {
    tracing::warn!(target: "router", %error, "the watch of {what} is interrupted: what is known stays");
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    table: Option<String>,
    /// By their names.
    slices: HashMap<String, EndpointSlice>,
    /// Those of a list that is not whole yet.
    listed: HashMap<String, EndpointSlice>,
    known: bool,
}

impl Seen {
    /// A table that was deleted is kept: the operator writes it again.
    fn table(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let text = object.data.and_then(|mut data| data.remove(table::KEY));
                self.table = text.or(self.table.take());
            }
            Event::Delete(_) | Event::Init | Event::InitDone => {}
        }
    }

    /// Whether something may be another one now.
    fn slice(&mut self, event: Event<EndpointSlice>) -> bool {
        match event {
            Event::Init => {
                self.listed.clear();
                false
            }
            Event::InitApply(slice) => {
                self.listed.insert(slice.name_any(), slice);
                false
            }
            Event::InitDone => {
                self.slices = std::mem::take(&mut self.listed);
                self.known = true;
                true
            }
            Event::Apply(slice) => {
                self.slices.insert(slice.name_any(), slice);
                true
            }
            Event::Delete(slice) => self.slices.remove(&slice.name_any()).is_some(),
        }
    }

    fn placed(&self) -> Placed {
        placed(self.slices.values())
    }

    fn offer(&mut self, router: &Router) {
        if !self.known {
            return;
        }
        let Some(table) = self.table.take() else {
            return;
        };
        if let Err(refusal) = router.offer(table.as_bytes()) {
            tracing::warn!(target: "router", reason = refusal.word(), "the table is refused: {refusal}");
        }
    }
}

/// Who serves each Service. A pod stands in a slice for each family of addresses, and counts once.
fn placed<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Placed {
    let mut placed = Placed::new();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // In one order, so that a pod keeps the address that it was found at.
    let mut slices: Vec<&EndpointSlice> = slices.collect();
    slices.sort_by_key(|slice| (slice.address_type.clone(), slice.metadata.name.clone()));
    for slice in slices {
        let Some(service) = slice.labels().get(SERVICE) else {
            continue;
        };
        let ports = slice.ports.iter().flatten();
        let Some(port) = ports.filter_map(|port| port.port).next() else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let Some(host) = endpoint.addresses.first() else {
                continue;
            };
            let pod = endpoint.target_ref.as_ref().and_then(|pod| pod.uid.clone());
            let pod = pod.unwrap_or_else(|| host.clone());
            if !seen.entry(service.clone()).or_default().insert(pod) {
                continue;
            }
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let ready = conditions.ready.unwrap_or(true);
            placed.entry(service.clone()).or_default().push(Address {
                address: if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                },
                ready,
                // One that is on its way out is not ready, and answers still.
                serving: conditions.serving.unwrap_or(ready),
            });
        }
    }
    for addresses in placed.values_mut() {
        addresses.sort_by(|one, other| one.address.cmp(&other.address));
    }
    placed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(name: &str, service: &str, family: &str, endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {SERVICE: service}},
            "addressType": family,
            "ports": [{"name": "http", "port": 8000}],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn endpoint(address: &str, uid: &str, conditions: Value) -> Value {
        json!({"addresses": [address], "conditions": conditions, "targetRef": {"uid": uid}})
    }

    #[test]
    fn a_pod_with_addresses_of_two_families_counts_once() {
        let four = slice(
            "a",
            "s",
            "IPv4",
            json!([endpoint("10.0.0.1", "u", json!({"ready": true}))]),
        );
        let six = slice(
            "b",
            "s",
            "IPv6",
            json!([endpoint("fd00::1", "u", json!({"ready": true}))]),
        );
        let alone = slice(
            "c",
            "t",
            "IPv6",
            json!([endpoint("fd00::2", "v", json!({"ready": true}))]),
        );
        let placed = placed([&six, &four, &alone].into_iter());
        assert_eq!(placed["s"].len(), 1);
        assert_eq!(placed["s"][0].address, "10.0.0.1:8000");
        assert_eq!(placed["t"][0].address, "[fd00::2]:8000");
    }

    #[test]
    fn one_on_its_way_out_serves_and_is_not_ready() {
        let leaving = json!({"ready": false, "serving": true, "terminating": true});
        let one = slice(
            "a",
            "s",
            "IPv4",
            json!([endpoint("10.0.0.1", "u", leaving)]),
        );
        let placed = placed([&one].into_iter());
        assert!(!placed["s"][0].ready && placed["s"][0].serving);
    }

    #[test]
    fn a_slice_without_what_it_needs_is_passed_over() {
        let mut bare = slice(
            "a",
            "s",
            "IPv4",
            json!([endpoint("10.0.0.1", "u", json!({}))]),
        );
        bare.ports = None;
        let nobody = slice("b", "s", "IPv4", json!([{"addresses": []}]));
        let foreign: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "c"}, "addressType": "IPv4", "endpoints": [],
        }))
        .unwrap();
        assert!(placed([&bare, &nobody, &foreign].into_iter()).is_empty());
    }

    #[test]
    fn a_table_that_is_deleted_is_kept_and_none_is_offered_before_the_endpoints_are_known() {
        let mut seen = Seen::default();
        let table: ConfigMap =
            serde_json::from_value(json!({"data": {"table.json": "{}"}})).unwrap();
        seen.table(Event::Apply(table.clone()));
        seen.table(Event::Delete(table));
        assert_eq!(seen.table.as_deref(), Some("{}"));
        assert!(!seen.known);
        let mut empty = ConfigMap::default();
        empty.data = Some(BTreeMap::new());
        seen.table(Event::Apply(empty));
        assert_eq!(
            seen.table.as_deref(),
            Some("{}"),
            "one without a table is none"
        );
        assert!(!seen.slice(Event::Init) && seen.slice(Event::InitDone) && seen.known);
    }
}
