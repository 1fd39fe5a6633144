//! What the routers do: which table they were given, who acts upon it, what they have found.
//!
//! Invariants: a router that is silent lets nothing through; one that is not Ready holds nothing up.

use std::collections::BTreeSet;

use crds::conditions::StalledReason;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use traffic::cutoff::{self, Cause};
use traffic::status::{self, Acknowledged, Report};
use traffic::table::{Generation, Table};

use super::{Routers, endpoints, pods};
use crate::Failure;
use crate::identity::{RevisionHash, names};
use crate::objects::router::table;
use crate::observed::Observed;
use crate::state::{Rollout, State};

/// What is known of the routers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    /// The table that they were given last.
    pub(crate) table: Option<Table>,
    /// Names of the router pods that are Ready.
    pub(crate) live: BTreeSet<String>,
    /// Who of them acts upon that table.
    pub(crate) acknowledged: Option<Acknowledged>,
    /// How many of them the Service that clients call leads to.
    pub(crate) reached: usize,
    /// The highest number of a table that any of them has.
    highest: Option<Generation>,
}

impl Reports {
    pub(crate) fn of(observed: &Observed) -> Self {
        let name = names::table(&observed.model.name_any());
        let uid = observed.model.uid().unwrap_or_default();
        let found = observed.children.tables.iter();
        let table = found
            .map(AsRef::as_ref)
            .find(|object: &&ConfigMap| object.name_any() == name)
            .and_then(table::read)
            .filter(|table| table.model.uid == uid);
        let all = || {
            let routers = observed.children.routers();
            routers.filter(|pod| pods::serves(pod))
        };
        let live: BTreeSet<String> = all().map(|pod| pod.name_any()).collect();
        let service = names::endpoint(&observed.model.name_any());
        let reached = endpoints::reached(&service, &observed.children.slices, all());
        let acknowledged = table
            .as_ref()
            .map(|table| status::acknowledged(&observed.reports, &live, &uid, table.generation));
        Self {
            table,
            live,
            acknowledged,
            reached,
            highest: status::highest_generation(&observed.reports, &uid),
        }
    }

    /// Whether a router that is there does not follow its table, by what is known.
    pub(crate) fn is_behind(&self) -> bool {
        let known = self.acknowledged.as_ref();
        known.is_some_and(|all| all.of > 0 && !all.by_all())
    }

    /// The number of the next table: above all that anybody has.
    pub(crate) fn next_generation(&self) -> Generation {
        Generation(
            self.given()
                .max(self.highest)
                .map_or(0, |highest| highest.0)
                + 1,
        )
    }

    fn given(&self) -> Option<Generation> {
        self.table.as_ref().map(|table| table.generation)
    }

    /// Whether all that are there act upon the weight of `rollout`, and know pods of it if it has a share.
    pub(crate) fn follow(&self, observed: &Observed, rollout: &Rollout) -> bool {
        let told = self.table.as_ref().is_some_and(|table| {
            weight_of(table, &rollout.revision) == Some(rollout.weight.get() * 100)
        });
        let by_all = self.acknowledged.as_ref().is_some_and(Acknowledged::by_all);
        // What has a share is known to them by its pods, or they would send it elsewhere.
        let asleep = observed.model.spec.replicas == Some(0);
        let known = rollout.weight.get() == 0
            || asleep
            || self.all_know(observed, rollout.revision.as_str());
        told && by_all && !self.is_outdated() && known
    }

    /// What they say of the rollout in `state`.
    pub(crate) fn signals(&self, observed: &Observed, state: &State) -> Routers {
        let Some(rollout) = &state.rollout else {
            return Routers::default();
        };
        let clients_come = self.reached > 0;
        Routers {
            acknowledged: clients_come && self.follow(observed, rollout),
            released: self.is_released(observed, &rollout.revision),
            cut_off: self.cut_off(observed, &rollout.id(), &rollout.revision),
        }
    }

    /// Whether no router sends a revision anything, by the table that they were given.
    fn is_released(&self, observed: &Observed, revision: &RevisionHash) -> bool {
        let Some(table) = &self.table else {
            return self.live.is_empty();
        };
        let Some(name) = traffic::Revision::parse(revision.as_str()) else {
            return false;
        };
        let nothing = weight_of(table, revision).is_none_or(|weight| weight == 0);
        let uid = observed.model.uid().unwrap_or_default();
        nothing
            && !self.is_outdated()
            && status::is_released(&observed.reports, &self.live, &uid, table.generation, &name)
    }

    /// Why the canary is to be cut off everywhere: one router has done so, or all counts together say so.
    fn cut_off(
        &self,
        observed: &Observed,
        rollout: &str,
        revision: &RevisionHash,
    ) -> Option<Failure> {
        let table = self.table.as_ref()?;
        if table.rollout.as_deref() != Some(rollout) {
            return None;
        }
        // Lost pods are no verdict on the revision: the router has taken its share away already.
        let blames = |word: &str| Cause::parse(word).is_none_or(Cause::blames_the_revision);
        let by_one = self.live_reports(observed).find_map(|report| {
            let cut = report.cut_off.as_ref().filter(|cut| blames(&cut.cause))?;
            let acts_upon_this = report.table.as_ref()?.model_uid == table.model.uid;
            (cut.revision.as_str() == revision.as_str() && acts_upon_this)
                .then(|| (cut.cause.clone(), cut.message.clone()))
        });
        let (word, message) = by_one.or_else(|| {
            let canary = traffic::Revision::parse(revision.as_str())?;
            let subject = cutoff::Subject {
                rollout: Some(rollout.to_owned()),
                canary,
            };
            let all = status::counted(&observed.reports, &self.live, &subject);
            let finding = cutoff::judge(&all, &table.cut_off)
                .filter(|finding| finding.cause.blames_the_revision())?;
            Some((finding.cause.word().to_owned(), finding.to_string()))
        })?;
        Some(Failure {
            // A newer router may have a word for what this operator only knows as errors.
            cut_off: Some(Cause::parse(&word).unwrap_or(Cause::Errors)),
            ..Failure::new(StalledReason::CutOff, format!("{word}: {message}"))
        })
    }

    /// Whether a router has a later table than the one that is there: then this one is refused.
    pub(crate) fn is_outdated(&self) -> bool {
        self.highest > self.given()
    }

    /// Whether every router that is there has a ready endpoint of a revision.
    fn all_know(&self, observed: &Observed, revision: &str) -> bool {
        let knows = |report: &Report| {
            let mut theirs = report.revisions.iter();
            theirs.any(|of| of.revision.as_str() == revision && of.ready > 0)
        };
        self.live_reports(observed).all(knows)
    }

    fn live_reports<'a>(&'a self, observed: &'a Observed) -> impl Iterator<Item = &'a Report> {
        let reports = observed.reports.iter();
        reports.filter(|report| self.live.contains(&report.pod))
    }
}

/// The share of a revision in hundredths of a percent; `None` where the table does not have it.
pub(crate) fn weight_of(table: &Table, revision: &RevisionHash) -> Option<i32> {
    let mut rows = table.revisions().iter();
    let row = rows.find(|row| row.revision.as_str() == revision.as_str())?;
    Some(i32::from(row.weight.get()))
}
