//! What the routers say: one task for each router pod that is listened to, which waits for news at its
//! admin port.
//!
//! Owns the asking. It must not conclude anything. Invariants: nobody is asked who has nothing to tell
//! (at rest there is no task); a router that does not answer is asked again, and what it said last is
//! forgotten as soon as its pod is not there any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use operator_core::identity::AdminKey;
use operator_core::objects::router::ADMIN_PORT;
use operator_core::observed::Children;
use operator_core::reading::pods;
use operator_core::status::is_enough;
use tokio::task::AbortHandle;
use traffic::status::{MAX_BYTES, Report};

use super::Trigger;
use crate::controllers::shared::Owner;
use crate::controllers::shared::asking::{Asking, admin};

/// How long a router may hold an answer back until it has news.
const HELD: Duration = Duration::from_secs(20);
/// How long an answer may take beyond that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what was measured of shares is shown, while more is counted: a status is no gauge.
const SHOWN: Duration = Duration::from_secs(30);
/// How long a router that did not answer is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// All routers that are listened to.
#[derive(Debug)]
pub(super) struct Routers {
    client: Asking,
    key: Option<AdminKey>,
    /// By the uid of their model, then by pod.
    heard: Arc<Mutex<HashMap<String, HashMap<String, Heard>>>>,
    /// By the uid of their model, when its shares were measured last, and on what.
    measured: Mutex<HashMap<String, Measured>>,
    news: UnboundedSender<ObjectRef<Trigger>>,
}

/// What shares were measured on.
#[derive(Debug)]
struct Measured {
    at: Instant,
    /// The tables that it is about.
    first: Vec<Report>,
    last: Vec<Report>,
}

/// One router.
#[derive(Debug, Default)]
struct Heard {
    address: String,
    report: Option<Report>,
    /// The first one that acted upon the same table.
    first: Option<Report>,
    task: Option<AbortHandle>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Routers {
    /// Nobody yet.
    pub(super) fn new(
        client: Asking,
        key: Option<AdminKey>,
        news: UnboundedSender<ObjectRef<Trigger>>,
    ) -> Self {
        Self {
            client,
            key,
            heard: Arc::default(),
            measured: Mutex::default(),
            news,
        }
    }

    /// What the routers of a model said last.
    pub(super) fn reports(&self, uid: &str) -> Vec<Report> {
        self.told(uid, |one| one.report.clone())
    }

    /// What they said first of the table that they act upon: what was counted since is of its weights.
    pub(super) fn first_reports(&self, uid: &str) -> Vec<Report> {
        self.told(uid, |one| one.first.clone())
    }

    /// What they said when shares were measured last: anew twice a minute, with each table, and until there is
    /// enough.
    pub(super) fn measured_reports(&self, uid: &str) -> Vec<Report> {
        let (first, last) = (self.first_reports(uid), self.reports(uid));
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = measured.get(uid)
            && before.first == first
            && before.at.elapsed() < SHOWN
            && is_enough(&before.first, &before.last)
        {
            return before.last.clone();
        }
        let now = Measured {
            at: Instant::now(),
            first,
            last: last.clone(),
        };
        measured.insert(uid.to_owned(), now);
        last
    }

    fn told(&self, uid: &str, which: impl Fn(&Heard) -> Option<Report>) -> Vec<Report> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let all = heard.get(uid).into_iter().flat_map(HashMap::values);
        all.filter_map(which).collect()
    }

    /// Listens to the routers among `children`, or no longer does.
    pub(super) fn listen(&self, owner: &Owner, children: &Children, listens: bool) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses: HashMap<String, String> = children
            .routers()
            .filter(|pod| pods::serves(pod))
            .filter_map(|pod| Some((pod.name_any(), address(pod)?)))
            .collect();
        if addresses.is_empty() {
            heard.remove(&owner.uid);
            return;
        }
        let own = heard.entry(owner.uid.clone()).or_default();
        own.retain(|pod, one| addresses.get(pod) == Some(&one.address));
        for (pod, address) in addresses {
            let one = own.entry(pod.clone()).or_default();
            one.address.clone_from(&address);
            match (&one.task, listens) {
                (None, true) => one.task = Some(self.ask(owner, pod, address)),
                (Some(task), false) => {
                    task.abort();
                    one.task = None;
                }
                (None, false) | (Some(_), true) => {}
            }
        }
    }

    /// A model that is gone.
    pub(super) fn forget(&self, uid: &str) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.remove(uid);
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.remove(uid);
    }

    fn ask(&self, owner: &Owner, pod: String, address: String) -> AbortHandle {
        let (client, news) = (self.client.clone(), self.news.clone());
        let token = self.key.as_ref().map(|key| key.token(&owner.uid));
        let (heard, owner) = (self.heard.clone(), owner.clone());
        let task = tokio::spawn(async move {
            let mut since = 0;
            loop {
                let asked = ask(&client, &address, since, token.as_deref());
                let outcome = tokio::time::timeout(HELD + PATIENCE, asked).await;
                let report = match outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer"))) {
                    Ok(report) => report,
                    Err(error) => {
                        tracing::debug!(pod, %error, "a router does not answer");
                        since = 0;
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                since = report.sequence;
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let own = heard.get_mut(&owner.uid).and_then(|own| own.get_mut(&pod));
                let Some(one) = own else { return };
                let same_table =
                    |old: &Report| (&old.table, &old.instance) == (&report.table, &report.instance);
                if !one.first.as_ref().is_some_and(same_table) {
                    one.first = Some(report.clone());
                }
                if one.report.as_ref() != Some(&report) {
                    one.report = Some(report);
                    // An error means that the controller is ending.
                    let _ =
                        news.unbounded_send(ObjectRef::new(&owner.name).within(&owner.namespace));
                }
            }
        });
        task.abort_handle()
    }
}

async fn ask(
    client: &Asking,
    address: &str,
    since: u64,
    token: Option<&str>,
) -> anyhow::Result<Report> {
    let request = admin(address, &format!("/status?since={since}"), token);
    let (status, body) = client
        .ask(request, MAX_BYTES)
        .await
        .context("read the report")?;
    ensure!(status.is_success(), "it answers {status}");
    Ok(Report::parse(&body)?)
}

/// The admin port of a router.
pub(crate) fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?;
    Some(if ip.contains(':') {
        format!("[{ip}]:{ADMIN_PORT}")
    } else {
        format!("{ip}:{ADMIN_PORT}")
    })
}
