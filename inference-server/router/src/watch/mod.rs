//! The table and the endpoints, from Kubernetes.
//!
//! Owns the watches: ConfigMap `NAME-traffic`, the EndpointSlices of the model's Services, and those of other
//! models' Services that an experiment's variants have. It must not know what is made of them. Invariants: where the API server is away, or a ConfigMap is
//! deleted, what is known stays; nothing is taken from a list that was not read to its end.

mod slices;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use traffic::table;

use crate::{Router, Services};

/// The label of all that belongs to a model.
const MODEL: &str = "betterai.dev/model";
/// The slices of its servers, and not those of its routers.
const SERVERS: &str = "betterai.dev/component=server";

/// A connection to the API server of the cluster that this runs in, or of the kubeconfig.
///
/// # Errors
/// When there is neither.
pub async fn client() -> Result<Client, kube::Error> {
    Client::try_default().await
}

/// Offers the table of a model, and who serves its revisions, to the router, for ever.
pub async fn run(router: Router, client: Client, namespace: &str, name: &str) {
    let tables = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let slices = Api::<EndpointSlice>::namespaced(client, namespace);
    let table = format!("metadata.name={name}-traffic");
    let of_table = watcher::Config::default().fields(&table);
    let of_model = watcher::Config::default().labels(&format!("{MODEL}={name},{SERVERS}"));
    tokio::join!(
        follow_table(&router, watcher(tables, of_table).default_backoff()),
        follow_slices(
            watcher(slices.clone(), of_model).default_backoff(),
            |services| router.seen(services)
        ),
        // Most of the time it does nothing.
        Box::pin(follow_elsewhere(&router, slices)),
    );
}

/// Looks for the Services that an experiment names, as long as it names them.
async fn follow_elsewhere(router: &Router, slices: Api<EndpointSlice>) {
    let mut wanted = router.wanted_elsewhere();
    loop {
        let names = wanted.borrow_and_update().clone();
        if names.is_empty() {
            router.seen_elsewhere(names, Services::new());
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let config = watcher::Config::default().labels(&selector(&names));
        let events = watcher(slices.clone(), config).default_backoff();
        let seen = |services| router.seen_elsewhere(names.clone(), services);
        tokio::select! {
            () = follow_slices(events, seen) => {}
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

fn selector(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!("{} in ({}),{SERVERS}", slices::SERVICE, names.join(","))
}

type Seen<K> = Result<Event<K>, watcher::Error>;

async fn follow_table(router: &Router, events: impl Stream<Item = Seen<ConfigMap>>) {
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(map) | Event::InitApply(map)) => offer(router, &map),
            Ok(Event::Delete(_)) => {
                tracing::warn!(target: "router", "the table was deleted: what is held stays");
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => away(&error),
        }
    }
}

fn offer(router: &Router, map: &ConfigMap) {
    let text = map.data.as_ref().and_then(|data| data.get(table::KEY));
    let Some(text) = text else {
        tracing::warn!(target: "router", key = table::KEY, "the ConfigMap has no table: what is held stays");
        return;
    };
    if let Err(refusal) = router.offer(text.as_bytes()) {
        tracing::warn!(target: "router", reason = refusal.word(), "the table is refused: {refusal}");
    }
}

async fn follow_slices(events: impl Stream<Item = Seen<EndpointSlice>>, seen: impl Fn(Services)) {
    let mut events = pin!(events);
    let (mut known, mut listed) = (BTreeMap::new(), BTreeMap::new());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(slice)) => {
                listed.insert(slice.name_any(), slice);
                continue;
            }
            Ok(Event::InitDone) => known = std::mem::take(&mut listed),
            Ok(Event::Apply(slice)) => {
                known.insert(slice.name_any(), slice);
            }
            Ok(Event::Delete(slice)) => {
                known.remove(&slice.name_any());
            }
            Err(error) => {
                away(&error);
                continue;
            }
        }
        seen(slices::services(known.values()));
    }
}

fn away(error: &watcher::Error) {
    tracing::warn!(target: "router", %error, "the API server cannot be asked: what is known stays");
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::json;

    use super::*;
    use crate::Identity;

    fn router() -> Router {
        Router::new(Identity {
            pod: "router-a".to_owned(),
            instance: "1".to_owned(),
        })
    }

    fn map(generation: u64, weight: u16) -> ConfigMap {
        let table = json!({
            "schemaVersion": 1, "generation": generation, "salt": "u/1",
            "model": {"namespace": "n", "name": "m", "uid": "u"},
            "revisions": [{"revision": "a", "role": "Stable", "weight": weight, "service": "m-a"}],
        });
        let map =
            json!({"metadata": {"name": "m-traffic"}, "data": {"table.json": table.to_string()}});
        serde_json::from_value(map).unwrap()
    }

    fn slice(name: &str, address: &str) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "m-a"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8000}],
            "endpoints": [{"addresses": [address], "targetRef": {"kind": "Pod", "uid": address}}],
        }))
        .unwrap()
    }

    fn ready(router: &Router) -> u32 {
        router.report().revisions[0].ready
    }

    async fn told<K, F: Future<Output = ()>>(
        events: Vec<Event<K>>,
        follow: impl FnOnce(stream::Iter<std::vec::IntoIter<Seen<K>>>) -> F,
    ) {
        let events: Vec<Seen<K>> = events.into_iter().map(Ok).collect();
        follow(stream::iter(events)).await;
    }

    #[tokio::test]
    async fn a_router_is_ready_once_table_and_slices_are_known() {
        let router = router();
        told(vec![Event::Apply(map(1, 10_000))], |events| {
            follow_table(&router, events)
        })
        .await;
        assert!(!router.is_ready());
        let list = vec![Event::Init, Event::InitApply(slice("x", "10.0.0.1"))];
        told(list, |events| follow_slices(events, |all| router.seen(all))).await;
        assert!(!router.is_ready(), "the list has not ended");
        let list = vec![
            Event::Init,
            Event::InitApply(slice("x", "10.0.0.1")),
            Event::InitApply(slice("y", "10.0.0.2")),
            Event::InitDone,
        ];
        told(list, |events| follow_slices(events, |all| router.seen(all))).await;
        assert!(router.is_ready() && router.is_synced());
        assert_eq!(ready(&router), 2);
    }

    #[tokio::test]
    async fn slices_that_come_and_go_are_followed() {
        let router = router();
        told(vec![Event::Apply(map(1, 10_000))], |events| {
            follow_table(&router, events)
        })
        .await;
        let events = vec![
            Event::Init,
            Event::InitDone,
            Event::Apply(slice("x", "10.0.0.1")),
            Event::Apply(slice("y", "10.0.0.2")),
            Event::Delete(slice("x", "10.0.0.1")),
        ];
        told(events, |events| {
            follow_slices(events, |all| router.seen(all))
        })
        .await;
        assert_eq!(ready(&router), 1);
    }

    #[tokio::test]
    async fn an_experiments_services_are_looked_for_until_it_is_over() {
        let router = router();
        let mut wanted = router.wanted_elsewhere();
        let with = |generation: u64, experiment: serde_json::Value| {
            let mut map = map(generation, 10_000);
            let table = map.data.as_mut().unwrap().get_mut("table.json").unwrap();
            let mut document: serde_json::Value = serde_json::from_str(table).unwrap();
            document["experiment"] = experiment;
            *table = document.to_string();
            map
        };
        let experiment = json!({
            "name": "e", "uid": "e1", "epoch": 1, "salt": "s", "mode": "Split", "control": "a",
            "variants": [{"name": "a"}, {"name": "b", "revision": "b", "service": "other-b", "slots": [[0, 10]]}],
        });
        told(vec![Event::Apply(with(1, experiment))], |events| {
            follow_table(&router, events)
        })
        .await;
        router.seen(Services::new());
        let names = wanted.borrow_and_update().clone();
        assert_eq!(
            selector(&names),
            "kubernetes.io/service-name in (other-b),betterai.dev/component=server"
        );
        assert!(!router.is_synced(), "nobody has looked for it yet");
        let list = vec![Event::Init, Event::InitDone];
        told(list, |events| {
            follow_slices(events, |all| router.seen_elsewhere(names.clone(), all))
        })
        .await;
        assert!(router.is_synced());
        told(vec![Event::Apply(map(2, 10_000))], |events| {
            follow_table(&router, events)
        })
        .await;
        assert!(wanted.has_changed().unwrap() && wanted.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_table_that_is_deleted_or_refused_changes_nothing() {
        let router = router();
        let events = vec![
            Event::Init,
            Event::InitApply(map(3, 10_000)),
            Event::InitDone,
            Event::Delete(map(3, 10_000)),
            Event::Apply(map(2, 10_000)),
            Event::Apply(map(4, 9_000)),
            Event::Apply(ConfigMap::default()),
        ];
        told(events, |events| follow_table(&router, events)).await;
        let report = router.report();
        assert_eq!(report.table.unwrap().generation, 3);
        assert_eq!(report.refused.unwrap().reason, "Sum");
    }
}
