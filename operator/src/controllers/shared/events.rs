//! Events for humans, written by a task of their own.
//!
//! Invariants: an event never delays or fails what it tells of; each is an object of its own that
//! names the revision it is about, so that a second one is not folded into the text of the first.

use std::sync::Arc;
use std::time::Duration;

use crds::labels;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use operator_core::plan::{Notice, Severity};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;

/// Events that may wait to be written.
const WAITING: usize = 1_024;
/// How long those that wait may still be written at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// Where events are given to.
#[derive(Debug)]
pub(crate) struct Events {
    sender: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
}

/// The task that writes them.
#[derive(Debug)]
pub(crate) struct Writing(JoinHandle<()>);

impl Events {
    /// Starts the task.
    pub(crate) fn start(client: Client, metrics: Arc<Metrics>) -> (Self, Writing) {
        let (sender, mut waiting) = mpsc::channel::<Event>(WAITING);
        let task = tokio::spawn(async move {
            while let Some(event) = waiting.recv().await {
                let namespace = event.metadata.namespace.clone().unwrap_or_default();
                let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
                if let Err(error) = events.create(&PostParams::default(), &event).await {
                    tracing::warn!(%error, "an event is lost");
                }
            }
        });
        (Self { sender, metrics }, Writing(task))
    }

    /// Tells `notice` of the resource `about`, whose revisions are recorded in ControllerRevisions.
    pub(crate) fn tell(&self, about: &ObjectReference, notice: &Notice) {
        tracing::info!(
            namespace = about.namespace,
            name = about.name,
            reason = notice.reason,
            "{}",
            notice.message
        );
        if self
            .sender
            .try_send(event(about, notice, Timestamp::now()))
            .is_err()
        {
            self.metrics.event_dropped();
        }
    }
}

impl Writing {
    /// Lets what waits be written; the last [`Events`] has to be gone.
    pub(crate) async fn finish(self) {
        let _ = tokio::time::timeout(FAREWELL, self.0).await;
    }
}

fn event(about: &ObjectReference, notice: &Notice, now: Timestamp) -> Event {
    let name = about.name.clone().unwrap_or_default();
    let related = notice.revision.as_ref().map(|revision| ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some("ControllerRevision".to_owned()),
        namespace: about.namespace.clone(),
        name: Some(format!("{name}-{revision}")),
        ..ObjectReference::default()
    });
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}.")),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(notice.message.chars().take(1_000).collect()),
        reason: Some(notice.reason.clone()),
        regarding: Some(about.clone()),
        related,
        reporting_controller: Some(labels::OPERATOR.to_owned()),
        reporting_instance: Some(instance()),
        type_: Some(
            match notice.severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            }
            .to_owned(),
        ),
        ..Event::default()
    }
}

/// The pod's name, where there is one.
fn instance() -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| labels::OPERATOR.to_owned())
}
