//! What the routers of a model say of themselves: one long poll for each.
//!
//! Invariant: a report is stamped when it was read to its end, so that no router is taken to be quicker
//! than it was.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::AUTHORIZATION;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use traffic::status::Report;

use super::timeline::{Seen, Timeline};
use crate::faulty::Moment;

/// How long a router that does not answer is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// All routers of a model, watched until this is dropped.
#[derive(Debug)]
pub(super) struct Routers {
    pub(super) count: usize,
    heard: watch::Sender<Heard>,
    tasks: Vec<AbortHandle>,
}

/// What was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The canary that is followed.
    canary: String,
    pub(super) timeline: Timeline,
    last: Vec<Option<Report>>,
}

impl Drop for Routers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Routers {
    /// Watches the admin ports, which take `token`.
    pub(super) fn watch(ports: Vec<String>, token: &str) -> Self {
        let heard = watch::Sender::new(Heard {
            last: vec![None; ports.len()],
            ..Heard::default()
        });
        let count = ports.len();
        let listen = |(router, port)| {
            let (heard, token) = (heard.clone(), format!("Bearer {token}"));
            tokio::spawn(listen(router, port, token, heard)).abort_handle()
        };
        let tasks = ports.into_iter().enumerate().map(listen).collect();
        Self {
            count,
            heard,
            tasks,
        }
    }

    /// Follows another canary from now on.
    pub(super) fn follow(&self, canary: &str) {
        self.heard.send_modify(|heard| {
            canary.clone_into(&mut heard.canary);
            heard.timeline = Timeline::default();
            let last = std::mem::take(&mut heard.last);
            for (router, report) in last.iter().enumerate() {
                if let Some(report) = report {
                    heard.note(router, report, Moment::now());
                }
            }
            heard.last = last;
        });
    }

    /// A table that takes this canary's share was seen.
    pub(super) fn decided(&self, canary: &str) {
        self.heard.send_modify(|heard| {
            if heard.canary == canary {
                heard.timeline.decided.get_or_insert_with(Moment::now);
            }
        });
    }

    /// Waits until what was heard is so.
    ///
    /// # Errors
    /// When it is not within that time.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut is: impl FnMut(&Heard) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut heard = self.heard.subscribe();
        let mut found = None;
        let waiting = heard.wait_for(|heard| {
            found = is(heard);
            found.is_some()
        });
        let waited = tokio::time::timeout(patience, waiting).await;
        if let Ok(Ok(_)) = &waited {
            drop(waited);
            return found.context("nothing was found");
        }
        drop(waited);
        anyhow::bail!(
            "{what}: not within {patience:?}; {}",
            self.heard.borrow().words()
        )
    }

    /// What was seen of the canary until now.
    pub(super) fn timeline(&self) -> Timeline {
        self.heard.borrow().timeline.clone()
    }
}

impl Heard {
    /// Whether every router gives the canary this share.
    pub(super) fn all_have(&self, share: u16) -> bool {
        let has = |report: &Option<Report>| {
            let report = report.as_ref();
            report.is_some_and(|report| share_of(report, &self.canary) == share)
        };
        self.last.iter().all(has)
    }

    fn note(&mut self, router: usize, report: &Report, at: Moment) {
        let own = report.cut_off.as_ref();
        let own = own.filter(|cut| cut.revision.as_str() == self.canary);
        let share = share_of(report, &self.canary);
        if let Some(cut) = own {
            self.timeline
                .causes
                .insert(format!("{}: {}", cut.cause, cut.message));
        }
        self.timeline.seen.push(Seen {
            at,
            router,
            share,
            cut: own.map(|cut| at.before(Duration::from_millis(cut.age_ms))),
        });
    }

    fn words(&self) -> String {
        let one = |report: &Option<Report>| match report {
            Some(report) => format!("{} has {}", report.pod, share_of(report, &self.canary)),
            None => "one was never heard".to_owned(),
        };
        let all: Vec<String> = self.last.iter().map(one).collect();
        all.join(", ")
    }
}

fn share_of(report: &Report, revision: &str) -> u16 {
    let mut all = report.revisions.iter();
    let own = all.find(|own| own.revision.as_str() == revision);
    own.map_or(0, |own| own.effective_weight.get())
}

async fn listen(router: usize, port: String, token: String, heard: watch::Sender<Heard>) {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let mut since = None;
    loop {
        let Ok(report) = ask(&client, &port, &token, since).await else {
            since = None;
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let at = Moment::now();
        since = Some(report.sequence);
        heard.send_modify(|heard| {
            heard.note(router, &report, at);
            if let Some(last) = heard.last.get_mut(router) {
                *last = Some(report);
            }
        });
    }
}

async fn ask(
    client: &Client<HttpConnector, Empty<Bytes>>,
    port: &str,
    token: &str,
    since: Option<u64>,
) -> anyhow::Result<Report> {
    let since = since.map_or_else(String::new, |since| format!("?since={since}"));
    let request = Request::get(format!("http://{port}/status{since}"));
    let request = request.header(AUTHORIZATION, token).body(Empty::new())?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "status {status}");
    Ok(Report::parse(&body)?)
}
