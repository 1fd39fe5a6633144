//! How many scoring pods of a RewardModel had a node, and how many served, at every moment of a watch.
//!
//! Invariant: counts are taken after each event of one watch, whose order is that of the writes, so that each
//! is a state that there was.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

/// What a watch has seen.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The most pods that had a node at once, those on their way out included.
    pub most_placed: usize,
    /// The fewest that served at once.
    pub fewest_serving: usize,
    /// All pods that there were, by uid, in the order of their coming.
    pub pods: Vec<String>,
    /// Pods whose container was started again.
    pub restarted: Vec<String>,
}

/// Watches until `end` comes.
///
/// # Errors
/// When there is no cluster.
pub async fn watch(
    namespace: &str,
    model: &str,
    end: impl Future<Output = ()>,
) -> anyhow::Result<Seen> {
    let client = Client::try_default().await.context("no cluster")?;
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let ours = format!("betterai.dev/model={model},betterai.dev/component=server");
    let mut events = watcher::watcher(pods, watcher::Config::default().labels(&ours)).boxed();
    let (mut known, mut seen) = (BTreeMap::new(), Seen::default());
    let mut began = false;
    tokio::pin!(end);
    loop {
        let event = tokio::select! {
            () = &mut end => return Ok(seen),
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Init)) => known.clear(),
            Some(Ok(Event::InitApply(pod) | Event::Apply(pod))) => {
                known.insert(pod.uid().unwrap_or_default(), pod);
            }
            Some(Ok(Event::Delete(pod))) => {
                known.remove(&pod.uid().unwrap_or_default());
            }
            Some(Ok(Event::InitDone)) => began = true,
            Some(Err(error)) => {
                tracing_line(&error.to_string());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            None => return Ok(seen),
        }
        if began {
            seen.count(&known, seen.pods.is_empty());
        }
    }
}

/// A watch that breaks begins again; that is worth a line.
fn tracing_line(words: &str) {
    eprintln!("the watch broke: {words}");
}

impl Seen {
    fn count(&mut self, known: &BTreeMap<String, Pod>, first: bool) {
        let placed = known.values().filter(|pod| is_placed(pod)).count();
        let serving = known.values().filter(|pod| is_serving(pod)).count();
        self.most_placed = self.most_placed.max(placed);
        self.fewest_serving = if first {
            serving
        } else {
            self.fewest_serving.min(serving)
        };
        for (uid, pod) in known {
            if !self.pods.contains(uid) {
                self.pods.push(uid.clone());
            }
            let statuses = pod
                .status
                .iter()
                .filter_map(|status| status.container_statuses.as_ref());
            let again = statuses
                .flatten()
                .any(|container| container.restart_count > 0);
            if again && !self.restarted.contains(&pod.name_any()) {
                self.restarted.push(pod.name_any());
            }
        }
    }
}

fn is_placed(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let over = matches!(phase, Some("Failed" | "Succeeded"));
    !over
        && pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_some())
}

fn is_serving(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .filter_map(|status| status.conditions.as_ref());
    let ready = conditions
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
