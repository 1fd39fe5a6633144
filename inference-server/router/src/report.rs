//! What the router says of itself.

use tokio::sync::watch;
use traffic::effective::Effective;
use traffic::status::{Applied, Counted, CutOffReport, Report, RevisionReport};
use traffic::table::SCHEMA_VERSION;
use traffic::{Millis, Weight};

use crate::Router;
use crate::counting::Counting;
use crate::endpoints::Group;
use crate::router::View;

impl Router {
    /// The sequence number of what is told, to wait for a higher one.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    /// The document of `GET /status`.
    pub fn report(&self) -> Report {
        let now = self.0.clock.now();
        // Before the rest: what comes in between is told again, and nothing is left out.
        let sequence = *self.0.news.borrow();
        let view = self.0.view.load_full();
        let mut counting = self.0.counting();
        let revisions = view.as_deref().map(|view| revisions(view, &mut counting));
        Report {
            schema_version: SCHEMA_VERSION,
            pod: self.0.identity.pod.clone(),
            instance: self.0.identity.instance.clone(),
            sequence,
            synced: self.is_synced(),
            table: view.as_ref().map(|view| Applied {
                model_uid: view.table.model.uid.clone(),
                generation: view.table.generation.0,
            }),
            refused: self.0.refused.load().as_deref().cloned(),
            revisions: revisions.unwrap_or_default(),
            counted: counting.subject().map(|subject| Counted {
                subject: subject.clone(),
                counters: counting.recorder.counters(now),
            }),
            cut_off: cut_off(&counting, now),
        }
    }
}

fn revisions(view: &View, counting: &mut Counting) -> Vec<RevisionReport> {
    let effective = view.effective(counting);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let of = |group: &Group| {
        let counts = *counting.of(&group.target.revision);
        RevisionReport {
            revision: group.target.revision.clone(),
            endpoints: number(group.endpoints.len()),
            ready: number(group.ready()),
            effective_weight: match effective {
                Effective::Nobody => Weight::NONE,
                Effective::Shares(shares) => {
                    group.role.map_or(Weight::NONE, |role| shares.of(role))
                }
            },
            assigned: counts.assigned,
            answered: counts.answered,
            failures: counts.failures,
            fallbacks: counts.fallbacks,
        }
    };
    view.groups.iter().map(of).collect()
}

fn cut_off(counting: &Counting, now: Millis) -> Option<CutOffReport> {
    let cut = counting.cut()?;
    let age = now.since(cut.at).as_millis();
    Some(CutOffReport {
        revision: cut.revision.clone(),
        cause: cut.finding.cause.word().to_owned(),
        message: cut.finding.to_string(),
        age_ms: u64::try_from(age).unwrap_or(u64::MAX),
    })
}
